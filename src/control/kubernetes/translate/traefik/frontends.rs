//! Frontends: what Traefik 1.7 makes one of, a host with a path, whichever objects name it.

use std::collections::HashMap;

use super::annotations::TraefikNotes;
use super::path_rule::PathRule;
use crate::control::kubernetes::objects::{BackendPort, Ingress, ObjectName};
use crate::control::kubernetes::translate::ingress::backend_of;
use crate::control::kubernetes::translate::plan::{Owner, Plan};
use crate::control::kubernetes::translate::world::World;

/// The highest priority that an annotation has: what the file says may be above.
const PRIORITY_MAX: i32 = 1_000_000;

/// A host with a path.
#[derive(Debug)]
pub(super) struct Frontend<'a> {
    /// The Ingress whose annotations hold, by its position: the first that names it.
    pub of: usize,
    /// The host; empty for any.
    pub host: &'a str,
    /// The path; empty for all.
    pub path: &'a str,
    /// Which paths match.
    pub rule: PathRule,
    /// Where its requests go, each once.
    pub backends: Vec<(ObjectName, BackendPort)>,
    /// The listeners; empty for all of the cluster's.
    pub listeners: Vec<String>,
    /// It takes what no other takes.
    pub is_default: bool,
}

/// An Ingress with its annotations.
#[derive(Debug)]
pub(super) struct TraefikIngress<'a> {
    /// Its annotations.
    pub notes: TraefikNotes<'a>,
    /// The object.
    pub ingress: &'a Ingress,
}

impl<'a> TraefikIngress<'a> {
    /// Whose it is.
    pub(super) const fn owner(&self) -> Owner<'a> {
        self.notes.findings.owner
    }
}

impl Frontend<'_> {
    /// Its name as Traefik has it, without the priority and the entry points: what `error-pages` names.
    pub(super) fn name(&self) -> String {
        match (self.is_default, self.host.is_empty() && self.path.is_empty(), self.backends.first()) {
            (true, ..) => "global-default-backend".to_owned(),
            (_, true, Some((service, _))) => service.name.to_string(),
            _ => format!("{}{}", self.host, self.path),
        }
    }

    /// What decides which of several that match is taken: the length of the rule, where nobody said.
    pub(super) fn priority(&self, notes: &TraefikNotes<'_>) -> i32 {
        let host = match self.host.strip_prefix('*') {
            _ if self.host.is_empty() => 0,
            Some(rest) => "HostRegexp:{subdomain:[A-Za-z0-9-_]+}".len() + rest.len(),
            None => "Host:".len() + self.host.len(),
        };
        let own = match host + self.rule.length {
            0 => "PathPrefix:/".len(),
            length => length,
        };
        let asked = notes
            .number("priority")
            .map(|number| i32::try_from(number).map_or(PRIORITY_MAX, |own| own.min(PRIORITY_MAX)));
        // Traefik's own rule for a default backend is longer than that of a short host, and would take its requests.
        let own = if self.is_default { 1 } else { i32::try_from(own).unwrap_or(i32::MAX) };
        asked.unwrap_or(own)
    }
}

/// The frontends of these Ingress objects, the oldest first.
pub(super) fn frontends<'a>(plan: &mut Plan, world: World<'_>, all: &[TraefikIngress<'a>]) -> Vec<Frontend<'a>> {
    let mut merged = Merged::default();
    for (of, found) in all.iter().enumerate() {
        let (notes, spec) = (&found.notes, &found.ingress.spec);
        let Some(listeners) = listeners(world, notes) else { continue };
        if let Some(backend) = &spec.default_backend {
            let (host, path, is_default) = ("", "", true);
            let rule = PathRule::of(notes, "", "");
            let backends = backend_of(&found.owner().name.namespace, backend).into_iter().collect();
            let frontend = Frontend { of, host, path, rule, backends, listeners: listeners.clone(), is_default };
            if merged.by_key.contains_key("default") {
                notes.findings.tell("spec.defaultBackend", "an older Ingress has one, and there is one of all");
            } else {
                merged.put("default".to_owned(), frontend);
            }
        }
        for rule in &spec.rules {
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let Some(backend) = backend_of(&found.owner().name.namespace, &path.backend) else {
                    plan.problem(
                        found.owner(),
                        "spec",
                        "a backend names no Service",
                        "name one: other resources are not read",
                    );
                    continue;
                };
                let (host, text) = (rule.host.as_str(), path.path.as_str());
                let rule = PathRule::of(notes, text, &path.path_type);
                let frontend = Frontend {
                    of,
                    host,
                    path: text,
                    rule,
                    backends: vec![backend],
                    listeners: listeners.clone(),
                    is_default: false,
                };
                let (kind, _) = frontend.rule.text.split_once(':').unwrap_or_default();
                let (priority, listeners) = (frontend.priority_asked(notes), listeners.join("-"));
                let key = format!("{priority} {listeners} {kind} {}", frontend.name());
                merged.put_of(key, frontend, all);
            }
        }
    }
    merged.all
}

impl Frontend<'_> {
    /// The priority that was asked for, 0 for none: it is a part of what frontends are told apart by.
    fn priority_asked(&self, notes: &TraefikNotes<'_>) -> i32 {
        if notes.text("priority").is_some() { self.priority(notes) } else { 0 }
    }
}

#[derive(Default)]
struct Merged<'a> {
    all: Vec<Frontend<'a>>,
    by_key: HashMap<String, usize>,
}

impl<'a> Merged<'a> {
    /// Adds a frontend.
    fn put(&mut self, key: String, frontend: Frontend<'a>) {
        self.by_key.insert(key, self.all.len());
        self.all.push(frontend);
    }

    /// Adds a frontend, or its backend to the one that is there, if nobody loses by that: neither another namespace its requests, nor those
    /// who wrote this one what they ask of clients.
    fn put_of(&mut self, key: String, frontend: Frontend<'a>, all: &[TraefikIngress<'a>]) {
        let Some(known) = self.by_key.get(&key).and_then(|at| self.all.get_mut(*at)) else {
            return self.put(key, frontend);
        };
        let (first, this) = (&all[known.of], &all[frontend.of]);
        let (name, place) = (first.owner().name, format!("{}{}", frontend.host, frontend.path));
        if name.namespace != this.owner().name.namespace {
            let what = format!("an older Ingress of another namespace, `{name}`, has `{place}`");
            return this.notes.findings.tell("spec.rules", &what);
        }
        if known.of != frontend.of {
            let asks = |of: &TraefikIngress<'a>| GUARDS.map(|guard| of.notes.text(guard).map(str::to_owned));
            if this.notes.findings.is_denied() || asks(first) != asks(this) {
                let what = format!(
                    "`{name}` has `{place}` already, and asks something else of clients; this backend is left out"
                );
                return this.notes.findings.tell("spec.rules", &what);
            }
        }
        for backend in frontend.backends {
            if !known.backends.contains(&backend) {
                known.backends.push(backend);
            }
        }
    }
}

/// What is asked of clients before they get in.
const GUARDS: [&str; 5] = ["auth-type", "auth-secret", "auth-url", "whitelist-source-range", "rate-limit"];

/// The listeners that an Ingress asks for, else those for who asks for none; empty for all of the cluster's. `None` where there is none of them.
fn listeners(world: World<'_>, notes: &TraefikNotes<'_>) -> Option<Vec<String>> {
    const NAME: &str = "frontend-entry-points";
    let asked = notes.list(NAME);
    if asked.is_empty() {
        return Some(world.spec.default_listeners.clone());
    }
    let ours = &world.spec.listeners;
    let mut known = Vec::new();
    for name in asked {
        let found = world.entry_point(name).map_or(name, |(found, _)| found);
        let is_there = world.entry_points.is_empty() || world.entry_points.contains_key(found);
        if is_there && (ours.is_empty() || ours.iter().any(|own| own == found)) {
            known.push(found.to_owned());
        } else {
            notes.tell(NAME, &format!("there is no listener `{name}` that serves the cluster"));
        }
    }
    (!known.is_empty()).then_some(known)
}
