//! Ingress objects as ingress-nginx reads them: merged by their hosts, with its annotations and its ConfigMap.

mod access;
mod annotations;
mod balance;
mod canary;
mod directives;
mod grammar;
mod hosts;
mod listeners;
mod location;
pub mod page;
mod redirects;
pub mod rows;
mod settings;
mod snippet;
mod spot;
mod upstream;
mod variables;

use annotations::Annotations;
use hosts::{HostPlan, hosts};
use location::locations;
use settings::ClusterSettings;
use spot::HostPlace;

use super::ingress;
use super::plan::{Owner, Plan};
use super::world::World;
use crate::control::kubernetes::objects::Ingress;

/// The keys of the ConfigMap that have a meaning here.
#[cfg(test)]
pub(super) const fn settings_keys() -> &'static [&'static str] {
    &settings::KEYS
}

/// Translates these Ingress objects, the oldest first.
pub fn translate<'a>(plan: &mut Plan, world: World<'a>, all: &[(Owner<'a>, &'a Ingress)]) {
    let settings = ClusterSettings::read(plan, world);
    plan.listeners = listeners::words(plan, &settings);
    let mut read = Vec::new();
    for (owner, ingress) in all {
        read.extend(Annotations::read(plan, &settings, *owner, ingress));
    }
    let certified: Vec<_> =
        read.iter().map(|notes| ingress::certificates(plan, world, notes.owner, notes.ingress)).collect();
    let certified: std::collections::HashSet<&str> = certified.into_iter().flatten().collect();
    let mut hosts = hosts(plan, &read, settings.flag("strict-validate-path-type", true));
    for (name, host) in &mut hosts {
        host.has_tls = is_certified(&certified, name);
    }
    for (name, host) in &hosts {
        let place = HostPlace { world, settings: &settings, all: &read, host: (name, host) };
        locations(plan, &place);
        if host.has_www && !name.is_empty() {
            let other = name.strip_prefix("www.").map_or_else(|| format!("www.{name}"), str::to_owned);
            if !hosts.contains_key(other.as_str()) {
                redirects::www(plan, &place, &other);
            }
        }
    }
    if let Some(name) = settings.name().filter(|_| world.spec.default_backend.is_none()) {
        location::nowhere(plan, &settings, name);
    }
    for notes in &read {
        plan.served.insert(notes.owner.name.clone());
        notes.finish(plan);
    }
}

/// True where one of these hosts is this one, or a wildcard for it.
fn is_certified(certified: &std::collections::HashSet<&str>, host: &str) -> bool {
    let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    certified.contains(host) || wildcard.is_some_and(|wildcard| certified.contains(wildcard.as_str()))
}

impl HostPlan<'_> {
    /// True where a path takes all that no other path takes.
    fn has_root(&self) -> bool {
        self.locations.iter().any(|location| location.path == "/" && location.kind != hosts::PathKind::Exact)
    }
}
