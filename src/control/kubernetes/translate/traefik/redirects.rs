//! Where clients are sent.

use serde_json::{Value, json};

use super::annotations::TraefikNotes;
use super::frontends::Frontend;
use crate::control::kubernetes::translate::world::World;
use crate::filter::Filter;

/// The redirect of a frontend: to its root, to another listener, or by an expression.
pub(super) fn redirect(world: World<'_>, notes: &TraefikNotes<'_>, frontend: &Frontend<'_>) -> Option<Filter> {
    let status = if notes.is_on("redirect-permanent") { 301 } else { 302 };
    let put = |name: &str, mut written: Value| {
        written["status"] = status.into();
        written["keep_method"] = true.into();
        notes.filter(name, json!({ "redirect": written }))
    };
    if let Some(root) = notes.text("app-root")
        && matches!(frontend.path, "" | "/")
    {
        let root = root.trim_start_matches('/');
        let location = format!("{{scheme}}://{{authority}}/{root}");
        return put("app-root", json!({ "url": r"^https?://[^/]+/?$", "location": location }));
    }
    if let Some(name) = notes.text("redirect-entry-point") {
        let (scheme, port) = match world.entry_point(name).map(|(_, entry)| entry) {
            Some(entry) if entry.is_tls => ("https", entry.port.unwrap_or(443)),
            Some(entry) => ("http", entry.port.unwrap_or(80)),
            None if world.entry_points.is_empty() => ("https", 443),
            None => {
                notes.deny("redirect-entry-point", &format!("there is no listener `{name}`"));
                return None;
            }
        };
        return put("redirect-entry-point", json!({ "scheme": scheme, "port": port }));
    }
    let (expression, replacement) = (notes.text("redirect-regex"), notes.text("redirect-replacement"));
    match (expression, replacement) {
        (Some(expression), Some(replacement)) if replacement.contains("{{") => {
            let what = format!("`{}` is a template of Go", replacement.escape_debug());
            notes.deny("redirect-replacement", &what);
            put("redirect-regex", json!({ "url": expression, "location": "/" }))
        }
        (Some(expression), Some(replacement)) => {
            put("redirect-regex", json!({ "url": expression, "location": replacement }))
        }
        (Some(_), None) => {
            notes.tell("redirect-regex", "it needs `redirect-replacement`; nothing is redirected");
            None
        }
        (None, Some(_)) => {
            notes.tell("redirect-replacement", "it needs `redirect-regex`; nothing is redirected");
            None
        }
        (None, None) => None,
    }
}

/// The redirect to TLS.
pub(super) fn to_tls(notes: &TraefikNotes<'_>) -> Option<Filter> {
    let is_asked = notes.is_on("ssl-redirect") || notes.is_on("ssl-temporary-redirect");
    if !is_asked || notes.is_on("is-development") {
        return None;
    }
    let mut written = json!({ "scheme": "https", "status": status_to_tls(notes), "keep_method": true });
    if let Some(host) = notes.text("ssl-host") {
        // Only where it comes without TLS: a request for another host over TLS goes on.
        let location = format!("https://{host}$1");
        written = json!({ "url": r"^http://[^/]+(.*)$", "location": location, "status": status_to_tls(notes), "keep_method": true });
    }
    notes.filter("ssl-redirect", json!({ "redirect": written }))
}

/// The redirect to another host over TLS.
pub(super) fn to_host(notes: &TraefikNotes<'_>, frontend: &Frontend<'_>) -> Option<Filter> {
    let host = notes.text("ssl-host").filter(|host| !frontend.host.eq_ignore_ascii_case(host))?;
    if !notes.is_on("ssl-force-host") || notes.is_on("is-development") {
        return None;
    }
    let written = json!({ "scheme": "https", "host": host, "status": status_to_tls(notes), "keep_method": true });
    notes.filter("ssl-force-host", json!({ "redirect": written }))
}

fn status_to_tls(notes: &TraefikNotes<'_>) -> u16 {
    if notes.is_on("ssl-temporary-redirect") { 302 } else { 301 }
}

/// The fields by which a proxy before us tells that a client came by TLS.
pub(super) fn tells_of_tls<'a>(notes: &TraefikNotes<'a>) -> Vec<(&'a str, &'a str)> {
    notes.map("ssl-proxy-headers")
}
