//! TLS over a connection: `accept` shakes hands with a client, `dial` with an upstream, `ends` carries what follows.

pub(crate) mod accept;
pub(crate) mod dial;
pub(crate) mod early;
pub(crate) mod ends;
mod handshake;
mod session;
