//! The endpoints of a Service's port: which pods take requests, as kube-proxy reads it.

use std::net::{IpAddr, SocketAddr};

use crate::config::services::EndpointSpec;
use crate::control::kubernetes::index::Index;
use crate::control::kubernetes::objects::{
    BackendPort, ClusterService, EndpointSlice, ObjectName, ServicePort, SliceEndpoint, SlicePort,
};
use crate::units::EndpointAddress;

/// Where the endpoints of a service come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSource {
    /// The Service.
    pub service: ObjectName,
    /// Which of its ports.
    pub port: BackendPort,
    /// The address of the Service in the place of those of its pods.
    pub is_cluster_ip: bool,
    /// The zone whose endpoints are preferred where they have hints.
    pub zone: Option<String>,
    /// A Service may stand for a name.
    pub may_be_external: bool,
}

impl EndpointSource {
    /// The port of its Service; `None` where it has none of that name or number.
    #[must_use]
    pub fn port_of<'s>(&self, service: &'s ClusterService) -> Option<&'s ServicePort> {
        service.spec.ports.iter().find(|port| match (&self.port.name, self.port.number) {
            (Some(name), _) if !name.is_empty() => port.name.as_deref() == Some(name),
            (_, Some(number)) => port.port == number,
            (_, None) => true,
        })
    }

    /// The endpoints as they are now.
    #[must_use]
    pub fn endpoints(&self, index: &Index) -> Vec<EndpointSpec> {
        let Some(service) = index.services.get(&self.service) else { return Vec::new() };
        if service.spec.kind.as_deref() == Some("ExternalName") {
            return self.external(service, index);
        }
        let Some(port) = self.port_of(service) else { return Vec::new() };
        if self.is_cluster_ip {
            let addresses = service.spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
            return addresses.take(1).map(|ip| spec(ip, port.port)).collect();
        }
        let slices = index.slices.get(&self.service);
        let slices = || slices.into_iter().flat_map(std::collections::BTreeMap::values);
        let of_port = |slice: &EndpointSlice| {
            let is_of_port = |known: &&SlicePort| name_of(known.name.as_deref()) == name_of(port.name.as_deref());
            slice.ports.iter().find(is_of_port).and_then(|port| port.port)
        };
        let mut ready = Vec::new();
        let mut ending = Vec::new();
        for slice in slices() {
            let Some(port) = of_port(slice) else { continue };
            for endpoint in &slice.endpoints {
                let conditions = endpoint.conditions;
                let is_ending = conditions.terminating == Some(true);
                if conditions.ready.unwrap_or(true) && !is_ending {
                    ready.push((endpoint, port));
                } else if is_ending && conditions.serving.unwrap_or(conditions.ready.unwrap_or(true)) {
                    ending.push((endpoint, port));
                }
            }
        }
        let chosen = if ready.is_empty() { ending } else { self.near(ready) };
        let mut endpoints: Vec<_> = chosen
            .into_iter()
            .filter_map(|(endpoint, port)| Some(spec(endpoint.addresses.first()?.parse().ok()?, port)))
            .collect();
        endpoints.sort_by_key(key);
        endpoints.dedup();
        endpoints
    }

    /// Those that are meant for our zone, where all of them have hints and one is.
    fn near<'e>(&self, all: Vec<(&'e SliceEndpoint, u16)>) -> Vec<(&'e SliceEndpoint, u16)> {
        let Some(zone) = &self.zone else { return all };
        let zones = |endpoint: &'e SliceEndpoint| endpoint.hints.as_ref().map(|hints| &hints.for_zones);
        let is_near = |(endpoint, _): &&(&'e SliceEndpoint, u16)| {
            zones(endpoint).is_some_and(|zones| zones.iter().any(|hint| hint.name == *zone))
        };
        let has_hints = all.iter().all(|(endpoint, _)| zones(endpoint).is_some_and(|zones| !zones.is_empty()));
        let near: Vec<_> = all.iter().filter(is_near).copied().collect();
        if has_hints && !near.is_empty() { near } else { all }
    }

    /// The name that a Service stands for.
    fn external(&self, service: &ClusterService, index: &Index) -> Vec<EndpointSpec> {
        let name = service.spec.external_name.as_deref().filter(|_| self.may_be_external);
        // The pods of another Service need no resolver; one that stands for a name itself is not followed further.
        let inner = name.and_then(service_of_name).filter(|inner| {
            let found = index.services.get(inner);
            found.is_some_and(|found| found.spec.kind.as_deref() != Some("ExternalName"))
        });
        if let Some(inner) = inner {
            let number = self.port_of(service).map(|port| port.port).or(self.port.number);
            let port = BackendPort { name: self.port.name.clone().filter(|_| number.is_none()), number };
            return Self { service: inner, port, ..self.clone() }.endpoints(index);
        }
        let by_number = || self.port.number;
        let port = self.port_of(service).map(|port| port.port).or_else(by_number);
        let address = name.zip(port).and_then(|(name, port)| {
            let name = name.trim_end_matches('.');
            format!("{name}:{port}").parse::<EndpointAddress>().ok()
        });
        address.into_iter().map(EndpointSpec::of).collect()
    }
}

/// The Service that a name of the cluster's resolver is of: `NAME.NAMESPACE.svc`, with or without the cluster's domain behind it.
#[must_use]
pub fn service_of_name(host: &str) -> Option<ObjectName> {
    let mut labels = host.trim_end_matches('.').split('.');
    let (name, namespace) = (labels.next()?, labels.next()?);
    (labels.next() == Some("svc")).then(|| ObjectName::new(namespace, name))
}

/// A name; the empty one is none.
fn name_of(name: Option<&str>) -> &str {
    name.unwrap_or_default()
}

fn spec(ip: IpAddr, port: u16) -> EndpointSpec {
    EndpointSpec::of(EndpointAddress::Tcp(SocketAddr::new(ip, port)))
}

fn key(spec: &EndpointSpec) -> Option<SocketAddr> {
    match &spec.address {
        EndpointAddress::Tcp(address) => Some(*address),
        EndpointAddress::Name(..) | EndpointAddress::Unix(_) => None,
    }
}
