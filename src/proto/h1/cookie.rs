//! Cookies as a request carries them (RFC 6265 §5.4).

use super::field::Known;
use super::request::RequestHead;

/// The value of the first cookie of this name.
#[must_use]
pub fn cookie<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs =
        head.values(Known::Cookie).flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::HeadRules;

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
