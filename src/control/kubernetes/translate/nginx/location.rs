//! The routes of a host: one for each path, and one for what no path takes.

use serde_json::json;

use super::access::{access, certificate};
use super::balance::balance;
use super::canary::canary;
use super::hosts::{HostPath, PathKind};
use super::redirects::{redirects, rewrites};
use super::settings::ClusterSettings;
use super::snippet::snippets;
use super::spot::{HostPlace, Spot, named, named_map};
use super::upstream::{PROTOCOLS, patience, upstream};
use super::variables::template;
use crate::config::routes::{PathMatch, RouteSpec};
use crate::control::kubernetes::objects::{BackendPort, ObjectName};
use crate::control::kubernetes::translate::defaults::default_service;
use crate::control::kubernetes::translate::ingress::{conditions, route, route_name};
use crate::control::kubernetes::translate::plan::{AskedAs, BackendOf, Owner, Plan};
use crate::filter::Filter;
use crate::units::Size;

/// Adds the routes of a host.
pub(super) fn locations(plan: &mut Plan, place: &HostPlace<'_, '_>) {
    let (name, host) = place.host;
    let mut order: Vec<&HostPath<'_>> = host.locations.iter().collect();
    // Where all are expressions the longer text goes first, and among those of a length the later one in the alphabet.
    order.sort_by(|one, other| (other.path.len(), other.path).cmp(&(one.path.len(), one.path)));
    let count = order.len();
    for (at, location) in order.into_iter().enumerate() {
        let notes = &place.all[location.of];
        let spot = Spot { place, notes, path: location.path, backend: Some(&location.backend), is_secure: false };
        let (is_exact, text) = (location.kind == PathKind::Exact, location.path.to_owned());
        let mut route = route(route_name(notes.owner, name, &text, is_exact));
        let condition = if host.is_regex {
            route.order = u32::try_from(count - at).unwrap_or(0);
            PathMatch::Regex(format!("(?i)^{text}"))
        } else {
            match location.kind {
                PathKind::Exact => PathMatch::Exact(text),
                PathKind::Prefix => PathMatch::Prefix(text),
                PathKind::StartsWith => PathMatch::StartsWith(text),
            }
        };
        conditions(&mut route, name, Some(condition));
        add(plan, spot, route, location.canary.as_ref());
    }
    if !host.has_root() {
        rest(plan, place);
    }
}

/// The route for what no path takes: it has the annotations of the first Ingress of the host.
fn rest(plan: &mut Plan, place: &HostPlace<'_, '_>) {
    let (name, host) = place.host;
    let of = host.default.as_ref().map_or(host.first, |(of, _)| *of);
    let notes = &place.all[of];
    let mut route = route(route_name(notes.owner, name, "/", false));
    conditions(&mut route, name, None);
    if host.is_regex {
        route.paths = vec![PathMatch::Regex("^/".to_owned())];
    }
    let backend = host.default.as_ref().map(|(_, backend)| backend);
    let spot = Spot { place, notes, path: "/", backend, is_secure: false };
    add(plan, spot, route, host.default_canary.as_ref());
}

/// The route for what no rule of any object takes.
pub(super) fn nowhere(plan: &mut Plan, settings: &ClusterSettings<'_>, name: &ObjectName) {
    let mut route = route("default backend".to_owned());
    route.priority = i32::MIN;
    route.access_log = settings.flag("enable-access-log-for-default-backend", false);
    let written = json!([{ "respond": { "status": 404, "body": "default backend - 404" } }]);
    match serde_json::from_value(written) {
        Ok(filters) => route.filters = filters,
        Err(error) => settings.tell(plan, "", &error.to_string()),
    }
    plan.route(Owner { kind: "ConfigMap", name }, route);
}

/// Adds a route with all that the annotations say.
fn add(plan: &mut Plan, spot: Spot<'_, '_>, mut route: RouteSpec, other: Option<&(usize, (ObjectName, BackendPort))>) {
    let (notes, place) = (spot.notes, spot.place);
    let (name, host) = place.host;
    if !name.is_empty() {
        route.hosts.extend(host.aliases.iter().map(|alias| (*alias).to_owned()));
    }
    let snippet = snippets(spot);
    let mut filters = certificate(plan, spot);
    filters.extend(redirects(spot));
    filters.extend(access(plan, spot));
    filters.extend(snippet.filters);
    filters.extend(rewrites(plan, spot));
    filters.extend(answers(plan, spot));
    patience(&mut route, spot);
    route.body.max = Some(Size::from_bytes(
        notes.size("proxy-body-size").unwrap_or_else(|| place.settings.size("proxy-body-size", 1 << 20)),
    ));
    let is_logged = notes.flag("enable-access-log").unwrap_or(true) && !snippet.is_unlogged;
    route.access_log = is_logged && !place.settings.flag("disable-access-log", false);
    if spot.backend.is_none() && place.world.spec.default_backend.is_none() {
        filters.extend(notes.filter("", json!({ "respond": { "status": 404, "body": "default backend - 404" } })));
    }
    route.filters = filters;
    let is_auto = notes.word("backend-protocol", &PROTOCOLS) == Some("AUTO_HTTP");
    let by_tls = if is_auto { place.world.listeners_by_tls() } else { Default::default() };
    match by_tls {
        // What clients come by says what is spoken to the pods.
        [plain, secure] if !secure.is_empty() => {
            if !plain.is_empty() {
                lead(plan, spot, RouteSpec { listeners: plain, ..route.clone() }, other);
            }
            lead(plan, Spot { is_secure: true, ..spot }, RouteSpec { listeners: secure, ..route }, other);
        }
        [..] => lead(plan, spot, route, other),
    }
}

/// Adds a route that leads to its backend.
fn lead(plan: &mut Plan, spot: Spot<'_, '_>, mut route: RouteSpec, other: Option<&(usize, (ObjectName, BackendPort))>) {
    let (notes, place) = (spot.notes, spot.place);
    match spot.backend {
        Some((service, port)) => {
            let backend = BackendOf { service, port };
            // Where there is none its requests are refused.
            if let Some(own) = upstream(plan, spot) {
                let main = plan.service(place.world, notes.owner, backend, |spec, source| {
                    own.apply(spec, source);
                    balance(spec, spot);
                });
                match other {
                    Some((of, backend)) => canary(plan, spot, &mut route, (main, &place.all[*of], backend)),
                    None => route.service = Some(main),
                }
            }
        }
        None if place.world.spec.default_backend.is_some() => {
            route.service = Some(default_service(plan, place.world));
        }
        None => {}
    }
    if notes.is_denied() {
        (route.service, route.targets, route.canary) = (None, Vec::new(), Vec::new());
        route.filters = notes.filter("", json!({ "respond": { "status": 503 } })).into_iter().collect();
    }
    plan.route(notes.owner, route);
}

/// What is done with answers.
fn answers(plan: &mut Plan, spot: Spot<'_, '_>) -> Vec<Filter> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let mut filters = Vec::new();
    let mut put = |name: &str, written| filters.extend(notes.filter(name, written));
    if spot.place.host.1.has_tls && settings.flag("hsts", true) {
        let age = settings.number("hsts-max-age", 31_536_000);
        put(
            "",
            json!({ "hsts": {
                "max_age": format!("{age}s"),
                "include_subdomains": settings.flag("hsts-include-subdomains", true),
                "preload": settings.flag("hsts-preload", false),
            }}),
        );
    }
    if let Some(fields) = custom_headers(plan, spot) {
        put("custom-headers", json!({ "response_headers": { "set_text": fields } }));
    }
    if let Some(fields) = added_headers(plan, spot) {
        put("", json!({ "response_headers": { "set": fields } }));
    }
    if let Some(hidden) = settings.text("hide-headers") {
        put("", json!({ "response_headers": { "remove": super::grammar::words(hidden).collect::<Vec<_>>() } }));
    }
    let encodings: Vec<_> = [("enable-brotli", "br"), ("use-gzip", "gzip")]
        .into_iter()
        .filter(|(key, _)| settings.flag(key, false))
        .map(|(_, coding)| coding)
        .collect();
    if !encodings.is_empty() {
        let lengths = [("enable-brotli", "brotli-min-length", 20), ("use-gzip", "gzip-min-length", 256)];
        let on = lengths.into_iter().filter(|(key, ..)| settings.flag(key, false));
        let min = on.map(|(_, key, default)| settings.number(key, default)).min().unwrap_or(256);
        let mut written = json!({ "encodings": encodings, "min": format!("{min}B") });
        let types: Vec<_> = ["gzip-types", "brotli-types"]
            .into_iter()
            .filter_map(|key| settings.text(key))
            .flat_map(super::grammar::words)
            .collect();
        if !types.is_empty() {
            written["types"] = types.into();
        }
        put("", json!({ "compress": written }));
    }
    let kilobytes = |name: &str| notes.number(name).unwrap_or_else(|| settings.number(name, 0));
    let rate = kilobytes("limit-rate");
    if rate > 0 {
        let after = format!("{}KiB", kilobytes("limit-rate-after"));
        put("limit-rate", json!({ "bandwidth_limit": { "rate": format!("{rate}KiB"), "after": after } }));
    }
    filters.extend(page_without_endpoints(plan, spot));
    filters.extend(error_pages(plan, spot));
    filters.extend(mirror(plan, spot));
    filters
}

/// The copies of requests that go to another service.
fn mirror(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<Filter> {
    let notes = spot.notes;
    let target = notes.template("mirror-target", spot.constants(""))?;
    let asked = AskedAs { host: notes.text("mirror-host"), tls: None };
    let Some((service, path)) = plan.by_url(spot.place.world, notes.owner, &target, &asked) else {
        notes.tell("mirror-target", &format!("`{target}` is not a URL that can be asked; nothing is copied"));
        return None;
    };
    if !matches!(path.as_str(), "/" | "{uri}" | "/{uri}") {
        notes.tell("mirror-target", "copies keep their path; write nothing or `$request_uri` behind the host");
    }
    let body = notes.on("mirror-request-body") != Some(false);
    notes.filter("mirror-target", json!({ "mirror": { "service": service, "body_max": "1MiB", "body": body } }))
}

/// The pages in the place of errors of the upstream.
fn error_pages(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<Filter> {
    let (notes, place) = (spot.notes, spot.place);
    if notes.flag("disable-proxy-intercept-errors") == Some(true) && notes.text("custom-http-errors").is_none() {
        return None;
    }
    let text = notes.text("custom-http-errors").or_else(|| place.settings.text("custom-http-errors"))?;
    let codes: Option<Vec<u16>> = super::grammar::words(text).map(|code| code.parse().ok()).collect();
    let Some(codes) = codes.filter(|codes| codes.iter().all(|code| (400..=599).contains(code))) else {
        notes.tell("custom-http-errors", &format!("`{text}` is no list of statuses from 400 to 599"));
        return None;
    };
    let service = match own_default(plan, spot) {
        Some(service) => service,
        None if place.world.spec.default_backend.is_some() => default_service(plan, place.world),
        None => return None,
    };
    notes.filter(
        "custom-http-errors",
        json!({ "error_pages": { "status": codes, "service": service, "keep_status": false } }),
    )
}

/// What `default-backend` answers in the place of a service without endpoints.
fn page_without_endpoints(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<Filter> {
    let service = own_default(plan, spot)?;
    let pages = json!({ "no_endpoints": true, "service": service, "path": "{uri}", "keep_status": false });
    spot.notes.filter("default-backend", json!({ "error_pages": pages }))
}

/// The service that `default-backend` names, at its first port.
fn own_default(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<String> {
    let notes = spot.notes;
    let service = ObjectName::new(&notes.owner.name.namespace, notes.text("default-backend")?);
    let backend = BackendOf { service: &service, port: &BackendPort::default() };
    Some(plan.service(spot.place.world, notes.owner, backend, |_, _| {}))
}

/// The fields of the ConfigMap that `add-headers` names, whose values may have variables.
fn added_headers(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<serde_json::Map<String, serde_json::Value>> {
    let written = named_map(plan, spot, spot.place.settings.text("add-headers"))?;
    let mut fields = serde_json::Map::new();
    for (name, value) in written {
        match template(&value, spot.constants("")) {
            Ok(value) => _ = fields.insert(name, value.into()),
            Err(what) => spot.notes.tell("", &format!("add-headers: {name}: {what}")),
        }
    }
    Some(fields)
}

/// The fields of the ConfigMap that `custom-headers` names.
fn custom_headers(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<std::collections::BTreeMap<String, String>> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let name = named(spot, "custom-headers", notes.text("custom-headers")?)?;
    let Some(fields) = named_map(plan, spot, Some(&name.to_string())) else {
        notes.deny("custom-headers", &format!("there is no ConfigMap `{name}`"));
        return None;
    };
    let allowed: Vec<String> =
        super::grammar::words(settings.text("global-allowed-response-headers").unwrap_or_default())
            .map(str::to_ascii_lowercase)
            .collect();
    if let Some(name) = fields.keys().find(|name| !allowed.contains(&name.to_ascii_lowercase())) {
        let what = format!("the field `{name}` is not among `global-allowed-response-headers` of the ConfigMap");
        notes.deny("custom-headers", &what);
        return None;
    }
    Some(fields)
}
