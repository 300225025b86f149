//! HTTP/2 on its socket: `pipe` has the socket, `mux` the protocol (`proto/h2`), and each stream has two ends like any other
//! message.

pub(crate) mod carrier;
pub(crate) mod client;
pub(crate) mod mux;
mod outgoing;
pub(crate) mod pipe;
pub(crate) mod request;
pub(crate) mod stream;
