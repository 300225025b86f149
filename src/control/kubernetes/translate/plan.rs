//! What objects become, as it is put together: services, routes, certificates, and what is wrong with whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::endpoints::{EndpointSource, service_of_name};
use super::listener_words::ListenerWords;
use super::world::{World, unverified_tls};
use crate::config::problem::{Place, Problem};
use crate::config::routes::RouteSpec;
use crate::config::services::{EndpointSpec, HostRule, ServiceSpec};
use crate::config::tls::{CertificateFiles, ClientAuth, ServiceTls};
use crate::control::kubernetes::index::Index;
use crate::control::kubernetes::objects::{BackendPort, ClusterService, ObjectName};
use crate::tls::identity::{Identity, IdentityFault};
use crate::units::Material;

/// What the objects of a cluster become.
#[derive(Debug, Default)]
pub struct Plan {
    /// Services by name, without their endpoints, and where those come from.
    pub services: BTreeMap<String, PlannedService>,
    /// Routes, each with the object that it comes from.
    pub routes: Vec<(Arc<RouteSpec>, Place)>,
    /// Certificates by the Secret that has them, in the order in which they were asked for.
    pub certificates: Vec<(ObjectName, CertificateFiles)>,
    /// Rules for certificates of clients.
    pub client_auth: Vec<(ClientAuth, Place)>,
    /// What is said of the listeners that serve the cluster.
    pub listeners: ListenerWords,
    /// What is wrong with objects.
    pub problems: Vec<Problem>,
    /// The objects that are served, whether or not something is wrong with them.
    pub served: BTreeSet<ObjectName>,
    /// Secrets and ConfigMaps that were asked for.
    pub wanted: Wanted,
    names: HashSet<String>,
    /// Hosts that a rule for certificates of clients is for.
    pub asked_hosts: HashSet<String>,
    asked: HashMap<ObjectName, bool>,
    /// What holds for the service that was planned last: mostly for the next one, too.
    last_spec: Arc<ServiceSpec>,
}

/// Secrets and ConfigMaps that objects refer to, whether or not there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Secrets.
    pub secrets: BTreeSet<ObjectName>,
    /// ConfigMaps.
    pub config_maps: BTreeSet<ObjectName>,
}

/// A service without its endpoints.
#[derive(Clone, Debug)]
pub struct PlannedService {
    /// What holds for it.
    pub spec: Arc<ServiceSpec>,
    /// Where its endpoints come from; empty where they stand in it.
    pub sources: Vec<EndpointSource>,
    /// The object that it comes from.
    pub place: Place,
}

impl PlannedService {
    /// With the endpoints that it has now.
    #[must_use]
    pub fn with_endpoints(&self, index: &Index) -> Arc<ServiceSpec> {
        if self.sources.is_empty() {
            return Arc::clone(&self.spec);
        }
        let endpoints = self.sources.iter().flat_map(|source| source.endpoints(index)).collect();
        Arc::new(ServiceSpec { endpoints, ..(*self.spec).clone() })
    }
}

/// A port of a Service as an object names it.
#[derive(Clone, Copy, Debug)]
pub struct BackendOf<'a> {
    /// The Service.
    pub service: &'a ObjectName,
    /// Its port.
    pub port: &'a BackendPort,
}

/// An object that is translated, as messages name it.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a ObjectName,
}

impl Owner<'_> {
    /// As a place of problems.
    #[must_use]
    pub fn place(&self) -> Place {
        self.name.place(self.kind)
    }
}

impl Plan {
    /// Notes what is wrong with an object.
    pub fn problem(&mut self, owner: Owner<'_>, key: &str, what: impl Into<String>, remedy: &str) {
        self.problems.push(Problem {
            place: owner.place(),
            key: key.to_owned(),
            what: what.into(),
            remedy: remedy.to_owned(),
        });
    }

    /// Adds a route, unless there is one of its name.
    pub fn route(&mut self, owner: Owner<'_>, mut route: RouteSpec) {
        let first = route.name.clone();
        let mut number = 2;
        while !self.names.insert(route.name.clone()) {
            route.name = format!("{first}#{number}");
            number += 1;
        }
        self.served.insert(owner.name.clone());
        self.routes.push((Arc::new(route), owner.place()));
    }

    /// The name of the service for a backend, which is added where it is new. `own` changes what goes without saying; where it does, the
    /// service is this owner's alone.
    pub fn service(
        &mut self,
        world: World<'_>,
        owner: Owner<'_>,
        backend: BackendOf<'_>,
        own: impl FnOnce(&mut ServiceSpec, &mut EndpointSource),
    ) -> String {
        let source = EndpointSource {
            service: backend.service.clone(),
            port: backend.port.clone(),
            is_cluster_ip: false,
            zone: world.spec.zone.clone(),
            may_be_external: world.spec.external_names,
        };
        let found = world.index.services.get(backend.service);
        let port = found.and_then(|service| source.port_of(service));
        let mut plain = world.plain_service();
        if let Some(protocol) = port.and_then(|port| port.app_protocol.as_deref()) {
            world.speak(&mut plain, protocol);
        }
        let (mut spec, mut own_source) = (plain.clone(), source.clone());
        own(&mut spec, &mut own_source);
        let name = format!("{}:{}", backend.service, backend.port);
        let first = if spec == plain && own_source == source { name } else { format!("{name}@{}", owner.name) };
        let is_another = |known: &PlannedService| *known.spec != spec || known.sources[..] != [own_source.clone()];
        let (mut name, mut number) = (first.clone(), 2);
        while self.services.get(&name).is_some_and(is_another) {
            name = format!("{first}#{number}");
            number += 1;
        }
        if !self.services.contains_key(&name) {
            self.check_backend(owner, backend, (found, port.is_some()), world);
            if *self.last_spec != spec {
                self.last_spec = Arc::new(spec);
            }
            let spec = Arc::clone(&self.last_spec);
            let planned = PlannedService { spec, sources: vec![own_source], place: owner.place() };
            self.services.insert(name.clone(), planned);
        }
        name
    }

    /// The name of a service that has the endpoints of all of these, and what else the first one has.
    pub fn together(&mut self, names: &[String]) -> String {
        let name = names.join("+");
        if names.len() > 1
            && let Some(first) = names.first().and_then(|first| self.services.get(first))
        {
            let sources = names.iter().filter_map(|name| self.services.get(name)).flat_map(|planned| &planned.sources);
            let all = PlannedService { sources: sources.cloned().collect(), ..first.clone() };
            self.services.insert(name.clone(), all);
        }
        name
    }

    /// The service that a URL leads to, and its path with its query: the pods of a Service where the host is the name of one within the
    /// cluster, else the host. `None` where it is no URL.
    pub fn by_url(
        &mut self,
        world: World<'_>,
        owner: Owner<'_>,
        url: &str,
        asked: &AskedAs<'_>,
    ) -> Option<(String, String)> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
        let (authority, path) = rest.find(['/', '?', '{']).map_or((rest, ""), |at| rest.split_at(at));
        let path = if path.starts_with(['/', '{']) { path.to_owned() } else { format!("/{path}") };
        let is_tls = scheme == "https";
        let (host, port) = match authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) => (host, port),
            None => (authority, if is_tls { 443 } else { 80 }),
        };
        if host.is_empty() || host.contains(['{', '$', ' ', '@']) || host.contains("..") {
            return None;
        }
        let tls = is_tls.then(|| asked.tls.clone().unwrap_or_else(unverified_tls));
        let named = HostRule::Name(asked.host.unwrap_or(authority).to_owned());
        let service = service_of_name(host).filter(|name| {
            let watched = &world.spec.namespaces;
            watched.is_empty() || watched.iter().any(|known| **known == *name.namespace)
        });
        if let Some(service) = service {
            let port = BackendPort { name: None, number: Some(port) };
            let service = self.service(world, owner, BackendOf { service: &service, port: &port }, |spec, _| {
                spec.tls = tls;
                spec.host = named;
            });
            return Some((service, path));
        }
        let endpoint = EndpointSpec::of(format!("{host}:{port}").parse().ok()?);
        let spec = ServiceSpec { endpoints: vec![endpoint], tls, host: named, ..world.plain_service() };
        let mut name =
            format!("{scheme}://{host}:{port}{}", asked.host.map(|host| format!(" as {host}")).unwrap_or_default());
        if self.services.get(&name).is_some_and(|known| *known.spec != spec) {
            name = format!("{name}@{}", owner.name);
        }
        let planned = PlannedService { spec: Arc::new(spec), sources: Vec::new(), place: owner.place() };
        self.services.entry(name.clone()).or_insert(planned);
        Some((name, path))
    }

    /// Tells of a Service that is not there, or that leads nowhere.
    fn check_backend(
        &mut self,
        owner: Owner<'_>,
        backend: BackendOf<'_>,
        (found, has_port): (Option<&Arc<ClusterService>>, bool),
        world: World<'_>,
    ) {
        let Some(service) = found else {
            let what = format!("there is no Service `{}`; its requests are answered 503", backend.service);
            return self.problem(owner, "", what, "make the Service, or name another one");
        };
        let is_external = service.spec.kind.as_deref() == Some("ExternalName");
        if is_external && !world.spec.external_names {
            let what =
                format!("the Service `{}` stands for a name outside; its requests are answered 503", backend.service);
            self.problem(owner, "", what, "`external_names = true` in [kubernetes] allows it");
        } else if !is_external && !has_port {
            let what = format!(
                "the Service `{}` has no port `{}`; its requests are answered 503",
                backend.service, backend.port
            );
            self.problem(owner, "", what, "name one of its ports");
        }
    }

    /// A key of a Secret that an object refers to; what is wrong is told.
    pub fn secret(
        &mut self,
        world: World<'_>,
        owner: Owner<'_>,
        name: &ObjectName,
        keys: &[&str],
    ) -> Option<Vec<Material>> {
        self.wanted.secrets.insert(name.clone());
        let Some(secret) = world.index.secrets.get(name) else {
            self.problem(owner, "", format!("there is no Secret `{name}`"), "make it, or name another one");
            return None;
        };
        let material = |key: &&str| {
            let bytes = secret.get(key)?;
            Some(Material::Memory(format!("Secret {name} {key}").into(), bytes.into()))
        };
        let found: Option<Vec<_>> = keys.iter().map(material).collect();
        if found.is_none() {
            let what = format!("the Secret `{name}` does not have {}", keys.join(" and "));
            self.problem(owner, "", what, "put the missing keys in");
        }
        found
    }

    /// Has a certificate served; true where it is one. What is wrong is told to each who asks.
    pub fn certificate(&mut self, world: World<'_>, owner: Owner<'_>, name: &ObjectName) -> bool {
        if let Some(is_good) = self.asked.get(name).copied() {
            if !is_good {
                let what = format!("the certificate of the Secret `{name}` is not served");
                self.problem(owner, "tls", what, "see what was told of it");
            }
            return is_good;
        }
        let is_good = self.new_certificate(world, owner, name);
        self.asked.insert(name.clone(), is_good);
        is_good
    }

    fn new_certificate(&mut self, world: World<'_>, owner: Owner<'_>, name: &ObjectName) -> bool {
        let Some(mut materials) = self.secret(world, owner, name, &["tls.crt", "tls.key"]) else { return false };
        let (Some(key), Some(cert)) = (materials.pop(), materials.pop()) else { return false };
        let (Material::Memory(_, chain), Material::Memory(_, of_cert)) = (&cert, &key) else { return false };
        if let Err(fault) = Identity::from_pem(chain, of_cert, None) {
            let (IdentityFault::Certificate(fault) | IdentityFault::Key(fault)) = fault;
            let what = format!("the Secret `{name}` has no certificate that can be served: {fault}");
            self.problem(owner, "tls", what, "put the chain into tls.crt and its key into tls.key, both in PEM");
            return false;
        }
        self.certificates.push((name.clone(), CertificateFiles { cert, key, ocsp: None }));
        true
    }
}

/// How a URL is asked, beside what it says itself.
#[derive(Clone, Debug, Default)]
pub struct AskedAs<'a> {
    /// The `Host`, where it is another one than the URL's.
    pub host: Option<&'a str>,
    /// TLS, where it speaks it; without it nobody vouches for whoever is there.
    pub tls: Option<ServiceTls>,
}
