//! Texts with variables, compiled once: `{name}`, `{name:which}`, and `$1` to `$9` for the groups of an expression.
//!
//! The list of variables is closed. A brace that does not begin a word stands for itself, so that JSON in a value is no template.

use std::borrow::Cow;
use std::io::Write as _;
use std::ops::Range;

use regex::bytes::Captures;

use super::context::{Context, Notes};
use super::edits::FieldEdits;
use crate::proto::h1::authority::host_length;
use crate::proto::h1::encode::AddressText;
use crate::proto::h1::field::is_token;
use crate::proto::h1::parameters::{argument, cookie};
use crate::proto::h1::percent::put_component;
use crate::proto::h1::request::RequestHead;

/// A text with variables.
#[derive(Clone, Debug, Default)]
pub struct Template(Vec<TemplatePart>);

#[derive(Clone, Debug)]
enum TemplatePart {
    Text(Box<[u8]>),
    Variable(Variable),
    /// A group of the expression, from 1.
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    Scheme,
    Host,
    Authority,
    Port,
    Method,
    Path,
    Query,
    Uri,
    Argument(Box<[u8]>),
    Field(Box<[u8]>),
    Cookie(Box<[u8]>),
    ClientIp,
    ClientPort,
    TlsServerName,
    TlsVersion,
    TlsCipher,
    Route,
    RequestId,
    UnixSeconds,
    Status,
}

/// Every variable as it is written, for messages and documentation.
pub const VARIABLES: [&str; 20] = [
    "{scheme}",
    "{host}",
    "{authority}",
    "{port}",
    "{method}",
    "{path}",
    "{query}",
    "{uri}",
    "{query:NAME}",
    "{header:NAME}",
    "{cookie:NAME}",
    "{client_ip}",
    "{client_port}",
    "{tls_server_name}",
    "{tls_version}",
    "{tls_cipher}",
    "{route}",
    "{request_id}",
    "{unix_seconds}",
    "{status}",
];

/// What the variables of a request stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The request.
    pub head: &'a RequestHead,
    /// What is known beside it.
    pub context: &'a Context<'a>,
    /// The groups of the expression that matched.
    pub groups: Option<&'a Captures<'a>>,
    /// What filters before this one changed in its fields.
    pub edits: Option<&'a FieldEdits>,
    /// The status of its answer, where that is known.
    pub status: Option<u16>,
}

impl<'a> Values<'a> {
    /// Without groups.
    #[must_use]
    pub const fn of(head: &'a RequestHead, context: &'a Context<'a>) -> Self {
        Self { head, context, groups: None, edits: None, status: None }
    }

    /// Behind filters that changed fields: a field is what they made of it.
    #[must_use]
    pub const fn behind(head: &'a RequestHead, context: &'a Context<'a>, notes: &'a Notes) -> Self {
        Self { head, context, groups: None, edits: Some(&notes.edits.request), status: None }
    }

    /// The value of a field as it stands now.
    fn field(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self.edits {
            Some(edits) => edits.value(name, || self.head.value(name)),
            None => self.head.value(name),
        }
    }
}

/// Where the text of a template stands, and what must be encoded for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// A value of a field, or a key: as it is.
    Value,
    /// A part of a URL: what a client could say otherwise than in a URL is percent-encoded.
    Url,
}

impl Template {
    /// Reads a text. `groups` is how many groups its expression has; 0 where there is none.
    ///
    /// # Errors
    /// What is wrong, with its remedy.
    pub fn parse(text: &str, groups: usize) -> Result<Self, (String, String)> {
        let mut parts = Vec::new();
        let (mut begun, mut at) = (0, 0);
        while let Some(found) = text[at..].find(['{', '$']).map(|found| at + found) {
            let (range, part) = match word(&text[found..]) {
                Some((length, part)) => (found..found + length, part?),
                None => match group(&text[found..], groups) {
                    Some(part) => (found..found + 2, part?),
                    None => {
                        at = found + 1;
                        continue;
                    }
                },
            };
            parts.extend(text_part(text, begun..range.start));
            parts.push(part);
            (begun, at) = (range.end, range.end);
        }
        parts.extend(text_part(text, begun..text.len()));
        Ok(Self(parts))
    }

    /// The text of one without variables.
    #[must_use]
    pub fn literal(&self) -> Option<&[u8]> {
        match &self.0[..] {
            [] => Some(b""),
            [TemplatePart::Text(text)] => Some(text),
            [..] => None,
        }
    }

    /// True where it has something in it that one client says and another may not: a field, a cookie, an argument, an address.
    #[must_use]
    pub fn tells_clients_apart(&self) -> bool {
        self.of_clients().next().is_some()
    }

    /// True where a request says something of its client in it.
    #[must_use]
    pub fn tells_client(&self, values: &Values<'_>) -> bool {
        self.of_clients().any(|variable| {
            let mut out = Vec::new();
            variable.put(&mut out, values);
            !out.is_empty()
        })
    }

    fn of_clients(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|part| match part {
            TemplatePart::Variable(
                variable @ (Variable::Field(_) | Variable::Cookie(_) | Variable::Argument(_) | Variable::ClientIp),
            ) => Some(variable),
            TemplatePart::Variable(_) | TemplatePart::Text(_) | TemplatePart::Group(_) => None,
        })
    }

    /// True where it has the time in it.
    #[must_use]
    pub fn reads_time(&self) -> bool {
        self.0.iter().any(|part| matches!(part, TemplatePart::Variable(Variable::UnixSeconds)))
    }

    /// True where it has the status of the answer in it.
    #[must_use]
    pub fn reads_status(&self) -> bool {
        self.0.iter().any(|part| matches!(part, TemplatePart::Variable(Variable::Status)))
    }

    /// Appends the text for a request.
    pub fn put(&self, out: &mut Vec<u8>, values: &Values<'_>, within: Within) {
        let start = out.len();
        for part in &self.0 {
            match part {
                TemplatePart::Text(text) => out.extend_from_slice(text),
                // A group is a part of a path or URL that came, so it is encoded as far as it must be.
                TemplatePart::Group(group) => {
                    let found = values.groups.and_then(|groups| groups.get(*group));
                    out.extend_from_slice(found.map_or(b"", |found| found.as_bytes()));
                }
                TemplatePart::Variable(variable) => {
                    let from = out.len();
                    variable.put(out, values);
                    if within == Within::Url {
                        let is_in_query = out[start..from].contains(&b'?');
                        variable.encode(out, from, is_in_query);
                    }
                }
            }
        }
    }

    /// The text for a request.
    #[must_use]
    pub fn text(&self, values: &Values<'_>, within: Within) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out, values, within);
        out
    }
}

fn text_part(text: &str, range: Range<usize>) -> Option<TemplatePart> {
    Some(&text[range]).filter(|text| !text.is_empty()).map(|text| TemplatePart::Text(text.as_bytes().into()))
}

type Found = Result<TemplatePart, (String, String)>;

/// The variable that a text begins with, and how long it is written; `None` where its brace begins no word.
fn word(text: &str) -> Option<(usize, Found)> {
    let inner = text.strip_prefix('{')?;
    let inner = &inner[..inner.find('}')?];
    let (name, which) = inner.split_once(':').map_or((inner, None), |(name, which)| (name, Some(which)));
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !is_word || which.is_some_and(|which| which.contains(['{', '"', ' '])) {
        return None;
    }
    let unknown = || {
        let what = format!("`{{{inner}}}` is not a variable");
        (what, format!("write one of {}, or leave the braces out", VARIABLES.join(", ")))
    };
    Some((inner.len() + 2, Variable::of(name, which).map(TemplatePart::Variable).ok_or_else(unknown)))
}

/// `$1` to `$9`, where there is an expression.
fn group(text: &str, groups: usize) -> Option<Found> {
    let number = text.strip_prefix('$')?.chars().next()?.to_digit(10)?;
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    if (1..=groups).contains(&number) {
        return Some(Ok(TemplatePart::Group(number)));
    }
    let has = if groups == 0 { "there is no expression with groups".to_owned() } else { format!("it has {groups}") };
    Some(Err((format!("`${number}` is no group of the expression: {has}"), "number groups from $1 on".to_owned())))
}

impl Variable {
    fn of(name: &str, which: Option<&str>) -> Option<Self> {
        let bytes = |which: &str| which.as_bytes().into();
        Some(match (name, which) {
            ("scheme", None) => Self::Scheme,
            ("host", None) => Self::Host,
            ("authority", None) => Self::Authority,
            ("port", None) => Self::Port,
            ("method", None) => Self::Method,
            ("path", None) => Self::Path,
            ("query", None) => Self::Query,
            ("uri", None) => Self::Uri,
            ("query", Some(which)) if !which.is_empty() => Self::Argument(bytes(which)),
            ("header", Some(which)) if is_token(which.as_bytes()) => Self::Field(bytes(which)),
            ("cookie", Some(which)) if is_token(which.as_bytes()) => Self::Cookie(bytes(which)),
            ("client_ip", None) => Self::ClientIp,
            ("client_port", None) => Self::ClientPort,
            ("tls_server_name", None) => Self::TlsServerName,
            ("tls_version", None) => Self::TlsVersion,
            ("tls_cipher", None) => Self::TlsCipher,
            ("route", None) => Self::Route,
            ("request_id", None) => Self::RequestId,
            ("unix_seconds", None) => Self::UnixSeconds,
            ("status", None) => Self::Status,
            _ => return None,
        })
    }

    /// Percent-encodes its value for where it stands in a URL: in a query it is one value, and what a client can say in any form is one
    /// segment of a path, which is no dots.
    fn encode(&self, out: &mut Vec<u8>, from: usize, is_in_query: bool) {
        let is_free = matches!(self, Self::Field(_) | Self::Cookie(_) | Self::Argument(_) | Self::Route);
        if is_free && matches!(&out[from..], b"." | b"..") {
            out.truncate(from);
        }
        if is_free || is_in_query && *self != Self::Query {
            let value = out.split_off(from);
            put_component(out, &value);
        }
    }

    fn put(&self, out: &mut Vec<u8>, values: &Values<'_>) {
        let Values { head, context, .. } = values;
        let asked = || head.asked_host(context.is_trusted);
        match self {
            Self::Scheme => out.extend_from_slice(context.scheme.as_bytes()),
            Self::Host => out.extend_from_slice(host_length(asked()).map_or(b"", |length| &asked()[..length])),
            Self::Authority => out.extend_from_slice(asked()),
            Self::Port => number(out, u64::from(context.port)),
            Self::Method => out.extend_from_slice(head.method()),
            Self::Path => {
                let target = head.target().resolved();
                out.extend_from_slice(&target[..memchr::memchr(b'?', target).unwrap_or(target.len())]);
            }
            Self::Query => out.extend_from_slice(head.query()),
            Self::Uri => out.extend_from_slice(head.target().resolved()),
            Self::Argument(name) => out.extend_from_slice(argument(head, name).unwrap_or_default()),
            Self::Field(name) => out.extend_from_slice(&values.field(name).unwrap_or_default()),
            Self::Cookie(name) => out.extend_from_slice(cookie(head, name).unwrap_or_default()),
            Self::ClientIp => out.extend_from_slice(AddressText::of(context.client).bytes()),
            Self::ClientPort => number(out, u64::from(context.client_port)),
            Self::TlsServerName => {
                let name = context.tls.and_then(|tls| tls.server_name.as_deref());
                out.extend_from_slice(name.unwrap_or_default().as_bytes());
            }
            Self::TlsVersion => out.extend_from_slice(context.tls.map_or("", |tls| tls.version).as_bytes()),
            Self::TlsCipher => out.extend_from_slice(context.tls.map_or("", |tls| tls.cipher).as_bytes()),
            Self::Route => out.extend_from_slice(context.route.as_bytes()),
            Self::RequestId => context.put_request_id(out, head),
            Self::UnixSeconds => number(out, context.unix_s),
            Self::Status => values.status.iter().for_each(|status| number(out, u64::from(*status))),
        }
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    fn told(template: &str, within: Within) -> String {
        let mut head = RequestHead::default();
        let text = "POST /a/%2e/b%2Fc?x=1&y=a+b HTTP/1.1\r\nHost: Example.com:81\r\nX-Two: 1\r\nX-Two: a b\r\n\
            Cookie: id=7; dots=..; other=\r\n\r\n";
        head.parse(text.as_bytes().to_vec(), HeadRules::default()).unwrap();
        let context =
            Context { port: 81, client_port: 5, route: "r", request_id: 10, unix_s: 9, ..Context::of_nobody("http") };
        let template = Template::parse(template, 0).unwrap();
        String::from_utf8(template.text(&Values::of(&head, &context), within)).unwrap()
    }

    #[test]
    fn every_variable_stands_for_its_part_of_the_request() {
        for (variable, value) in VARIABLES.iter().zip([
            "http",
            "example.com",
            "example.com:81",
            "81",
            "POST",
            "/a/b%2Fc",
            "x=1&y=a+b",
            "/a/b%2Fc?x=1&y=a+b",
            "",
            "",
            "",
            "127.0.0.1",
            "5",
            "",
            "",
            "",
            "r",
            "0000000000000000000000000000000a",
            "9",
        ]) {
            assert_eq!(told(variable, Within::Value), value, "{variable}");
        }
        assert_eq!(told("<{query:y}|{header:x-two}|{cookie:id}>", Within::Value), "<a+b|1, a b|7>");
        assert_eq!(told("/{header:x-two}{path}", Within::Url), "/1%2C%20a%20b/a/b%2Fc");
        assert_eq!(told("/?u={uri}&{query}", Within::Url), "/?u=%2Fa%2Fb%252Fc%3Fx%3D1%26y%3Da%2Bb&x=1&y=a+b");
        assert_eq!(told("/{cookie:dots}/x", Within::Url), "//x", "dots lead nowhere");
    }

    #[test]
    fn a_brace_that_begins_no_word_stands_for_itself() {
        for text in ["{\"group\": \"x\"}", "{}", "{", "a } b", "{A}", "5 $", "{header:a b}"] {
            assert_eq!(told(text, Within::Value), text);
        }
    }

    #[test]
    fn what_is_no_variable_is_refused_with_those_that_are() {
        for text in ["{remote_addr}", "{header}", "{header:a,b}", "{cookie:}", "{host:x}"] {
            let (what, remedy) = Template::parse(text, 0).unwrap_err();
            assert!(what.contains(text) && remedy.contains("{client_ip}"), "{what}; {remedy}");
        }
        assert!(Template::parse("$1", 0).unwrap_err().0.contains("no expression"));
        assert!(Template::parse("$3", 2).unwrap_err().0.contains("it has 2"));
        assert!(Template::parse("$2", 2).is_ok());
    }
}
