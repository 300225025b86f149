//! Compiles routes: conditions into a rule of the router, filters into their order.

use regex::bytes::Regex;

use super::Compiler;
use crate::config::problem::nearest;
use crate::config::routes::{self, PathMatch, ValueMatch};
use crate::filter::{Filter, HeaderEdit, Redirect};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token;
use crate::proto::h1::target::normalize;
use crate::route::{Conditions, HostPattern, PathPattern, Rule, ValueTest};
use crate::snapshot::Route;

impl Compiler<'_> {
    pub(super) fn route(&mut self, at: usize, route: &routes::Route, rules: &mut Vec<(Rule, Vec<String>)>) -> Route {
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
        let bridge = route.filters.iter().position(|filter| *filter == routes::Filter::GrpcWeb);
        let served = route.service.as_ref().and_then(|name| config.services.get(name));
        if let Some((bridge, served)) = bridge.zip(served)
            && !served.may_speak_h2()
        {
            let remedy = "set the service's `protocol` to \"h2\", or give it `tls`";
            self.problem(
                &format!("{key}.filters.{bridge}"),
                "gRPC is spoken over HTTP/2, and this service is not",
                remedy,
            );
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
            if !is_token(method.as_bytes()) || has_lower {
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
            if is_header && !is_token(value.name.as_bytes()) {
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
            routes::Filter::GrpcWeb => Some(Filter::GrpcWeb),
            routes::Filter::Hsts(hsts) => Some(Filter::SecureResponseHeaders(hsts_edit(hsts))),
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
        const OURS: [&str; 7] =
            ["connection", "content-length", "early-data", "host", "transfer-encoding", "upgrade", "keep-alive"];
        let before = self.problems.len();
        let puts = edit.set.iter().chain(&edit.add);
        for name in edit.remove.iter().chain(puts.clone().map(|(name, _)| name)) {
            if !is_token(name.as_bytes()) {
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
}

/// `Strict-Transport-Security` in the place of the upstream's (RFC 6797 §6.1).
fn hsts_edit(hsts: &routes::Hsts) -> HeaderEdit {
    let mut value = format!("max-age={}", hsts.max_age.ms() / 1_000);
    if hsts.include_subdomains {
        value.push_str("; includeSubDomains");
    }
    if hsts.preload {
        value.push_str("; preload");
    }
    let bytes = |text: &str| text.as_bytes().into();
    HeaderEdit {
        remove: vec![bytes("strict-transport-security")],
        put: vec![(bytes("Strict-Transport-Security"), bytes(&value))],
    }
}
