//! What gRPC says in its own fields: that it is gRPC, and how long its clients wait.

use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;
use crate::proto::h2;
use crate::proto::version::Version;

/// True for a request of gRPC, by its content type.
#[must_use]
pub fn is_grpc(head: &RequestHead) -> bool {
    head.only(Known::ContentType).is_some_and(h2::is_grpc)
}

/// True for a request of gRPC that speaks it: over HTTP/2, or as gRPC-web. What a field says alone, in HTTP/1, allows nothing.
#[must_use]
pub fn speaks_grpc(head: &RequestHead) -> bool {
    is_grpc(head) && (head.version() == Version::H2 || head.grpc_web().is_some())
}

/// `grpc-timeout` in milliseconds, rounded up; `None` where it is missing or malformed.
#[must_use]
pub fn timeout_ms(head: &RequestHead) -> Option<u64> {
    let value = head.value(b"grpc-timeout")?;
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(number * 3_600_000),
        b'M' => Some(number * 60_000),
        b'S' => Some(number * 1_000),
        b'm' => Some(number),
        b'u' => Some(number.div_ceil(1_000)),
        b'n' => Some(number.div_ceil(1_000_000)),
        _ => None,
    }
}

/// The number of a `grpc-status`, 0 to 16; `None` where it is none of them.
#[must_use]
pub fn status(value: &[u8]) -> Option<u8> {
    let number = match *value.trim_ascii() {
        [digit @ b'0'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
        _ => return None,
    };
    Some(number)
}

/// The number in the `grpc-status` of a trailer section.
#[must_use]
pub fn status_in(trailers: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"grpc-status:";
    let mut rest = trailers;
    // Every call pays for this one: lines are found, and of each no more than the name is looked at.
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, behind) = rest.split_at(end);
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            return status(value);
        }
        rest = &behind[1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    fn head(fields: &str) -> RequestHead {
        let mut head = RequestHead::default();
        let text = format!("POST /s/m HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        head.parse(text.into_bytes(), HeadRules::default()).unwrap();
        head
    }

    #[test]
    fn a_request_is_known_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&head(&format!("Content-Type: {value}"))), expected, "{value}");
        }
        assert!(!is_grpc(&head("X: y")));
    }

    #[test]
    fn a_deadline_has_a_number_and_a_unit() {
        for (value, expected) in [
            ("2S", Some(2_000)),
            ("1H", Some(3_600_000)),
            ("99999999m", Some(99_999_999)),
            ("1500u", Some(2)),
            ("1n", Some(1)),
            ("100000000m", None),
            ("S", None),
            ("1x", None),
            ("-1S", None),
        ] {
            assert_eq!(timeout_ms(&head(&format!("grpc-timeout: {value}"))), expected, "{value}");
        }
    }

    #[test]
    fn a_status_is_found_in_trailers() {
        assert_eq!(status_in(b"X: 1\r\nGrpc-Status: 14\r\ngrpc-message: x\r\n"), Some(14));
        assert_eq!(status_in(b"grpc-status: 17\r\n"), None);
        assert_eq!((status_in(b""), status_in(b"none\r\n"), status(b" 0 ")), (None, None, Some(0)));
    }
}
