//! `redirect`: sends the client to another URL; what is left out of it stays as in the request.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Answer, Context, Verdict};
use crate::proto::h1::authority::{are_same, default_port, host_length};
use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::request::RequestHead;

/// Where to send the client; what is left out stays as in the request. A request that came that way already goes on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// Host, with port if it is not the scheme's own.
    #[serde(default)]
    pub host: Option<String>,
    /// The path; the query is dropped with the old one.
    #[serde(default)]
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    pub status: u16,
}

const fn found() -> u16 {
    302
}

/// Where to send the client, with its path in normal form.
#[derive(Clone, Debug)]
pub struct CompiledRedirect {
    scheme: Option<Box<[u8]>>,
    host: Option<Box<[u8]>>,
    path: Option<Box<[u8]>>,
    status: u16,
}

impl Redirect {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledRedirect> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            place.fault(format!("{} is not a redirect", self.status), "write 301, 302, 303, 307 or 308");
        }
        if self.scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            place.fault("the scheme is neither http nor https", "");
        }
        self.host.iter().for_each(|host| place.literal(host));
        if self.host.as_deref().is_some_and(|host| host_length(host.as_bytes()).is_none()) {
            place.fault("the host is not valid", "write host or host:port");
        }
        let path = self.path.as_ref().and_then(|path| place.path(path));
        let bytes = |text: &String| text.as_bytes().into();
        (!place.has_faults()).then(|| CompiledRedirect {
            scheme: self.scheme.as_ref().map(bytes),
            host: self.host.as_ref().map(bytes),
            path: path.as_ref().map(bytes),
            status: self.status,
        })
    }
}

impl CompiledRedirect {
    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        // The asterisk is no resource that could be elsewhere.
        if head.target().is_asterisk() {
            return Verdict::Pass;
        }
        let asked = head.asked_host(context.is_trusted);
        let scheme = self.scheme.as_deref().unwrap_or(context.scheme.as_bytes());
        // Another scheme has another default port: the one of the request would lead nowhere.
        let is_other = scheme != context.scheme.as_bytes();
        let kept = if is_other { &asked[..host_length(asked).unwrap_or(asked.len())] } else { asked };
        if kept.is_empty() && self.host.is_none() {
            // HTTP/1.0 without a host: nobody knows where to.
            return Verdict::Fail(RequestFault::HostMissing.into());
        }
        let host = self.host.as_deref().unwrap_or(kept);
        let path = self.path.as_deref().unwrap_or(head.target().resolved());
        // It would send the client to what it has asked for, which would never end.
        let leads_back = scheme == context.scheme.as_bytes()
            && are_same(host, asked, default_port(scheme))
            && path == head.target().resolved();
        if leads_back {
            return Verdict::Pass;
        }
        let mut location = Vec::new();
        location.extend_from_slice(scheme);
        location.extend_from_slice(b"://");
        location.extend_from_slice(host);
        location.extend_from_slice(path);
        let fields = vec![(&b"Location"[..], Cow::Owned(location))];
        Verdict::Answer(Answer { status: self.status, fields, body: Cow::Borrowed(b"") })
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::applied;

    #[test]
    fn what_is_left_out_stays_as_it_was() {
        let location = |redirect: &str| applied(&format!("[{{ redirect = {redirect} }}]"), "/x?q").unwrap();
        assert_eq!(location("{}"), "/x?q", "it would lead to itself");
        assert_eq!(location("{ scheme = \"http\" }"), "/x?q", "whatever its port");
        assert_eq!(location("{ scheme = \"http\", host = \"a:81\" }"), "/x?q");
        assert_eq!(location("{ scheme = \"https\", status = 301 }"), "301 [Location: https://a/x?q] ");
        assert_eq!(location("{ path = \"/y\" }"), "302 [Location: http://a:81/y] ");
        assert_eq!(location("{ host = \"b\" }"), "302 [Location: http://b/x?q] ");
    }
}
