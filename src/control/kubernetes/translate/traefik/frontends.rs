//! Frontends: what Traefik 1.7 makes one of, a host with a path, whichever objects name it.

use std::collections::HashMap;

use super::annotations::TraefikNotes;
use super::path_rule::PathRule;
use crate::control::kubernetes::objects::{BackendPort, Ingress, ObjectName};
use crate::control::kubernetes::translate::ingress::backend_of;
use crate::control::kubernetes::translate::plan::{Owner, Plan, World};

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
        let own = match host + self.rule.text.len() {
            0 => "PathPrefix:/".len(),
            length => length,
        };
        let asked = notes.number("priority").and_then(|number| i32::try_from(number).ok());
        asked.unwrap_or_else(|| i32::try_from(own).unwrap_or(i32::MAX))
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
                let key = format!("{} {} {}", frontend.priority_asked(notes), listeners.join("-"), frontend.name());
                merged.put(key, frontend);
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
    /// Adds a frontend, or its backend to the one that is there.
    fn put(&mut self, key: String, frontend: Frontend<'a>) {
        let Some(known) = self.by_key.get(&key).and_then(|at| self.all.get_mut(*at)) else {
            self.by_key.insert(key, self.all.len());
            return self.all.push(frontend);
        };
        for backend in frontend.backends {
            if !known.backends.contains(&backend) {
                known.backends.push(backend);
            }
        }
    }
}

/// The listeners that an Ingress asks for, empty where it asks for none; `None` where there is none of them.
fn listeners(world: World<'_>, notes: &TraefikNotes<'_>) -> Option<Vec<String>> {
    const NAME: &str = "frontend-entry-points";
    let asked = notes.list(NAME);
    let is_known = |name: &&str| world.entry_points.is_empty() || world.entry_points.contains_key(*name);
    let known: Vec<String> = asked.iter().copied().filter(is_known).map(str::to_owned).collect();
    if let Some(unknown) = asked.iter().find(|name| !is_known(name)) {
        notes.tell(NAME, &format!("there is no listener `{unknown}`"));
    }
    (asked.is_empty() || !known.is_empty()).then_some(known)
}
