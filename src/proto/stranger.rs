//! Recognises a protocol that was not expected by its first bytes, so that people are told which it is and not that something broke.

/// What the first bytes of an upstream are, as a rule's name; `None` where they may be anything, or are too few to say.
#[must_use]
pub fn of_upstream(bytes: &[u8]) -> Option<&'static str> {
    match *bytes {
        // A record of TLS (RFC 8446 §5.1): an alert or a handshake, of version 3.x.
        [20..=23, 3, 0..=4, ..] => Some("speaks_tls"),
        // The first frame of a server of HTTP/2 (RFC 9113 §3.4) is SETTINGS; some that were not spoken to rightly send GOAWAY.
        [0, _, _, 4 | 7, _, 0, 0, 0, 0, ..] => Some("speaks_h2"),
        // A record of FastCGI (§3.3): version 1, a type from 1 to 11.
        [1, 1..=11, _, _, _, _, _, _, ..] => Some("speaks_fastcgi"),
        [b'H', b'T', b'T', b'P', b'/', ..] => Some("speaks_http1"),
        [b'S', b'S', b'H', b'-', ..] => Some("speaks_ssh"),
        // An error of PostgreSQL (protocol 3.0, §55.7): `E`, a length that is not long, then `S` of its severity.
        [b'E', 0, 0, _, _, b'S', ..] => Some("speaks_postgresql"),
        // The greeting of MySQL and MariaDB: a length of three bytes, number 0, version 10; or an error packet.
        [_, _, 0, 0, 10 | 255, ..] => Some("speaks_mysql"),
        [b'-', b'E', b'R', b'R', b' ', ..] => Some("speaks_redis"),
        [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => Some("speaks_smtp_or_ftp"),
        _ if bytes.len() >= 5 && bytes.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) => {
            Some("speaks_text")
        }
        _ => None,
    }
}

/// What the first bytes of a client are that should speak HTTP without TLS.
#[must_use]
pub fn of_client(bytes: &[u8]) -> Option<&'static str> {
    match *bytes {
        // A handshake of TLS; no method begins so.
        [22] | [22, 3, ..] => Some("tls_to_plain_http"),
        [b'P', b'R', b'O', b'X', b'Y', b' ', ..] | [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q', ..] => {
            Some("proxy_protocol")
        }
        [b'S', b'S', b'H', b'-', ..] => Some("ssh"),
        _ => None,
    }
}

/// True where `bytes`, which are some at least, cannot begin an answer of HTTP/1.
#[must_use]
pub fn is_no_answer(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"HTTP/";
    let length = bytes.len().min(BEGINNING.len());
    bytes[..length] != BEGINNING[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_real_servers_say_first_is_recognised() {
        for (bytes, expected) in [
            // OpenSSL's alert to a request without TLS, then nginx's SETTINGS, gRPC's GOAWAY.
            (&b"\x15\x03\x01\x00\x02\x02\x46"[..], Some("speaks_tls")),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", Some("speaks_h2")),
            (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", Some("speaks_h2")),
            (b"\x01\x03\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", Some("speaks_fastcgi")),
            (b"HTTP/1.1 400 Bad Request\r\n", Some("speaks_http1")),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", Some("speaks_ssh")),
            (b"E\x00\x00\x00\x8cSFATAL\x00", Some("speaks_postgresql")),
            (b"\x4a\x00\x00\x00\x0a5.5.5-10.11", Some("speaks_mysql")),
            (b"-ERR wrong number of arguments for 'get' command\r\n", Some("speaks_redis")),
            (b"220 mail.test ESMTP\r\n", Some("speaks_smtp_or_ftp")),
            (b"hello, world\n", Some("speaks_text")),
            (b"\x80\x81\x82\x83\x84\x85", None),
            (b"", None),
        ] {
            assert_eq!(of_upstream(bytes), expected, "{bytes:?}");
        }
        assert_eq!(of_client(b"\x16\x03\x01\x02\x00"), Some("tls_to_plain_http"));
        assert_eq!(of_client(b"PROXY TCP4 1.2.3.4"), Some("proxy_protocol"));
        assert_eq!((of_client(b"GET / HTTP/1.1"), of_client(b"")), (None, None));
    }

    #[test]
    fn an_answer_may_come_byte_by_byte() {
        let answer = b"HTTP/1.1 200 OK\r\n";
        assert!((0..=answer.len()).all(|length| !is_no_answer(&answer[..length])));
        assert!(is_no_answer(b"HTTQ") && is_no_answer(b"\x15") && is_no_answer(b"http/1.1"));
    }
}
