//! Turns a configuration into a snapshot, or tells everything that is wrong with it.
//!
//! What did not change since the latest snapshot is taken from there, by its pointer. The time is linear in the parts.

mod chains;
mod compiler;
mod gateway;
mod listeners;
mod resilience;
mod routes;
mod secrets;
mod services;
mod tls;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use compiler::Compiler;
pub use compiler::{Kept, Parts, Resolved, TimedOut};

use crate::config::problem::Problem;
use crate::config::source::Source;
use crate::filter::Filter;
use crate::limits::METRIC_BUCKETS_MAX;
use crate::snapshot::{ProcessSettings, Service, Snapshot};
use crate::units::{EndpointAddress, ListenAddress, Material};

/// What a source compiles to.
#[derive(Debug)]
pub struct Compiled {
    /// What workers are to run with.
    pub snapshot: Snapshot,
    /// Everything that is wrong; empty for a source that is taken whole or not at all.
    pub problems: Vec<Problem>,
    /// What is worth knowing and wrong with nothing.
    pub notices: Vec<Problem>,
    /// The keys of the parts that were left out for it, as `routes.3` or `services.web`.
    pub rejected: Vec<String>,
    /// For [`Kept::keep`], once it is published.
    pub parts: Parts,
}

/// Compiles.
///
/// # Errors
/// Every problem, each at its place, where the source is taken whole or not at all.
pub fn compile(
    source: &Source,
    resolved: &Resolved,
    kept: &mut Kept,
    generation: u64,
) -> Result<Compiled, Vec<Problem>> {
    let mut compiler = Compiler { source, resolved, kept, problems: Vec::new(), notices: Vec::new() };
    compiler.kept.shared.begin(materials(source));
    let (mut parts, mut rejected) = (Parts::default(), Vec::new());
    let config = &source.config;
    let mut services = Vec::with_capacity(config.services.len());
    for (name, spec) in &config.services {
        let known = compiler.problems.len();
        let service = services::service(&mut compiler, name, spec);
        if compiler.problems.len() > known {
            rejected.push(format!("services.{name}"));
            // Where the whole is refused anyway, the service stays known: its routes would only add problems that follow
            // from this one.
            if !source.is_whole_at(&format!("services.{name}")) {
                continue;
            }
        }
        parts.services.insert(Arc::clone(&service.name), Arc::clone(&service));
        compiler.kept.shared.put_service(&service.name, service.label, service.gateway.is_some());
        services.push(service);
    }
    services::of_cluster(&mut compiler);
    chains::check_named(&mut compiler);
    let mut routes = Vec::with_capacity(config.routes.len());
    for (at, spec) in config.routes.iter().enumerate() {
        let known = compiler.problems.len();
        let mut route = routes::route(&mut compiler, at, spec, &parts.services);
        if compiler.problems.len() > known {
            rejected.push(format!("routes.{at}"));
            // Its requests must not take another route that asks for less.
            match routes::closed(&mut compiler, at, spec) {
                Some(closed) => route = closed,
                None => continue,
            }
        }
        parts.routes.insert(Arc::clone(&route.route.name), route.clone());
        routes.push(route);
    }
    check_names(&mut compiler);
    let mut entrances = Vec::with_capacity(config.listeners.len());
    for (name, spec) in &config.listeners {
        let known = compiler.problems.len();
        let entrance = listeners::entrance(&mut compiler, (name, spec), &routes, &entrances);
        // What is wrong with an object's part of it ends nobody's connections.
        if compiler.has_own_problem(known) {
            rejected.push(format!("listeners.{name}"));
            continue;
        }
        parts.entrances.insert(Arc::clone(&entrance.listener.name), entrance.clone());
        entrances.push(entrance);
    }
    parts.process = process(&mut compiler);
    if source.is_refused_by(&compiler.problems) {
        return Err(compiler.problems);
    }
    let snapshot = Snapshot {
        generation,
        process: Arc::clone(&parts.process),
        listeners: entrances,
        routes: routes.into_iter().map(|kept| kept.route).collect(),
        services: services.into_iter().collect(),
    };
    Ok(Compiled { snapshot, problems: compiler.problems, notices: compiler.notices, rejected, parts })
}

/// The bytes that filters name.
fn materials(source: &Source) -> BTreeMap<Material, Result<Arc<[u8]>, String>> {
    let named = source.config.filter_lists().flatten().flat_map(Filter::materials);
    named.map(|material| (material.clone(), source.files.get(material).map(Into::into))).collect()
}

/// Compiles one service anew, for the addresses of its names changed; `None` where it stays what it was.
///
/// # Errors
/// What is wrong with it now.
pub fn recompile_service(
    source: &Source,
    resolved: &Resolved,
    kept: &mut Kept,
    name: &str,
) -> Result<Option<Arc<Service>>, Vec<Problem>> {
    let Some(spec) = source.config.services.get(name) else { return Ok(None) };
    let before = kept.parts.services.get(name).cloned();
    let mut compiler = Compiler { source, resolved, kept, problems: Vec::new(), notices: Vec::new() };
    let service = services::service(&mut compiler, name, spec);
    let is_same = before.is_some_and(|before| Arc::ptr_eq(&before, &service));
    if compiler.problems.is_empty() { Ok((!is_same).then_some(service)) } else { Err(compiler.problems) }
}

/// The names that must be resolved before compiling, each with the services that have it.
#[must_use]
pub fn names(source: &Source) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let mut names: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
    for (service, spec) in &source.config.services {
        let of_service: BTreeSet<_> = spec
            .endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.address {
                EndpointAddress::Name(name, _) => Some(name),
                EndpointAddress::Tcp(_) | EndpointAddress::Unix(_) => None,
            })
            .collect();
        let service: Arc<str> = service.as_str().into();
        for name in of_service {
            names.entry(Arc::clone(name)).or_default().push(Arc::clone(&service));
        }
    }
    names
}

fn process(compiler: &mut Compiler<'_>) -> Arc<ProcessSettings> {
    let config = Arc::clone(&compiler.source.config);
    let settings = ProcessSettings {
        log_format: config.access_log.as_ref().map(|log| log.format),
        buckets_us: buckets(compiler),
        shed_above_ms: config.workers.shed_above.limit_ms(),
        connections_max: config.workers.connections_max,
        drain_idle_ms: config.shutdown.idle.ms(),
    };
    let before = &compiler.kept.parts.process;
    if **before == settings { Arc::clone(before) } else { Arc::new(settings) }
}

fn check_names(compiler: &mut Compiler<'_>) {
    let config = Arc::clone(&compiler.source.config);
    let mut names = HashSet::new();
    for (at, route) in config.routes.iter().enumerate() {
        if route.name.is_empty() {
            compiler.problem(&format!("routes.{at}.name"), "the name is empty", "");
        } else if !names.insert(&route.name) {
            let what = format!("there is another route `{}`", route.name);
            compiler.problem(&format!("routes.{at}.name"), what, "rename one of them");
        }
    }
    if config.listeners.is_empty() {
        compiler.problem("listeners", "there is no listener", "add one: [listeners.web] with an address");
    }
    let mut taken: HashMap<String, &str> = HashMap::new();
    for (name, listener) in &config.listeners {
        let sockets = listener.address.sockets();
        let unix = matches!(listener.address, ListenAddress::Unix(_)).then(|| listener.address.to_string());
        let addresses = sockets.iter().filter(|socket| socket.port() > 0).map(ToString::to_string).chain(unix);
        for address in addresses {
            if let Some(other) = taken.insert(address, name) {
                let what = format!("`{other}` listens on this address already");
                compiler.problem(&format!("listeners.{name}.address"), what, "");
                break;
            }
        }
    }
    if let Some(path) = config.access_log.as_ref().and_then(|log| log.path.to_str())
        && (path.starts_with("syslog:") || path.starts_with('|') || matches!(path, "off" | "stdout" | "stderr"))
    {
        let remedy = match path {
            "off" => "leave `access_log` out",
            "stdout" => "write \"-\"",
            _ => "write a file, or \"-\" for standard output, which a journal or a container's log takes",
        };
        compiler.problem("access_log.path", format!("`{path}` would be the name of a file"), remedy);
    }
    if let Some(admin) = &config.admin
        && let Some(other) = taken.get(&admin.address.to_string())
    {
        compiler.problem("admin.address", format!("the listener `{other}` listens on this address already"), "");
    }
    if config.workers.connections_max == Some(0) {
        compiler.problem(
            "workers.connections_max",
            "0 would accept nothing",
            "leave it out for the limit of open files",
        );
    }
}

fn buckets(compiler: &mut Compiler<'_>) -> Vec<u64> {
    let config = Arc::clone(&compiler.source.config);
    let buckets = &config.metrics.buckets;
    let is_growing = buckets.windows(2).all(|pair| pair[0] < pair[1]);
    let is_in_range = buckets.iter().all(|bound| (0.000_001..=86_400.0).contains(bound));
    if !is_growing || !is_in_range || buckets.len() > METRIC_BUCKETS_MAX {
        let remedy = format!("write at most {METRIC_BUCKETS_MAX} growing numbers of seconds, from 0.000001 to 86400");
        compiler.problem("metrics.buckets", "the buckets are not valid", &remedy);
        return Vec::new();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
    buckets.iter().map(|seconds| (seconds * 1e6).round() as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Syntax;
    use crate::config::problem::Place;
    use crate::config::schema::Config;
    use crate::config::tls::{CertificateFiles, Material};
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
            "routes.0.hosts.0: `a:80` is not a host",
            "routes.0.methods.0: `get` is not a method; write it in capitals",
            "routes.0.paths.0: `a` is not a path; begin it with /",
            "routes.0.paths.1: `(` is not a regular expression",
            "routes.0.listeners.0: there is no listener `c`",
            "routes.0.filters.0: 200 is not a redirect",
            "routes.0.filters.1: `Host` belongs to the proxy",
            "routes.1.filters.0: gRPC needs HTTP/2, which this service does not speak; set the service's `protocol` to \"h2\"",
            "routes.2: the route leads nowhere",
            "routes.2.name: there is another route `x`",
            "services.load.retry.on_status: 425 tells the client to come again once its handshake is over",
            "services.web.endpoints: every weight is 0",
            "services.web.host: `a b` is not a host",
            "listeners.b.address: `a` listens on this address already",
            "listeners.c2.tls.early_data: early data comes before the client has shown its certificate; leave out `early_data`",
            "metrics.buckets: the buckets are not valid",
            "services.load.limits.queue: nothing would ever wait",
            "services.load.retry.attempts: 11 attempts are more than 10",
            "services.load.retry.on_status: 200 is not a status of an error",
            "services.load.ejection.share_max: none of the endpoints could ever be left out",
            "services.load.circuit_breaker.error_ratio: it is not a share that could be exceeded",
            "services.load.circuit_breaker.latency: every answer takes longer than 0",
            "services.load.circuit_breaker.quantile: it is not a quantile",
            "services.load.health.path: it is not a path; begin it with /",
            "services.load.health.expected: no status would count as healthy",
            "services.load.health.port: 0 is not a port to connect to",
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
        let snapshot = compile(&source, &resolved, &mut Kept::default(), 1).unwrap().snapshot;
        let service = snapshot.services.get(0).unwrap();
        assert_eq!(service.endpoints.len(), 2);
        assert_eq!(service.endpoints[1].address, Address::Tcp("[::1]:81".parse().unwrap()));
        assert_eq!(service.unresolved, Some(Failure::DnsError));
    }

    const OBJECTS: &str = "[listeners.web]\naddress = \":80\"\n[services.good]\n[services.bad]\nhost = \"a b\"\n\
        [[routes]]\nname = \"one\"\nservice = \"good\"\n[[routes]]\nname = \"two\"\nservice = \"bad\"\n\
        [[routes]]\nname = \"three\"\nservice = \"good\"\npaths = [{ prefix = \"no-slash\" }]\n";

    #[test]
    fn one_objects_mistake_freezes_nobody_and_a_file_is_taken_whole_or_not_at_all() {
        let config = Config::clone(&source(OBJECTS).config);
        let object = |name: &str| Place::Object { kind: "Ingress".into(), namespace: "a".into(), name: name.into() };
        let places = [("services.bad", "bad"), ("routes.1", "two"), ("routes.2", "three")];
        let places = places.map(|(key, name)| (key.to_owned(), object(name)));
        let objects = Source::from_objects(config, places.into());
        let compiled = compile(&objects, &Resolved::new(), &mut Kept::default(), 1).unwrap();
        assert_eq!(compiled.rejected, ["services.bad", "routes.1", "routes.2"]);
        let told: Vec<_> = compiled.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("Ingress a/bad: services.bad.host: `a b` is not a host"), "{told:?}");
        assert!(told[1].starts_with("Ingress a/two: routes.1.service: the service `bad` is not valid"), "{told:?}");
        let names: Vec<_> = compiled.snapshot.routes.iter().map(|route| (&*route.name, route.targets.len())).collect();
        // Of the third not even the path is right.
        let expected = vec![("one", 1), ("two", 0)];
        assert_eq!(
            (names, compiled.snapshot.services.len()),
            (expected, 1),
            "nobody else gets what they would have got"
        );
        assert_eq!(problems(OBJECTS).len(), 2, "the same in a file: nothing is taken");
    }

    #[test]
    fn what_did_not_change_keeps_its_pointer() {
        let mut kept = Kept::default();
        let text = |weight: u16, path: &str| {
            source(&format!(
                "[listeners.a]\naddress = \":80\"\n[listeners.b]\naddress = \":81\"\n\
                 [services.x]\nendpoints = [{{ address = \"10.0.0.1:1\", weight = {weight} }}, \"10.0.0.2:1\"]\n\
                 [services.y]\nendpoints = [\"10.0.0.3:1\"]\n\
                 [[routes]]\nname = \"one\"\nservice = \"x\"\npaths = [{{ prefix = \"{path}\" }}]\n\
                 [[routes]]\nname = \"two\"\nservice = \"y\"\n"
            ))
        };
        let mut publish = |source: &Source| {
            let compiled = compile(source, &Resolved::new(), &mut kept, 1).unwrap();
            kept.keep(compiled.parts);
            compiled.snapshot
        };
        let first = publish(&text(1, "/a"));
        let is_same = |one: &Snapshot, other: &Snapshot| {
            let services = one.services.iter().zip(&other.services).map(|(one, other)| Arc::ptr_eq(one, other));
            let entrances = one.listeners.iter().zip(&other.listeners);
            let entrances = entrances.map(|(one, other)| Arc::ptr_eq(&one.table, &other.table));
            let routes = one.routes.iter().zip(&*other.routes).map(|(one, other)| Arc::ptr_eq(one, other));
            [services.collect::<Vec<_>>(), entrances.collect(), routes.collect()]
        };
        let again = publish(&text(1, "/a"));
        assert_eq!(is_same(&first, &again), [[true, true], [true, true], [true, true]]);
        assert!(Arc::ptr_eq(&first.listeners[0].table, &first.listeners[1].table), "the same routes, one table");
        assert!(Arc::ptr_eq(&first.listeners[0].listener, &again.listeners[0].listener));
        let other_weight = publish(&text(2, "/a"));
        assert_eq!(is_same(&again, &other_weight), [[false, true], [true, true], [true, true]]);
        let state = |snapshot: &Snapshot| Arc::clone(&snapshot.services.get(0).unwrap().endpoints[0].state);
        assert!(Arc::ptr_eq(&state(&again), &state(&other_weight)), "what is known of an endpoint stays");
        let other_path = publish(&text(2, "/b"));
        assert_eq!(is_same(&other_weight, &other_path), [[true, true], [false, false], [false, true]]);
    }

    #[test]
    fn a_changed_address_compiles_its_service_alone() {
        let mut kept = Kept::default();
        let source = source("[listeners.a]\naddress = \":80\"\n[services.web]\nendpoints = [\"app.local:81\"]\n");
        let resolved = |ip: &str| Resolved::from([("app.local".into(), Ok(vec![ip.parse().unwrap()]))]);
        let compiled = compile(&source, &resolved("10.0.0.1"), &mut kept, 1).unwrap();
        kept.keep(compiled.parts);
        assert!(
            recompile_service(&source, &resolved("10.0.0.1"), &mut kept, "web").unwrap().is_none(),
            "nothing changed"
        );
        let service = recompile_service(&source, &resolved("10.0.0.2"), &mut kept, "web").unwrap().unwrap();
        assert_eq!(service.endpoints[0].address, Address::Tcp("10.0.0.2:81".parse().unwrap()));
        assert!(Arc::ptr_eq(&service.counts, &compiled.snapshot.services.get(0).unwrap().counts));
    }

    #[test]
    fn a_certificate_may_come_from_memory() {
        let mut config = Config::clone(&source("[listeners.a]\naddress = \":443\"\ntls = {}\n").config);
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let memory = |name: &str, text: String| Material::Memory(name.into(), text.into_bytes().into());
        let files = CertificateFiles {
            cert: memory("Secret a/tls.crt", made.cert.pem()),
            key: memory("Secret a/tls.key", made.signing_key.serialize_pem()),
            ocsp: None,
        };
        let listener = Arc::make_mut(config.listeners.get_mut("a").unwrap());
        listener.tls.as_mut().unwrap().certificates = vec![files.clone()];
        let objects = |config: &Config| Source::from_objects(config.clone(), HashMap::new());
        let compiled = compile(&objects(&config), &Resolved::new(), &mut Kept::default(), 1).unwrap();
        let tls = compiled.snapshot.listeners[0].listener.tls.as_ref().unwrap();
        assert_eq!(tls.certificates[0].0, "a.test");
        let listener = Arc::make_mut(config.listeners.get_mut("a").unwrap());
        let broken = CertificateFiles { key: memory("Secret a/tls.key", "nothing".to_owned()), ..files };
        listener.tls.as_mut().unwrap().certificates = vec![broken];
        let compiled = compile(&objects(&config), &Resolved::new(), &mut Kept::default(), 1).unwrap();
        assert_eq!(compiled.rejected, ["listeners.a"]);
        let told = compiled.problems[0].to_string();
        assert!(told.contains("certificates.0.key: Secret a/tls.key: "), "{told}");
        assert!(!format!("{config:?}").contains("PRIVATE KEY"), "a key is never shown");
    }

    #[test]
    fn labels_stay_the_same_from_one_snapshot_to_the_next() {
        let mut kept = Kept::default();
        let text = |names: &[&str]| {
            let services: Vec<_> = names.iter().map(|name| format!("[services.{name}]\n")).collect();
            let services = services.concat();
            source(&format!("[listeners.l]\naddress = \":80\"\n{services}"))
        };
        let first = compile(&text(&["b", "c"]), &Resolved::new(), &mut kept, 1).unwrap().snapshot;
        let second = compile(&text(&["a", "c"]), &Resolved::new(), &mut kept, 2).unwrap().snapshot;
        assert_eq!(first.services.get(1).unwrap().label, second.services.get(1).unwrap().label);
        assert_ne!(first.services.get(0).unwrap().label, second.services.get(0).unwrap().label);
        assert_eq!(kept.labels.name(second.services.get(0).unwrap().label), "a");
    }
}
