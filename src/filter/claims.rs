//! Claims of somebody who signed for a client: what they must be, and in which fields the upstream gets them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::compile::FilterPlace;
use super::edits::FieldEdits;
use super::headers::check_name;
use crate::proto::h1::field::is_value;

/// Names with what is said of them.
pub(super) type Claims = Map<String, Value>;

/// What claims must be, and in which fields the upstream gets them.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    require: BTreeMap<String, String>,
    told: BTreeMap<String, String>,
}

impl ClaimRules {
    /// Claims with what they must be, and claims with the field for each.
    pub(super) fn compile(
        require: &BTreeMap<String, String>,
        told: &BTreeMap<String, String>,
        place: &mut FilterPlace,
    ) -> Self {
        told.values().for_each(|name| check_name(name, place));
        Self { require: require.clone(), told: told.clone() }
    }

    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.told.values().for_each(|name| edits.take_away(name.as_bytes()));
    }

    /// True where the claims are what they must be; of a list one must be it.
    pub(super) fn are_met(&self, claims: &Claims) -> bool {
        let is_met = |(name, value): (&String, &String)| claims.get(name).is_some_and(|own| has(own, value));
        self.require.iter().all(is_met)
    }

    /// Tells the upstream; false where a claim is none that a field may hold.
    pub(super) fn tell(&self, claims: &Claims, edits: &mut FieldEdits) -> bool {
        let told = |(claim, field): (&String, &'_ String)| Some((field.clone(), claims.get(claim).and_then(text)?));
        let told: Vec<_> = self.told.iter().filter_map(told).collect();
        let are_values = told.iter().all(|(_, value)| is_value(value.as_bytes()));
        if are_values {
            told.into_iter().for_each(|(field, value)| edits.add(field.as_bytes(), value.into_bytes()));
        }
        are_values
    }
}

/// True where a claim is this, or a list that has it.
pub(super) fn has(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::Array(values) => values.iter().any(|value| text(value).as_deref() == Some(wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            text(claim).as_deref() == Some(wanted)
        }
    }
}

/// A claim as a field says it: lists with commas; `None` for what no field could say.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => Some(values.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        Value::Null | Value::Object(_) => None,
    }
}
