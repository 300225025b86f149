//! Ingress objects merged by their hosts: the oldest says first, and a path is said once.

use std::collections::{BTreeMap, HashSet};

use super::annotations::Annotations;
use super::grammar::words;
use crate::control::kubernetes::objects::{BackendPort, ObjectName};
use crate::control::kubernetes::translate::ingress::backend_of;
use crate::control::kubernetes::translate::plan::Plan;

/// A type of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PathKind {
    /// This path.
    Exact,
    /// This path and below it.
    Prefix,
    /// Paths that begin so.
    StartsWith,
}

/// A path of a host.
#[derive(Debug)]
pub(super) struct HostPath<'a> {
    /// The Ingress, by its position among all.
    pub of: usize,
    /// The path.
    pub path: &'a str,
    /// How it is compared.
    pub kind: PathKind,
    /// Where it leads.
    pub backend: (ObjectName, BackendPort),
    /// The Ingress of its canary, and where that leads.
    pub canary: Option<(usize, (ObjectName, BackendPort))>,
}

/// A host with all that leads somewhere.
#[derive(Debug, Default)]
pub(super) struct HostPlan<'a> {
    /// Its paths, in the order they came.
    pub locations: Vec<HostPath<'a>>,
    /// Further names.
    pub aliases: Vec<&'a str>,
    /// Every path is an expression.
    pub is_regex: bool,
    /// It has a certificate.
    pub has_tls: bool,
    /// The Ingress that first names it.
    pub first: usize,
    /// The Ingress that first asks for certificates of clients.
    pub client_auth: Option<usize>,
    /// The Ingress that first has directives for all of it.
    pub snippet: Option<usize>,
    /// Where paths go that no rule is for.
    pub default: Option<(usize, (ObjectName, BackendPort))>,
    /// The canary of that.
    pub default_canary: Option<(usize, (ObjectName, BackendPort))>,
    /// Its other name, with `www.` or without, leads here.
    pub has_www: bool,
}

/// The hosts of these Ingress objects, the oldest first; the empty one is any.
pub(super) fn hosts<'a>(
    plan: &mut Plan,
    all: &'a [Annotations<'a>],
    is_strict: bool,
) -> BTreeMap<&'a str, HostPlan<'a>> {
    let mut hosts: BTreeMap<&str, HostPlan<'_>> = BTreeMap::new();
    for (of, notes) in all.iter().enumerate().filter(|(_, notes)| notes.flag("canary") != Some(true)) {
        add(plan, &mut hosts, (of, notes), is_strict);
    }
    for (of, notes) in all.iter().enumerate().filter(|(_, notes)| notes.flag("canary") == Some(true)) {
        add_canary(&mut hosts, (of, notes));
    }
    let named: HashSet<&str> = hosts.keys().copied().collect();
    for host in hosts.values_mut() {
        host.aliases.retain(|alias| !named.contains(alias));
    }
    hosts
}

fn add<'a>(
    plan: &mut Plan,
    hosts: &mut BTreeMap<&'a str, HostPlan<'a>>,
    (of, notes): (usize, &'a Annotations<'a>),
    is_strict: bool,
) {
    let namespace = &notes.owner.name.namespace;
    let spec = &notes.ingress.spec;
    let own_default = spec.default_backend.as_ref().and_then(|backend| backend_of(namespace, backend));
    let is_regex = is_regex(notes);
    for rule in &spec.rules {
        let host = hosts.entry(rule.host.as_str()).or_insert_with(|| HostPlan { first: of, ..HostPlan::default() });
        host.is_regex |= is_regex;
        host.client_auth = host.client_auth.or_else(|| notes.is_there("auth-tls-secret").then_some(of));
        host.snippet = host.snippet.or_else(|| notes.is_there("server-snippet").then_some(of));
        host.has_www |= notes.flag("from-to-www-redirect") == Some(true);
        if let Some(aliases) = notes.text("server-alias") {
            for alias in words(aliases) {
                if alias.starts_with('~') {
                    notes
                        .tell("server-alias", &format!("`{alias}` is an expression, and those are not read for hosts"));
                } else if !host.aliases.contains(&alias) {
                    host.aliases.push(alias);
                }
            }
        }
        if host.default.is_none() {
            host.default = own_default.clone().map(|backend| (of, backend));
        }
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let kind = match path.path_type.as_str() {
                "Exact" => PathKind::Exact,
                "Prefix" => PathKind::Prefix,
                _ => PathKind::StartsWith,
            };
            let text = if path.path.is_empty() { "/" } else { path.path.as_str() };
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
            if is_strict && !is_regex && kind != PathKind::StartsWith && !text.bytes().all(is_plain) {
                let what = format!("the path `{text}` has what its type {} does not take", path.path_type);
                let remedy = "write `pathType: ImplementationSpecific`, or set `strict-validate-path-type` to false";
                plan.problem(notes.owner, "spec.rules", what, remedy);
                continue;
            }
            let Some(backend) = backend_of(namespace, &path.backend) else {
                plan.problem(
                    notes.owner,
                    "spec.rules",
                    "a backend names no Service",
                    "name one: other resources are not read",
                );
                continue;
            };
            if host.locations.iter().any(|known| known.path == text && known.kind == kind) {
                let what = format!("an older Ingress has the path `{text}` of the host `{}` already", rule.host);
                plan.problem(notes.owner, "spec.rules", what, "");
                continue;
            }
            host.locations.push(HostPath { of, path: text, kind, backend, canary: None });
        }
    }
    if spec.rules.is_empty() {
        let host = hosts.entry("").or_insert_with(|| HostPlan { first: of, ..HostPlan::default() });
        if host.default.is_none() {
            host.default = own_default.map(|backend| (of, backend));
        }
    }
}

/// True where an Ingress makes all paths of its hosts expressions.
fn is_regex(notes: &Annotations<'_>) -> bool {
    let target = notes.text("rewrite-target");
    let paths = notes.ingress.spec.rules.iter().filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
    let rewrites = |target: &str| paths.into_iter().any(|path| path.path != target);
    notes.flag("use-regex") == Some(true) || target.is_some_and(rewrites)
}

fn add_canary<'a>(hosts: &mut BTreeMap<&'a str, HostPlan<'a>>, (of, notes): (usize, &'a Annotations<'a>)) {
    let mut is_paired = false;
    for rule in &notes.ingress.spec.rules {
        let Some(host) = hosts.get_mut(rule.host.as_str()) else { continue };
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let text = if path.path.is_empty() { "/" } else { path.path.as_str() };
            let Some(backend) = backend_of(&notes.owner.name.namespace, &path.backend) else { continue };
            let main = host.locations.iter_mut().find(|location| location.path == text && location.canary.is_none());
            if let Some(main) = main {
                main.canary = Some((of, backend));
                is_paired = true;
            }
        }
    }
    let of_all = notes.ingress.spec.default_backend.as_ref().filter(|_| notes.ingress.spec.rules.is_empty());
    let backend = of_all.and_then(|backend| backend_of(&notes.owner.name.namespace, backend));
    if let (Some(backend), Some(host)) = (backend, hosts.get_mut("").filter(|host| host.default.is_some())) {
        host.default_canary = Some((of, backend));
        is_paired = true;
    }
    if !is_paired {
        notes.tell("canary", "no other Ingress has this host and path, so that there is nothing to be a canary of");
    }
}
