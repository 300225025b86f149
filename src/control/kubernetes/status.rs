//! What the cluster is told: where an Ingress is reached, and what is wrong with an object. One replica writes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::lease::{Holding, RENEW};
use super::objects::{Ingress, ObjectName, ReachedAt};
use super::watching::whole;
use crate::config::kubernetes::KubernetesSpec;
use crate::config::problem::{Place, Problem};
use crate::sys::limits::hostname;

/// The pause between two writes: 50 a second at most.
const PAUSE: Duration = Duration::from_millis(20);

/// Events that are remembered as told.
const TOLD_MAX: usize = 4096;

/// What the cluster shall be told now.
#[derive(Clone, Debug, Default)]
pub(super) struct ToTell {
    /// Where this is reached.
    pub(super) reached: Vec<ReachedAt>,
    /// The Ingress objects that are ours, each with what its status says.
    pub(super) ours: BTreeMap<ObjectName, Vec<ReachedAt>>,
    /// What is wrong with objects.
    pub(super) problems: Vec<Problem>,
}

/// Starts whoever writes.
pub(super) fn start(client: Client, spec: &KubernetesSpec, to_tell: watch::Receiver<ToTell>) {
    let identity = format!("{}-{:08x}", hostname(), fastrand::u32(..));
    let lease = Holding::new(&client, ObjectName::parse(&spec.lease, "default"), identity);
    let writer = Writer { client, lease, written: HashMap::new(), told: HashSet::new() };
    tokio::spawn(writer.run(to_tell));
}

struct Writer {
    client: Client,
    lease: Holding,
    /// The statuses that we wrote.
    written: HashMap<ObjectName, Vec<ReachedAt>>,
    /// The events that we wrote, by their texts.
    told: HashSet<String>,
}

impl Writer {
    async fn run(mut self, mut to_tell: watch::Receiver<ToTell>) {
        loop {
            let is_leader = self.lease.hold().await;
            let next = to_tell.borrow_and_update().clone();
            if is_leader {
                self.write(&next).await;
            }
            tokio::select! {
                changed = to_tell.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(RENEW) => {}
            }
        }
    }

    async fn write(&mut self, next: &ToTell) {
        for (name, present) in &next.ours {
            let is_right = self.written.get(name).unwrap_or(present) == &next.reached;
            if !next.reached.is_empty() && !is_right && self.put(name, &next.reached).await {
                self.written.insert(name.clone(), next.reached.clone());
            }
        }
        // What is ours no more says so.
        let gone: Vec<_> = self.written.keys().filter(|name| !next.ours.contains_key(*name)).cloned().collect();
        for name in gone {
            if self.put(&name, &[]).await {
                self.written.remove(&name);
            }
        }
        for problem in &next.problems {
            self.event(problem).await;
        }
    }

    /// Writes a status; false where it is to be tried again. An object that is gone needs none.
    async fn put(&self, name: &ObjectName, reached: &[ReachedAt]) -> bool {
        tokio::time::sleep(PAUSE).await;
        let api = Api::<Ingress>::namespaced(self.client.clone(), &name.namespace);
        let patch = json!({ "status": { "loadBalancer": { "ingress": reached } } });
        match api.patch_status(&name.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                tracing::debug!(%name, error = whole(&error), "a status cannot be written; it is tried again");
                false
            }
        }
    }

    /// Tells an object what is wrong with it, once.
    async fn event(&mut self, problem: &Problem) {
        let Place::Object { kind, namespace, name } = &problem.place else { return };
        let text = problem.to_string();
        if namespace.is_empty() || self.told.contains(&text) {
            return;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        tokio::time::sleep(PAUSE).await;
        let version = if &**kind == "Ingress" { "networking.k8s.io/v1" } else { "v1" };
        let mut message = text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned());
        message.truncate(message.floor_char_boundary(1_000));
        let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "generateName": format!("{name}."), "namespace": &**namespace },
            "involvedObject": { "apiVersion": version, "kind": &**kind, "namespace": &**namespace, "name": &**name },
            "reason": "NotServedAsWritten",
            "message": message,
            "type": "Warning",
            "source": { "component": "ringress" },
            "reportingComponent": "ringress",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        let Ok(event) = serde_json::from_value::<k8s_openapi::api::core::v1::Event>(event) else { return };
        let api = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => _ = self.told.insert(text),
            // As in a namespace that ends.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => _ = self.told.insert(text),
            Err(error) => tracing::debug!(error = whole(&error), "an event cannot be written; it is tried again"),
        }
    }
}
