//! HTTP/2 next to HTTP/1: a message of a stream is written as one of HTTP/1.1 and read as one, so that what holds for
//! the one holds for the other, and every rule has one place. Frames, HPACK and flow control are the `h2` crate's; what
//! that crate leaves open is counted by `meter`.

pub mod from_h1;
pub mod meter;
pub mod to_h1;

/// What a client that knows beforehand sends first (RFC 9113 §3.4): it reads as a head of HTTP/1, and is none.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The part of it that a parser of HTTP/1 takes for a head.
pub const PREFACE_HEAD: usize = 18;
