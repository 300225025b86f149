//! Compiles routes: conditions into a rule of the router, filters into a chain.

use std::collections::HashMap;
use std::sync::Arc;

use regex::bytes::Regex;

use super::compiler::{Compiler, KeptRoute};
use crate::config::problem::nearest;
use crate::config::routes::{PathMatch, RouteSpec, ValueMatch};
use crate::filter::{Chain, Filter};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token;
use crate::proto::h1::target::normal_path;
use crate::route::{Conditions, HostPattern, PathPattern, Rule, ValueTest};
use crate::snapshot::{Label, Route, Service};

/// One route with its rule; those from before where nothing of them changed.
pub(super) fn route(
    compiler: &mut Compiler<'_>,
    at: usize,
    spec: &Arc<RouteSpec>,
    services: &HashMap<Arc<str>, Arc<Service>>,
) -> KeptRoute {
    let key = format!("routes.{at}");
    let served = spec.service.as_ref().and_then(|name| services.get(name.as_str()));
    let service = served.map(|service| service.label);
    let before = compiler.kept.parts.routes.get(spec.name.as_str());
    let is_same = |before: &&KeptRoute| before.spec == *spec && before.route.service == service;
    let kept = match before.filter(is_same).cloned() {
        Some(kept) => {
            if let Some(name) = kept.route.chain.claim(&mut compiler.kept.shared) {
                let what = format!("the zone `{name}` counts otherwise in another route");
                compiler.problem(&key, what, "give all filters of a zone the same settings");
            }
            kept
        }
        None => new_route(compiler, &key, spec, service),
    };
    check_references(compiler, &key, &kept, served);
    kept
}

fn new_route(compiler: &mut Compiler<'_>, key: &str, spec: &Arc<RouteSpec>, service: Option<Label>) -> KeptRoute {
    let hosts = hosts(compiler, key, &spec.hosts);
    let paths = paths(compiler, key, &spec.paths);
    let conditions = Arc::new(conditions(compiler, key, spec));
    let mut faults = Vec::new();
    let chain = Chain::compile(&spec.filters, &mut compiler.kept.shared, |at, fault| faults.push((at, fault)));
    for (at, (what, remedy)) in faults {
        compiler.problem(&format!("{key}.filters.{at}"), what, &remedy);
    }
    let label = compiler.kept.label(&spec.name);
    KeptRoute {
        spec: Arc::clone(spec),
        route: Arc::new(Route { name: spec.name.as_str().into(), label, chain, service }),
        rule: Arc::new(Rule { hosts, paths, conditions, priority: spec.priority }),
    }
}

/// What a route names must be there, whether or not the route itself changed.
fn check_references(compiler: &mut Compiler<'_>, key: &str, kept: &KeptRoute, served: Option<&Arc<Service>>) {
    let config = Arc::clone(&compiler.source.config);
    let spec = &kept.spec;
    match (&spec.service, served) {
        (Some(_), Some(served)) => {
            let bridge = spec.filters.iter().position(|filter| *filter == Filter::GrpcWeb);
            if let Some(at) = bridge.filter(|_| !served.spec.may_speak_h2()) {
                let remedy = "set the service's `protocol` to \"h2\", or give it `tls`";
                let what = "gRPC needs HTTP/2, which this service does not speak";
                compiler.problem(&format!("{key}.filters.{at}"), what, remedy);
            }
        }
        (Some(name), None) if config.services.contains_key(name) => {
            compiler.problem(
                &format!("{key}.service"),
                format!("the service `{name}` is not valid"),
                "correct the service",
            );
        }
        (Some(name), None) => {
            let remedy = did_you_mean(name, config.services.keys());
            compiler.problem(&format!("{key}.service"), format!("there is no service `{name}`"), &remedy);
        }
        (None, _) if spec.filters.iter().any(Filter::answers) => {}
        (None, _) => {
            compiler.problem(
                key,
                "the route leads nowhere",
                "give it a service, or a filter that answers, as redirect does",
            );
        }
    }
    for (position, name) in spec.listeners.iter().enumerate() {
        if !config.listeners.contains_key(name) {
            let remedy = did_you_mean(name, config.listeners.keys());
            compiler.problem(&format!("{key}.listeners.{position}"), format!("there is no listener `{name}`"), &remedy);
        }
    }
}

/// The remedy for a name that is not known.
fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    nearest(name, known.map(String::as_str)).map_or_else(String::new, |near| format!("did you mean `{near}`?"))
}

fn hosts(compiler: &mut Compiler<'_>, key: &str, hosts: &[String]) -> Vec<HostPattern> {
    if hosts.is_empty() {
        return vec![HostPattern::Any];
    }
    let mut patterns = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let host = host.to_ascii_lowercase();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let of_nginx = match host.as_str() {
            "_" => Some("leave `hosts` out: such a route takes what no other takes".to_owned()),
            dotted if dotted.starts_with('.') => Some(format!("write \"{}\" and \"*{dotted}\"", &dotted[1..])),
            expression if expression.starts_with('~') => Some("expressions of hosts are not built yet".to_owned()),
            _ => None,
        };
        if let Some(remedy) = of_nginx {
            let what = format!("`{host}` would be a name here, and no request has it");
            compiler.problem(&format!("{key}.hosts.{at}"), what, &remedy);
        } else if host == "*" {
            patterns.push(HostPattern::Any);
        } else if host_length(name.as_bytes()) != Some(name.len()) {
            let what = format!("`{host}` is not a host");
            compiler.problem(
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

fn paths(compiler: &mut Compiler<'_>, key: &str, paths: &[PathMatch]) -> Vec<PathPattern> {
    if paths.is_empty() {
        return vec![PathPattern::prefix("/")];
    }
    let mut patterns = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let key = format!("{key}.paths.{at}");
        patterns.extend(match path {
            PathMatch::Exact(path) => path_of(compiler, &key, path).map(|path| PathPattern::exact(&path)),
            PathMatch::Prefix(path) => path_of(compiler, &key, path).map(|path| PathPattern::prefix(&path)),
            PathMatch::Regex(pattern) => match PathPattern::regex(pattern) {
                Ok(pattern) => Some(pattern),
                Err(message) => {
                    compiler.problem(&key, format!("`{pattern}` is not a regular expression: {message}"), "");
                    None
                }
            },
        });
    }
    patterns
}

/// A path in the form that requests are compared in.
fn path_of(compiler: &mut Compiler<'_>, key: &str, path: &str) -> Option<String> {
    if let Some(bare) = path.strip_suffix('*') {
        let bare = bare.trim_end_matches('/');
        let what = format!("a path is compared letter by letter, and `*` in `{path}` would be one");
        let remedy = format!("write {{ prefix = \"{}\" }}", if bare.is_empty() { "/" } else { bare });
        compiler.problem(key, what, &remedy);
    }
    let normal = normal_path(path);
    if normal.is_none() {
        compiler.problem(key, format!("`{path}` is not a path"), "begin it with / and leave query and fragment out");
    }
    normal
}

fn conditions(compiler: &mut Compiler<'_>, key: &str, route: &RouteSpec) -> Conditions {
    for (at, method) in route.methods.iter().enumerate() {
        let has_lower = method.bytes().any(|byte| byte.is_ascii_lowercase());
        if !is_token(method.as_bytes()) || has_lower {
            let what = format!("`{method}` is not a method");
            compiler.problem(&format!("{key}.methods.{at}"), what, "write it in capitals, like GET");
        }
    }
    let headers = values(compiler, &format!("{key}.headers"), &route.headers, true);
    let query = values(compiler, &format!("{key}.query"), &route.query, false);
    Conditions { methods: route.methods.iter().map(|method| method.as_bytes().into()).collect(), headers, query }
}

fn values(
    compiler: &mut Compiler<'_>,
    key: &str,
    matches: &[ValueMatch],
    is_header: bool,
) -> Vec<(Box<[u8]>, ValueTest)> {
    let mut tests = Vec::new();
    for (at, value) in matches.iter().enumerate() {
        let key = format!("{key}.{at}");
        if is_header && !is_token(value.name.as_bytes()) {
            compiler.problem(&key, format!("`{}` is not a field name", value.name), "");
        }
        let test = match (&value.value, &value.regex) {
            (Some(_), Some(_)) => {
                compiler.problem(&key, "both value and regex are given", "leave one out");
                continue;
            }
            (Some(value), None) => ValueTest::Equal(value.as_bytes().into()),
            (None, None) => ValueTest::Present,
            (None, Some(pattern)) => match Regex::new(pattern) {
                Ok(regex) => ValueTest::Matches(regex),
                Err(error) => {
                    compiler.problem(&key, format!("`{pattern}` is not a regular expression: {error}"), "");
                    continue;
                }
            },
        };
        let name = if is_header { value.name.to_ascii_lowercase() } else { value.name.clone() };
        tests.push((name.into_bytes().into(), test));
    }
    tests
}
