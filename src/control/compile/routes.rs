//! Compiles routes: conditions into a rule of the router, filters into a chain.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex::bytes::Regex;

use super::chains;
use super::compiler::{Compiler, KeptRoute, did_you_mean};
use super::resilience::check_retry;
use crate::config::routes::{PathMatch, RouteSpec, RouteTimeouts, TargetSpec, ValueMatch};
use crate::filter::Filter;
use crate::filter::cors::WildcardLabels;
use crate::filter::respond::Respond;
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token;
use crate::proto::h1::target::normal_path;
use crate::route::targets::{CanaryBy, CanaryTest, TargetChoice};
use crate::route::{Conditions, HostPattern, PathPattern, Rule, ValueTest};
use crate::snapshot::{Label, Route, RoutePatience, RouteTarget, Service};

/// One route with its rule; those from before where nothing of them changed.
pub(super) fn route(
    compiler: &mut Compiler<'_>,
    at: usize,
    spec: &Arc<RouteSpec>,
    services: &HashMap<Arc<str>, Arc<Service>>,
) -> KeptRoute {
    let key = format!("routes.{at}");
    let label = |name: &str| services.get(name).map(|service| service.label);
    let filters = chains::resolved(compiler, &key, &spec.chains, &spec.filters);
    let targets: Vec<_> = if spec.targets.is_empty() {
        spec.service.iter().map(|name| FoundTarget { service: label(name), filters: Vec::new(), weight: 1 }).collect()
    } else {
        let found = |(at, target): (usize, &TargetSpec)| FoundTarget {
            service: target.service.as_deref().and_then(label),
            filters: chains::resolved(compiler, &format!("{key}.targets.{at}"), &[], &target.filters),
            weight: target.weight,
        };
        spec.targets.iter().enumerate().map(found).collect()
    };
    let of_targets = targets.iter().flat_map(|target| &target.filters);
    let print = chains::print(compiler, filters.iter().chain(of_targets));
    let before = compiler.kept.parts.routes.get(spec.name.as_str());
    let is_same = |before: &&KeptRoute| {
        let known = before.route.targets.iter().map(|target| target.service);
        before.spec == *spec
            && before.print == print
            && known.eq(targets.iter().map(|target| target.service))
            && bare(&before.filters).eq(bare(&filters))
    };
    let kept = match before.filter(is_same).cloned() {
        Some(kept) => {
            let mut chains =
                std::iter::once(&kept.route.chain).chain(kept.route.targets.iter().map(|target| &target.chain));
            let claimed = chains.try_for_each(|chain| chain.claim(&mut compiler.kept.shared));
            if let Err((what, remedy)) = claimed {
                compiler.problem(&key, what, &remedy);
            }
            kept
        }
        None => new_route(compiler, &key, spec, (filters, &targets, print)),
    };
    check_references(compiler, &key, &kept, services);
    kept
}

/// The route in the place of one that is wrong: it takes the same requests, and answers them 503. `None` where its conditions are wrong
/// themselves.
pub(super) fn closed(compiler: &mut Compiler<'_>, at: usize, spec: &RouteSpec) -> Option<KeptRoute> {
    if compiler.source.is_whole_at(&format!("routes.{at}")) {
        return None;
    }
    let answer = Respond { status: 503, headers: BTreeMap::new(), body: String::new() };
    let closed = RouteSpec {
        service: None,
        targets: Vec::new(),
        canary: Vec::new(),
        chains: Vec::new(),
        filters: vec![Filter::Respond(answer)],
        retry: None,
        // Of listeners that there are none of it is closed on all: the others of the object must not answer in its place.
        listeners: if spec.listeners.iter().all(|name| compiler.source.config.listeners.contains_key(name)) {
            spec.listeners.clone()
        } else {
            Vec::new()
        },
        ..spec.clone()
    };
    let known = compiler.problems.len();
    let route = route(compiler, at, &Arc::new(closed), &HashMap::new());
    let is_right = compiler.problems.len() == known;
    compiler.problems.truncate(known);
    is_right.then_some(route)
}

/// A place where a route leads, with what it names.
struct FoundTarget {
    service: Option<Label>,
    filters: Vec<(String, Filter)>,
    weight: u32,
}

/// Filters without their keys, which change where something is written before them.
fn bare(filters: &[(String, Filter)]) -> impl Iterator<Item = &Filter> {
    filters.iter().map(|(_, filter)| filter)
}

fn new_route(
    compiler: &mut Compiler<'_>,
    key: &str,
    spec: &Arc<RouteSpec>,
    (filters, targets, print): (Vec<(String, Filter)>, &[FoundTarget], u64),
) -> KeptRoute {
    let hosts = hosts(compiler, key, spec);
    let paths = paths(compiler, key, &spec.paths);
    let conditions = Arc::new(conditions(compiler, key, spec));
    let chain = chains::chain(compiler, &filters);
    let weights = targets.iter().map(|target| target.weight).collect();
    let choice = TargetChoice::new(canary(compiler, key, spec), weights);
    let compiled =
        |target: &FoundTarget| RouteTarget { service: target.service, chain: chains::chain(compiler, &target.filters) };
    let targets: Vec<_> = targets.iter().map(compiled).collect();
    if let Some(retry) = &spec.retry {
        check_retry(compiler, key, retry);
    }
    let has_patience = spec.retry.is_some() || spec.timeouts != RouteTimeouts::default();
    let patience = has_patience.then(|| RoutePatience { timeouts: spec.timeouts, retry: spec.retry.clone() });
    let label = compiler.kept.label(&spec.name);
    KeptRoute {
        spec: Arc::clone(spec),
        filters,
        print,
        route: Arc::new(Route {
            name: spec.name.as_str().into(),
            label,
            is_plain: chain.is_plain() && targets.iter().all(|target| target.chain.has_no_effect()),
            chain,
            targets,
            choice,
            patience,
            body_max: spec.body.max,
            is_logged: spec.access_log,
        }),
        rule: Arc::new(Rule {
            hosts,
            paths,
            conditions,
            priority: spec.priority,
            order: spec.order,
            is_closed: spec.closed,
        }),
    }
}

/// The rules that go before the weights.
fn canary(compiler: &mut Compiler<'_>, key: &str, spec: &RouteSpec) -> Vec<CanaryTest> {
    let mut rules = Vec::with_capacity(spec.canary.len());
    for (at, rule) in spec.canary.iter().enumerate() {
        let key = format!("{key}.canary.{at}");
        if rule.target >= spec.targets.len() {
            let what =
                format!("there is no target {}: the first is 0, and there are {}", rule.target, spec.targets.len());
            compiler.problem(&format!("{key}.target"), what, "write the position of one of `targets`");
        }
        let (kind, value) = match (&rule.header, &rule.cookie) {
            (Some(header), None) => ("header", header),
            (None, Some(cookie)) => ("cookie", cookie),
            (Some(_), Some(_)) | (None, None) => {
                compiler.problem(
                    &key,
                    "a rule looks at one header or one cookie",
                    "write one of `header` and `cookie`",
                );
                continue;
            }
        };
        if !is_token(value.name.as_bytes()) {
            compiler.problem(&format!("{key}.{kind}"), format!("`{}` is not a name", value.name), "");
        }
        let Some(test) = test(compiler, &format!("{key}.{kind}"), value) else { continue };
        let name = |text: &str| text.as_bytes().into();
        let by = match kind {
            "header" => CanaryBy::Header(name(&value.name.to_ascii_lowercase())),
            _ => CanaryBy::Cookie(name(&value.name)),
        };
        rules.push(CanaryTest { by, test, target: rule.target });
    }
    rules
}

/// What a route names must be there, whether or not the route itself changed.
fn check_references(
    compiler: &mut Compiler<'_>,
    key: &str,
    kept: &KeptRoute,
    services: &HashMap<Arc<str>, Arc<Service>>,
) {
    let config = Arc::clone(&compiler.source.config);
    let spec = &kept.spec;
    let bridge = kept.filters.iter().find(|(_, filter)| *filter == Filter::GrpcWeb).map(|(key, _)| key.clone());
    for (own, name) in spec.services() {
        let key = format!("{key}.{own}");
        match services.get(name.as_str()) {
            Some(served) => {
                if let Some(bridge) = bridge.as_ref().filter(|_| !served.spec.may_speak_h2()) {
                    let remedy = "set the service's `protocol` to \"h2\", or give it `tls`";
                    compiler.problem(bridge, "gRPC needs HTTP/2, which this service does not speak", remedy);
                }
            }
            None if config.services.contains_key(name) => {
                compiler.problem(&key, format!("the service `{name}` is not valid"), "correct the service");
            }
            None => {
                let remedy = did_you_mean(name, config.services.keys());
                compiler.problem(&key, format!("there is no service `{name}`"), &remedy);
            }
        }
    }
    if spec.service.is_some() && !spec.targets.is_empty() {
        compiler.problem(key, "both service and targets are given", "make the service one of the targets");
    }
    let answers = |filters: &[Filter]| filters.iter().any(Filter::answers);
    let is_answered = bare(&kept.filters).any(Filter::answers);
    if spec.service.is_none() && spec.targets.is_empty() && !is_answered {
        compiler.problem(
            key,
            "the route leads nowhere",
            "give it a service, or a filter that answers, as redirect does",
        );
    }
    for (at, target) in spec.targets.iter().enumerate() {
        if target.service.is_none() && !answers(&target.filters) && !is_answered {
            let remedy = "give it a service, or a filter that answers, as respond does";
            compiler.problem(&format!("{key}.targets.{at}"), "the target leads nowhere", remedy);
        }
    }
    for (position, name) in spec.listeners.iter().enumerate() {
        if !config.listeners.contains_key(name) {
            let remedy = did_you_mean(name, config.listeners.keys());
            compiler.problem(&format!("{key}.listeners.{position}"), format!("there is no listener `{name}`"), &remedy);
        }
    }
}

fn hosts(compiler: &mut Compiler<'_>, key: &str, spec: &RouteSpec) -> Vec<HostPattern> {
    let hosts = &spec.hosts;
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
            let suffix = suffix.trim_end_matches('.').as_bytes().into();
            patterns.push(match spec.host_labels {
                WildcardLabels::Any => HostPattern::Wildcard(suffix),
                WildcardLabels::One => HostPattern::OneLabel(suffix),
            });
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
            PathMatch::StartsWith(start) => {
                path_of(compiler, &key, start).map(|start| PathPattern::starts_with(&start))
            }
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
        let Some(test) = test(compiler, &key, value) else { continue };
        let name = if is_header { value.name.to_ascii_lowercase() } else { value.name.clone() };
        tests.push((name.into_bytes().into(), test));
    }
    tests
}

/// What a value must be; `None` where that is told to be wrong.
fn test(compiler: &mut Compiler<'_>, key: &str, value: &ValueMatch) -> Option<ValueTest> {
    match (&value.value, &value.regex) {
        (Some(_), Some(_)) => {
            compiler.problem(key, "both value and regex are given", "leave one out");
            None
        }
        (Some(value), None) => Some(ValueTest::Equal(value.as_bytes().into())),
        (None, None) => Some(ValueTest::Present),
        (None, Some(pattern)) => {
            let built = Regex::new(pattern).map(ValueTest::Matches);
            let what = |error: &regex::Error| format!("`{pattern}` is not a regular expression: {error}");
            built.inspect_err(|error| compiler.problem(key, what(error), "")).ok()
        }
    }
}
