//! HTTP/1.0 and HTTP/1.1 (RFC 9112) on httparse, with stricter rules on top.
//!
//! The way of a message: `scan` finds the end of its head, `request` or `response` parses it,
//! `framing` and `chunked` follow its body, `encode` writes what goes out.

pub mod auth_params;
pub mod authority;
pub mod chunked;
mod dots;
pub mod encode;
pub mod fault;
pub mod field;
pub mod framing;
mod lines;
pub mod method;
pub mod parameters;
pub mod percent;
pub mod request;
pub mod response;
pub mod rules;
pub mod scan;
pub mod set_cookie;
pub mod target;

/// The value of a hexadecimal digit.
const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
