//! Objects in, configuration out: pure, with what is wrong with whom.

pub mod defaults;
pub mod endpoints;
pub mod ingress;
pub mod nginx;
pub mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use super::index::Index;
use super::objects::{Ingress, ObjectName};
use crate::config::kubernetes::{Dialect, KubernetesSpec};
use crate::config::problem::Place;
use crate::config::schema::Config;
use crate::config::tls::ListenerTls;
use defaults::defaults;
use plan::{Owner, Plan, World};

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
            if !self.trusted.is_empty() {
                Arc::make_mut(listener).trusted_proxies.extend(&self.trusted);
            }
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
