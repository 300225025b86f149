//! `cors`: which pages of other origins may read answers (the CORS protocol of the Fetch standard). Preflights are answered here.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Answer, Notes, Refusal, Verdict};
use super::edits::FieldEdits;
use super::headers::check_value;
use crate::failure::Failure;
use crate::proto::h1::request::RequestHead;
use crate::units::Duration;

/// Which pages of other origins may read answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins: `"https://app.example.com"`, `"https://*.example.com"`, `"null"`, or `"*"` for any. A port that goes without saying need
    /// not be said.
    pub origins: Vec<String>,
    /// How much `*.` stands for: `"any"` number of labels as in Gateway API, or `"one"` as in ingress-nginx.
    #[serde(default)]
    pub labels: WildcardLabels,
    /// Methods beside GET, HEAD and POST that pages may use; `"*"` for any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Fields that pages may send; `"*"` for any.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Fields of answers that pages may read beside the usual ones; `"*"` for any where `credentials` is not set.
    #[serde(default)]
    pub expose: Vec<String>,
    /// Whether pages may send cookies and read the answer.
    #[serde(default)]
    pub credentials: bool,
    /// How long browsers remember the answer to a preflight.
    #[serde(default = "five_seconds")]
    pub max_age: Duration,
    /// Answer every OPTIONS here, not preflights alone, as ingress-nginx does.
    #[serde(default)]
    pub every_options: bool,
    /// Tell all of it in every answer to an origin that may, or where any may to everybody, as ingress-nginx does.
    #[serde(default)]
    pub always: bool,
}

/// How much `*.` stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WildcardLabels {
    /// One label or more.
    #[default]
    Any,
    /// One label.
    One,
}

const fn five_seconds() -> Duration {
    Duration::from_s(5)
}

const ALLOW_ORIGIN: &[u8] = b"Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &[u8] = b"Access-Control-Allow-Credentials";
const ALLOW_METHODS: &[u8] = b"Access-Control-Allow-Methods";
const ALLOW_HEADERS: &[u8] = b"Access-Control-Allow-Headers";
const EXPOSE_HEADERS: &[u8] = b"Access-Control-Expose-Headers";
const MAX_AGE: &[u8] = b"Access-Control-Max-Age";

/// The rules, compiled.
#[derive(Clone, Debug)]
pub struct CompiledCors {
    any_origin: bool,
    origins: Vec<OriginPattern>,
    methods: Allowed,
    headers: Allowed,
    expose: Allowed,
    credentials: bool,
    max_age: Vec<u8>,
    /// See [`Cors::every_options`] and [`Cors::always`].
    breadth: Breadth,
}

/// What is answered and told beyond what the protocol asks for.
#[derive(Clone, Copy, Debug)]
struct Breadth {
    every_options: bool,
    always: bool,
}

/// A list that a preflight asks for.
#[derive(Clone, Debug)]
struct Allowed {
    any: bool,
    /// As it is written in the answer.
    list: Vec<u8>,
}

/// An origin, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginPattern {
    Null,
    /// Scheme, host, port.
    Exact(Box<[u8]>, Box<[u8]>, u16),
    /// The same; the host is one below this, which begins with a dot.
    Below(Box<[u8]>, Box<[u8]>, u16, WildcardLabels),
}

impl Allowed {
    fn of(list: &[String]) -> Self {
        Self { any: list.iter().any(|one| one == "*"), list: list.join(", ").into_bytes() }
    }

    /// What is told: what was asked for where anything goes.
    fn told<'a>(&'a self, asked: Option<Cow<'a, [u8]>>) -> Cow<'a, [u8]> {
        if self.any { asked.unwrap_or_default() } else { Cow::Borrowed(&self.list) }
    }
}

/// Scheme, host and port of an origin as browsers write it; `None` for one that is none.
fn parts(origin: &[u8]) -> Option<(&[u8], &[u8], u16)> {
    let at = memchr::memmem::find(origin, b"://")?;
    let (scheme, rest) = (&origin[..at], &origin[at + 3..]);
    let colon = memchr::memrchr(b':', rest).filter(|at| !rest[*at..].contains(&b']'));
    let (host, port) = match colon {
        Some(at) => (&rest[..at], std::str::from_utf8(&rest[at + 1..]).ok()?.parse().ok()?),
        None => (rest, if scheme.eq_ignore_ascii_case(b"https") { 443 } else { 80 }),
    };
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._[]:*".contains(byte);
    (!scheme.is_empty() && !host.is_empty() && host.iter().all(is_host)).then_some((scheme, host, port))
}

impl OriginPattern {
    fn of(text: &str, labels: WildcardLabels) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let lower = text.to_ascii_lowercase();
        let (scheme, host, port) = parts(lower.trim_end_matches('/').as_bytes())?;
        match host.strip_prefix(b"*") {
            Some(suffix) if suffix.starts_with(b".") && !suffix.contains(&b'*') => {
                Some(Self::Below(scheme.into(), suffix.into(), port, labels))
            }
            None if !host.contains(&b'*') => Some(Self::Exact(scheme.into(), host.into(), port)),
            Some(_) | None => None,
        }
    }

    fn matches(&self, origin: &[u8]) -> bool {
        if *self == Self::Null {
            return origin == b"null";
        }
        let Some((scheme, host, port)) = parts(origin) else { return false };
        match self {
            Self::Null => false,
            Self::Exact(own, name, of_port) => {
                scheme.eq_ignore_ascii_case(own) && host.eq_ignore_ascii_case(name) && port == *of_port
            }
            Self::Below(own, suffix, of_port, labels) => {
                let Some(at) = host.len().checked_sub(suffix.len()).filter(|at| *at > 0) else { return false };
                let is_deep_enough = *labels == WildcardLabels::Any || !host[..at].contains(&b'.');
                scheme.eq_ignore_ascii_case(own)
                    && host[at..].eq_ignore_ascii_case(suffix)
                    && port == *of_port
                    && is_deep_enough
            }
        }
    }
}

impl Cors {
    pub(super) fn compile(&self, response: &mut FieldEdits, place: &mut FilterPlace) -> Option<CompiledCors> {
        let mut origins = Vec::new();
        for origin in self.origins.iter().filter(|origin| *origin != "*") {
            match OriginPattern::of(origin, self.labels) {
                Some(pattern) => origins.push(pattern),
                None => {
                    place
                        .fault(format!("`{origin}` is not an origin"), "write https://host, https://*.host, null or *");
                }
            }
        }
        for (name, list) in [("methods", &self.methods), ("headers", &self.headers), ("expose", &self.expose)] {
            list.iter().for_each(|one| check_value(name, one, place));
        }
        // Two answers to the same question would mean neither.
        for name in [ALLOW_ORIGIN, ALLOW_CREDENTIALS, ALLOW_METHODS, ALLOW_HEADERS, EXPOSE_HEADERS, MAX_AGE] {
            response.remove.add(name);
        }
        (!place.has_faults()).then(|| CompiledCors {
            any_origin: self.origins.iter().any(|origin| origin == "*"),
            origins,
            methods: Allowed::of(&self.methods),
            headers: Allowed::of(&self.headers),
            expose: Allowed::of(&self.expose),
            credentials: self.credentials,
            max_age: (self.max_age.ms() / 1_000).to_string().into_bytes(),
            breadth: Breadth { every_options: self.every_options, always: self.always },
        })
    }
}

impl CompiledCors {
    /// The value of `Access-Control-Allow-Origin`; `None` where the origin may not.
    fn allowed<'a>(&self, origin: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match origin {
            None if self.breadth.always && self.any_origin => Some(b"*"),
            None => None,
            // With an asterisk in the answer browsers read nothing that cookies went with, whatever is said of credentials.
            Some(_) if self.any_origin && (!self.credentials || self.breadth.always) => Some(b"*"),
            Some(origin) => {
                let may = self.any_origin || self.origins.iter().any(|pattern| pattern.matches(origin));
                may.then_some(origin)
            }
        }
    }

    /// What is told in the answer to this request, whoever answers it.
    pub(super) fn begin(&self, head: &RequestHead, notes: &mut Notes) {
        let origin = head.value(b"origin");
        let edits = &mut notes.edits.response;
        if !self.any_origin || self.credentials {
            // The answer depends on who asks, so that caches must tell the askers apart.
            edits.add(b"Vary", *b"Origin");
        }
        let Some(allowed) = self.allowed(origin.as_deref()) else { return };
        edits.set(ALLOW_ORIGIN, allowed);
        if self.credentials {
            edits.set(ALLOW_CREDENTIALS, *b"true");
        }
        let is_preflight = is_preflight(head);
        if !self.expose.list.is_empty() && (!is_preflight || self.breadth.always) {
            // With credentials an asterisk would be a name.
            if !(self.expose.any && self.credentials) {
                edits.set(EXPOSE_HEADERS, &self.expose.list[..]);
            }
        }
        if is_preflight || self.breadth.always {
            let methods = self.methods.told(head.value(b"access-control-request-method"));
            let headers = self.headers.told(head.value(b"access-control-request-headers"));
            for (name, value) in [(ALLOW_METHODS, methods), (ALLOW_HEADERS, headers)] {
                if !value.is_empty() {
                    edits.set(name, &*value);
                }
            }
            edits.set(MAX_AGE, &self.max_age[..]);
        }
    }

    pub(super) fn on_request(&self, head: &RequestHead) -> Verdict<'_> {
        let is_preflight = is_preflight(head);
        let is_ours = is_preflight || self.breadth.every_options && head.method() == b"OPTIONS";
        if !is_ours {
            return Verdict::Pass;
        }
        if is_preflight && !self.breadth.every_options && self.allowed(head.value(b"origin").as_deref()).is_none() {
            return Verdict::Refuse(Box::new(Refusal { failure: Failure::Denied("origin"), ..Refusal::default() }));
        }
        Verdict::Answer(Answer { status: 204, fields: Vec::new(), body: Cow::Borrowed(b"") })
    }
}

/// True where a browser asks whether it may (Fetch standard, "CORS-preflight request").
fn is_preflight(head: &RequestHead) -> bool {
    head.method() == b"OPTIONS"
        && head.value(b"origin").is_some()
        && head.value(b"access-control-request-method").is_some()
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, told};
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        OriginPattern::of(text, WildcardLabels::Any).unwrap()
    }

    #[test]
    fn origins_are_compared_by_their_parts() {
        for (written, origin, expected) in [
            ("https://a.test", "https://a.test", true),
            ("https://a.test", "https://A.test:443", true),
            ("https://a.test:443", "https://a.test", true),
            ("https://a.test", "http://a.test", false),
            ("https://a.test", "https://a.test.evil", false),
            ("https://a.test", "https://a.test:8443", false),
            ("https://*.a.test", "https://x.a.test", true),
            ("https://*.a.test", "https://x.y.a.test", true),
            ("https://*.a.test", "https://a.test", false),
            ("https://*.a.test", "https://.a.test", false),
            ("https://*.a.test", "https://evila.test", false),
            ("https://*.a.test", "https://evil/.a.test", false),
            ("null", "null", true),
            ("http://[::1]:81", "http://[::1]:81", true),
            ("https://a.test", "garbage", false),
        ] {
            assert_eq!(pattern(written).matches(origin.as_bytes()), expected, "{written} {origin}");
        }
        assert!(!OriginPattern::of("https://*.a.test", WildcardLabels::One).unwrap().matches(b"https://x.y.a.test"));
        for text in ["a.test", "https://", "https://*", "https://a.*.test", "https://a/b", "//a"] {
            assert_eq!(OriginPattern::of(text, WildcardLabels::Any), None, "{text}");
        }
    }

    const LISTED: &str = "[{ cors = { origins = [\"https://foo.test\", \"https://*.bar.test\"], methods = [\"GET\", \"OPTIONS\"], \
        headers = [\"x-one\", \"x-two\"], expose = [\"x-three\"], credentials = true, max_age = \"1h\" } }]";

    #[test]
    fn a_preflight_of_an_origin_on_the_list_is_told_all_of_it() {
        let preflight = "OPTIONS / HTTP/1.1\nHost: a\nOrigin: https://x.bar.test\nAccess-Control-Request-Method: GET\n";
        let expected = "204 [] [Vary: Origin, Access-Control-Allow-Origin: https://x.bar.test, \
            Access-Control-Allow-Credentials: true, Access-Control-Allow-Methods: GET, OPTIONS, \
            Access-Control-Allow-Headers: x-one, x-two, Access-Control-Max-Age: 3600]";
        assert_eq!(told(LISTED, preflight), expected);
        assert_eq!(told(LISTED, &preflight.replace("bar", "evil")), "denied:origin [Vary: Origin]");
    }

    #[test]
    fn an_answer_tells_who_may_read_it() {
        let get = "GET / HTTP/1.1\nHost: a\nOrigin: https://foo.test\n";
        assert_eq!(
            told(LISTED, get),
            "passes [Vary: Origin, Access-Control-Allow-Origin: https://foo.test, \
            Access-Control-Allow-Credentials: true, Access-Control-Expose-Headers: x-three]"
        );
        assert_eq!(told(LISTED, &get.replace("foo", "evil")), "passes [Vary: Origin]");
        assert_eq!(told(LISTED, "GET / HTTP/1.1\nHost: a\n"), "passes [Vary: Origin]");
        let any = "[{ cors = { origins = [\"*\"], expose = [\"*\"] } }]";
        assert_eq!(told(any, get), "passes [Access-Control-Allow-Origin: *, Access-Control-Expose-Headers: *]");
    }

    #[test]
    fn with_credentials_an_asterisk_is_never_told() {
        let any = "[{ cors = { origins = [\"*\"], methods = [\"*\"], headers = [\"*\"], expose = [\"*\"], credentials = true } }]";
        let preflight = "OPTIONS / HTTP/1.1\nHost: a\nOrigin: https://foo.test\nAccess-Control-Request-Method: PUT\n";
        let asking = format!("{preflight}Access-Control-Request-Headers: x-one,x-two\n");
        let expected = "204 [] [Vary: Origin, Access-Control-Allow-Origin: https://foo.test, \
            Access-Control-Allow-Credentials: true, Access-Control-Allow-Methods: PUT, \
            Access-Control-Allow-Headers: x-one,x-two, Access-Control-Max-Age: 5]";
        assert_eq!(told(any, &asking), expected);
        assert!(!told(any, preflight).contains("Allow-Headers"));
    }

    #[test]
    fn ingress_nginx_answers_every_options_and_tells_everybody() {
        let filter = "[{ cors = { origins = [\"*\"], methods = [\"GET\"], always = true, every_options = true } }]";
        let expected = "[Access-Control-Allow-Origin: *, Access-Control-Allow-Methods: GET, Access-Control-Max-Age: 5]";
        assert_eq!(told(filter, "OPTIONS / HTTP/1.1\nHost: a\n"), format!("204 [] {expected}"));
        assert_eq!(told(filter, "GET / HTTP/1.1\nHost: a\n"), format!("passes {expected}"));
        assert_eq!(compiled("[{ cors = { origins = [\"a.test\"] } }]").1.len(), 1);
    }
}
