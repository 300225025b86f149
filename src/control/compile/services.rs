//! Compiles services: endpoints with the addresses of their names, TLS, what a balance looks up.

use std::net::SocketAddr;
use std::sync::Arc;

use super::compiler::{Compiler, TimedOut};
use super::{gateway, resilience, tls};
use crate::config::services::{HostRule, Protocol, ServiceSpec};
use crate::failure::Failure;
use crate::filter::compile::FilterPlace;
use crate::filter::key::RequestKey;
use crate::limits::{ENDPOINTS_MAX, HASH_SUBSET_MAX};
use crate::proto::h1::authority::host_length;
use crate::snapshot::{Address, Endpoint, Service};
use crate::units::EndpointAddress;
use crate::upstream::gate::ServiceCounts;
use crate::upstream::ring::{HashRing, HashRules};
use crate::upstream::sticky::{Sticky, StickyTokens};

/// What holds for every service of a cluster: checked by itself, so that what is wrong with it is told once, and refuses the file.
pub(super) fn of_cluster(compiler: &mut Compiler<'_>) {
    const KEY: &str = "kubernetes.service";
    let config = Arc::clone(&compiler.source.config);
    let Some(cluster) = &config.kubernetes else { return };
    let spec = &cluster.service;
    let is_right =
        |pods: &String| pods.split_once('/').is_some_and(|(space, labels)| !space.is_empty() && !labels.is_empty());
    if let Some(pods) = cluster.publish_pods.as_ref().filter(|pods| !is_right(pods)) {
        let what = format!("`{pods}` names no pods");
        compiler.problem("kubernetes.publish_pods", what, "write \"NAMESPACE/LABEL=VALUE\"");
    }
    if !spec.endpoints.is_empty() {
        compiler.problem(&format!("{KEY}.endpoints"), "the cluster says where its pods are", "leave it out");
    }
    tls::of_service(compiler, KEY, spec);
    check(compiler, KEY, spec, &[]);
    gateway::gateway(compiler, KEY, spec);
    hash_key(compiler, KEY, spec);
}

/// One service; the one from before where nothing of it changed.
pub(super) fn service(compiler: &mut Compiler<'_>, name: &str, spec: &Arc<ServiceSpec>) -> Arc<Service> {
    let before = compiler.kept.parts.services.get(name).cloned();
    let tls = tls::of_service(compiler, &format!("services.{name}"), spec);
    let (endpoints, unresolved) = endpoints(compiler, spec, before.as_deref());
    if let Some(before) = &before
        && before.spec == *spec
        && before.unresolved == unresolved
        && before.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr)
        && is_same(&before.endpoints, &endpoints)
    {
        return Arc::clone(before);
    }
    check(compiler, &format!("services.{name}"), spec, &endpoints);
    // A check goes on where nothing of what it asks has changed.
    let gateway = match &before {
        Some(before) if before.spec == *spec => before.gateway.clone(),
        Some(_) | None => gateway::gateway(compiler, &format!("services.{name}"), spec).map(Arc::new),
    };
    let hash_key = hash_key(compiler, &format!("services.{name}"), spec);
    let label = compiler.kept.label(name);
    let workers = compiler.kept.workers;
    let counts = before.as_ref().map(|before| Arc::clone(&before.counts));
    Arc::new(Service {
        name: before.map_or_else(|| name.into(), |before| Arc::clone(&before.name)),
        label,
        ring: ring(spec, &endpoints),
        hash_key,
        gateway,
        tokens: spec.sticky.as_ref().map(|_| {
            let addresses = endpoints.iter().map(|endpoint| &endpoint.address);
            Arc::new(StickyTokens::new(name, addresses))
        }),
        spec: Arc::clone(spec),
        endpoints,
        unresolved,
        tls,
        counts: counts.unwrap_or_else(|| Arc::new(ServiceCounts::new(workers))),
    })
}

fn is_same(before: &[Endpoint], now: &[Endpoint]) -> bool {
    let is_same = |(one, other): (&Endpoint, &Endpoint)| {
        one.address == other.address
            && one.name == other.name
            && one.weight == other.weight
            && one.is_backup == other.is_backup
            && one.is_far == other.is_far
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}

/// The endpoints, and why a name has none. One that was there before keeps what is known of it.
fn endpoints(
    compiler: &Compiler<'_>,
    spec: &ServiceSpec,
    before: Option<&Service>,
) -> (Vec<Endpoint>, Option<Failure>) {
    let known = before.map_or(&[][..], |before| &before.endpoints);
    let mut by_address = std::collections::HashMap::new();
    by_address.extend(known.iter().map(|endpoint| (&endpoint.address, &endpoint.state)));
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(spec.endpoints.len());
    let mut unresolved = None;
    for endpoint in &spec.endpoints {
        let name: Arc<str> = endpoint.address.to_string().into();
        let mut put = |address: Address| {
            // The same address twice in a service is one endpoint.
            let twin = endpoints.iter().find(|other| other.address == address).map(|other| &other.state);
            let state = twin.or(by_address.get(&address).copied()).map(Arc::clone).unwrap_or_default();
            let resolved = Some(address.to_string()).filter(|text| **text != *name).map(Into::into);
            endpoints.push(Endpoint {
                address,
                name: Arc::clone(&name),
                resolved,
                weight: endpoint.weight,
                is_backup: endpoint.backup,
                is_far: spec.zone.is_some() && spec.zone != endpoint.zone,
                state,
            });
        };
        match &endpoint.address {
            EndpointAddress::Tcp(address) => put(Address::Tcp(*address)),
            EndpointAddress::Unix(path) => put(Address::Unix(path.clone())),
            EndpointAddress::Name(host, port) => match compiler.resolved.get(host) {
                Some(Ok(addresses)) => {
                    addresses.iter().for_each(|ip| put(Address::Tcp(SocketAddr::new(*ip, *port))));
                }
                Some(Err(TimedOut)) => unresolved = Some(Failure::DnsTimeout),
                None => unresolved = Some(Failure::DnsError),
            },
        }
    }
    (endpoints, unresolved)
}

fn check(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec, endpoints: &[Endpoint]) {
    if endpoints.len() > ENDPOINTS_MAX {
        let what = format!("{} endpoints are more than {ENDPOINTS_MAX}", endpoints.len());
        compiler.problem(&format!("{key}.endpoints"), what, "");
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        compiler.problem(&format!("{key}.endpoints"), "every weight is 0", "give one of them 1 or more");
    }
    check_hash(compiler, key, spec);
    if let HostRule::Name(name) = &spec.host
        && host_length(name.as_bytes()).is_none()
    {
        let what = format!("`{name}` is not a host");
        compiler.problem(&format!("{key}.host"), what, "write \"keep\", \"endpoint\", or host[:port]");
    }
    for (field, what, remedy) in spec.sticky.iter().flat_map(Sticky::faults) {
        compiler.problem(&format!("{key}.sticky.{field}"), what, remedy);
    }
    resilience::check_window(compiler, key, spec.http2_window_max);
    resilience::check_retry(compiler, key, &spec.retry);
    resilience::check_ejection(compiler, key, &spec.ejection);
    resilience::check_limits(compiler, key, &spec.limits);
    if let Some(breaker) = &spec.circuit_breaker {
        resilience::check_breaker(compiler, key, breaker);
    }
    let Some(health) = &spec.health else { return };
    if spec.protocol == Protocol::H2 && health.path.is_some() {
        let remedy = "leave it out: the check is a connection then; or write `grpc`, or set `protocol` to \"auto\"";
        compiler.problem(&format!("{key}.health.path"), "checks that ask for a path speak HTTP/1.1", remedy);
    }
    if (spec.protocol == Protocol::Http1 || spec.protocol.is_gateway()) && health.grpc.is_some() {
        compiler.problem(&format!("{key}.health.grpc"), "gRPC is spoken over HTTP/2", "set `protocol` to \"h2\"");
    }
    resilience::check_health(compiler, key, health);
}

fn check_hash(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec) {
    let subset = spec.hash_subset.map(|size| ("hash_subset", (2..=HASH_SUBSET_MAX).contains(&size), size.to_string()));
    let load = spec.hash_load_percent;
    let load = load.map(|percent| ("hash_load_percent", (101..=10_000).contains(&percent), percent.to_string()));
    for (name, is_right, number) in subset.into_iter().chain(load) {
        if !is_right {
            let remedy =
                format!("write 2 to {HASH_SUBSET_MAX} for `hash_subset`, 101 to 10000 for `hash_load_percent`");
            compiler.problem(&format!("{key}.{name}"), format!("{number} is out of its range"), &remedy);
        }
        if !spec.hashes() {
            let remedy = "set `balance` to \"hash:…\", or leave it out";
            compiler.problem(&format!("{key}.{name}"), "it is for balances that hash", remedy);
        }
    }
    let zones = || spec.endpoints.iter().filter_map(|endpoint| endpoint.zone.as_deref());
    if let Some(zone) = &spec.zone
        && !spec.endpoints.is_empty()
        && zones().all(|other| other != zone)
    {
        let what = format!("no endpoint is in the zone `{zone}`");
        compiler.problem(&format!("{key}.zone"), what, "write `zone` at endpoints, or leave it out here");
    }
}

/// By what a balance hashes.
fn hash_key(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec) -> Option<RequestKey> {
    let text = spec.balance.hash_key()?;
    let mut place = FilterPlace::new(&mut compiler.kept.shared);
    let compiled = RequestKey::compile(text, 128, &mut place);
    place.refuse_time();
    let faults = place.into_faults();
    faults.into_iter().for_each(|(what, remedy)| compiler.problem(&format!("{key}.balance"), what, &remedy));
    compiled
}

/// Points for a service that looks up a hash.
fn ring(spec: &ServiceSpec, endpoints: &[Endpoint]) -> Option<Arc<HashRing>> {
    let point = |endpoint: &Endpoint| {
        let name = match &endpoint.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        };
        (name, endpoint.weight)
    };
    let rules = HashRules { subset: spec.hash_subset.unwrap_or(1), load_percent: spec.hash_load_percent };
    spec.hashes().then(|| Arc::new(HashRing::new(endpoints.iter().map(point), rules)))
}
