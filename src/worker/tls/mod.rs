//! TLS over a connection: `accept` shakes hands with a client, `dial` with an upstream, `ends` carries what follows.

pub(super) mod accept;
pub(super) mod dial;
pub(super) mod early;
pub(super) mod ends;
mod handshake;
mod session;
