//! Writes heads, fields and chunks into an output buffer.

use std::io::Write as _;
use std::net::IpAddr;

use super::field::Field;

/// Appends `name: value` and the line end.
pub fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends fields of a head that came in `bytes`. Neighbours that are written as [`put_field`] would write them, as nearly
/// all are, go in one copy.
pub fn put_fields<'a>(out: &mut Vec<u8>, bytes: &[u8], fields: impl Iterator<Item = &'a Field>) {
    let mut run = 0..0;
    for field in fields {
        let line = field.name.range().start..field.value.range().end + 2;
        let is_plain = bytes.get(field.name.range().end..field.value.range().start) == Some(b": ")
            && bytes.get(field.value.range().end..line.end) == Some(b"\r\n");
        if is_plain && run.end == line.start {
            run.end = line.end;
            continue;
        }
        out.extend_from_slice(&bytes[run]);
        run = 0..0;
        if is_plain {
            run = line;
        } else {
            put_field(out, field.name.bytes(bytes), field.value.bytes(bytes));
        }
    }
    out.extend_from_slice(&bytes[run]);
}

/// Appends `name: number` and the line end.
pub fn put_number_field(out: &mut Vec<u8>, name: &[u8], number: u64) {
    put_field(out, name, itoa::Buffer::new().format(number).as_bytes());
}

/// An address as text. `Display` of an IPv4 address costs ten times this, and every request pays it.
#[derive(Clone, Copy, Debug)]
pub struct AddressText {
    /// As long as the longest: an IPv6 address with an IPv4 address in it.
    bytes: [u8; 45],
    length: usize,
}

impl AddressText {
    /// The text of this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 45];
        let length = bytes.len();
        let mut rest = &mut bytes[..];
        // The longest text fits.
        let _ = match address {
            IpAddr::V4(address) => {
                let mut digits = itoa::Buffer::new();
                let [first, others @ ..] = address.octets();
                let begun = rest.write_all(digits.format(first).as_bytes());
                others.into_iter().fold(begun, |written, octet| {
                    written
                        .and_then(|()| rest.write_all(b"."))
                        .and_then(|()| rest.write_all(digits.format(octet).as_bytes()))
                })
            }
            IpAddr::V6(address) => write!(rest, "{address}"),
        };
        let length = length - rest.len();
        Self { bytes, length }
    }

    /// The text.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Appends a request's number as 32 hexadecimal digits.
pub fn put_request_id(out: &mut Vec<u8>, id: u128) {
    let bytes = id.to_be_bytes();
    for part in bytes.as_chunks::<4>().0 {
        out.extend_from_slice(&hexadecimal(u32::from_be_bytes(*part)));
    }
}

/// A number as eight hexadecimal digits, all at once: a table would be asked for each of them, and every request pays for
/// its number.
fn hexadecimal(number: u32) -> [u8; 8] {
    let number = u64::from(number);
    // One digit to each byte, the first one highest.
    let pairs = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let pairs = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (pairs | pairs << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 6 more make a digit above 9 reach the next bit; a letter stands 39 behind the place where such a digit would be.
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (digits + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

/// Appends a request line of HTTP/1.1, which every upstream is spoken to in.
pub fn put_request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Appends a status line of HTTP/1.1, the version this proxy itself speaks (RFC 9110 §6.2).
pub fn put_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Appends one chunk. `data` must not be empty: an empty chunk would end the body.
pub fn put_chunk(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.is_empty(), "an empty chunk ends the body");
    put_hexadecimal(out, data.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

fn put_hexadecimal(out: &mut Vec<u8>, number: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(DIGITS[number >> (4 * digit) & 15]);
    }
}

/// Appends the last chunk and the trailer section; forbidden trailer fields are left out (RFC 9110 §6.5.1).
///
/// `trailers` are field lines as they came; malformed ones end the section.
pub fn put_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    let mut rest = trailers;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        put_trailer(out, &rest[..end]);
        rest = &rest[end + 2..];
    }
    out.extend_from_slice(b"\r\n");
}

fn put_trailer(out: &mut Vec<u8>, line: &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
    for_trailer(&line[..colon], line[colon + 1..].trim_ascii(), |name, value| put_field(out, name, value));
}

/// Gives a trailer field to `put` where it may be passed on.
pub fn for_trailer(name: &[u8], value: &[u8], put: impl FnOnce(&[u8], &[u8])) {
    // `_` passes, which names in gRPC have: no trailer becomes a variable of CGI, where it would collide with `-`.
    let is_name = super::field::is_token(name);
    if is_name && super::field::is_value(value) && is_allowed_trailer(name) {
        put(name, value);
    }
}

/// True for a field that may stand in a trailer section: those for framing, routing, authentication and control may not (RFC 9110
/// §6.5.1).
#[must_use]
pub fn is_allowed_trailer(name: &[u8]) -> bool {
    use super::field::Known;
    const FORBIDDEN: [&[u8]; 14] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"location",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"set-cookie",
        b"vary",
        b"www-authenticate",
    ];
    Known::of(name) == Known::Other && !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

/// The usual reason phrase of a status (RFC 9110 §15, RFC 6585); 499 is nginx's.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::field::{Known, Span};

    #[test]
    fn fields_are_copied_in_runs_and_odd_ones_written_anew() {
        let bytes = b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC:\t3 \r\nD: 4\r\nE:\r\nF: 6\r\n\r\n";
        let span = |part: &str| {
            let at = memchr::memmem::find(bytes, part.as_bytes()).unwrap();
            Span::of(&bytes[at..at + part.len()], bytes)
        };
        let field = |name, value| Field { name: span(name), value, known: Known::Other, nominated: false };
        let fields = [
            field("A", span("1\r").part(0, 1)),
            field("B", span("2")),
            field("C", span("3")),
            field("D", span("4")),
            field("E:", Span::default()),
            field("F", span("6")),
        ];
        let mut out = Vec::new();
        put_fields(&mut out, bytes, fields.iter().filter(|field| field.name != span("B")));
        assert_eq!(String::from_utf8(out).unwrap(), "A: 1\r\nC: 3\r\nD: 4\r\nE:: \r\nF: 6\r\n");
    }

    #[test]
    fn addresses_and_numbers_are_written_as_their_usual_text() {
        for text in ["0.0.0.0", "192.0.2.107", "255.255.255.255", "::1", "2001:db8:1111:2222:3333:4444:5555:6666"] {
            assert_eq!(AddressText::of(text.parse().unwrap()).bytes(), text.as_bytes());
        }
        for id in [0, 1, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX, 0x9a << 60] {
            let mut out = Vec::new();
            put_request_id(&mut out, id);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{id:032x}"));
        }
    }

    #[test]
    fn chunks_are_framed_in_hexadecimal() {
        let mut out = Vec::new();
        put_chunk(&mut out, &[b'x'; 26]);
        assert!(out.starts_with(b"1a\r\nxx") && out.ends_with(b"x\r\n"));
        out.clear();
        put_chunk(&mut out, b"y");
        assert_eq!(out, b"1\r\ny\r\n");
        out.clear();
        put_chunk(&mut out, &[b'z'; 4096]);
        assert!(out.starts_with(b"1000\r\nz"));
    }

    #[test]
    fn trailers_pass_and_forbidden_ones_do_not() {
        let mut out = Vec::new();
        let trailers = b"X-Sum: 1\r\nContent-Length: 5\r\nAuthorization: me\r\n: no\r\nbad name: x\r\nhost: h\r\n";
        put_last_chunk(&mut out, trailers);
        assert_eq!(out, b"0\r\nX-Sum: 1\r\n\r\n");
    }
}
