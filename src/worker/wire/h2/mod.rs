//! HTTP/2: a connection's frames are the `h2` crate's; each of its streams has two ends like any other message.

mod body;
pub(crate) mod carrier;
pub(crate) mod client;
mod outgoing;
pub(crate) mod pipe;
pub(crate) mod request;
pub(crate) mod stream;
