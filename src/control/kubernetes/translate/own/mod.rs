//! Ingress objects of our own dialect: as Kubernetes describes them, with annotations that have the keys of the configuration.

mod annotations;
pub mod page;
pub mod rows;

use serde_json::json;

use super::ingress::{backend_of, certificates, conditions, route, route_name};
use super::plan::{BackendOf, Owner, Plan};
use super::world::World;
use crate::config::routes::{PathMatch, RouteSpec};
use crate::control::kubernetes::objects::{Ingress, IngressBackend};
use annotations::OwnNotes;

/// Translates an Ingress.
pub fn translate(plan: &mut Plan, world: World<'_>, owner: Owner<'_>, ingress: &Ingress) {
    plan.served.insert(owner.name.clone());
    certificates(plan, world, owner, ingress);
    let notes = OwnNotes::read(owner, ingress);
    for rule in &ingress.spec.rules {
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let is_exact = path.path_type == "Exact";
            let text = if path.path.is_empty() { "/".to_owned() } else { path.path.clone() };
            let condition = if is_exact { PathMatch::Exact(text.clone()) } else { PathMatch::Prefix(text.clone()) };
            let mut route = route(route_name(owner, &rule.host, &text, is_exact));
            conditions(&mut route, &rule.host, Some(condition));
            lead(plan, world, &notes, (route, &path.backend));
        }
        if let Some(backend) = &ingress.spec.default_backend
            && !rule.host.is_empty()
            && rule.http.iter().flat_map(|http| &http.paths).all(|path| path.path != "/" || path.path_type == "Exact")
        {
            let mut route = route(route_name(owner, &rule.host, "/", false));
            conditions(&mut route, &rule.host, None);
            lead(plan, world, &notes, (route, backend));
        }
    }
    if let Some(backend) = &ingress.spec.default_backend {
        let route = RouteSpec { priority: -1, ..route(route_name(owner, "", "/", false)) };
        lead(plan, world, &notes, (route, backend));
    }
    notes.findings.finish(plan);
}

fn lead(plan: &mut Plan, world: World<'_>, notes: &OwnNotes<'_>, (mut route, backend): (RouteSpec, &IngressBackend)) {
    let owner = notes.findings.owner;
    let Some((service, port)) = backend_of(&owner.name.namespace, backend) else {
        plan.problem(owner, "spec", "a backend names no Service", "name one: other resources are not read");
        return;
    };
    notes.say(&mut route, world);
    let backend = BackendOf { service: &service, port: &port };
    route.service = Some(plan.service(world, owner, backend, |spec, _| notes.say_of_service(spec)));
    if notes.findings.is_denied() {
        (route.service, route.chains, route.listeners) = (None, Vec::new(), Vec::new());
        route.filters = notes.findings.filter("", json!({ "respond": { "status": 503 } })).into_iter().collect();
    }
    plan.route(owner, route);
}
