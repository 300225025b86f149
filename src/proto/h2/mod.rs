//! HTTP/2 next to HTTP/1: what a peer says over a stream is written as HTTP/1.1 and parsed as such, so that what holds for the
//! one holds for the other, and every rule has one place. What we say ourselves is written as fields (`encode`).
//!
//! `connection` is the whole of it, without a socket: `reader` takes frames out of bytes, `hpack` fields out of blocks,
//! `message` makes a head of them, which `server` and `client` understand; `stream` has what waits, `window` says how much
//! may, `guard` what is too much, `writer` gathers what goes out, and `handle` is a stream to whoever holds it.

pub mod client;
pub mod connection;
pub mod core;
mod data;
pub mod fields;
pub mod frame;
pub mod guard;
pub mod handle;
pub mod hpack;
pub mod malformed;
pub mod message;
pub mod reader;
pub mod server;
mod settings;
mod store;
pub mod stream;
pub mod window;
pub mod writer;

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer is a client.
    Server,
    /// The peer is an upstream.
    Client,
}

/// The key that upstreams of HTTP/1 get for a WebSocket that was opened over HTTP/2, where there is none (RFC 8441 §5.1), and
/// what they answer to it (RFC 6455 §4.2.2). The key proves that the answer is a WebSocket server's, and nothing else.
pub(crate) const WEBSOCKET_KEY: &[u8] = b"cmluZ3Jlc3MgKGgyKSBrZQ==";
pub(crate) const WEBSOCKET_ACCEPT: &[u8] = b"o+zpUhPLsmk9Z5wwXfle0bnj61o=";

/// True for the content type of gRPC.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What a client that knows beforehand sends first (RFC 9113 §3.4): it reads as a head of HTTP/1, and is none.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The part of it that a parser of HTTP/1 takes for a head.
pub const PREFACE_HEAD: usize = 18;
