//! Objects in, configuration out: pure, with what is wrong with whom.

pub mod endpoints;
pub mod ingress;
pub mod nginx;
pub mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use super::index::Index;
use super::objects::{BackendPort, Ingress, ObjectName};
use crate::config::kubernetes::{Dialect, KubernetesSpec};
use crate::config::problem::Place;
use crate::config::schema::Config;
use crate::config::tls::ListenerTls;
use plan::{BackendOf, Owner, Plan, World};

/// Translates all objects of a cluster.
#[must_use]
pub fn translate(index: &Index, spec: &KubernetesSpec) -> Plan {
    let mut plan = Plan::default();
    let world = World { index, spec };
    let mut of_nginx = Vec::new();
    for (name, dialect, ingress) in ours(index, spec) {
        let owner = Owner { kind: "Ingress", name };
        match dialect {
            Dialect::Ringress | Dialect::Traefik17 => ingress::translate(&mut plan, world, owner, ingress),
            Dialect::IngressNginx => of_nginx.push((owner, &**ingress)),
        }
    }
    nginx::translate(&mut plan, world, &of_nginx);
    defaults(&mut plan, world);
    plan
}

/// The Ingress objects that are ours, the oldest first.
fn ours<'a>(index: &'a Index, spec: &KubernetesSpec) -> Vec<(&'a ObjectName, Dialect, &'a Arc<Ingress>)> {
    let of_us = |(name, ingress): (&'a ObjectName, &'a Arc<Ingress>)| {
        Some((name, ingress::dialect(index, spec, ingress)?, ingress))
    };
    let mut ours: Vec<_> = index.ingresses.iter().filter_map(of_us).collect();
    ours.sort_by(|(one_name, _, one), (other_name, _, other)| {
        let age = |ingress: &Ingress| ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (age(one), one_name).cmp(&(age(other), other_name))
    });
    ours
}

/// The service that answers what no rule is for, where the configuration names one.
fn default_service(plan: &mut Plan, world: World<'_>) -> String {
    let text = world.spec.default_backend.as_deref().unwrap_or_default();
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    let name = ObjectName::parse(name, "default");
    let port = BackendPort {
        number: port.parse().ok(),
        name: (!port.is_empty() && port.parse::<u16>().is_err()).then(|| port.to_owned()),
    };
    let owner = Owner { kind: "Service", name: &name };
    plan.service(world, owner, BackendOf { service: &name, port: &port }, |_, _| {})
}

/// What holds for the cluster as a whole: the default backend and the default certificate.
fn defaults(plan: &mut Plan, world: World<'_>) {
    if world.spec.default_backend.is_some() {
        let name = ObjectName::new("", "default");
        let mut route = ingress::route("default backend".to_owned());
        route.priority = i32::MIN;
        route.service = Some(default_service(plan, world));
        plan.route(Owner { kind: "Service", name: &name }, route);
    }
    if let Some(text) = &world.spec.default_certificate {
        let name = ObjectName::parse(text, "default");
        let owner = Owner { kind: "Secret", name: &name };
        if plan.certificate(world, owner, &name) {
            // The first is for clients that ask for no name.
            let at = plan.certificates.iter().position(|(known, _)| *known == name).unwrap_or(0);
            plan.certificates[..=at].rotate_right(1);
        }
    }
}

impl Plan {
    /// The configuration of a file with what this plan has beside it, and the place of each part that comes from here.
    #[must_use]
    pub fn join(&self, base: &Config, index: &Index, spec: &KubernetesSpec) -> (Config, HashMap<String, Place>) {
        let mut config = base.clone();
        let mut places = HashMap::with_capacity(self.services.len() + self.routes.len());
        for (name, planned) in &self.services {
            if !config.services.contains_key(name) {
                places.insert(format!("services.{name}"), planned.place.clone());
                config.services.insert(name.clone(), planned.with_endpoints(index));
            }
        }
        for (route, place) in &self.routes {
            places.insert(format!("routes.{}", config.routes.len()), place.clone());
            let mut route = Arc::clone(route);
            if route.listeners != spec.listeners {
                Arc::make_mut(&mut route).listeners.clone_from(&spec.listeners);
            }
            config.routes.push(route);
        }
        let is_ours = |name: &String| spec.listeners.is_empty() || spec.listeners.contains(name);
        for (name, listener) in config.listeners.iter_mut().filter(|(name, _)| is_ours(name)) {
            if listener.tls.is_some() {
                self.add_tls(name, listener, &mut places);
            }
        }
        (config, places)
    }

    fn add_tls(
        &self,
        name: &str,
        listener: &mut Arc<crate::config::listeners::ListenerSpec>,
        places: &mut HashMap<String, Place>,
    ) {
        let Some(tls): Option<&mut ListenerTls> = Arc::make_mut(listener).tls.as_mut() else { return };
        for (secret, files) in &self.certificates {
            places.insert(
                format!("listeners.{name}.tls.certificates.{}", tls.certificates.len()),
                secret.place("Secret"),
            );
            tls.certificates.push(files.clone());
        }
        for (rule, place) in &self.client_auth {
            places.insert(format!("listeners.{name}.tls.client_auth.{}", tls.client_auth.len()), place.clone());
            tls.client_auth.push(rule.clone());
        }
    }
}
