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
    use super::host_length;

    #[test]
    fn valid_authorities_give_the_length_of_their_host() {
        assert_eq!(host_length(b"example.com"), Some(11));
        assert_eq!(host_length(b"example.com:8080"), Some(11));
        assert_eq!(host_length(b"[::1]:80"), Some(5));
        assert_eq!(host_length(b"127.0.0.1:"), Some(9));
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
