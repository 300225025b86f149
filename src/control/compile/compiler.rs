//! What compiling works with: the source, what names resolved to, what is kept from before, and every problem so far.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::secrets::Secrets;
use crate::config::problem::{Place, Problem, nearest};
use crate::config::routes::RouteSpec;
use crate::config::source::Source;
use crate::filter::Filter;
use crate::filter::shared::SharedParts;
use crate::route::KnownExpressions;
use crate::route::Rule;
use crate::snapshot::{Entrance, Label, Labels, ProcessSettings, Route, Service};

/// What names of endpoints resolved to; a name that is missing did not resolve.
pub type Resolved = HashMap<Arc<str>, Result<Vec<IpAddr>, TimedOut>>;

/// Nobody answered for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

/// What outlives a snapshot: names keep their numbers, clients their sessions, unchanged parts their pointers.
#[derive(Debug)]
pub struct Kept {
    /// Names of listeners, routes and services.
    pub labels: Arc<Labels>,
    /// Keys of tickets, certificates of our own, TLS that did not change.
    pub(super) secrets: Secrets,
    /// The parts of the latest snapshot that was published.
    pub(super) parts: Parts,
    /// What filters share.
    pub(in super::super) shared: SharedParts,
    /// Regular expressions of routes.
    pub(super) expressions: KnownExpressions,
    /// The number of workers, which count requests together.
    pub(super) workers: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Kept {
    /// Nothing, for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            labels: Arc::default(),
            secrets: Secrets::default(),
            parts: Parts::default(),
            shared: SharedParts::default(),
            expressions: KnownExpressions::default(),
            workers,
        }
    }

    /// Takes the parts of a snapshot that is published as those that the next one is compared with.
    pub fn keep(&mut self, parts: Parts) {
        self.parts = parts;
        self.secrets.forget_unused();
    }

    /// Takes a service that is published by itself.
    pub fn keep_service(&mut self, service: &Arc<Service>) {
        self.parts.services.insert(Arc::clone(&service.name), Arc::clone(service));
    }

    /// The label of a name, new if need be.
    pub(super) fn label(&mut self, name: &str) -> Label {
        match self.labels.known(name) {
            Some(label) => label,
            None => Arc::make_mut(&mut self.labels).label(name),
        }
    }
}

/// The parts of a snapshot by their names, each with what it was made of.
#[derive(Debug, Default)]
pub struct Parts {
    pub(super) process: Arc<ProcessSettings>,
    pub(super) entrances: HashMap<Arc<str>, Entrance>,
    pub(super) routes: HashMap<Arc<str>, KeptRoute>,
    pub(super) services: HashMap<Arc<str>, Arc<Service>>,
}

impl Parts {
    /// What the route of this name takes.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.routes.get(name).map(|kept| &*kept.rule)
    }
}

/// A route with what it was made of, and its rule for the router.
#[derive(Clone, Debug)]
pub(super) struct KeptRoute {
    pub spec: Arc<RouteSpec>,
    /// Its filters and those of the chains that it names, each with its key.
    pub filters: Vec<(String, Filter)>,
    /// Of the files that they name.
    pub print: u64,
    pub route: Arc<Route>,
    pub rule: Arc<Rule>,
}

/// What compiling works with.
pub(super) struct Compiler<'a> {
    pub source: &'a Source,
    pub resolved: &'a Resolved,
    pub kept: &'a mut Kept,
    pub problems: Vec<Problem>,
    /// What is worth knowing and wrong with nothing.
    pub notices: Vec<Problem>,
}

impl Compiler<'_> {
    /// Notes something at a key that keeps nobody from taking the configuration.
    pub(super) fn notice(&mut self, key: &str, what: String) {
        self.notices.push(self.source.problem(key, what, ""));
    }

    /// Notes a problem at a key.
    /// True where one of the problems behind the first so many is of what is compiled itself, and not of an object that has a part in it.
    pub(super) fn has_own_problem(&self, known: usize) -> bool {
        self.problems[known..].iter().any(|problem| matches!(problem.place, Place::File { .. }))
    }

    pub(super) fn problem(&mut self, key: &str, what: impl Into<String>, remedy: &str) {
        self.problems.push(self.source.problem(key, what.into(), remedy));
    }
}

/// The remedy for a name that is not known.
pub(super) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    nearest(name, known.map(String::as_str)).map_or_else(String::new, |near| format!("did you mean `{near}`?"))
}
