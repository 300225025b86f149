//! `redirect`: sends the client to another URL; what is left out of it stays as in the request.

use std::borrow::Cow;

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Answer, Context, Verdict};
use super::path_change::{PathChange, WrittenChange, text_where_found};
use super::template::{Template, Values, Within};
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
    /// Host, with port if it is not the scheme's own; with variables.
    #[serde(default)]
    pub host: Option<String>,
    /// The port; left out, that of the request for the same scheme, the scheme's own for another.
    #[serde(default)]
    pub port: Option<u16>,
    /// The path, with variables; the query is dropped with the old one. Where `prefix` or `regex` are set it takes the place of what
    /// they match, and the query stays.
    #[serde(default)]
    pub path: Option<String>,
    /// The start of the path, by whole elements, in whose place `path` goes.
    #[serde(default)]
    pub prefix: Option<String>,
    /// A regular expression that is searched in the path, whose groups `path` may use; where it is not found the request goes on.
    #[serde(default)]
    pub regex: Option<String>,
    /// Whether the query goes along where the whole path is another.
    #[serde(default)]
    pub keep_query: bool,
    /// The whole URL, or a path, with variables, in place of all the parts above.
    #[serde(default)]
    pub location: Option<String>,
    /// A regular expression that is searched in the whole URL of the request, `http://host/path?query`, whose groups `location` may
    /// use; where it is not found the request goes on.
    #[serde(default)]
    pub url: Option<String>,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    pub status: u16,
    /// Whether requests of other methods than GET keep theirs: they get 307 in the place of 302, and 308 in the place of 301.
    #[serde(default)]
    pub keep_method: bool,
    /// Whether one slash at the end of the URL is left out, as ingress-nginx does it.
    #[serde(default)]
    pub drop_last_slash: bool,
}

const fn found() -> u16 {
    302
}

/// A redirect, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRedirect {
    to: To,
    status: u16,
    /// The status for other methods than GET.
    other_status: u16,
    drop_last_slash: bool,
}

#[derive(Clone, Debug)]
enum To {
    Parts(Box<UrlParts>),
    /// The whole URL, by an expression over the one that was asked for.
    Location(Option<Regex>, Template),
}

#[derive(Clone, Debug)]
struct UrlParts {
    scheme: Option<Box<[u8]>>,
    host: Option<Template>,
    port: Option<u16>,
    path: Option<PathChange>,
    keep_query: bool,
}

impl Redirect {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledRedirect> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            place.fault(format!("{} is not a redirect", self.status), "write 301, 302, 303, 307 or 308");
        }
        let to = if let Some(location) = &self.location {
            self.location(location, place)
        } else {
            if self.url.is_some() {
                place.fault("`url` is for `location`, which is missing", "write `location`, or `regex` for the path");
            }
            Some(self.parts(place))
        };
        let other_status = match (self.keep_method, self.status) {
            (true, 301) => 308,
            (true, 302) => 307,
            (_, status) => status,
        };
        let (status, drop_last_slash) = (self.status, self.drop_last_slash);
        to.filter(|_| !place.has_faults()).map(|to| CompiledRedirect { to, status, other_status, drop_last_slash })
    }

    fn location(&self, location: &str, place: &mut FilterPlace) -> Option<To> {
        let others = [&self.scheme, &self.host, &self.path, &self.prefix, &self.regex];
        if others.iter().any(|part| part.is_some()) || self.port.is_some() || self.keep_query {
            place.fault("`location` is the whole URL, and parts of it are given beside it", "leave them out");
        }
        let url = self.url.as_ref().map(|url| place.regex(url, false));
        let groups = url.iter().flatten().map(|regex| regex.captures_len() - 1).sum();
        let template = place.template(location, groups)?;
        let is_url = |text: &[u8]| [&b"/"[..], b"http://", b"https://"].iter().any(|start| text.starts_with(start));
        if template.literal().is_some_and(|text| !is_url(text)) {
            place.fault(format!("`{location}` is not a URL"), "begin it with http://, https:// or /");
        }
        match url {
            Some(regex) => regex.map(|regex| To::Location(Some(regex), template)),
            None => Some(To::Location(None, template)),
        }
    }

    fn parts(&self, place: &mut FilterPlace) -> To {
        if self.scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            place.fault("the scheme is neither http nor https", "");
        }
        let host = self.host.as_ref().and_then(|host| place.template(host, 0));
        if host.as_ref().and_then(Template::literal).is_some_and(|host| host_length(host).is_none()) {
            place.fault("the host is not valid", "write host or host:port");
        }
        // A whole path without variables is written in the form that it is compared in.
        let is_whole = self.prefix.is_none() && self.regex.is_none();
        let is_literal = |path: &&String| is_whole && !path.contains(['{', '$']);
        let normal = self.path.as_ref().filter(is_literal).and_then(|path| place.path(path));
        let written = WrittenChange {
            path: normal.as_deref().or(self.path.as_deref()),
            prefix: self.prefix.as_deref(),
            regex: self.regex.as_deref(),
            ignore_case: false,
        };
        let path = written.compile(place);
        let scheme = self.scheme.as_ref().map(|scheme| scheme.as_bytes().into());
        To::Parts(Box::new(UrlParts { scheme, host, port: self.port, path, keep_query: self.keep_query }))
    }
}

/// Where a redirect leads: `None` where it does not concern the request.
type Location = Result<Option<Vec<u8>>, RequestFault>;

impl CompiledRedirect {
    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        // The asterisk is no resource that could be elsewhere.
        if head.target().is_asterisk() {
            return Verdict::Pass;
        }
        let location = match &self.to {
            To::Parts(parts) => parts.location(head, context),
            To::Location(url, template) => whole(url.as_ref(), template, head, context),
        };
        match location {
            Err(fault) => Verdict::fail(fault.into()),
            Ok(None) => Verdict::Pass,
            Ok(Some(mut location)) => {
                if self.drop_last_slash && location.last() == Some(&b'/') {
                    location.pop();
                }
                let fields = vec![(&b"Location"[..], Cow::Owned(location))];
                let status = if head.method() == b"GET" { self.status } else { self.other_status };
                Verdict::Answer(Answer { status, fields, body: Cow::Borrowed(b"") })
            }
        }
    }
}

fn whole(url: Option<&Regex>, template: &Template, head: &RequestHead, context: &Context<'_>) -> Location {
    let asked = context.asked_url(head);
    let values = Values::of(head, context);
    let location = match url.map(|regex| regex.captures(&asked)) {
        Some(None) => return Ok(None),
        Some(Some(groups)) => {
            let Some(found) = groups.get(0) else { return Ok(None) };
            // What the expression did not take stays around it, as in Traefik.
            let new = template.text(&Values { groups: Some(&groups), ..values }, Within::Url);
            [&asked[..found.start()], &new, &asked[found.end()..]].concat()
        }
        None => template.text(&values, Within::Url),
    };
    // Without a scheme two slashes begin a host.
    if matches!(location[..], [b'/', b'/' | b'\\', ..]) {
        return Err(RequestFault::TargetForm);
    }
    // It would send the client to what it has asked for, which would never end.
    let is_same = location == asked || location == head.target().resolved();
    Ok((!is_same).then_some(location))
}

impl UrlParts {
    fn location(&self, head: &RequestHead, context: &Context<'_>) -> Location {
        let asked = head.asked_host(context.is_trusted);
        let scheme = self.scheme.as_deref().unwrap_or(context.scheme.as_bytes());
        // Another scheme has another default port: the one of the request would lead nowhere.
        let is_other = scheme != context.scheme.as_bytes();
        let bare = &asked[..host_length(asked).unwrap_or(asked.len())];
        let kept = if is_other || self.port.is_some() { bare } else { asked };
        if kept.is_empty() && self.host.is_none() {
            // HTTP/1.0 without a host: nobody knows where to.
            return Err(RequestFault::HostMissing);
        }
        let values = Values::of(head, context);
        let mut host = match &self.host {
            Some(host) => host.text(&values, Within::Value),
            None => kept.to_vec(),
        };
        if host_length(&host).is_none() {
            return Err(RequestFault::HostInvalid);
        }
        if let Some(port) = self.port.filter(|port| *port != default_port(scheme)) {
            host.extend_from_slice(format!(":{port}").as_bytes());
        }
        let Some(target) = self.target(head, &values) else { return Ok(None) };
        // It would send the client to what it has asked for, which would never end.
        let leads_back = scheme == context.scheme.as_bytes()
            && are_same(&host, asked, default_port(scheme))
            && target == head.target().resolved();
        Ok((!leads_back).then(|| [scheme, b"://", &host, &target].concat()))
    }

    /// Path and query; `None` where the path is not one that it is about.
    fn target(&self, head: &RequestHead, values: &Values<'_>) -> Option<Vec<u8>> {
        let resolved = head.target().resolved();
        let Some(path) = &self.path else { return Some(resolved.to_vec()) };
        let (mut target, keeps_query) = match path {
            PathChange::Whole(path) => (path.text(values, Within::Url), self.keep_query),
            PathChange::Prefix(prefix, path) => {
                let with = path.text(values, Within::Url);
                (head.target().with_prefix(prefix, &with)?, true)
            }
            PathChange::Regex(regex, path) => (text_where_found(regex, path, values)?, true),
        };
        if target.first() != Some(&b'/') {
            target.insert(0, b'/');
        }
        if keeps_query && !head.query().is_empty() {
            target.push(if target.contains(&b'?') { b'&' } else { b'?' });
            target.extend_from_slice(head.query());
        }
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{applied, compiled, told};

    fn location(redirect: &str, target: &str) -> String {
        applied(&format!("[{{ redirect = {redirect} }}]"), target).unwrap()
    }

    #[test]
    fn what_is_left_out_stays_as_it_was() {
        let location = |redirect: &str| location(redirect, "/x?q");
        assert_eq!(location("{}"), "/x?q", "it would lead to itself");
        assert_eq!(location("{ scheme = \"http\" }"), "/x?q", "whatever its port");
        assert_eq!(location("{ scheme = \"http\", host = \"a:81\" }"), "/x?q");
        assert_eq!(location("{ scheme = \"https\", status = 301 }"), "301 [Location: https://a/x?q] ");
        assert_eq!(location("{ path = \"/y\" }"), "302 [Location: http://a:81/y] ");
        assert_eq!(location("{ path = \"/y\", keep_query = true }"), "302 [Location: http://a:81/y?q] ");
        assert_eq!(location("{ host = \"b\" }"), "302 [Location: http://b/x?q] ");
        assert_eq!(location("{ host = \"www.{host}\" }"), "302 [Location: http://www.a/x?q] ");
    }

    #[test]
    fn the_last_slash_is_left_out_where_that_is_said() {
        for (target, expected) in [("/", "https://a"), ("/x/", "https://a/x"), ("/x//?q=/", "https://a/x//?q=")] {
            let told = location("{ scheme = \"https\", drop_last_slash = true }", target);
            assert_eq!(told, format!("302 [Location: {expected}] "));
        }
    }

    #[test]
    fn a_port_is_told_where_the_scheme_has_another() {
        for (redirect, expected) in [
            ("{ port = 80 }", "http://a/"),
            ("{ port = 8080 }", "http://a:8080/"),
            ("{ scheme = \"https\", port = 443 }", "https://a/"),
            ("{ scheme = \"https\", port = 8443 }", "https://a:8443/"),
            ("{ host = \"b\", port = 8443 }", "http://b:8443/"),
        ] {
            assert_eq!(location(redirect, "/"), format!("302 [Location: {expected}] "), "{redirect}");
        }
    }

    #[test]
    fn a_prefix_and_an_expression_keep_the_query() {
        let prefix = "{ prefix = \"/old\", path = \"/new\" }";
        assert_eq!(location(prefix, "/old/x?q"), "302 [Location: http://a:81/new/x?q] ");
        assert_eq!(location(prefix, "/older"), "/older");
        let regex = "{ regex = \"^/u/([a-z]+)$\", path = \"/users?name=$1\" }";
        assert_eq!(location(regex, "/u/me?q"), "302 [Location: http://a:81/users?name=me&q] ");
        assert_eq!(location(regex, "/u/7"), "/u/7");
        let slashes = applied("[{ redirect = { url = \"^http://a:81/x\", location = \"/\" } }]", "/x/evil.test");
        assert!(slashes.is_err(), "a path that browsers would take for a host: {slashes:?}");
    }

    #[test]
    fn a_whole_url_may_use_the_groups_of_the_one_that_was_asked_for() {
        let whole = "{ url = \"^http://([^/:]+)(:81)?/(.*)\", location = \"https://www.$1/$3\", status = 301 }";
        assert_eq!(location(whole, "/x?q"), "301 [Location: https://www.a/x?q] ");
        assert_eq!(location("{ url = \"^ftp\", location = \"https://b/\" }", "/x"), "/x");
        assert_eq!(location("{ location = \"https://b{uri}\" }", "/x?q"), "302 [Location: https://b/x?q] ");
        assert_eq!(location("{ location = \"http://{authority}{uri}\" }", "/x?q"), "/x?q", "it would never end");
    }

    #[test]
    fn other_methods_than_get_may_keep_theirs() {
        for (status, expected) in [(301, 308), (302, 307), (303, 303), (308, 308)] {
            let filter = format!("[{{ redirect = {{ host = \"b\", status = {status}, keep_method = true }} }}]");
            let of = |method: &str| told(&filter, &format!("{method} / HTTP/1.1\nHost: a\n"));
            assert!(of("GET").starts_with(&status.to_string()), "{}", of("GET"));
            assert!(of("POST").starts_with(&expected.to_string()), "{}", of("POST"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for redirect in [
            "{ prefix = \"/a\" }",
            "{ url = \"x\" }",
            "{ location = \"b\" }",
            "{ location = \"/b\", host = \"c\" }",
            "{ host = \"{nobody}\" }",
            "{ path = \"/$1\" }",
        ] {
            let (_, faults) = compiled(&format!("[{{ redirect = {redirect} }}]"));
            assert_eq!(faults.len(), 1, "{redirect}: {faults:?}");
        }
    }
}
