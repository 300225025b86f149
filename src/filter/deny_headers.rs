//! `deny_headers`: who may not ask, by what a field of the request says, as a browser or a page that is not welcome.

use std::collections::BTreeMap;

use regex::bytes::RegexSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Refusal, Verdict};
use super::headers::check_name;
use crate::failure::Failure;
use crate::proto::h1::request::RequestHead;

/// Refuses requests for what their fields say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenyHeaders {
    /// Names of fields, each with regular expressions that are searched in its value: `{ User-Agent = ["(?i)badbot"] }`.
    pub fields: BTreeMap<String, Vec<String>>,
    /// The status of the refusal, 400 to 599; 403 by default.
    #[serde(default)]
    pub status: Option<u16>,
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledDenyHeaders {
    fields: Vec<(Box<[u8]>, RegexSet)>,
    status: Option<u16>,
}

impl DenyHeaders {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledDenyHeaders> {
        place.refusal_status(self.status);
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, expressions) in &self.fields {
            check_name(name, place);
            // One by one first: a set does not say which of them it could not read.
            expressions.iter().for_each(|expression| drop(place.regex(expression, false)));
            match RegexSet::new(expressions) {
                Ok(set) => fields.push((name.as_bytes().into(), set)),
                Err(_) if place.has_faults() => {}
                Err(error) => {
                    place.fault(format!("the expressions for `{name}`: {error}"), "write fewer or shorter ones");
                }
            }
        }
        (!place.has_faults()).then_some(CompiledDenyHeaders { fields, status: self.status })
    }
}

impl CompiledDenyHeaders {
    pub(super) fn on_request(&self, head: &RequestHead) -> Verdict<'_> {
        let says = |(name, set): &(Box<[u8]>, RegexSet)| head.value(name).is_some_and(|value| set.is_match(&value));
        if !self.fields.iter().any(says) {
            return Verdict::Pass;
        }
        let failure = Failure::Denied("header");
        Verdict::Refuse(Box::new(Refusal { failure, status: self.status, ..Refusal::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, told};

    #[test]
    fn a_field_that_says_one_of_these_is_refused() {
        let filter =
            "[{ deny_headers = { fields = { User-Agent = [\"(?i)badbot\", \"^Old/1$\"], Referer = [\"evil\"] } } }]";
        for (fields, is_refused) in [
            ("", false),
            ("User-Agent: Mozilla\n", false),
            ("User-Agent: a BadBot/3\n", true),
            ("user-agent: Old/1\n", true),
            ("User-Agent: Old/12\n", false),
            ("User-Agent: fine\nReferer: https://evil.test/\n", true),
        ] {
            let expected = if is_refused { "denied:header []" } else { "passes []" };
            assert_eq!(told(filter, &format!("GET / HTTP/1.1\nHost: a\n{fields}")), expected, "{fields}");
        }
    }

    #[test]
    fn an_expression_that_is_none_is_told() {
        let (_, faults) =
            compiled("[{ deny_headers = { fields = { A = [\"(\", \"b\"], \"x y\" = [] }, status = 200 } }]");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
