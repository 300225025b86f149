//! What all dialects have in common of an Ingress: whose it is, its rules, its certificates, its routes.

use std::collections::BTreeMap;

use super::plan::{Owner, Plan};
use super::world::World;
use crate::config::kubernetes::{CatchAll, Dialect, KubernetesSpec};
use crate::config::routes::{PathMatch, RouteSpec};
use crate::control::kubernetes::index::Index;
use crate::control::kubernetes::objects::{BackendPort, Ingress, IngressBackend, Named as _, ObjectName};
use crate::filter::cors::WildcardLabels;

/// Whose annotations an Ingress has; `None` where it is not ours.
#[must_use]
pub fn dialect(index: &Index, spec: &KubernetesSpec, ingress: &Ingress) -> Option<Dialect> {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    if !spec.namespace_selector.is_empty() && !index.namespaces.contains_key(namespace) {
        return None;
    }
    let is_catch_all = ingress.spec.default_backend.is_some() && ingress.spec.rules.is_empty();
    if is_catch_all && spec.catch_all == CatchAll::Ignored {
        return None;
    }
    let by_field = ingress.spec.ingress_class_name.as_deref();
    let by_annotation = ingress.annotation("kubernetes.io/ingress.class");
    let Some(class) = by_field.or(by_annotation).filter(|class| !class.is_empty()) else {
        return spec.without_class;
    };
    if !spec.classes.is_empty() && spec.classes.iter().all(|known| known != class) {
        return None;
    }
    let controller = index.classes.get(class).map(|object| object.spec.controller.as_deref().unwrap_or_default());
    // What the configuration says of a dialect takes the place of what goes without saying.
    let says = |said: &BTreeMap<String, Dialect>, (name, usual): (&str, &str), dialect: Dialect| match said.get(name) {
        Some(of) => *of == dialect,
        None => name == usual && !said.values().any(|of| *of == dialect),
    };
    let is_of = |dialect: &Dialect| match controller {
        Some(controller) => says(&spec.controllers, (controller, dialect.controller()), *dialect),
        None => {
            let is_named = || spec.classes.iter().any(|known| known == class);
            says(&spec.class_names, (class, dialect.class()), *dialect)
                || *dialect == Dialect::Traefik1 && class.starts_with("traefik") && is_named()
        }
    };
    spec.dialects.iter().copied().find(is_of)
}

/// An empty route of this name.
#[must_use]
pub fn route(name: String) -> RouteSpec {
    let mut route: RouteSpec = serde_json::from_value(serde_json::json!({ "name": "" }))
        .unwrap_or_else(|_| unreachable!("every other key has a default"));
    route.name = name;
    route
}

/// The conditions of a rule: its host, which no other host's routes answer, and its path.
pub fn conditions(route: &mut RouteSpec, host: &str, path: Option<PathMatch>) {
    route.paths = path.into_iter().collect();
    if !host.is_empty() {
        route.hosts = vec![host.to_owned()];
        route.host_labels = WildcardLabels::One;
        route.closed = true;
    }
}

/// The name of a route: the object, the host and the path. An exact path has `=` before it, as nginx writes it.
#[must_use]
pub fn route_name(owner: Owner<'_>, host: &str, path: &str, is_exact: bool) -> String {
    let host = if host.is_empty() { "*" } else { host };
    let path = if path.is_empty() { "/" } else { path };
    format!("{}:{host}{}{path}", owner.name, if is_exact { "=" } else { "" })
}

/// The service of a backend, plain; `None` where it names none.
#[must_use]
pub fn backend_of(namespace: &str, backend: &IngressBackend) -> Option<(ObjectName, BackendPort)> {
    let service = backend.service.as_ref().filter(|service| !service.name.is_empty())?;
    Some((ObjectName::new(namespace, &service.name), service.port.clone()))
}

/// Has the certificates of an Ingress served; the hosts that shall have one: where theirs is missing they have the default one.
pub fn certificates<'i>(plan: &mut Plan, world: World<'_>, owner: Owner<'_>, ingress: &'i Ingress) -> Vec<&'i str> {
    for tls in ingress.spec.tls.iter().filter(|tls| !tls.secret_name.is_empty()) {
        plan.certificate(world, owner, &ObjectName::new(&owner.name.namespace, &tls.secret_name));
    }
    ingress.spec.tls.iter().flat_map(|tls| &tls.hosts).map(String::as_str).collect()
}
