//! What is translated: the objects, and the rules by which they are read.

use std::collections::BTreeMap;

use crate::config::kubernetes::KubernetesSpec;
use crate::config::listeners::ListenerSpec;
use crate::config::schema::Config;
use crate::config::services::{Protocol, ServiceSpec};
use crate::config::tls::ServiceTls;
use crate::control::kubernetes::index::Index;
use crate::units::ListenAddress;

/// A listener as dialects see it that name listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// Its port; `None` for a Unix socket.
    pub port: Option<u16>,
    /// It speaks TLS.
    pub is_tls: bool,
}

/// Listeners by their names.
pub type EntryPoints = BTreeMap<String, EntryPoint>;

/// Those of a configuration.
#[must_use]
pub fn entry_points(config: &Config) -> EntryPoints {
    let port = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => Some(address.port()),
        ListenAddress::Port(port) => Some(*port),
        ListenAddress::Unix(_) => None,
    };
    let entry = |listener: &ListenerSpec| EntryPoint { port: port(&listener.address), is_tls: listener.tls.is_some() };
    config.listeners.iter().map(|(name, listener)| (name.clone(), entry(listener))).collect()
}

/// What is translated, and by which rules.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The objects.
    pub index: &'a Index,
    /// The rules.
    pub spec: &'a KubernetesSpec,
    /// The listeners; empty where they are not known.
    pub entry_points: &'a EntryPoints,
}

impl<'a> World<'a> {
    /// A listener by its name, whatever the case of its letters, as Traefik reads it.
    #[must_use]
    pub fn entry_point(&self, name: &str) -> Option<(&'a str, EntryPoint)> {
        let found = self.entry_points.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(name, entry)| (name.as_str(), *entry))
    }

    /// True where this listener serves the cluster; of listeners that are not known any may.
    #[must_use]
    pub fn is_served_by(&self, listener: &String) -> bool {
        let is_there = self.entry_points.is_empty() || self.entry_points.contains_key(listener);
        is_there && (self.spec.listeners.is_empty() || self.spec.listeners.contains(listener))
    }

    /// The listeners that serve the cluster, by their names: those without TLS, and those with.
    #[must_use]
    pub fn listeners_by_tls(&self) -> [Vec<String>; 2] {
        let (secure, plain): (Vec<_>, Vec<_>) =
            self.entry_points.iter().filter(|(name, _)| self.is_served_by(name)).partition(|(_, entry)| entry.is_tls);
        [plain, secure].map(|entries| entries.into_iter().map(|(name, _)| name.clone()).collect())
    }

    /// A service of which no object said anything.
    #[must_use]
    pub fn plain_service(&self) -> ServiceSpec {
        ServiceSpec { tls: None, ..self.spec.service.clone() }
    }

    /// TLS towards pods that speak it: what the configuration says, else a TLS for which nobody vouches.
    #[must_use]
    pub fn service_tls(&self) -> ServiceTls {
        self.spec.service.tls.clone().unwrap_or_else(unverified_tls)
    }

    /// Has a service spoken to as its port says.
    pub fn speak(&self, spec: &mut ServiceSpec, protocol: &str) {
        match protocol.to_ascii_lowercase().as_str() {
            "kubernetes.io/h2c" | "h2c" | "grpc" => spec.protocol = Protocol::H2,
            "https" | "kubernetes.io/wss" | "wss" | "tls" => spec.tls = Some(self.service_tls()),
            "grpcs" => (spec.protocol, spec.tls) = (Protocol::H2, Some(self.service_tls())),
            // `http`, `kubernetes.io/ws` and what is not known: HTTP/1.1.
            _ => {}
        }
    }
}

/// TLS towards pods for which nobody vouches.
#[must_use]
pub fn unverified_tls() -> ServiceTls {
    ServiceTls { insecure_skip_verify: true, ..ServiceTls::default() }
}
