//! Pages in the place of answers that are errors.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::annotations::TraefikNotes;
use crate::filter::Filter;
use crate::filter::error_pages::StatusRange;

#[derive(Deserialize)]
struct ErrorPage {
    status: Vec<serde_json::Value>,
    backend: String,
    #[serde(default)]
    query: String,
}

/// The filters for `error-pages`; `services` has the service of each frontend by its name.
pub(super) fn pages(notes: &TraefikNotes<'_>, services: &HashMap<String, &str>) -> Vec<Filter> {
    const NAME: &str = "error-pages";
    let written: BTreeMap<String, ErrorPage> = notes.yaml(NAME).unwrap_or_default();
    let mut filters = Vec::new();
    for page in written.values() {
        let Some(service) = services.get(&page.backend) else {
            notes.tell(NAME, &format!("no path is called `{}`; the error stays as it is", page.backend.escape_debug()));
            continue;
        };
        let text = |status: &serde_json::Value| status.as_str().map_or_else(|| status.to_string(), str::to_owned);
        let is_error = |status: &String| status.parse::<StatusRange>().is_ok();
        let (right, wrong): (Vec<_>, Vec<_>) = page.status.iter().map(text).partition(is_error);
        if let Some(status) = wrong.first() {
            notes
                .tell(NAME, &format!("`{}` is no status from 400 to 599, and no range of them", status.escape_debug()));
        }
        if !right.is_empty() {
            let path = format!("/{}", page.query.trim_start_matches('/'));
            filters.extend(
                notes.filter(NAME, json!({ "error_pages": { "status": right, "service": service, "path": path } })),
            );
        }
    }
    filters
}
