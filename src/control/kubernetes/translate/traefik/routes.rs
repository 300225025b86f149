//! The routes of a frontend: one, and others beside it for the fields and hosts that are treated otherwise.

use serde_json::json;

use super::access::{certificate, credentials, networks, rates};
use super::annotations::TraefikNotes;
use super::fields::fields;
use super::frontends::Frontend;
use super::redirects::{redirect, tells_of_tls, to_host, to_tls};
use super::shares::Shares;
use crate::config::routes::{PathMatch, RouteSpec, ValueMatch};
use crate::control::kubernetes::translate::ingress::{route, route_name};
use crate::control::kubernetes::translate::plan::Plan;
use crate::control::kubernetes::translate::world::World;
use crate::filter::Filter;
use crate::filter::cors::WildcardLabels;

/// A frontend with all that its routes are made from.
pub(super) struct FrontendPlace<'p, 'a> {
    /// The objects.
    pub world: World<'a>,
    /// The annotations that hold.
    pub notes: &'p TraefikNotes<'a>,
    /// The frontend.
    pub frontend: &'p Frontend<'a>,
    /// Its services.
    pub shares: &'p Shares,
    /// Its pages for errors.
    pub pages: Vec<Filter>,
}

/// Adds the routes of a frontend.
pub(super) fn add(plan: &mut Plan, place: &FrontendPlace<'_, '_>) {
    let FrontendPlace { notes, frontend, .. } = place;
    let owner = notes.findings.owner;
    let is_exact = frontend.rule.text.starts_with("Path:") || frontend.rule.text.starts_with("PathStrip:");
    let text = if frontend.path.is_empty() { "/" } else { frontend.path };
    let mut main = route(route_name(owner, frontend.host, text, is_exact));
    main.priority = frontend.priority(notes);
    main.listeners.clone_from(&frontend.listeners);
    main.paths = frontend.rule.condition.iter().cloned().collect();
    main.host_labels = WildcardLabels::One;
    main.hosts = (!frontend.host.is_empty()).then(|| frontend.host.to_owned()).into_iter().collect();
    main.body.max = place.shares.own.body_max;
    place.shares.lead(&mut main);
    let filters = Filters::of(plan, place);
    main.filters = filters.with(&filters.to_tls);
    let mut routes = Vec::new();
    if !filters.to_tls.is_empty() {
        for (name, value) in tells_of_tls(notes) {
            let told = ValueMatch { name: name.to_owned(), value: Some(value.to_owned()), regex: None };
            routes.push(RouteSpec { headers: vec![told], filters: filters.with(&[]), ..main.clone() });
        }
    }
    routes.extend(slash(place, &main));
    routes.push(main);
    let allowed = if notes.is_on("is-development") { Vec::new() } else { notes.list("allowed-hosts") };
    if !allowed.is_empty() {
        routes = bound_to(&allowed, routes, place);
    }
    for mut route in routes {
        if notes.findings.is_denied() || place.shares.is_denied {
            (route.service, route.targets) = (None, Vec::new());
            route.filters = notes.filter("", json!({ "respond": { "status": 503 } })).into_iter().collect();
        }
        plan.route(owner, route);
    }
}

/// The route that sends on who asks for an exact path with a slash at its end, or without.
fn slash(place: &FrontendPlace<'_, '_>, main: &RouteSpec) -> Option<RouteSpec> {
    let other = place.frontend.rule.other_slash.clone()?;
    let written = json!({ "redirect": { "path": place.frontend.path, "keep_query": true, "status": 301 } });
    let filters = place.notes.filter("rule-type", written).into_iter().collect();
    let name = format!("{} {other}", main.name);
    Some(RouteSpec {
        name,
        paths: vec![PathMatch::Exact(other)],
        filters,
        service: None,
        targets: Vec::new(),
        ..main.clone()
    })
}

/// These routes for the hosts that are allowed, and one that refuses the others.
fn bound_to(allowed: &[&str], routes: Vec<RouteSpec>, place: &FrontendPlace<'_, '_>) -> Vec<RouteSpec> {
    let host = place.frontend.host;
    let is_within = |name: &&&str| match host.strip_prefix('*') {
        _ if host.is_empty() => true,
        Some(rest) => name.to_ascii_lowercase().ends_with(rest),
        None => name.eq_ignore_ascii_case(host),
    };
    let is_name = |name: &&&str| {
        let is_name = !name.contains('*');
        if !is_name {
            place.notes.tell("allowed-hosts", &format!("`{name}` is no host: there are no wildcards in it"));
        }
        is_name
    };
    let hosts: Vec<String> = allowed.iter().filter(is_name).filter(is_within).map(|name| (*name).to_owned()).collect();
    let refusal = |route: &RouteSpec| {
        let answer = json!({ "respond": { "status": 500, "body": "Bad Host" } });
        let filters = place.notes.filter("allowed-hosts", answer).into_iter().collect();
        let name = format!("{} other hosts", route.name);
        RouteSpec { name, filters, service: None, targets: Vec::new(), headers: Vec::new(), ..route.clone() }
    };
    let other = routes.last().map(refusal);
    let mut all: Vec<RouteSpec> = Vec::new();
    if !hosts.is_empty() {
        all.extend(routes.into_iter().map(|route| RouteSpec { hosts: hosts.clone(), ..route }));
    }
    // A host that is allowed and named by the rule has no others.
    all.extend(other.filter(|_| host.is_empty() || host.starts_with('*') || hosts.is_empty()));
    all
}

/// What is done with requests, in the order of Traefik.
struct Filters {
    before: Vec<Filter>,
    to_tls: Vec<Filter>,
    after: Vec<Filter>,
}

impl Filters {
    fn of(plan: &mut Plan, place: &FrontendPlace<'_, '_>) -> Self {
        let FrontendPlace { world, notes, frontend, shares, pages } = place;
        let mut before = pages.clone();
        before.extend(networks(notes));
        before.extend(redirect(*world, notes, frontend));
        let mut after: Vec<Filter> = to_host(notes, frontend).into_iter().collect();
        after.extend(fields(notes));
        if !frontend.is_default {
            after.extend(credentials(plan, *world, notes));
        }
        after.extend(certificate(notes));
        after.extend(shares.own.filters.iter().cloned());
        after.extend(rates(notes));
        after.extend(frontend.rule.filters.iter().cloned());
        let to_tls = to_tls(notes).into_iter().collect();
        Self { before, to_tls, after }
    }

    fn with(&self, to_tls: &[Filter]) -> Vec<Filter> {
        self.before.iter().chain(to_tls).chain(&self.after).cloned().collect()
    }
}
