//! Turns a configuration into a snapshot, or tells everything that is wrong with it.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use regex::bytes::Regex;

use crate::config::problem::{Problem, nearest};
use crate::config::routes::{self, PathMatch, ValueMatch};
use crate::config::services::{self, HostRule};
use crate::config::units::{Duration, EndpointAddress, ListenAddress};
use crate::config::{Listener, Source, UnderscoreRule};
use crate::filter::{Filter, HeaderEdit, Redirect};
use crate::limits::{ENDPOINTS_MAX, METRIC_BUCKETS_MAX};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token_byte;
use crate::proto::h1::request::Underscores;
use crate::proto::h1::target::normalize;
use crate::route::{Conditions, HostPattern, PathPattern, Router, Rule, ValueTest};
use crate::snapshot::{
    Address, Balance, ClientTimeouts, Endpoint, HashKey, Host, Labels, Route, Service, Snapshot, UpstreamTimeouts,
};
use crate::upstream::pick::HashRing;
use crate::upstream::reuse::ReuseBounds;

/// What names of endpoints resolved to; a name that is missing did not resolve.
pub type Resolved = HashMap<Arc<str>, Vec<IpAddr>>;

/// Compiles.
///
/// # Errors
/// Every problem, each at its place.
pub fn compile(
    source: &Source,
    resolved: &Resolved,
    labels: &mut Labels,
    generation: u64,
) -> Result<Snapshot, Vec<Problem>> {
    let mut compiler = Compiler { source, resolved, problems: Vec::new() };
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
        connections_max: config.workers.connections_max,
        drain_idle_ms: config.shutdown.idle.ms(),
    };
    put_labels(&mut snapshot, labels);
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
            forwarded: listener.forwarded,
            via: listener.via,
            proxy_status: listener.proxy_status,
            router,
        }
    }

    fn route(&mut self, at: usize, route: &routes::Route, rules: &mut Vec<(Rule, Vec<String>)>) -> Route {
        let key = format!("routes.{at}");
        let config = &self.source.config;
        let mut service = None;
        if let Some(name) = &route.service {
            service = config.services.keys().position(|known| known == name);
            if service.is_none() {
                let known = config.services.keys().map(String::as_str);
                let remedy = nearest(name, known).map_or_else(String::new, |near| format!("did you mean `{near}`?"));
                self.problem(&format!("{key}.service"), format!("there is no service `{name}`"), &remedy);
            }
        } else if !route.filters.iter().any(|filter| matches!(filter, routes::Filter::Redirect(_))) {
            self.problem(&key, "the route leads nowhere", "give it a service, or a redirect among its filters");
        }
        for (position, name) in route.listeners.iter().enumerate() {
            if !config.listeners.contains_key(name) {
                let known = config.listeners.keys().map(String::as_str);
                let remedy = nearest(name, known).map_or_else(String::new, |near| format!("did you mean `{near}`?"));
                self.problem(&format!("{key}.listeners.{position}"), format!("there is no listener `{name}`"), &remedy);
            }
        }
        let hosts = self.hosts(&key, &route.hosts);
        let paths = self.paths(&key, &route.paths);
        let conditions = self.conditions(&key, route);
        rules.push((Rule { route: at, hosts, paths, conditions, priority: route.priority }, route.listeners.clone()));
        let filters = route.filters.iter().enumerate();
        let filters = filters.filter_map(|(at, filter)| self.filter(&format!("{key}.filters.{at}"), filter)).collect();
        Route { name: route.name.as_str().into(), label: crate::snapshot::Label::default(), filters, service }
    }

    fn hosts(&mut self, key: &str, hosts: &[String]) -> Vec<HostPattern> {
        if hosts.is_empty() {
            return vec![HostPattern::Any];
        }
        let mut patterns = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            let host = host.to_ascii_lowercase();
            let name = host.strip_prefix("*.").unwrap_or(&host);
            if host == "*" {
                patterns.push(HostPattern::Any);
            } else if host_length(name.as_bytes()) != Some(name.len()) {
                let what = format!("`{host}` is no host");
                self.problem(
                    &format!("{key}.hosts.{at}"),
                    what,
                    "write example.com, *.example.org, or * for any; no port",
                );
            } else if let Some(suffix) = host.strip_prefix('*') {
                patterns.push(HostPattern::Wildcard(suffix.trim_end_matches('.').as_bytes().into()));
            } else {
                patterns.push(HostPattern::Exact(host.trim_end_matches('.').as_bytes().into()));
            }
        }
        patterns
    }

    fn paths(&mut self, key: &str, paths: &[PathMatch]) -> Vec<PathPattern> {
        if paths.is_empty() {
            return vec![PathPattern::prefix("/")];
        }
        let mut patterns = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            let key = format!("{key}.paths.{at}");
            patterns.extend(match path {
                PathMatch::Exact(path) => self.path(&key, path).map(|path| PathPattern::exact(&path)),
                PathMatch::Prefix(path) => self.path(&key, path).map(|path| PathPattern::prefix(&path)),
                PathMatch::Regex(pattern) => match PathPattern::regex(pattern) {
                    Ok(pattern) => Some(pattern),
                    Err(message) => {
                        self.problem(&key, format!("`{pattern}` is no regular expression: {message}"), "");
                        None
                    }
                },
            });
        }
        patterns
    }

    /// A path in the form that requests are compared in.
    fn path(&mut self, key: &str, path: &str) -> Option<String> {
        let mut normal = Vec::new();
        let length = normalize(path.as_bytes(), &mut normal).ok();
        let is_path = path.starts_with('/') && length == Some(normal.len());
        if !is_path {
            self.problem(key, format!("`{path}` is no path"), "begin it with / and leave query and fragment out");
            return None;
        }
        String::from_utf8(normal).ok()
    }

    fn conditions(&mut self, key: &str, route: &routes::Route) -> Conditions {
        for (at, method) in route.methods.iter().enumerate() {
            let has_lower = method.bytes().any(|byte| byte.is_ascii_lowercase());
            if !is_token(method) || has_lower {
                let what = format!("`{method}` is no method");
                self.problem(&format!("{key}.methods.{at}"), what, "write it in capitals, like GET");
            }
        }
        let headers = self.values(&format!("{key}.headers"), &route.headers, true);
        let query = self.values(&format!("{key}.query"), &route.query, false);
        Conditions { methods: route.methods.iter().map(|method| method.as_bytes().into()).collect(), headers, query }
    }

    fn values(&mut self, key: &str, matches: &[ValueMatch], is_header: bool) -> Vec<(Box<[u8]>, ValueTest)> {
        let mut tests = Vec::new();
        for (at, value) in matches.iter().enumerate() {
            let key = format!("{key}.{at}");
            if is_header && !is_token(&value.name) {
                self.problem(&key, format!("`{}` is no field name", value.name), "");
            }
            let test = match (&value.value, &value.regex) {
                (Some(_), Some(_)) => {
                    self.problem(&key, "both value and regex are given", "leave one out");
                    continue;
                }
                (Some(value), None) => ValueTest::Equal(value.as_bytes().into()),
                (None, None) => ValueTest::Present,
                (None, Some(pattern)) => match Regex::new(pattern) {
                    Ok(regex) => ValueTest::Matches(regex),
                    Err(error) => {
                        self.problem(&key, format!("`{pattern}` is no regular expression: {error}"), "");
                        continue;
                    }
                },
            };
            let name = if is_header { value.name.to_ascii_lowercase() } else { value.name.clone() };
            tests.push((name.into_bytes().into(), test));
        }
        tests
    }

    fn filter(&mut self, key: &str, filter: &routes::Filter) -> Option<Filter> {
        let prefix = |path: String| path.trim_end_matches('/').as_bytes().into();
        match filter {
            routes::Filter::StripPrefix(path) => self.path(key, path).map(prefix).map(Filter::StripPrefix),
            routes::Filter::AddPrefix(path) => self.path(key, path).map(prefix).map(Filter::AddPrefix),
            routes::Filter::Redirect(redirect) => self.redirect(key, redirect).map(Filter::Redirect),
            routes::Filter::RequestHeaders(edit) => self.edit(key, edit).map(Filter::RequestHeaders),
            routes::Filter::ResponseHeaders(edit) => self.edit(key, edit).map(Filter::ResponseHeaders),
        }
    }

    fn redirect(&mut self, key: &str, redirect: &routes::Redirect) -> Option<Redirect> {
        let before = self.problems.len();
        if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
            self.problem(key, format!("{} is no redirect", redirect.status), "write 301, 302, 303, 307 or 308");
        }
        if redirect.scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            self.problem(key, "the scheme is neither http nor https", "");
        }
        if redirect.host.as_deref().is_some_and(|host| host_length(host.as_bytes()).is_none()) {
            self.problem(key, "the host is not valid", "write host or host:port");
        }
        let path = redirect.path.as_ref().and_then(|path| self.path(key, path));
        let bytes = |text: &String| text.as_bytes().into();
        (self.problems.len() == before).then(|| Redirect {
            scheme: redirect.scheme.as_ref().map(bytes),
            host: redirect.host.as_ref().map(bytes),
            path: path.as_ref().map(bytes),
            status: redirect.status,
        })
    }

    fn edit(&mut self, key: &str, edit: &routes::HeaderEdit) -> Option<HeaderEdit> {
        const OURS: [&str; 6] = ["connection", "content-length", "host", "transfer-encoding", "upgrade", "keep-alive"];
        let before = self.problems.len();
        let puts = edit.set.iter().chain(&edit.add);
        for name in edit.remove.iter().chain(puts.clone().map(|(name, _)| name)) {
            if !is_token(name) {
                self.problem(key, format!("`{name}` is no field name"), "");
            } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
                self.problem(key, format!("`{name}` belongs to the proxy"), "for Host, set the service's `host`");
            }
        }
        for (name, value) in puts.clone() {
            if value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
                self.problem(key, format!("the value of `{name}` holds control characters"), "");
            }
        }
        let removed = edit.remove.iter().chain(edit.set.keys());
        (self.problems.len() == before).then(|| HeaderEdit {
            remove: removed.map(|name| name.to_ascii_lowercase().into_bytes().into()).collect(),
            put: puts.map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())).collect(),
        })
    }

    fn service(&mut self, name: &str, service: &services::Service) -> Service {
        let key = format!("services.{name}");
        let mut is_unresolved = false;
        let mut endpoints = Vec::new();
        for endpoint in &service.endpoints {
            let name: Arc<str> = endpoint.address.to_string().into();
            let mut put =
                |address| endpoints.push(Endpoint { address, name: Arc::clone(&name), weight: endpoint.weight });
            match &endpoint.address {
                EndpointAddress::Tcp(address) => put(Address::Tcp(*address)),
                EndpointAddress::Unix(path) => put(Address::Unix(path.clone())),
                EndpointAddress::Name(host, port) => match self.resolved.get(host) {
                    Some(addresses) => {
                        addresses.iter().for_each(|ip| put(Address::Tcp(SocketAddr::new(*ip, *port))));
                    }
                    None => is_unresolved = true,
                },
            }
        }
        if endpoints.len() > ENDPOINTS_MAX {
            let what = format!("{} endpoints are more than {ENDPOINTS_MAX}", endpoints.len());
            self.problem(&format!("{key}.endpoints"), what, "");
        }
        if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            self.problem(&format!("{key}.endpoints"), "every weight is 0", "give one of them 1 or more");
        }
        let limit = Duration::limit_ms;
        let timeouts = &service.timeouts;
        Service {
            name: name.into(),
            label: crate::snapshot::Label::default(),
            balance: self.balance(&key, &service.balance, &endpoints),
            endpoints,
            is_unresolved,
            host: self.host(&key, &service.host),
            reuse: ReuseBounds {
                idle_ms_max: service.keep_alive.idle.ms(),
                requests_max: service.keep_alive.requests_max,
                age_ms_max: service.keep_alive.age_max.ms(),
            },
            idle_connections_max: service.keep_alive.per_worker,
            timeouts: UpstreamTimeouts {
                connect_ms: limit(timeouts.connect),
                header_ms: limit(timeouts.header),
                body_ms: limit(timeouts.body),
                send_ms: limit(timeouts.send),
                total_ms: limit(timeouts.total),
                tunnel_ms: limit(timeouts.tunnel),
            },
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
                if !is_token(name) {
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

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Syntax;
    use std::path::Path;

    fn source(text: &str) -> Source {
        Source::parse(text, Syntax::Toml, Path::new("r.toml"), &|_| None).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        let result = compile(&source(text), &Resolved::new(), &mut Labels::default(), 1);
        result.expect_err(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_does_not_fit_together_is_told_at_once() {
        let told = problems(
            "[listeners.a]\naddress = \":80\"\n[listeners.b]\naddress = \"0.0.0.0:80\"\n\
             [[routes]]\nname = \"x\"\nservice = \"wbe\"\nhosts = [\"a:80\"]\nmethods = [\"get\"]\n\
             paths = [{ prefix = \"a\" }, { regex = \"(\" }]\nlisteners = [\"c\"]\n\
             filters = [{ redirect = { status = 200 } }, { request_headers = { set = { Host = \"x\" } } }]\n\
             [[routes]]\nname = \"x\"\n\
             [services.web]\nendpoints = [{ address = \"10.0.0.1:1\", weight = 0 }]\nhost = \"a b\"\n\
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
            "routes.1: the route leads nowhere",
            "routes.1.name: there is another route `x`",
            "services.web.endpoints: every weight is 0",
            "services.web.host: `a b` is no host",
            "listeners.b.address: `a` listens on this address already",
            "metrics.buckets: the buckets are not valid",
        ] {
            assert!(all.contains(expected), "{expected}\nnot in\n{all}");
        }
        assert_eq!(told.len(), 14, "{all}");
    }

    #[test]
    fn names_resolve_to_all_their_addresses() {
        let text =
            "[listeners.a]\naddress = \":80\"\n[services.web]\nendpoints = [\"app.local:81\", \"gone.local:82\"]\n";
        let source = source(text);
        assert_eq!(names(&source).len(), 2);
        let mut resolved = Resolved::new();
        resolved.insert("app.local".into(), vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
        let snapshot = compile(&source, &resolved, &mut Labels::default(), 1).unwrap();
        let service = &snapshot.services[0];
        assert_eq!(service.endpoints.len(), 2);
        assert_eq!(service.endpoints[1].address, Address::Tcp("[::1]:81".parse().unwrap()));
        assert!(service.is_unresolved);
    }

    #[test]
    fn labels_stay_the_same_from_one_snapshot_to_the_next() {
        let mut labels = Labels::default();
        let text = |names: &[&str]| {
            let services: Vec<_> = names.iter().map(|name| format!("[services.{name}]\n")).collect();
            let services = services.concat();
            source(&format!("[listeners.l]\naddress = \":80\"\n{services}"))
        };
        let first = compile(&text(&["b", "c"]), &Resolved::new(), &mut labels, 1).unwrap();
        let second = compile(&text(&["a", "c"]), &Resolved::new(), &mut labels, 2).unwrap();
        assert_eq!(first.services[1].label, second.services[1].label);
        assert_ne!(first.services[0].label, second.services[0].label);
        assert_eq!(labels.name(second.services[0].label), "a");
    }
}
