//! What is done with a request and its response on the way: a closed set, in the order that the route gives.
//!
//! `forwarded` writes the request head that the upstream gets, `response` the one that the client gets,
//! `error` the answers of our own; `grpc` knows what that protocol says in fields.

pub mod error;
pub mod forwarded;
pub mod grpc;
pub mod response;

use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::request::RequestHead;

/// One filter of a route.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Takes this prefix, without final slash, off the path.
    StripPrefix(Box<[u8]>),
    /// Puts this prefix, without final slash, before the path.
    AddPrefix(Box<[u8]>),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Takes requests of gRPC-web for such of gRPC.
    GrpcWeb,
    /// Changes fields of the request.
    RequestHeaders(HeaderEdit),
    /// Changes fields of the response.
    ResponseHeaders(HeaderEdit),
    /// Changes fields of the response to clients that came by TLS.
    SecureResponseHeaders(HeaderEdit),
}

impl Filter {
    /// What it changes in the fields of a response.
    const fn response_edit(&self, is_secure: bool) -> Option<&HeaderEdit> {
        match self {
            Self::ResponseHeaders(edit) => Some(edit),
            Self::SecureResponseHeaders(edit) if is_secure => Some(edit),
            _ => None,
        }
    }
}

/// Where to send the client; `None` keeps what was asked.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Box<[u8]>>,
    /// Host and port.
    pub host: Option<Box<[u8]>>,
    /// Path and query.
    pub path: Option<Box<[u8]>>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Redirect {
    /// Appends the value of `Location`. `scheme` is the one the request came with.
    pub fn put_location(&self, out: &mut Vec<u8>, head: &RequestHead, scheme: &str) {
        out.extend_from_slice(self.scheme.as_deref().unwrap_or(scheme.as_bytes()));
        out.extend_from_slice(b"://");
        // Another scheme has another default port: the one of the request would lead nowhere.
        let host = if self.scheme.is_some() { head.host() } else { head.authority() };
        out.extend_from_slice(self.host.as_deref().unwrap_or(host));
        out.extend_from_slice(self.path.as_deref().unwrap_or(head.target()));
    }
}

/// Changes to fields: removed first, then set, then added. Names are valid tokens, values hold no control characters.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdit {
    /// Names in lower case that are left out, those of `set` among them.
    pub remove: Vec<Box<[u8]>>,
    /// Names and values that are written.
    pub put: Vec<FieldLine>,
}

/// A name and its value.
pub type FieldLine = (Box<[u8]>, Box<[u8]>);

impl HeaderEdit {
    fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }
}

/// What the filters of a route made of a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// It goes on.
    Pass,
    /// It is answered so.
    Redirect(&'a Redirect),
}

/// Applies the filters that act on the target, or on what the request is; stops at the first that answers.
///
/// # Errors
/// [`RequestFault`] where a rewritten path is none.
pub fn apply<'a>(filters: &'a [Filter], head: &mut RequestHead) -> Result<Verdict<'a>, RequestFault> {
    for filter in filters {
        match filter {
            Filter::StripPrefix(prefix) => strip_prefix(head, prefix)?,
            Filter::AddPrefix(prefix) => {
                let path = [prefix, head.path()].concat();
                head.rewrite_path(&path)?;
            }
            Filter::Redirect(redirect) => return Ok(Verdict::Redirect(redirect)),
            Filter::GrpcWeb => head.bridge_grpc_web(),
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::SecureResponseHeaders(_) => {}
        }
    }
    Ok(Verdict::Pass)
}

fn strip_prefix(head: &mut RequestHead, prefix: &[u8]) -> Result<(), RequestFault> {
    let Some(rest) = head.path().strip_prefix(prefix) else { return Ok(()) };
    match rest.first() {
        None => head.rewrite_path(b"/"),
        Some(b'/') => {
            let path = rest.to_vec();
            head.rewrite_path(&path)
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::request::Underscores;

    fn head(target: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(format!("GET {target} HTTP/1.1\r\nHost: a:81\r\n\r\n").into_bytes(), Underscores::Drop).unwrap();
        head
    }

    fn rewritten(filters: &[Filter], target: &str) -> String {
        let mut head = head(target);
        apply(filters, &mut head).unwrap();
        String::from_utf8(head.target().to_vec()).unwrap()
    }

    #[test]
    fn prefixes_come_off_and_on_by_whole_elements() {
        let strip = [Filter::StripPrefix(b"/api"[..].into())];
        assert_eq!(rewritten(&strip, "/api/x?q"), "/x?q");
        assert_eq!(rewritten(&strip, "/api"), "/");
        assert_eq!(rewritten(&strip, "/apix"), "/apix");
        let both = [strip[0].clone(), Filter::AddPrefix(b"/v2"[..].into())];
        assert_eq!(rewritten(&both, "/api/x"), "/v2/x");
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        let location = |redirect: Redirect| {
            let mut out = Vec::new();
            redirect.put_location(&mut out, &head("/x?q"), "http");
            String::from_utf8(out).unwrap()
        };
        let none = Redirect { scheme: None, host: None, path: None, status: 302 };
        assert_eq!(location(none.clone()), "http://a:81/x?q");
        assert_eq!(location(Redirect { scheme: Some(b"https"[..].into()), ..none.clone() }), "https://a/x?q");
        assert_eq!(location(Redirect { path: Some(b"/y"[..].into()), ..none }), "http://a:81/y");
    }
}
