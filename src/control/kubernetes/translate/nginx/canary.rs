//! A second Ingress of the same path that gets some of its requests.

use serde_json::json;

use super::annotations::Annotations;
use super::balance::{affinity, balance};
use super::spot::Spot;
use super::upstream::upstream;
use crate::config::routes::RouteSpec;
use crate::control::kubernetes::objects::{BackendPort, ObjectName};
use crate::control::kubernetes::translate::plan::{BackendOf, Plan};

/// Has a route lead to its service or to that of its canary.
pub(super) fn canary(
    plan: &mut Plan,
    spot: Spot<'_, '_>,
    route: &mut RouteSpec,
    (main, notes, backend): (String, &Annotations<'_>, &(ObjectName, BackendPort)),
) {
    let own = Spot { notes, backend: Some(backend), ..spot };
    let settings = upstream(plan, own);
    let named = BackendOf { service: &backend.0, port: &backend.1 };
    let other = plan.service(spot.place.world, notes.owner, named, |spec, source| {
        if let Some(settings) = &settings {
            settings.apply(spec, source);
            balance(spec, own);
        }
        // Who was led to the canary once stays there.
        if spot.notes.word("affinity-canary-behavior", &["sticky", "legacy"]) != Some("legacy") {
            spec.sticky = affinity(spot).or(spec.sticky.take());
        }
    });
    let total = notes.number("canary-weight-total").filter(|total| *total > 100).unwrap_or(100);
    let weight = notes.number("canary-weight").unwrap_or(0).min(total);
    let targets = json!([{ "service": main, "weight": total - weight }, { "service": other, "weight": weight }]);
    match serde_json::from_value(targets) {
        Ok(targets) => route.targets = targets,
        Err(error) => notes.tell("canary-weight", &error.to_string()),
    }
    match serde_json::from_value(rules(notes)) {
        Ok(rules) => route.canary = rules,
        Err(error) => notes.tell("canary-by-header", &error.to_string()),
    }
}

/// The rules that go before the weights.
fn rules(notes: &Annotations<'_>) -> serde_json::Value {
    let mut rules = Vec::new();
    if let Some(name) = notes.text("canary-by-header") {
        if let Some(value) = notes.text("canary-by-header-value") {
            rules.push(json!({ "header": { "name": name, "value": value }, "target": 1 }));
        } else if let Some(pattern) = notes.text("canary-by-header-pattern") {
            if regex::Regex::new(pattern).is_ok() {
                rules.push(json!({ "header": { "name": name, "regex": pattern }, "target": 1 }));
            } else {
                // As there: main gets all that carry the field, and nobody asks the cookie.
                notes.tell("canary-by-header-pattern", "it is no expression that can be read");
                rules.push(json!({ "header": { "name": name }, "target": 0 }));
            }
        } else {
            rules.push(json!({ "header": { "name": name, "value": "always" }, "target": 1 }));
            rules.push(json!({ "header": { "name": name, "value": "never" }, "target": 0 }));
        }
    }
    if let Some(name) = notes.text("canary-by-cookie") {
        rules.push(json!({ "cookie": { "name": name, "value": "always" }, "target": 1 }));
        rules.push(json!({ "cookie": { "name": name, "value": "never" }, "target": 0 }));
    }
    rules.into()
}
