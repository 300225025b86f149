//! Checks an authority (RFC 3986 §3.2) as `Host` and request targets carry it.

use crate::limits::HOST_BYTES_MAX;

/// The length of the host in `host[:port]`, brackets of an IPv6 literal included; `None` where it is not valid.
///
/// User information is refused: a request never needs it, and parsers disagree on it.
#[must_use]
pub fn host_length(authority: &[u8]) -> Option<usize> {
    let host = if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|byte| *byte == b']')? + 1;
        let literal = std::str::from_utf8(&authority[1..end - 1]).ok()?;
        literal.parse::<std::net::Ipv6Addr>().ok()?;
        end
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        if end == 0 || !authority[..end].iter().all(|byte| is_host_byte(*byte)) {
            return None;
        }
        end
    };
    let is_port_valid = match authority[host..].split_first() {
        None => true,
        Some((b':', port)) => is_port(port),
        Some(_) => false,
    };
    (host <= HOST_BYTES_MAX && is_port_valid).then_some(host)
}

/// True where both name the same host and port, for a scheme whose port is `default_port` (RFC 9110 §4.2.3).
#[must_use]
pub fn are_same(one: &[u8], other: &[u8], default_port: u16) -> bool {
    let parts = |authority| {
        let (host, port) = parts(authority)?;
        Some((host.strip_suffix(b".").unwrap_or(host), port.unwrap_or(default_port)))
    };
    match (parts(one), parts(other)) {
        (Some((host, port)), Some((other, other_port))) => host.eq_ignore_ascii_case(other) && port == other_port,
        (Some(_), None) | (None, Some(_) | None) => false,
    }
}

/// Host and port of an authority; `None` where it is not valid.
#[must_use]
pub fn parts(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, port) = authority.split_at(host_length(authority)?);
    Some((host, std::str::from_utf8(port).ok()?.strip_prefix(':').and_then(|digits| digits.parse().ok())))
}

/// The port that goes without saying.
#[must_use]
pub fn default_port(scheme: &[u8]) -> u16 {
    if scheme.eq_ignore_ascii_case(b"https") { 443 } else { 80 }
}

/// Registered names in practice: letters, digits, `-`, `.`, `_`. Percent-encoding and sub-delimiters
/// of RFC 3986 occur in no host that DNS can resolve.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn is_port(port: &[u8]) -> bool {
    let is_short = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    is_short && port.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65_535
}

#[cfg(test)]
mod tests {
    use super::{are_same, host_length, parts};

    #[test]
    fn valid_authorities_give_the_length_of_their_host() {
        assert_eq!(host_length(b"example.com"), Some(11));
        assert_eq!(host_length(b"example.com:8080"), Some(11));
        assert_eq!(host_length(b"[::1]:80"), Some(5));
        assert_eq!(host_length(b"127.0.0.1:"), Some(9));
    }

    #[test]
    fn a_default_port_need_not_be_said() {
        for (one, other, port) in [("a.test", "A.TEST:80", 80), ("a.test:", "a.test.", 80), ("[::1]:443", "[::1]", 443)]
        {
            assert!(are_same(one.as_bytes(), other.as_bytes(), port), "{one} {other}");
        }
        for (one, other) in [("a.test:81", "a.test"), ("a.test:443", "a.test"), ("a", "b"), ("a b", "a b")] {
            assert!(!are_same(one.as_bytes(), other.as_bytes(), 80), "{one} {other}");
        }
        assert_eq!(parts(b"a:81"), Some((&b"a"[..], Some(81))));
        assert_eq!(parts(b"[::1]"), Some((&b"[::1]"[..], None)));
    }

    #[test]
    fn invalid_authorities_are_refused() {
        for bad in [
            &b""[..],
            b":80",
            b"a b",
            b"a/b",
            b"user@host",
            b"a:b",
            b"a:65536",
            b"[::1",
            b"[::1]x",
            b"[nope]",
            b"a,b",
            b"a\x00",
            b"a%20",
            b"host:80:90",
            b"a:+80",
            b"a:080808",
            b"a:99999999999999999999",
            b"a:1.\xcf\xd1\xce",
        ] {
            assert_eq!(host_length(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(host_length(&[b'a'; 256]), None);
    }
}
