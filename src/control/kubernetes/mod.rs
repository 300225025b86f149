//! A cluster as a source of configuration: what its objects say now, and when that changes.

mod client;
pub mod index;
pub mod objects;
pub mod translate;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use crate::config::kubernetes::KubernetesSpec;
use crate::config::problem::Problem;
use crate::config::services::ServiceSpec;
use crate::config::source::Source;
use index::{Effect, Index, Object, ObjectKind};
use objects::ObjectName;
use translate::plan::{Plan, Wanted};
use translate::translate;
use watch::WatchNews;

/// Quiet time after a change of routes before it is taken up, so that what is applied together is taken up together.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// A cluster that is never quiet is not waited for longer than this.
const DEBOUNCE_MAX: Duration = Duration::from_millis(500);

/// How long an object that is newly referred to is waited for before the rest is served without it, and then not asked for again.
const ASKED: Duration = Duration::from_secs(2);

/// Changes of endpoints that wait together at most.
const NEWS_MAX: usize = 4096;

/// What changed in the cluster.
#[derive(Debug)]
pub enum ClusterChange {
    /// Routes, services or certificates.
    All,
    /// The endpoints of these services alone.
    Endpoints(Vec<(String, Arc<ServiceSpec>)>),
}

/// The objects of a cluster, watched.
pub struct Cluster {
    spec: KubernetesSpec,
    client: Client,
    index: Index,
    plan: Plan,
    news: Receiver<WatchNews>,
    sender: Sender<WatchNews>,
    /// The services by the Service that their endpoints come from.
    by_service: HashMap<ObjectName, Vec<String>>,
    /// Since when something waits that changes more than endpoints, and until when it waits at most.
    pending: Option<(Instant, Instant)>,
    /// Secrets and ConfigMaps that were asked for: whether there is no answer yet, and since when.
    asked: HashMap<ObjectName, (bool, Instant)>,
    /// The first translation is done.
    is_started: bool,
    /// Lists that are not whole yet.
    unlisted: BTreeSet<(ObjectKind, Option<Arc<str>>)>,
}

impl Cluster {
    /// Watches the cluster, and waits until all lists are whole.
    ///
    /// # Errors
    /// Where it is not known how the API server is reached.
    pub async fn start(source: &Source, spec: &KubernetesSpec) -> Result<Self, Vec<Problem>> {
        let wrong = |what: String| {
            let remedy = "name a kubeconfig that is right, or run in a pod with a service account";
            vec![source.problem("kubernetes.kubeconfig", what, remedy)]
        };
        let client = client::connect(spec.kubeconfig.as_deref()).await.map_err(wrong)?;
        let (sender, news) = channel(NEWS_MAX);
        let unlisted = watch::start(&client, spec, &sender);
        let mut cluster = Self {
            spec: spec.clone(),
            client,
            index: Index::default(),
            plan: Plan::default(),
            news,
            sender,
            by_service: HashMap::new(),
            pending: None,
            asked: HashMap::new(),
            is_started: false,
            unlisted,
        };
        tracing::info!("waiting for the first lists of the cluster");
        while !cluster.unlisted.is_empty() {
            let Some(news) = cluster.news.recv().await else { break };
            cluster.take(news);
        }
        cluster.translate();
        cluster.is_started = true;
        Ok(cluster)
    }

    /// Ends when something has changed; what. May be abandoned and called again: no change is lost.
    pub async fn changed(&mut self) -> ClusterChange {
        loop {
            let news = match self.pending {
                Some((quiet, latest)) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(quiet.min(latest)) => {
                            if self.translate() {
                                return ClusterChange::All;
                            }
                            continue;
                        }
                        news = self.news.recv() => news,
                    }
                }
                None => self.news.recv().await,
            };
            let Some(news) = news else { return std::future::pending().await };
            let mut touched = BTreeSet::new();
            touched.extend(self.take(news));
            while let Ok(news) = self.news.try_recv() {
                touched.extend(self.take(news));
            }
            let services = self.touched(&touched);
            if !services.is_empty() {
                return ClusterChange::Endpoints(services);
            }
        }
    }

    /// The configuration of a file with what the cluster says beside it.
    #[must_use]
    pub fn join(&self, base: &Source) -> Source {
        let (config, places) = self.plan.join(&base.config, &self.index, &self.spec);
        base.with_objects(config, places)
    }

    /// What is wrong with objects.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.plan.problems
    }

    /// Takes what a watch told; the Services whose endpoints it changes.
    fn take(&mut self, news: WatchNews) -> Vec<ObjectName> {
        let effects = match news {
            WatchNews::Put(object) => {
                if !self.is_wanted(&object) {
                    self.index.remove(&object);
                    return Vec::new();
                }
                vec![self.index.put(object)]
            }
            WatchNews::Gone(object) => vec![self.index.remove(&object)],
            WatchNews::Answered(name) => {
                if let Some((is_open, _)) = self.asked.get_mut(&name) {
                    *is_open = false;
                }
                if self.asked.values().all(|(is_open, _)| !is_open) {
                    let now = Instant::now();
                    self.pending = Some((now, now));
                }
                return Vec::new();
            }
            WatchNews::Listed(kind, namespace, names) => {
                let effects = self.index.keep_only(kind, namespace.as_deref(), &names);
                self.unlisted.remove(&(kind, namespace));
                effects
            }
        };
        let mut services = Vec::new();
        for effect in effects {
            match effect {
                Effect::Nothing => {}
                Effect::Endpoints(service) => services.push(service),
                Effect::All => {
                    let now = Instant::now();
                    let latest = self.pending.map_or(now + DEBOUNCE_MAX, |(_, latest)| latest);
                    self.pending = Some((now + DEBOUNCE, latest));
                }
            }
        }
        services
    }

    /// False for Secrets and ConfigMaps that no object refers to. Until the first translation nobody knows which those are.
    fn is_wanted(&self, object: &Object) -> bool {
        if !self.unlisted.is_empty() {
            return true;
        }
        match object {
            Object::Secret(_) => self.plan.wanted.secrets.contains(&object.name()),
            Object::ConfigMap(_) => self.plan.wanted.config_maps.contains(&object.name()),
            Object::Ingress(_) | Object::Class(_) | Object::Service(_) | Object::Slice(_) => true,
        }
    }

    /// The services whose endpoints these Services are, as they are now.
    fn touched(&self, services: &BTreeSet<ObjectName>) -> Vec<(String, Arc<ServiceSpec>)> {
        if self.pending.is_some() {
            // They come with the rest, in a moment.
            return Vec::new();
        }
        let names = services.iter().filter_map(|service| self.by_service.get(service)).flatten();
        let planned = |name: &String| Some((name.clone(), self.plan.services.get(name)?.with_endpoints(&self.index)));
        names.filter_map(planned).collect()
    }

    /// Translates; false where an object is referred to that was not kept until now: it is asked for first, for a moment.
    fn translate(&mut self) -> bool {
        let now = Instant::now();
        let plan = translate(&self.index, &self.spec);
        let missing = self.missing(&plan.wanted);
        self.asked.retain(|name, (_, since)| missing.iter().any(|(known, _)| known == name) || since.elapsed() < ASKED);
        for (name, is_secret) in missing {
            if !self.asked.contains_key(&name) {
                self.asked.insert(name.clone(), (self.is_started, now));
                if !self.is_started {
                    // The lists are whole, and did not have it.
                    continue;
                }
                let (client, news) = (self.client.clone(), self.sender.clone());
                if is_secret {
                    tokio::spawn(watch::ask_secret(client, name, news));
                } else {
                    tokio::spawn(watch::ask_config_map(client, name, news));
                }
            }
        }
        let before = std::mem::replace(&mut self.plan, plan);
        let waits = self.asked.values().any(|(is_open, since)| *is_open && since.elapsed() < ASKED);
        if waits {
            // Old problems are told once the plan is whole.
            self.plan.problems.retain(|problem| before.problems.contains(problem));
            self.pending = Some((now + ASKED, now + ASKED));
            return false;
        }
        self.pending = None;
        self.by_service.clear();
        for (name, planned) in &self.plan.services {
            let Some(source) = &planned.source else { continue };
            self.by_service.entry(source.service.clone()).or_default().push(name.clone());
        }
        let Wanted { secrets, config_maps } = &self.plan.wanted;
        self.index.secrets.retain(|name, _| secrets.contains(name));
        self.index.config_maps.retain(|name, _| config_maps.contains(name));
        for problem in self.plan.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        true
    }

    /// What is wanted and not known; true for Secrets.
    fn missing(&self, wanted: &Wanted) -> Vec<(ObjectName, bool)> {
        let secrets = wanted.secrets.iter().filter(|name| !self.index.secrets.contains_key(name));
        let maps = wanted.config_maps.iter().filter(|name| !self.index.config_maps.contains_key(name));
        secrets.map(|name| (name.clone(), true)).chain(maps.map(|name| (name.clone(), false))).collect()
    }
}
