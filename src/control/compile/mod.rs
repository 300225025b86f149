//! Turns a configuration into a snapshot, or tells everything that is wrong with it.

mod resilience;
mod routes;
mod services;
mod tls;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::problem::Problem;
use crate::config::units::{EndpointAddress, ListenAddress};
use crate::config::{Listener, Source, UnderscoreRule};
use crate::limits::METRIC_BUCKETS_MAX;
use crate::proto::h1::request::Underscores;
use crate::route::{Router, Rule};
use crate::snapshot::{ClientTimeouts, Labels, Snapshot};
pub use tls::Secrets;

/// What names of endpoints resolved to; a name that is missing did not resolve.
pub type Resolved = HashMap<Arc<str>, Result<Vec<IpAddr>, TimedOut>>;

/// Nobody answered for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

/// What outlives a snapshot: names keep their numbers, clients their sessions.
#[derive(Debug, Default)]
pub struct Kept {
    /// Names of listeners, routes and services.
    pub labels: Labels,
    /// Keys of tickets, and certificates of our own.
    pub secrets: Secrets,
}

/// Compiles.
///
/// # Errors
/// Every problem, each at its place.
pub fn compile(
    source: &Source,
    resolved: &Resolved,
    kept: &mut Kept,
    generation: u64,
) -> Result<Snapshot, Vec<Problem>> {
    let mut compiler = Compiler { source, resolved, kept, problems: Vec::new() };
    let config = &source.config;
    let services: Vec<_> = config.services.iter().map(|(name, service)| compiler.service(name, service)).collect();
    let mut rules = Vec::new();
    let routes: Vec<_> =
        config.routes.iter().enumerate().map(|(at, route)| compiler.route(at, route, &mut rules)).collect();
    compiler.check_names();
    let listeners: Vec<_> =
        config.listeners.iter().map(|(name, listener)| compiler.listener(name, listener, &rules)).collect();
    let buckets_us = compiler.buckets();
    if !compiler.problems.is_empty() {
        return Err(compiler.problems);
    }
    let mut snapshot = Snapshot {
        generation,
        listeners,
        routes,
        services,
        log_format: config.access_log.as_ref().map(|log| log.format),
        buckets_us,
        workers: 1,
        shed_above_ms: config.workers.shed_above.limit_ms(),
        connections_max: config.workers.connections_max,
        drain_idle_ms: config.shutdown.idle.ms(),
    };
    put_labels(&mut snapshot, &mut kept.labels);
    Ok(snapshot)
}

/// The names that must be resolved before compiling.
#[must_use]
pub fn names(source: &Source) -> BTreeSet<Arc<str>> {
    let endpoints = source.config.services.values().flat_map(|service| &service.endpoints);
    endpoints
        .filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Name(name, _) => Some(Arc::clone(name)),
            EndpointAddress::Tcp(_) | EndpointAddress::Unix(_) => None,
        })
        .collect()
}

fn put_labels(snapshot: &mut Snapshot, labels: &mut Labels) {
    let names: Vec<Arc<str>> = (snapshot.listeners.iter().map(|listener| &listener.name))
        .chain(snapshot.routes.iter().map(|route| &route.name))
        .chain(snapshot.services.iter().map(|service| &service.name))
        .cloned()
        .collect();
    let mut labels = labels.labels(names.iter().map(|name| &**name)).into_iter();
    let slots = (snapshot.listeners.iter_mut().map(|listener| &mut listener.label))
        .chain(snapshot.routes.iter_mut().map(|route| &mut route.label))
        .chain(snapshot.services.iter_mut().map(|service| &mut service.label));
    for (slot, label) in slots.zip(&mut labels) {
        *slot = label;
    }
}

struct Compiler<'a> {
    source: &'a Source,
    resolved: &'a Resolved,
    kept: &'a mut Kept,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn problem(&mut self, key: &str, what: impl Into<String>, remedy: &str) {
        self.problems.push(self.source.problem(key, what.into(), remedy));
    }

    fn listener(
        &mut self,
        name: &str,
        listener: &Listener,
        rules: &[(Rule, Vec<String>)],
    ) -> crate::snapshot::Listener {
        let of_this = rules.iter().filter(|(_, listeners)| listeners.is_empty() || listeners.iter().any(|l| l == name));
        let router =
            Router::build(of_this.map(|(rule, _)| rule.clone()).collect()).unwrap_or_else(|(route, message)| {
                let what =
                    format!("the expressions of this and the following routes are too large together: {message}");
                self.problem(&format!("routes.{route}.paths"), what, "use prefixes where they do");
                Router::default()
            });
        let timeouts = &listener.timeouts;
        crate::snapshot::Listener {
            name: name.into(),
            label: crate::snapshot::Label::default(),
            address: listener.address.clone(),
            port: listener.address.sockets().first().map_or(0, SocketAddr::port),
            timeouts: ClientTimeouts {
                handshake_ms: timeouts.handshake.limit_ms(),
                header_ms: timeouts.header.limit_ms(),
                body_ms: timeouts.body.limit_ms(),
                idle_ms: timeouts.idle.limit_ms(),
                send_ms: timeouts.send.limit_ms(),
            },
            trusted: listener.trusted_proxies.clone(),
            underscores: match listener.underscores {
                UnderscoreRule::Drop => Underscores::Drop,
                UnderscoreRule::Reject => Underscores::Reject,
                UnderscoreRule::Keep => Underscores::Keep,
            },
            body_bytes_max: listener.body_max.limit_bytes(),
            connections_per_client: listener.connections_per_client,
            forwarded: listener.forwarded,
            via: listener.via,
            proxy_status: listener.proxy_status,
            http2: listener.http2,
            tls: self.listener_tls(name, listener),
            router,
        }
    }

    fn check_names(&mut self) {
        let config = &self.source.config;
        let mut names = BTreeSet::new();
        for (at, route) in config.routes.iter().enumerate() {
            if route.name.is_empty() {
                self.problem(&format!("routes.{at}.name"), "the name is empty", "");
            } else if !names.insert(&route.name) {
                let what = format!("there is another route `{}`", route.name);
                self.problem(&format!("routes.{at}.name"), what, "rename one of them");
            }
        }
        if config.listeners.is_empty() {
            self.problem("listeners", "there is no listener", "add one: [listeners.web] with an address");
        }
        let mut taken: HashMap<String, &str> = HashMap::new();
        for (name, listener) in &config.listeners {
            let sockets = listener.address.sockets();
            let unix = matches!(listener.address, ListenAddress::Unix(_)).then(|| listener.address.to_string());
            let addresses = sockets.iter().filter(|socket| socket.port() > 0).map(ToString::to_string).chain(unix);
            for address in addresses {
                if let Some(other) = taken.insert(address, name) {
                    let what = format!("`{other}` listens on this address already");
                    self.problem(&format!("listeners.{name}.address"), what, "");
                    break;
                }
            }
        }
        if let Some(admin) = &config.admin
            && let Some(other) = taken.get(&admin.address.to_string())
        {
            self.problem("admin.address", format!("the listener `{other}` listens on this address already"), "");
        }
        if config.workers.connections_max == Some(0) {
            self.problem(
                "workers.connections_max",
                "0 would accept nothing",
                "leave it out for the limit of open files",
            );
        }
    }

    fn buckets(&mut self) -> Vec<u64> {
        let buckets = &self.source.config.metrics.buckets;
        let is_growing = buckets.windows(2).all(|pair| pair[0] < pair[1]);
        let is_in_range = buckets.iter().all(|bound| (0.000_001..=86_400.0).contains(bound));
        if !is_growing || !is_in_range || buckets.len() > METRIC_BUCKETS_MAX {
            let remedy =
                format!("write at most {METRIC_BUCKETS_MAX} growing numbers of seconds, from 0.000001 to 86400");
            self.problem("metrics.buckets", "the buckets are not valid", &remedy);
            return Vec::new();
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
        buckets.iter().map(|seconds| (seconds * 1e6).round() as u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Syntax;
    use crate::failure::Failure;
    use crate::snapshot::Address;
    use std::path::Path;

    fn source(text: &str) -> Source {
        Source::parse(text, Syntax::Toml, Path::new("r.toml"), &|_| None).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        let result = compile(&source(text), &Resolved::new(), &mut Kept::default(), 1);
        result.expect_err(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_does_not_fit_together_is_told_at_once() {
        let told = problems(
            "[listeners.a]\naddress = \":80\"\n[listeners.b]\naddress = \"0.0.0.0:80\"\n\
             [[routes]]\nname = \"x\"\nservice = \"wbe\"\nhosts = [\"a:80\"]\nmethods = [\"get\"]\n\
             paths = [{ prefix = \"a\" }, { regex = \"(\" }]\nlisteners = [\"c\"]\n\
             filters = [{ redirect = { status = 200 } }, { request_headers = { set = { Host = \"x\" } } }]\n\
             [[routes]]\nname = \"calls\"\nservice = \"web\"\nfilters = [\"grpc_web\"]\n\
             [[routes]]\nname = \"x\"\n\
             [listeners.c2]\naddress = \":81\"\ntls = { early_data = true, client_auth = [{ ca = [] }] }\n\
             [services.web]\nendpoints = [{ address = \"10.0.0.1:1\", weight = 0 }]\nhost = \"a b\"\n\
             [services.load]\nlimits = { queue = 5 }\nretry = { attempts = 11, on_status = [200, 425] }\n\
             ejection = { share_max = 0 }\ncircuit_breaker = { error_ratio = 1.0, latency = \"0s\", quantile = 0.0 }\n\
             health = { path = \"x\", expected = [], port = 0, headers = { Host = \"a\" }, interval = \"0s\", healthy = 0 }\n\
             [metrics]\nbuckets = [1.0, 0.5]\n",
        );
        let all = told.join("\n");
        for expected in [
            "r.toml:7:1: routes.0.service: there is no service `wbe`; did you mean `web`?",
            "routes.0.hosts.0: `a:80` is no host",
            "routes.0.methods.0: `get` is no method; write it in capitals",
            "routes.0.paths.0: `a` is no path; begin it with /",
            "routes.0.paths.1: `(` is no regular expression",
            "routes.0.listeners.0: there is no listener `c`",
            "routes.0.filters.0: 200 is no redirect",
            "routes.0.filters.1: `Host` belongs to the proxy",
            "routes.1.filters.0: gRPC is spoken over HTTP/2, and this service is not; set the service's `protocol` to \"h2\"",
            "routes.2: the route leads nowhere",
            "routes.2.name: there is another route `x`",
            "services.load.retry.on_status: 425 tells the client to come again once its handshake is over",
            "services.web.endpoints: every weight is 0",
            "services.web.host: `a b` is no host",
            "listeners.b.address: `a` listens on this address already",
            "listeners.c2.tls.early_data: who has shown no certificate yet could not be answered early; leave out `early_data`",
            "metrics.buckets: the buckets are not valid",
            "services.load.limits.queue: nothing would ever wait",
            "services.load.retry.attempts: 11 attempts are more than 10",
            "services.load.retry.on_status: 200 is no status of an error",
            "services.load.ejection.share_max: none of the endpoints could ever be left out",
            "services.load.circuit_breaker.error_ratio: it is no share that could be exceeded",
            "services.load.circuit_breaker.latency: every answer takes longer than 0",
            "services.load.circuit_breaker.quantile: it is no quantile",
            "services.load.health.path: it is no path; begin it with /",
            "services.load.health.expected: no answer would be good",
            "services.load.health.port: 0 is no port to connect to",
            "services.load.health.headers: `Host` is written already",
            "services.load.health: `interval` and `timeout` must be longer than 0",
            "services.load.health: `healthy` and `unhealthy` must be 1 or more",
        ] {
            assert!(all.contains(expected), "{expected}\nnot in\n{all}");
        }
        assert_eq!(told.len(), 31, "{all}");
    }

    #[test]
    fn names_resolve_to_all_their_addresses() {
        let text =
            "[listeners.a]\naddress = \":80\"\n[services.web]\nendpoints = [\"app.local:81\", \"gone.local:82\"]\n";
        let source = source(text);
        assert_eq!(names(&source).len(), 2);
        let mut resolved = Resolved::new();
        resolved.insert("app.local".into(), Ok(vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()]));
        let snapshot = compile(&source, &resolved, &mut Kept::default(), 1).unwrap();
        let service = &snapshot.services[0];
        assert_eq!(service.endpoints.len(), 2);
        assert_eq!(service.endpoints[1].address, Address::Tcp("[::1]:81".parse().unwrap()));
        assert_eq!(service.unresolved, Some(Failure::DnsError));
    }

    #[test]
    fn labels_stay_the_same_from_one_snapshot_to_the_next() {
        let mut kept = Kept::default();
        let text = |names: &[&str]| {
            let services: Vec<_> = names.iter().map(|name| format!("[services.{name}]\n")).collect();
            let services = services.concat();
            source(&format!("[listeners.l]\naddress = \":80\"\n{services}"))
        };
        let first = compile(&text(&["b", "c"]), &Resolved::new(), &mut kept, 1).unwrap();
        let second = compile(&text(&["a", "c"]), &Resolved::new(), &mut kept, 2).unwrap();
        assert_eq!(first.services[1].label, second.services[1].label);
        assert_ne!(first.services[0].label, second.services[0].label);
        assert_eq!(kept.labels.name(second.services[0].label), "a");
    }
}
