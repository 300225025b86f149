//! HTTP/2: a connection's frames are the `h2` crate's; each of its streams is an exchange like any other.

mod body;
mod frames;
mod pipe;
pub(super) mod request;
pub(super) mod serve;
pub(super) mod stream;
pub(super) mod upstream;
