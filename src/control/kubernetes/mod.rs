//! A cluster as a source of configuration: what its objects say now, and when that changes.

mod cache;
mod client;
pub mod index;
mod lease;
pub mod lists;
pub mod objects;
mod reached;
mod status;
pub mod translate;
mod watching;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::kubernetes::KubernetesSpec;
use crate::config::problem::Problem;
use crate::config::services::ServiceSpec;
use crate::config::source::Source;
use index::{Effect, Index, Object, ObjectKind};
use objects::ObjectName;
use reached::reached;
use status::ToTell;
use translate::plan::{Plan, Wanted};
use translate::translate;
use translate::world::{EntryPoints, World, entry_points};
use watching::WatchNews;

/// Quiet time after a change of routes before it is taken up, so that what is applied together is taken up together.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// A cluster that is never quiet is not waited for longer than this.
const DEBOUNCE_MAX: Duration = Duration::from_millis(500);

/// How long an object that is newly referred to is waited for before the rest is served without it, and then not asked for again.
const ASKED: Duration = Duration::from_secs(2);

/// How long the first lists are waited for where what the cluster said last is known.
const LISTS: Duration = Duration::from_secs(3);

/// How long what changes of where we are reached is gathered before the cluster is told.
const TOLD: Duration = Duration::from_secs(1);

/// How often what the cluster says is kept for a restart.
const KEPT: Duration = Duration::from_secs(2);

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
    /// The listeners of the configuration beside it.
    entry_points: EntryPoints,
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
    /// What the cluster shall be told.
    to_tell: watch::Sender<ToTell>,
    /// When what is known was written to the cache, and whether something has changed since.
    cached: (Instant, bool),
    /// The first translation is done.
    is_started: bool,
    /// Lists that are not whole yet.
    unlisted: BTreeSet<(ObjectKind, Option<Arc<str>>)>,
    /// The list of the pods by which we are reached is whole.
    are_pods_listed: bool,
    /// When the cluster is told once more.
    tell_at: Option<Instant>,
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
        let unlisted = watching::start(&client, spec, &sender);
        let mut cluster = Self {
            spec: spec.clone(),
            entry_points: entry_points(&source.config),
            client,
            index: Index::default(),
            plan: Plan::default(),
            news,
            sender,
            by_service: HashMap::new(),
            pending: None,
            asked: HashMap::new(),
            to_tell: watch::Sender::default(),
            cached: (Instant::now(), true),
            is_started: false,
            unlisted,
            are_pods_listed: false,
            tell_at: None,
        };
        cluster.first_lists().await;
        cluster.translate();
        cluster.is_started = true;
        if spec.write_status {
            status::start(cluster.client.clone(), spec, cluster.to_tell.subscribe());
        }
        Ok(cluster)
    }

    /// Waits until all lists are whole, or for a moment where what the cluster said last is known.
    async fn first_lists(&mut self) {
        tracing::info!("waiting for the first lists of the cluster");
        let cached = self.spec.cache.clone();
        let patience = tokio::time::sleep(if cached.is_some() { LISTS } else { Duration::MAX });
        tokio::pin!(patience);
        let mut has_looked = cached.is_none();
        while !self.unlisted.is_empty() {
            tokio::select! {
                news = self.news.recv() => match news {
                    Some(news) => _ = self.take(news),
                    None => return,
                },
                () = &mut patience, if !has_looked => {
                    has_looked = true;
                    if let Some(index) = cached.as_deref().and_then(cache::read) {
                        let ingresses = index.ingresses.len();
                        tracing::warn!(ingresses, "the API server is away: what the cluster said last is served");
                        let pods = std::mem::take(&mut self.index.pods);
                        self.index = index;
                        self.index.pods = pods;
                        return;
                    }
                }
            }
        }
    }

    /// Ends when something has changed; what. May be abandoned and called again: no change is lost.
    pub async fn changed(&mut self) -> ClusterChange {
        loop {
            if self.cached.0.elapsed() > KEPT {
                self.keep();
            }
            if self.tell_at.is_some_and(|at| at <= Instant::now()) {
                self.tell();
            }
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
                None => {
                    let due = self.cached.0 + KEPT;
                    let tell_at = self.tell_at.unwrap_or(due);
                    tokio::select! {
                        news = self.news.recv() => news,
                        () = tokio::time::sleep_until(due), if self.cached.1 && self.spec.cache.is_some() => continue,
                        () = tokio::time::sleep_until(tell_at), if self.tell_at.is_some() => continue,
                    }
                }
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

    /// The configuration beside it is another one now: where its listeners are others, what names them is translated anew.
    pub fn stands_beside(&mut self, base: &Source) {
        let entry_points = entry_points(&base.config);
        if self.entry_points != entry_points {
            self.entry_points = entry_points;
            let now = Instant::now();
            self.pending = Some((now, now));
        }
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
                self.are_pods_listed |= kind == ObjectKind::Pod;
                self.unlisted.remove(&(kind, namespace));
                effects
            }
        };
        self.cached.1 |= effects.iter().any(|effect| *effect != Effect::Nothing);
        let mut services = Vec::new();
        for effect in effects {
            match effect {
                Effect::Nothing => {}
                Effect::Endpoints(service) => services.push(service),
                Effect::Reached => _ = self.tell_at.get_or_insert(Instant::now() + TOLD),
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
            Object::Ingress(_)
            | Object::Namespace(_)
            | Object::Class(_)
            | Object::Service(_)
            | Object::Slice(_)
            | Object::Pod(_) => true,
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
        let plan = translate(World { index: &self.index, spec: &self.spec, entry_points: &self.entry_points });
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
                    tokio::spawn(watching::ask_secret(client, name, news));
                } else {
                    tokio::spawn(watching::ask_config_map(client, name, news));
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
            for source in &planned.sources {
                self.by_service.entry(source.service.clone()).or_default().push(name.clone());
            }
        }
        let Wanted { secrets, config_maps } = &self.plan.wanted;
        self.index.secrets.retain(|name, _| secrets.contains(name));
        self.index.config_maps.retain(|name, _| config_maps.contains(name));
        for problem in self.plan.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.tell();
        true
    }

    /// Has the cluster told where what is ours is reached, and what is wrong.
    fn tell(&mut self) {
        self.tell_at = None;
        let ours = self.plan.served.iter().filter_map(|name| {
            let ingress = self.index.ingresses.get(name)?;
            Some((name.clone(), ingress.status.load_balancer.ingress.clone()))
        });
        let to_tell = ToTell {
            reached: reached(&self.index, &self.spec, self.are_pods_listed),
            ours: ours.collect(),
            problems: self.plan.problems.clone(),
        };
        self.to_tell.send_replace(to_tell);
    }

    /// Writes what is known to the cache, where there is one and something has changed; not more often than it can pay.
    fn keep(&mut self) {
        let Some(folder) = self.spec.cache.as_deref().filter(|_| self.cached.1 && self.unlisted.is_empty()) else {
            return;
        };
        self.cached = (Instant::now(), false);
        if let Err(error) = cache::write(folder, &self.index) {
            tracing::warn!(folder = %folder.display(), %error, "what the cluster says cannot be kept for a restart");
        }
    }

    /// What is wanted, not known, and can be; true for Secrets.
    fn missing(&self, wanted: &Wanted) -> Vec<(ObjectName, bool)> {
        let secrets = wanted.secrets.iter().filter(|name| !self.index.secrets.contains_key(name));
        let maps = wanted.config_maps.iter().filter(|name| !self.index.config_maps.contains_key(name));
        let missing = secrets.map(|name| (name, true)).chain(maps.map(|name| (name, false)));
        missing.filter(|(name, _)| name.is_possible()).map(|(name, is_secret)| (name.clone(), is_secret)).collect()
    }
}
