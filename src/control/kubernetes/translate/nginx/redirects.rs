//! Where clients are sent, and what the upstream gets in the place of what they asked for.

use serde_json::json;

use super::annotations::Annotations;
use super::spot::{HostPlace, Spot, named_map};
use super::variables::template;
use crate::control::kubernetes::translate::ingress::{conditions, route, route_name};
use crate::control::kubernetes::translate::plan::Plan;
use crate::filter::Filter;

/// The redirects of a path.
pub(super) fn redirects(spot: Spot<'_, '_>) -> Vec<Filter> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let host = spot.place.host.1;
    let mut filters = Vec::new();
    let mut put = |name: &str, written| filters.extend(notes.filter(name, json!({ "redirect": written })));
    let is_forced = notes.flag("force-ssl-redirect").unwrap_or_else(|| settings.flag("force-ssl-redirect", false));
    let is_asked = notes.flag("ssl-redirect").unwrap_or_else(|| settings.flag("ssl-redirect", true)) && host.has_tls;
    let mut spared = settings.paths("no-tls-redirect-locations", "/.well-known/acme-challenge");
    let is_spared = spared.any(|start| spot.path.starts_with(start));
    if (is_forced || is_asked) && !is_spared {
        let drops = !keeps_slash(spot.place, notes);
        put("ssl-redirect", json!({ "scheme": "https", "status": settings.redirect_code(), "drop_last_slash": drops }));
    }
    if let Some(root) = notes.text("app-root") {
        if root.starts_with('/') {
            let expression = r"^https?://[^/]+/(\?.*)?$";
            put(
                "app-root",
                json!({ "url": expression, "location": format!("{{scheme}}://{{authority}}{root}"), "status": 302 }),
            );
        } else {
            notes.tell("app-root", "it does not begin with /; nothing is redirected");
        }
    }
    let constants = spot.constants("");
    let code = |name: &str, allowed: &[u64], default: u64| {
        notes.number(name).filter(|code| allowed.contains(code)).unwrap_or(default)
    };
    if let Some(location) = notes.template("temporal-redirect", constants) {
        let status = code("temporal-redirect-code", &[301, 302, 303, 307], 302);
        put("temporal-redirect", json!({ "location": location, "status": status }));
    } else if let Some(location) = notes.template("permanent-redirect", constants) {
        let status = code("permanent-redirect-code", &[301, 302, 303, 307, 308], 301);
        put("permanent-redirect", json!({ "location": location, "status": status }));
    }
    filters
}

/// Whether redirects keep the slash at the end of what was asked for.
fn keeps_slash(place: &HostPlace<'_, '_>, notes: &Annotations<'_>) -> bool {
    let default = || place.settings.flag("preserve-trailing-slash", false);
    notes.flag("preserve-trailing-slash").unwrap_or_else(default)
}

/// What is changed in a request on its way, and in what an answer says of where it is.
pub(super) fn rewrites(plan: &mut Plan, spot: Spot<'_, '_>) -> Vec<Filter> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let mut filters = Vec::new();
    let mut put = |name: &str, written| filters.extend(notes.filter(name, written));
    let mut fields = serde_json::Map::new();
    for name in ["X-Scheme", "X-Forwarded-Scheme"] {
        fields.insert(name.to_owned(), "{scheme}".into());
    }
    for name in ["For", "Host"] {
        fields.insert(format!("X-Original-Forwarded-{name}"), format!("{{header:X-Forwarded-{name}}}").into());
    }
    if settings.flag("proxy-add-original-uri-header", false) {
        fields.insert("X-Original-Uri".to_owned(), "{uri}".into());
    }
    let target = notes.text("rewrite-target").filter(|target| *target != spot.path);
    if let Some(prefix) = target.and_then(|_| notes.text("x-forwarded-prefix")) {
        fields.insert("X-Forwarded-Prefix".to_owned(), prefix.into());
    }
    for (name, value) in named_map(plan, spot, settings.text("proxy-set-headers")).into_iter().flatten() {
        match template(&value, spot.constants("")) {
            Ok(value) => _ = fields.insert(name, value.into()),
            Err(what) => notes.tell("", &format!("proxy-set-headers: {name}: {what}")),
        }
    }
    put("", json!({ "request_headers": { "set": fields } }));
    if let Some(target) = target {
        put("rewrite-target", json!({ "rewrite": { "regex": spot.path, "ignore_case": true, "path": target } }));
    }
    let port = spot.backend.map_or_else(String::new, |(_, port)| port.to_string());
    if let Some(host) = notes.template("upstream-vhost", spot.constants(&port)) {
        put("upstream-vhost", json!({ "rewrite": { "host": host } }));
    } else if settings.flag("use-forwarded-headers", false) {
        // As there, the upstream is asked for the host that the client asked for, by the word of the proxy before us.
        put("", json!({ "rewrite": { "host": "{authority}" } }));
    }
    if let (Some(from), Some(to)) = (notes.text("proxy-redirect-from"), notes.text("proxy-redirect-to"))
        && !matches!(from, "off" | "default")
    {
        put("proxy-redirect-from", json!({ "location_rewrite": { "from": from, "to": to } }));
    }
    for (name, part) in [("proxy-cookie-domain", "domain"), ("proxy-cookie-path", "path")] {
        let pair = notes.text(name).filter(|text| *text != "off").map(|text| text.split_once(' '));
        match pair {
            Some(Some((from, to))) => {
                put(name, json!({ "cookie_rewrite": { part: { "from": from, "to": to.trim() } } }));
            }
            Some(None) => notes.tell(name, "write what is replaced, a space, and what takes its place"),
            None => {}
        }
    }
    filters
}

/// The route of the other name, with `www.` or without: it leads to this one.
pub(super) fn www(plan: &mut Plan, place: &HostPlace<'_, '_>, other: &str) {
    let (name, host) = place.host;
    let notes = &place.all[host.first];
    let mut route = route(route_name(notes.owner, other, "/", false));
    conditions(&mut route, other, None);
    let written = json!({ "redirect": {
        "location": format!("{{scheme}}://{name}:{{port}}{{uri}}"),
        "status": place.settings.redirect_code(),
        "drop_last_slash": !keeps_slash(place, notes),
    }});
    route.filters = notes.filter("from-to-www-redirect", written).into_iter().collect();
    plan.route(notes.owner, route);
}
