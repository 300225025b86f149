//! A request of our own: what it says, and how it is written for the endpoint that gets it.

use super::hop::UpstreamTarget;
use super::request::begin_h2_request;
use super::wire::{FieldWriter, H2Head, Text};
use crate::proto::h1::encode::{put_field, put_request_line};
use crate::proto::h1::field::{is_token, is_value};
use crate::proto::h1::method;

/// A request of our own.
#[derive(Clone, Debug, Default)]
pub struct Subrequest {
    /// The method, a token.
    pub method: Vec<u8>,
    /// The target in origin form.
    pub target: Vec<u8>,
    /// The authority; `None` for the endpoint's name. The service's rule for `Host` takes precedence over it.
    pub host: Option<Vec<u8>>,
    /// Further fields: names, and values without control characters but tabs.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, which is held to be sent again.
    pub body: Vec<u8>,
}

impl Subrequest {
    /// True where it may be executed twice (RFC 9110 §9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        method::is_idempotent(&self.method)
    }

    /// True where it has a body that its method has none of by custom (RFC 9110 §9.3).
    #[must_use]
    pub fn has_unusual_body(&self) -> bool {
        method::has_usually_no_body(&self.method) && !self.body.is_empty()
    }

    /// True where every part is what it must be, and no field is one that the encoder writes.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let is_plain = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| (b'!'..=b'~').contains(byte));
        let is_ours = |name: &[u8]| {
            let ours: [&[u8]; 5] = [b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"];
            ours.iter().any(|own| name.eq_ignore_ascii_case(own))
        };
        is_token(&self.method)
            && self.target.starts_with(b"/")
            && is_plain(&self.target)
            && self.host.as_deref().is_none_or(is_plain)
            && self.fields.iter().all(|(name, value)| is_token(name) && !is_ours(name) && is_value(value))
    }

    fn host<'a>(&'a self, to: &UpstreamTarget<'a>) -> &'a [u8] {
        to.host.or(self.host.as_deref()).unwrap_or(to.fallback)
    }

    fn put_fields(&self, out: &mut impl FieldWriter) {
        self.fields.iter().for_each(|(name, value)| out.field(name, value));
        // Where a method expects a body, an empty one is announced with `Content-Length: 0` (RFC 9110 §8.6).
        if !self.body.is_empty() || matches!(&self.method[..], b"POST" | b"PUT" | b"PATCH") {
            out.number(b"content-length", self.body.len() as u64);
        }
    }

    /// Appends the whole head as text.
    pub fn put_head(&self, out: &mut Vec<u8>, to: &UpstreamTarget<'_>) {
        put_request_line(out, &self.method, &self.target);
        put_field(out, b"Host", self.host(to));
        self.put_fields(&mut Text(out));
        out.extend_from_slice(b"\r\n");
    }

    /// The whole head for a stream of HTTP/2; `scheme` is `https` or `http`, as it is spoken to the endpoint.
    #[must_use]
    pub fn h2_head(&self, to: &UpstreamTarget<'_>, scheme: &str) -> H2Head {
        let mut fields = begin_h2_request(&self.method, scheme, self.host(to), &self.target);
        self.put_fields(&mut fields);
        H2Head { fields, is_interim: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::ForwardedPath;

    #[test]
    fn it_says_the_same_on_both_wires() {
        let request = Subrequest {
            method: b"POST".to_vec(),
            target: b"/a?b".to_vec(),
            host: Some(b"own.test".to_vec()),
            fields: vec![(b"x-a".to_vec(), b"1".to_vec())],
            body: b"12345".to_vec(),
        };
        let to = UpstreamTarget { host: None, fallback: b"endpoint:80", path: ForwardedPath::default(), length: None };
        let mut out = Vec::new();
        request.put_head(&mut out, &to);
        assert_eq!(out, b"POST /a?b HTTP/1.1\r\nHost: own.test\r\nx-a: 1\r\ncontent-length: 5\r\n\r\n");
        let fields = request.h2_head(&to, "https").fields.text();
        let expected = ":method: POST, :scheme: https, :authority: own.test, :path: /a?b, x-a: 1, content-length: 5";
        assert_eq!(fields, expected);
        assert!(request.is_valid());
        let with =
            |name: &[u8], value: &[u8]| Subrequest { fields: vec![(name.to_vec(), value.to_vec())], ..request.clone() };
        assert!(
            !with(b"Host", b"x").is_valid() && !with(b"a", b"1\r\nb: 2").is_valid() && !with(b"a b", b"").is_valid()
        );
        assert!(!Subrequest { target: b"/a b".to_vec(), ..request.clone() }.is_valid());
        assert!(!Subrequest { method: b"a b".to_vec(), ..request.clone() }.is_valid());
    }

    #[test]
    fn a_service_that_names_the_host_has_the_last_word() {
        let request = Subrequest { method: b"GET".to_vec(), target: b"/".to_vec(), ..Subrequest::default() };
        let text = |host: Option<&'static [u8]>| {
            let mut out = Vec::new();
            request.put_head(
                &mut out,
                &UpstreamTarget { host, fallback: b"e:1", path: ForwardedPath::default(), length: None },
            );
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(None), "GET / HTTP/1.1\r\nHost: e:1\r\n\r\n");
        assert_eq!(text(Some(b"set")), "GET / HTTP/1.1\r\nHost: set\r\n\r\n");
    }
}
