//! Fields of requests and answers: those that are written, and those that tell browsers to be careful.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::annotations::TraefikNotes;
use crate::filter::Filter;

/// The filters that change fields.
pub(super) fn fields(notes: &TraefikNotes<'_>) -> Vec<Filter> {
    let mut filters = Vec::new();
    for (name, kind) in [("custom-request-headers", "request_headers"), ("custom-response-headers", "response_headers")]
    {
        let (set, removed): (Vec<_>, Vec<_>) = notes.map(name).into_iter().partition(|(_, value)| !value.is_empty());
        if !set.is_empty() || !removed.is_empty() {
            let set: BTreeMap<_, _> = set.into_iter().collect();
            let removed: Vec<_> = removed.into_iter().map(|(name, _)| name).collect();
            filters.extend(notes.filter(name, json!({ kind: { "set": set, "remove": removed } })));
        }
    }
    filters.extend(careful(notes));
    filters.extend(hsts(notes));
    filters
}

/// What tells browsers to be careful.
fn careful(notes: &TraefikNotes<'_>) -> Option<Filter> {
    let mut set = serde_json::Map::new();
    let mut put = |name: &str, value: &str| _ = set.insert(name.to_owned(), Value::from(value));
    for (own, switch, name, value) in [
        ("custom-frame-options-value", "frame-deny", "X-Frame-Options", "DENY"),
        ("custom-browser-xss-value", "browser-xss-filter", "X-XSS-Protection", "1; mode=block"),
        ("", "content-type-nosniff", "X-Content-Type-Options", "nosniff"),
        ("content-security-policy", "", "Content-Security-Policy", ""),
        ("referrer-policy", "", "Referrer-Policy", ""),
        ("public-key", "", "Public-Key-Pins", ""),
    ] {
        if let Some(text) = notes.text(own) {
            put(name, text);
        } else if notes.is_on(switch) {
            put(name, value);
        }
    }
    (!set.is_empty()).then(|| notes.filter("custom-response-headers", json!({ "response_headers": { "set": set } })))?
}

/// Strict-Transport-Security; over plain connections only where that is asked for.
fn hsts(notes: &TraefikNotes<'_>) -> Option<Filter> {
    let age = notes.number("hsts-max-age").filter(|_| !notes.is_on("is-development"))?;
    let (subdomains, preload) = (notes.is_on("hsts-include-subdomains"), notes.is_on("hsts-preload"));
    if notes.is_on("force-hsts") {
        let more = [(subdomains, "; includeSubDomains"), (preload, "; preload")];
        let more: String = more.into_iter().filter(|(is_on, _)| *is_on).map(|(_, text)| text).collect();
        let set = json!({ "Strict-Transport-Security": format!("max-age={age}{more}") });
        return notes.filter("force-hsts", json!({ "response_headers": { "set": set } }));
    }
    let written = json!({ "max_age": format!("{age}s"), "include_subdomains": subdomains, "preload": preload });
    notes.filter("hsts-max-age", json!({ "hsts": written }))
}
