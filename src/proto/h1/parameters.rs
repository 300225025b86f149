//! Named values that a request carries: cookies (RFC 6265 §5.4), arguments of the query, and the bearer's token (RFC 6750 §2.1).

use super::field::Known;
use super::request::RequestHead;

/// The value of the first cookie of this name.
#[must_use]
pub fn cookie<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs =
        head.values(Known::Cookie).flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// The value of the first argument of this name, as it came.
#[must_use]
pub fn argument<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = head.query().split(|byte| *byte == b'&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// The token in a value of `Authorization`; the whole value where `Bearer` is not before it.
#[must_use]
pub fn bearer(value: &[u8]) -> &[u8] {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        Some(_) | None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    #[test]
    fn an_argument_is_found_by_its_whole_name() {
        let mut head = RequestHead::default();
        head.parse(b"GET /?xid=1&id=2%20&id=3&i HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), HeadRules::default()).unwrap();
        assert_eq!(argument(&head, b"id"), Some(&b"2%20"[..]));
        assert_eq!(argument(&head, b"i"), None);
    }

    #[test]
    fn a_token_may_have_its_scheme_before_it() {
        assert_eq!(bearer(b"bEARER  abc "), b"abc");
        assert_eq!(bearer(b"abc"), b"abc");
        assert_eq!(bearer(b"Basic abc"), b"Basic abc");
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut head = RequestHead::default();
        let text = "GET / HTTP/1.1\r\nHost: a\r\nCookie: xid=1; id=22\r\nCookie: sid=3\r\n\r\n";
        head.parse(text.as_bytes().to_vec(), HeadRules::default()).unwrap();
        assert_eq!(cookie(&head, b"id"), Some(&b"22"[..]));
        assert_eq!(cookie(&head, b"sid"), Some(&b"3"[..]));
        assert_eq!(cookie(&head, b"d"), None);
    }
}
