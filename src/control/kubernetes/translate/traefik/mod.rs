//! Ingress objects as Traefik 1.7 reads them: frontends, told apart by the length of their rules, with its annotations.

mod access;
mod annotations;
mod backend;
mod fields;
mod frontends;
pub mod page;
mod pages;
mod path_rule;
mod redirects;
mod retries;
mod routes;
pub mod rows;
mod shares;

use std::collections::{HashMap, HashSet};

use super::ingress;
use super::plan::{Owner, Plan};
use super::world::World;
use crate::control::kubernetes::objects::Ingress;
use annotations::TraefikNotes;
use frontends::{Frontend, TraefikIngress, frontends};
use pages::pages;
use routes::{FrontendPlace, add};
use rows::AnnotatedKind;
use shares::shares;

/// Translates these Ingress objects, the oldest first.
pub fn translate<'a>(plan: &mut Plan, world: World<'a>, all: &[(Owner<'a>, &'a Ingress)]) {
    let read = |(owner, ingress): &(Owner<'a>, &'a Ingress)| {
        let notes = TraefikNotes::read(*owner, AnnotatedKind::Ingress, ingress.metadata.annotations.as_ref());
        TraefikIngress { notes, ingress }
    };
    let all: Vec<TraefikIngress<'a>> = all.iter().map(read).collect();
    for found in &all {
        plan.served.insert(found.owner().name.clone());
        ingress::certificates(plan, world, found.owner(), found.ingress);
    }
    let frontends = frontends(plan, world, &all);
    let mut told = HashSet::new();
    let shares = |frontend: &Frontend<'a>| shares(plan, world, &all[frontend.of].notes, frontend, &mut told);
    let shares: Vec<_> = frontends.iter().map(shares).collect();
    let mut by_name: HashMap<&str, HashMap<String, &str>> = HashMap::new();
    for (frontend, shares) in frontends.iter().zip(&shares) {
        let namespace = &all[frontend.of].owner().name.namespace;
        by_name.entry(namespace).or_default().extend(shares.first().map(|first| (frontend.name(), first)));
    }
    for (frontend, shares) in frontends.iter().zip(&shares) {
        let notes = &all[frontend.of].notes;
        // Nobody reads by a page what is another namespace's, perhaps behind a password.
        let pages = pages(notes, &by_name[&*notes.findings.owner.name.namespace]);
        add(plan, &FrontendPlace { world, notes, frontend, shares, pages });
    }
    for found in &all {
        found.notes.finish(plan);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::kubernetes::{Dialect, KubernetesSpec};
    use crate::config::routes::RouteSpec;
    use crate::control::kubernetes::index::{Index, Object};
    use crate::control::kubernetes::translate::world::EntryPoints;

    /// The routes of these Ingress objects, namespace, host and annotations each, and what is told.
    fn translated(objects: &[(&str, &str, Value)]) -> (Vec<Arc<RouteSpec>>, Vec<String>) {
        let mut index = Index::default();
        for (namespace, host, annotations) in objects {
            let ingress = json!({ "metadata": { "namespace": namespace, "name": "i", "annotations": annotations },
                "spec": { "ingressClassName": "traefik", "rules": [{ "host": host, "http": { "paths": [
                    { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
            index.put(Object::Ingress(Arc::new(serde_json::from_value(ingress).unwrap())));
        }
        let spec = KubernetesSpec { dialects: vec![Dialect::Traefik1], ..KubernetesSpec::default() };
        let world = World { index: &index, spec: &spec, entry_points: &EntryPoints::new() };
        let plan = super::super::translate(world);
        let told = plan.problems.iter().map(ToString::to_string).collect();
        assert!(plan.wanted.secrets.iter().all(|name| !name.is_possible() || &*name.namespace == "shop"));
        (plan.routes.into_iter().map(|(route, _)| route).collect(), told)
    }

    #[test]
    fn a_page_of_another_namespace_is_not_read_from_here() {
        let annotations = json!({ "ingress.kubernetes.io/error-pages": "{a: {status: [\"500-599\"], backend: secret.test/, query: /x}}" });
        let (routes, told) = translated(&[("shop", "a.test", annotations), ("vault", "secret.test", json!({}))]);
        assert!(routes.iter().all(|route| route.filters.is_empty()), "{routes:?}");
        assert!(told.iter().any(|told| told.contains("no path is called `secret.test/`")), "{told:?}");
    }

    #[test]
    fn a_secret_of_another_namespace_is_not_named_from_here() {
        for name in ["vault/keys", "../../vault/secrets/keys", "Keys"] {
            for annotations in [
                json!({ "ingress.kubernetes.io/auth-type": "basic", "ingress.kubernetes.io/auth-secret": name }),
                json!({ "ingress.kubernetes.io/auth-type": "forward", "ingress.kubernetes.io/auth-url": "https://a.test/",
                    "ingress.kubernetes.io/auth-tls-secret": name }),
            ] {
                let (routes, told) = translated(&[("shop", "a.test", annotations)]);
                assert!(routes[0].service.is_none() && routes[0].targets.is_empty(), "{name}: {routes:?}");
                assert!(told.iter().any(|told| told.ends_with("its requests are answered 503")), "{name}: {told:?}");
            }
        }
    }

    #[test]
    fn nobody_takes_part_in_the_requests_of_another_namespace() {
        let guarded = json!({ "ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8" });
        let (routes, told) = translated(&[("shop", "a.test", guarded), ("vault", "a.test", json!({}))]);
        let services: Vec<_> = routes.iter().filter_map(|route| route.service.as_deref()).collect();
        assert_eq!(services, ["shop/s:80"], "{routes:?}");
        let expected = "Ingress vault/i: spec.rules: an older Ingress of another namespace, `shop/i`, has `a.test/`";
        assert!(told.iter().any(|told| told == expected), "{told:?}");
    }

    #[test]
    fn the_length_of_a_rule_is_that_of_traefik() {
        for (host, annotations, expected) in [
            ("a.io", json!({}), "Host:a.ioPathPrefix:/".len()),
            ("*.a.io", json!({}), "HostRegexp:{subdomain:[A-Za-z0-9-_]+}.a.ioPathPrefix:/".len()),
            ("a.io", json!({ "ingress.kubernetes.io/rule-type": "Path" }), "Host:a.ioPath:/".len()),
            (
                "a.io",
                json!({ "ingress.kubernetes.io/request-modifier": "AddPrefix:/x" }),
                "Host:a.ioPathPrefix:/;AddPrefix: /x".len(),
            ),
            ("a.io", json!({ "ingress.kubernetes.io/priority": "3" }), 3),
            ("a.io", json!({ "ingress.kubernetes.io/priority": "-3" }), 21),
        ] {
            let (routes, _) = translated(&[("shop", host, annotations.clone())]);
            assert_eq!(routes[0].priority, i32::try_from(expected).unwrap(), "{host} {annotations}");
        }
    }
}
