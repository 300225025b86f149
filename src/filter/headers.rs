//! `request_headers` and `response_headers`: fields that are taken away, set or added.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Context, Notes};
use super::edits::{FieldEdits, FieldLine};
use super::template::{Template, Values, Within};
use crate::proto::h1::field::{is_token, is_value};
use crate::proto::h1::request::RequestHead;

/// Fields that the proxy writes itself.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "early-data",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Changes to fields: removed first, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdit {
    /// Names to take away.
    pub remove: Vec<String>,
    /// Names with the one value they shall have; with variables.
    pub set: BTreeMap<String, String>,
    /// The same with values that are written as they stand, whatever is in them.
    pub set_text: BTreeMap<String, String>,
    /// Names with a value to add to what is there; with variables.
    pub add: BTreeMap<String, String>,
}

/// Fields whose values have variables.
#[derive(Clone, Debug, Default)]
pub struct FieldTemplates(Vec<(Box<[u8]>, Template)>);

impl FieldTemplates {
    pub(super) const NONE: Self = Self(Vec::new());

    /// True where there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of another filter.
    pub(super) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The fields for a request. One whose value would be empty is left out.
    pub(super) fn lines(&self, head: &RequestHead, context: &Context<'_>, notes: &Notes) -> Vec<FieldLine> {
        let values = Values::behind(head, context, notes);
        let lines = self.0.iter().map(|(name, template)| (name.clone(), template.text(&values, Within::Value).into()));
        lines.filter(|(_, value): &FieldLine| !value.is_empty()).collect()
    }
}

impl HeaderEdit {
    /// Adds the changes to those of other filters; gives those that depend on the request.
    pub(super) fn compile(&self, edits: &mut FieldEdits, place: &mut FilterPlace) -> FieldTemplates {
        let puts = self.set.iter().chain(&self.add);
        for name in self.remove.iter().chain(puts.clone().map(|(name, _)| name)).chain(self.set_text.keys()) {
            check_name(name, place);
        }
        let removed = self.remove.iter().chain(self.set.keys()).chain(self.set_text.keys());
        removed.for_each(|name| edits.take_away(name.as_bytes()));
        for (name, value) in &self.set_text {
            check_value(name, value, place);
            edits.add(name.as_bytes(), value.as_bytes());
        }
        let mut templates = FieldTemplates::default();
        for (name, value) in puts {
            check_value(name, value, place);
            let Some(template) = place.template(value, 0) else { continue };
            match template.literal() {
                Some(value) => edits.add(name.as_bytes(), value),
                None => templates.0.push((name.as_bytes().into(), template)),
            }
        }
        templates
    }
}

/// Reports a name that is no field name, or that filters may not change.
pub(super) fn check_name(name: &str, place: &mut FilterPlace) {
    if !is_token(name.as_bytes()) {
        place.fault(format!("`{name}` is not a field name"), "");
    } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        place.fault(
            format!("`{name}` belongs to the proxy"),
            "for Host, set the service's `host`, or `host` of a rewrite",
        );
    }
}

/// Reports a value with control characters.
pub(super) fn check_value(name: &str, value: &str, place: &mut FilterPlace) {
    if !is_value(value.as_bytes()) {
        place.fault(format!("the value of `{name}` holds control characters"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::compiled;

    #[test]
    fn changes_of_several_filters_become_one() {
        let (chain, faults) = compiled(
            "[{ request_headers = { remove = [\"X-A\"] } }, { request_headers = { set = { X-B = \"1\" }, add = { X-C = \"2\" } } }]",
        );
        assert!(faults.is_empty(), "{faults:?}");
        let edits = &chain.edits.request;
        assert!(edits.removes(b"x-a") && edits.removes(b"X-B") && !edits.removes(b"x-c"));
        let put: Vec<_> = edits.put.iter().map(|(name, value)| [&**name, &**value].concat()).collect();
        assert_eq!(put, [&b"X-B1"[..], b"X-C2"]);
        assert!(chain.edits.response.put.is_empty());
    }

    #[test]
    fn names_of_the_proxy_and_broken_values_are_refused() {
        let (_, faults) = compiled("[{ response_headers = { set = { Host = \"x\", \"a b\" = \"y\", X = \"\\n\" } } }]");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
