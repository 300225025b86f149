//! `rewrite`: the upstream gets another path, query or host than the client asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Context, Notes, Verdict};
use super::path_change::{PathChange, WrittenChange, text_where_found};
use super::template::{Template, Values, Within};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::request::RequestHead;

/// What the upstream gets in place of what the client asked for. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The path, with variables and groups. It takes the place of the whole path, of `prefix`, or of the whole path where `regex`
    /// is found in it. A query behind a `?` goes before the client's; one that ends with `?` takes its place.
    pub path: Option<String>,
    /// The start of the path, by whole elements, in whose place `path` goes.
    pub prefix: Option<String>,
    /// A regular expression that is searched in the path; where it is not found, nothing is changed.
    pub regex: Option<String>,
    /// Whether the case of letters does not count for `regex`.
    pub ignore_case: bool,
    /// The `Host` that the upstream gets, with variables.
    pub host: Option<String>,
    /// Tell the upstream the path from before as `X-Replaced-Path`.
    pub replaced_path: bool,
}

/// A rewrite, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRewrite {
    path: Option<PathChange>,
    host: Option<Template>,
    replaced_path: bool,
}

impl Rewrite {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledRewrite> {
        let written = WrittenChange {
            path: self.path.as_deref(),
            prefix: self.prefix.as_deref(),
            regex: self.regex.as_deref(),
            ignore_case: self.ignore_case,
        };
        let path = written.compile(place);
        let says_nothing = Self { replaced_path: self.replaced_path, ignore_case: self.ignore_case, ..Self::default() };
        if *self == says_nothing {
            place.fault("nothing is rewritten", "write `path` or `host`");
        }
        let begins =
            |template: &Template| template.literal().is_none_or(|text| text.is_empty() || text.starts_with(b"/"));
        let is_path = match &path {
            Some(PathChange::Whole(path) | PathChange::Regex(_, path)) => begins(path) && path.literal() != Some(b""),
            Some(PathChange::Prefix(_, path)) => begins(path),
            None => true,
        };
        if !is_path {
            place.fault("the path does not begin with /", "begin it with /");
        }
        let host = self.host.as_ref().and_then(|host| place.template(host, 0));
        if host.as_ref().and_then(Template::literal).is_some_and(|host| host_length(host).is_none()) {
            place.fault("the host is not valid", "write host or host:port");
        }
        (!place.has_faults()).then_some(CompiledRewrite { path, host, replaced_path: self.replaced_path })
    }
}

impl CompiledRewrite {
    pub(super) fn on_request(&self, head: &mut RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        if let Some(template) = &self.host {
            let host = template.text(&Values::behind(head, context, notes), Within::Value).to_ascii_lowercase();
            if host_length(&host).is_none() {
                return Verdict::fail(RequestFault::HostInvalid.into());
            }
            head.rewrite_host(host);
        }
        let Some(path) = self.path.as_ref().filter(|_| !head.target().is_asterisk()) else { return Verdict::Pass };
        let before = head.target().resolved().to_vec();
        if self.replaced_path {
            notes.edits.request.take_away(b"X-Replaced-Path");
        }
        let values = Values::behind(head, context, notes);
        let rewritten = match path {
            PathChange::Whole(path) => put(head, &path.text(&values, Within::Url)),
            PathChange::Prefix(prefix, path) => {
                let with = path.text(&values, Within::Url);
                head.target_mut().replace_prefix(prefix, &with).map(drop).map_err(Into::into)
            }
            PathChange::Regex(regex, path) => {
                text_where_found(regex, path, &values).map_or(Ok(()), |text| put(head, &text))
            }
        };
        if let Err(fault) = rewritten {
            return Verdict::fail(fault.into());
        }
        if self.replaced_path && head.target().resolved() != before {
            let path = &before[..memchr::memchr(b'?', &before).unwrap_or(before.len())];
            notes.edits.request.add(b"X-Replaced-Path", path);
        }
        Verdict::Pass
    }
}

/// Puts a path, and a query before the one of the client.
fn put(head: &mut RequestHead, text: &[u8]) -> Result<(), RequestFault> {
    let end = memchr::memchr(b'?', text).unwrap_or(text.len());
    let (path, query) = text.split_at(end);
    let path = if path.first() == Some(&b'/') { path.to_vec() } else { [b"/", path].concat() };
    let of_client = head.query();
    let query = match query {
        [] if of_client.is_empty() => Vec::new(),
        [] => [b"?", of_client].concat(),
        [own @ .., b'?'] => own.to_vec(),
        own if of_client.is_empty() => own.to_vec(),
        own => [own, b"&", of_client].concat(),
    };
    head.target_mut().rewrite_whole(&path, &query).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, rewritten};

    #[test]
    fn a_path_is_rewritten_whole_by_its_prefix_or_by_an_expression() {
        let to = |rewrite: &str, target: &str| rewritten(&format!("[{{ rewrite = {rewrite} }}]"), target);
        assert_eq!(to("{ path = \"/new\" }", "/a/b?q=1"), "/new?q=1");
        assert_eq!(to("{ path = \"/new?x=1\" }", "/a/b?q=1"), "/new?x=1&q=1");
        assert_eq!(to("{ path = \"/new?x=1?\" }", "/a/b?q=1"), "/new?x=1");
        assert_eq!(to("{ path = \"/new?\" }", "/a/b?q=1"), "/new");
        assert_eq!(to("{ path = \"/of/{method}{path}\" }", "/a/%2e/b%2Fc"), "/of/GET/a/b%2Fc");
        let regex = "{ regex = \"^/v([0-9]+)/(.*)\", path = \"/$2?v=$1\" }";
        assert_eq!(to(regex, "/v12/x/y?q"), "/x/y?v=12&q");
        assert_eq!(to(regex, "/w12/x?q"), "/w12/x?q");
        assert_eq!(to("{ regex = \"(?i)^/API\", path = \"$1\" }".replace("$1", "/b").as_str(), "/api/x"), "/b");
        assert_eq!(to("{ regex = \"^/API(/.*)?$\", ignore_case = true, path = \"$1\" }", "/api"), "/");
    }

    #[test]
    fn a_prefix_is_replaced_as_gateway_api_says() {
        for prefix in ["/foo", "/foo/"] {
            for (path, expected) in [
                ("/xyz", ["/xyz/bar", "/xyz", "/xyz/", "/foobar"]),
                ("/xyz/", ["/xyz/bar", "/xyz", "/xyz/", "/foobar"]),
                ("", ["/bar", "/", "/", "/foobar"]),
                ("/", ["/bar", "/", "/", "/foobar"]),
            ] {
                let filter = format!("[{{ rewrite = {{ prefix = \"{prefix}\", path = \"{path}\" }} }}]");
                let found = ["/foo/bar", "/foo", "/foo/", "/foobar"].map(|target| rewritten(&filter, target));
                assert_eq!(found, expected, "{filter}");
            }
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (rewrite, what) in [
            ("{}", "nothing is rewritten"),
            ("{ prefix = \"/a\" }", "`path` is missing"),
            ("{ path = \"a\" }", "does not begin with /"),
            ("{ path = \"/$1\" }", "there is no expression"),
            ("{ regex = \"(a)\", path = \"/$2\" }", "it has 1"),
            ("{ regex = \"(\", path = \"/\" }", "not a regular expression"),
            ("{ prefix = \"/a\", regex = \"b\", path = \"/\" }", "both prefix and regex"),
            ("{ host = \"a b\" }", "the host is not valid"),
            ("{ path = \"/{remote_addr}\" }", "is not a variable"),
        ] {
            let (_, faults) = compiled(&format!("[{{ rewrite = {rewrite} }}]"));
            assert!(faults.len() == 1 && faults[0].contains(what), "{rewrite}: {faults:?}");
        }
    }
}
