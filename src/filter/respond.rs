//! `respond`: answers with the status, fields and body that its configuration has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Answer, Verdict};
use super::headers::{check_name, check_value};

/// What every request is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Fields with their values; `Content-Type` is `text/plain; charset=utf-8` where there is a body and no other type.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body; 204, 205 and 304 have none.
    #[serde(default)]
    pub body: String,
}

impl Respond {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<Self> {
        if !(200..=599).contains(&self.status) {
            place.fault(format!("{} is not the status of an answer", self.status), "write 200 to 599");
        }
        if matches!(self.status, 204 | 205 | 304) && !self.body.is_empty() {
            place.fault(
                format!("an answer of {} has no body", self.status),
                "leave `body` out, or write another status",
            );
        }
        for (name, value) in &self.headers {
            check_name(name, place);
            if name.eq_ignore_ascii_case("date") {
                place.fault("`Date` is written by the proxy", "leave it out");
            }
            place.literal(value);
            check_value(name, value, place);
        }
        let mut compiled = self.clone();
        let has_type = compiled.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        if !compiled.body.is_empty() && !has_type {
            compiled.headers.insert("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned());
        }
        (!place.has_faults()).then_some(compiled)
    }

    pub(super) fn on_request(&self) -> Verdict<'_> {
        let fields = self.headers.iter().map(|(name, value)| (name.as_bytes(), Cow::Borrowed(value.as_bytes())));
        Verdict::Answer(Answer {
            status: self.status,
            fields: fields.collect(),
            body: Cow::Borrowed(self.body.as_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{applied, compiled};

    #[test]
    fn it_answers_as_it_is_written() {
        let answer = |respond: &str| applied(&format!("[{{ respond = {respond} }}]"), "/x").unwrap();
        assert_eq!(answer("{ status = 204 }"), "204 [] ");
        assert_eq!(answer("{ status = 410, body = \"gone\" }"), "410 [Content-Type: text/plain; charset=utf-8] gone");
        assert_eq!(
            answer("{ status = 200, headers = { content-type = \"text/html\" }, body = \"<p>\" }"),
            "200 [content-type: text/html] <p>"
        );
        assert_eq!(
            applied("[{ respond = { status = 503 } }, { redirect = {} }]", "/").unwrap(),
            "503 [] ",
            "filters behind it are not asked"
        );
    }

    #[test]
    fn what_no_client_could_be_sent_is_refused() {
        let faults = |respond: &str| compiled(&format!("[{{ respond = {respond} }}]")).1;
        assert_eq!(faults("{ status = 101 }"), ["0: 101 is not the status of an answer; write 200 to 599"]);
        assert_eq!(faults("{ status = 204, body = \"x\" }").len(), 1);
        assert_eq!(
            faults("{ status = 200, headers = { \"a b\" = \"x\", Y = \"\\n\", Content-Length = \"1\" } }").len(),
            3
        );
    }
}
