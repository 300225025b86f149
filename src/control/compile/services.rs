//! Compiles services: endpoints with the addresses of their names, balancing, timeouts.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Compiler, TimedOut};
use crate::config::services::{self, HostRule, Protocol};
use crate::config::units::{Duration, EndpointAddress};
use crate::failure::Failure;
use crate::limits::ENDPOINTS_MAX;
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token;
use crate::snapshot::{Address, Balance, Endpoint, HashKey, Host, Service, UpstreamTimeouts};
use crate::upstream::pick::HashRing;
use crate::upstream::reuse::ReuseBounds;

impl Compiler<'_> {
    pub(super) fn service(&mut self, name: &str, service: &services::Service) -> Service {
        let key = format!("services.{name}");
        let mut unresolved = None;
        let mut endpoints = Vec::new();
        for endpoint in &service.endpoints {
            let name: Arc<str> = endpoint.address.to_string().into();
            let mut put = |address| {
                let (name, checked) = (Arc::clone(&name), Arc::default());
                endpoints.push(Endpoint { address, name, weight: endpoint.weight, checked });
            };
            match &endpoint.address {
                EndpointAddress::Tcp(address) => put(Address::Tcp(*address)),
                EndpointAddress::Unix(path) => put(Address::Unix(path.clone())),
                EndpointAddress::Name(host, port) => match self.resolved.get(host) {
                    Some(Ok(addresses)) => {
                        addresses.iter().for_each(|ip| put(Address::Tcp(SocketAddr::new(*ip, *port))));
                    }
                    Some(Err(TimedOut)) => unresolved = Some(Failure::DnsTimeout),
                    None => unresolved = Some(Failure::DnsError),
                },
            }
        }
        if endpoints.len() > ENDPOINTS_MAX {
            let what = format!("{} endpoints are more than {ENDPOINTS_MAX}", endpoints.len());
            self.problem(&format!("{key}.endpoints"), what, "");
        }
        if service.protocol == Protocol::H2 && service.health.as_ref().is_some_and(|health| health.path.is_some()) {
            let remedy = "leave it out: the check is a connection then; or write `grpc`, or set `protocol` to \"auto\"";
            self.problem(&format!("{key}.health.path"), "checks that ask for a path speak HTTP/1.1", remedy);
        }
        if service.protocol == Protocol::Http1 && service.health.as_ref().is_some_and(|health| health.grpc.is_some()) {
            self.problem(&format!("{key}.health.grpc"), "gRPC is spoken over HTTP/2", "set `protocol` to \"h2\"");
        }
        if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            self.problem(&format!("{key}.endpoints"), "every weight is 0", "give one of them 1 or more");
        }
        Service {
            name: name.into(),
            label: crate::snapshot::Label::default(),
            protocol: service.protocol,
            ping_ms: service.keep_alive.ping.limit_ms(),
            tls: self.service_tls(&key, service),
            balance: self.balance(&key, &service.balance, &endpoints),
            endpoints,
            unresolved,
            host: self.host(&key, &service.host),
            reuse: ReuseBounds {
                idle_ms_max: service.keep_alive.idle.ms(),
                requests_max: service.keep_alive.requests_max,
                age_ms_max: service.keep_alive.age_max.ms(),
            },
            idle_connections_max: service.keep_alive.per_worker,
            timeouts: upstream_timeouts(&service.timeouts),
            retry: self.retry(&key, &service.retry),
            ejection: self.ejection(&key, &service.ejection),
            limits: self.limits(&key, &service.limits),
            breaker: service.circuit_breaker.as_ref().map(|breaker| self.breaker(&key, breaker)),
            slow_start_ms: service.health.as_ref().map_or(0, |health| health.slow_start.ms()),
            fail_open: service.health.as_ref().is_none_or(|health| health.fail_open),
            check: service.health.clone().inspect(|health| self.check_health(&key, health)),
            ignore_client_abort: service.ignore_client_abort,
        }
    }

    fn balance(&mut self, key: &str, balance: &services::Balance, endpoints: &[Endpoint]) -> Balance {
        let ring = || {
            HashRing::new(endpoints.iter().map(|endpoint| {
                let name = match &endpoint.address {
                    Address::Tcp(address) => address.to_string(),
                    Address::Unix(path) => path.display().to_string(),
                };
                (name, endpoint.weight)
            }))
        };
        match balance {
            services::Balance::RoundRobin => Balance::RoundRobin,
            services::Balance::LeastRequests => Balance::LeastRequests,
            services::Balance::Random => Balance::Random,
            services::Balance::HashClientIp => Balance::Hash(HashKey::ClientIp, ring()),
            services::Balance::HashCookie(name) => Balance::Hash(HashKey::Cookie(name.as_bytes().into()), ring()),
            services::Balance::HashHeader(name) => {
                if !is_token(name.as_bytes()) {
                    self.problem(&format!("{key}.balance"), format!("`{name}` is no field name"), "");
                }
                Balance::Hash(HashKey::Header(name.to_ascii_lowercase().into_bytes().into()), ring())
            }
        }
    }

    fn host(&mut self, key: &str, host: &HostRule) -> Host {
        match host {
            HostRule::Keep => Host::Keep,
            HostRule::Endpoint => Host::Endpoint,
            HostRule::Name(name) => {
                if host_length(name.as_bytes()).is_none() {
                    let what = format!("`{name}` is no host");
                    self.problem(&format!("{key}.host"), what, "write \"keep\", \"endpoint\", or host[:port]");
                }
                Host::Name(name.as_bytes().into())
            }
        }
    }
}

fn upstream_timeouts(timeouts: &services::ServiceTimeouts) -> UpstreamTimeouts {
    let limit = Duration::limit_ms;
    UpstreamTimeouts {
        connect_ms: limit(timeouts.connect),
        header_ms: limit(timeouts.header),
        body_ms: limit(timeouts.body),
        send_ms: limit(timeouts.send),
        total_ms: limit(timeouts.total),
        tunnel_ms: limit(timeouts.tunnel),
        tunnel_total_ms: limit(timeouts.tunnel_total),
    }
}
