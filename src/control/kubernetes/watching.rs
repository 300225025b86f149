//! Watches each kind of object, and tells what came, changed and went: whatever happens to a watch, it goes on.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::core::Resource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;

use super::index::{Object, ObjectKind};
use super::objects::{
    ClusterPod, ClusterService, ConfigMap, EndpointSlice, Ingress, IngressClass, Named as _, Namespace, ObjectName,
    Secret,
};
use crate::config::kubernetes::KubernetesSpec;

/// How long one watch lasts: one on which nothing comes any more is noticed 5 s later at the latest.
const WATCH_S: u32 = 55;

/// How long a connection to the API server may take.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How often one kind of trouble is told.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// How often an object is asked for, and the pause before it is asked for again.
const ASKED_MAX: u32 = 20;
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// The fields of Secrets that may be referred to: tokens of accounts and releases of Helm are the largest, and never are.
pub(super) const OWN_SECRETS: &str = "type!=kubernetes.io/service-account-token,type!=helm.sh/release.v1";

/// What a watch tells.
#[derive(Debug)]
pub(super) enum WatchNews {
    /// An object is new or has changed.
    Put(Object),
    /// An object is gone.
    Gone(Object),
    /// An object that was asked for is not there, or was told before this.
    Answered(ObjectName),
    /// A list is whole: what is not among these names is gone, in this namespace or in all.
    Listed(ObjectKind, Option<Arc<str>>, BTreeSet<ObjectName>),
}

/// Starts a watch of each kind, in all namespaces or in each that is named; the lists that are to come.
pub(super) fn start(
    client: &Client,
    spec: &KubernetesSpec,
    news: &Sender<WatchNews>,
) -> BTreeSet<(ObjectKind, Option<Arc<str>>)> {
    let all = watcher::Config::default().timeout(WATCH_S);
    let selected = if spec.selector.is_empty() { all.clone() } else { all.clone().labels(&spec.selector) };
    let own = all.clone().fields(OWN_SECRETS);
    let named: Vec<_> = spec.namespaces.iter().map(|namespace| Some(namespace.as_str().into())).collect();
    let namespaces: Vec<Option<Arc<str>>> = if named.is_empty() { vec![None] } else { named };
    let mut lists = BTreeSet::new();
    for namespace in namespaces {
        let space = Space { client, namespace: namespace.clone(), news };
        space.watch::<Ingress>(ObjectKind::Ingress, selected.clone(), Object::Ingress);
        space.watch::<ClusterService>(ObjectKind::Service, all.clone(), Object::Service);
        space.watch::<EndpointSlice>(ObjectKind::Slice, all.clone(), Object::Slice);
        space.watch::<Secret>(ObjectKind::Secret, own.clone(), Object::Secret);
        space.watch::<ConfigMap>(ObjectKind::ConfigMap, all.clone(), Object::ConfigMap);
        let kinds =
            [ObjectKind::Ingress, ObjectKind::Service, ObjectKind::Slice, ObjectKind::Secret, ObjectKind::ConfigMap];
        lists.extend(kinds.map(|kind| (kind, namespace.clone())));
    }
    if !spec.namespace_selector.is_empty() {
        let api = Api::<Namespace>::all(client.clone());
        let selected = all.clone().labels(&spec.namespace_selector);
        tokio::spawn(follow(api, selected, (ObjectKind::Namespace, None), Object::Namespace, news.clone()));
        lists.insert((ObjectKind::Namespace, None));
    }
    // A Role cannot allow to read what is in no namespace: then classes go by their names.
    if spec.namespaces.is_empty() {
        let api = Api::<IngressClass>::all(client.clone());
        tokio::spawn(follow(api, all.clone(), (ObjectKind::Class, None), Object::Class, news.clone()));
        lists.insert((ObjectKind::Class, None));
    }
    if let Some((namespace, labels)) = spec.publish_pods.as_deref().and_then(|text| text.split_once('/')) {
        let pods = Api::<ClusterPod>::namespaced(client.clone(), namespace);
        let kind = (ObjectKind::Pod, Some(namespace.into()));
        // Nobody waits for this list: requests do not need it.
        tokio::spawn(follow(pods, all.labels(labels), kind, Object::Pod, news.clone()));
    }
    lists
}

/// Asks for a Secret that was not kept until now.
pub(super) async fn ask_secret(client: Client, name: ObjectName, news: Sender<WatchNews>) {
    ask(Api::<Secret>::namespaced(client, &name.namespace), &name, Object::Secret, news).await;
}

/// Asks for a ConfigMap that was not kept until now.
pub(super) async fn ask_config_map(client: Client, name: ObjectName, news: Sender<WatchNews>) {
    ask(Api::<ConfigMap>::namespaced(client, &name.namespace), &name, Object::ConfigMap, news).await;
}

/// Asks until there is an answer: a later event of the watch comes in any case.
async fn ask<K>(api: Api<K>, name: &ObjectName, wrap: fn(Arc<K>) -> Object, news: Sender<WatchNews>)
where
    K: Clone + Debug + DeserializeOwned,
{
    for attempt in 0..ASKED_MAX {
        match api.get_opt(&name.name).await {
            Ok(object) => {
                if let Some(object) = object {
                    let _ = news.send(WatchNews::Put(wrap(Arc::new(object)))).await;
                }
                let _ = news.send(WatchNews::Answered(name.clone())).await;
                return;
            }
            Err(error) => {
                let error = whole(&error);
                tracing::warn!(%name, error, "the API server cannot be asked for an object; it is asked again");
                tokio::time::sleep(ASK_PAUSE * (attempt + 1)).await;
            }
        }
    }
}

/// Where objects are watched.
struct Space<'a> {
    client: &'a Client,
    namespace: Option<Arc<str>>,
    news: &'a Sender<WatchNews>,
}

impl Space<'_> {
    fn watch<K>(&self, kind: ObjectKind, config: watcher::Config, wrap: fn(Arc<K>) -> Object)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api = match &self.namespace {
            Some(namespace) => Api::<K>::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        tokio::spawn(follow(api, config, (kind, self.namespace.clone()), wrap, self.news.clone()));
    }
}

/// Follows one kind for ever, or until nobody listens.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    (kind, namespace): (ObjectKind, Option<Arc<str>>),
    wrap: fn(Arc<K>) -> Object,
    news: Sender<WatchNews>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    let mut listed = BTreeSet::new();
    let mut told: Option<tokio::time::Instant> = None;
    while let Some(event) = events.next().await {
        let word = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.insert(object.object_name());
                WatchNews::Put(wrap(Arc::new(object)))
            }
            Ok(Event::InitDone) => WatchNews::Listed(kind, namespace.clone(), std::mem::take(&mut listed)),
            Ok(Event::Apply(object)) => WatchNews::Put(wrap(Arc::new(object))),
            Ok(Event::Delete(object)) => WatchNews::Gone(wrap(Arc::new(object))),
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > TOLD_AGAIN) {
                    told = Some(tokio::time::Instant::now());
                    let namespace = namespace.as_deref().unwrap_or("all");
                    let error = whole(&error);
                    tracing::warn!(
                        ?kind,
                        namespace,
                        error,
                        "the API server cannot be watched; what is known goes on being served"
                    );
                }
                continue;
            }
        };
        if news.send(word).await.is_err() {
            return;
        }
    }
}

/// An error with what led to it.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
