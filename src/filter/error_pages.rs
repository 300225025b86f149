//! `error_pages`: in the place of an answer that is an error goes a page, of a service or of a file.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::compile::FilterPlace;
use super::context::Context;
use super::errand::Question;
use super::template::{Template, Values, Within};
use crate::failure::Failure;
use crate::label::Label;
use crate::limits::PAGE_BYTES_MAX;
use crate::proto::h1::request::RequestHead;
use crate::units::Material;
use crate::units::text::decode;

/// Puts a page in the place of answers of these statuses, whether an upstream gives them or we do. What `respond` answers stays.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorPages {
    /// The statuses, 400 to 599: `[404, "500-599"]`.
    #[serde(default)]
    pub status: Vec<StatusRange>,
    /// Whether answers get the page for want of an endpoint, too.
    #[serde(default)]
    pub no_endpoints: bool,
    /// The service that is asked for the page. It gets the status as `X-Code`, what the client accepts as `X-Format`, and the
    /// path as `X-Original-URI`, as filters have left it.
    #[serde(default)]
    pub service: Option<String>,
    /// The path that it is asked at, with variables; `{status}` is the status.
    #[serde(default = "root")]
    pub path: String,
    /// A file that is the page, in place of a service; it is read again when it changes.
    #[serde(default)]
    pub file: Option<Material>,
    /// The type of that file.
    #[serde(default = "html")]
    pub content_type: String,
    /// Whether the client gets the status of the error; else it gets that of the page.
    #[serde(default = "yes")]
    pub keep_status: bool,
}

fn root() -> String {
    "/".to_owned()
}

fn html() -> String {
    "text/html; charset=utf-8".to_owned()
}

const fn yes() -> bool {
    true
}

/// A status, or statuses from one to another: `404`, `"500-599"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRange(pub RangeInclusive<u16>);

impl std::str::FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.parse().ok().filter(|status| (400..=599).contains(status));
        let range = status(first).zip(status(last)).filter(|(first, last)| first <= last);
        let what =
            || format!("`{text}` is not the status of an error; write 400 to 599, or two of them like \"500-599\"");
        range.map(|(first, last)| Self(first..=last)).ok_or_else(what)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl Serialize for StatusRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for StatusRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 400, "maximum": 599},
            {"type": "string", "pattern": "^[45][0-9]{2}(-[45][0-9]{2})?$"}
        ]})
    }
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledErrorPages {
    statuses: Vec<StatusRange>,
    for_no_endpoints: bool,
    source: PageSource,
    /// Whether the client gets the status of the error.
    pub keeps_status: bool,
}

/// Where a page comes from.
#[derive(Clone, Debug)]
pub enum PageSource {
    /// A service.
    Service(AskedPage),
    /// It is here: its type, and its bytes.
    Here(String, Arc<[u8]>),
}

/// A service that is asked for pages.
#[derive(Clone, Debug)]
pub struct AskedPage {
    name: String,
    service: Label,
    path: Template,
}

impl ErrorPages {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledErrorPages> {
        if self.status.is_empty() && !self.no_endpoints {
            place.fault("no status is named", "write `status = [404, \"500-599\"]`, or `no_endpoints = true`");
        }
        let source = match (&self.service, &self.file) {
            (Some(name), None) => {
                let path = place.page_path(&self.path);
                if path.as_ref().and_then(Template::literal).is_some_and(|path| !path.starts_with(b"/")) {
                    place.fault(format!("`{}` is not a path", self.path), "begin it with /");
                }
                let service = place.service(name).zip(path);
                service.map(|(service, path)| PageSource::Service(AskedPage { name: name.clone(), service, path }))
            }
            (None, Some(file)) => {
                super::headers::check_value("content_type", &self.content_type, place);
                place.material(file).map(|bytes| PageSource::Here(self.content_type.clone(), bytes))
            }
            (Some(_), Some(_)) | (None, None) => {
                place.fault("a page is of a service or of a file", "write one of `service` and `file`");
                None
            }
        };
        let source = source.filter(|_| !place.has_faults())?;
        let statuses = self.status.clone();
        Some(CompiledErrorPages {
            statuses,
            for_no_endpoints: self.no_endpoints,
            source,
            keeps_status: self.keep_status,
        })
    }
}

impl CompiledErrorPages {
    /// True where answers of this status get a page, which is ours for this failure where there is one.
    #[must_use]
    pub fn is_for(&self, status: u16, failure: Option<Failure>) -> bool {
        let is_named = self.statuses.iter().any(|range| range.0.contains(&status));
        is_named || self.for_no_endpoints && failure == Some(Failure::NoEndpoints)
    }

    /// Where the page comes from.
    #[must_use]
    pub const fn source(&self) -> &PageSource {
        &self.source
    }

    /// The name of the service that is asked, and its label when this was compiled.
    pub(super) fn service(&self) -> Option<(&str, Label)> {
        match &self.source {
            PageSource::Service(asked) => Some((&asked.name, asked.service)),
            PageSource::Here(..) => None,
        }
    }
}

impl AskedPage {
    /// What the service is asked for a request whose answer has this status.
    #[must_use]
    pub fn question(&self, head: &RequestHead, context: &Context<'_>, status: u16) -> Question {
        let values = Values { status: Some(status), ..Values::of(head, context) };
        let mut target = self.path.text(&values, Within::Url);
        if target.first() != Some(&b'/') {
            target.insert(0, b'/');
        }
        let mut fields = vec![
            (b"X-Code".to_vec(), status.to_string().into_bytes()),
            (b"X-Original-URI".to_vec(), head.target().resolved().to_vec()),
        ];
        for (name, told) in [("Accept", "X-Format"), ("Accept-Language", "")] {
            let Some(value) = head.value(name.as_bytes()) else { continue };
            if !told.is_empty() {
                fields.push((told.as_bytes().to_vec(), value.to_vec()));
            }
            fields.push((name.as_bytes().to_vec(), value.to_vec()));
        }
        let mut id = Vec::with_capacity(32);
        context.put_request_id(&mut id, head);
        fields.push((b"X-Request-ID".to_vec(), id));
        let host = Some(head.authority().to_vec()).filter(|host| !host.is_empty());
        Question {
            service: self.service,
            method: b"GET".to_vec(),
            target,
            host,
            fields,
            body: Vec::new(),
            client_body_max: None,
            body_max: PAGE_BYTES_MAX,
            memory: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_or_ranges() {
        for (text, expected) in
            [("404", Some(404..=404)), ("500-599", Some(500..=599)), ("599-500", None), ("200", None), ("500-", None)]
        {
            assert_eq!(text.parse::<StatusRange>().ok().map(|range| range.0), expected, "{text}");
        }
        let pages: ErrorPages = toml::from_str("status = [404, \"500-599\"]\nservice = \"s\"").unwrap();
        let told: Vec<_> = pages.status.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["404", "500-599"]);
        assert!(toml::from_str::<ErrorPages>("status = [302]").is_err());
    }
}
