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
            unlisted,
        };
        tracing::info!("waiting for the first lists of the cluster");
        while !cluster.unlisted.is_empty() {
            let Some(news) = cluster.news.recv().await else { break };
            cluster.take(news);
        }
        cluster.translate();
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
                            self.translate();
                            return ClusterChange::All;
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

    fn translate(&mut self) {
        self.pending = None;
        let before = std::mem::replace(&mut self.plan, translate(&self.index, &self.spec));
        self.by_service.clear();
        for (name, planned) in &self.plan.services {
            let Some(source) = &planned.source else { continue };
            self.by_service.entry(source.service.clone()).or_default().push(name.clone());
        }
        let Wanted { secrets, config_maps } = &self.plan.wanted;
        self.index.secrets.retain(|name, _| secrets.contains(name));
        self.index.config_maps.retain(|name, _| config_maps.contains(name));
        // What nobody referred to until now was not kept.
        let new_secrets =
            secrets.difference(&before.wanted.secrets).filter(|name| !self.index.secrets.contains_key(name));
        for name in new_secrets {
            tokio::spawn(watch::ask_secret(self.client.clone(), name.clone(), self.sender.clone()));
        }
        let new_maps = config_maps.difference(&before.wanted.config_maps);
        for name in new_maps.filter(|name| !self.index.config_maps.contains_key(name)) {
            tokio::spawn(watch::ask_config_map(self.client.clone(), name.clone(), self.sender.clone()));
        }
        for problem in self.plan.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
    }
}
