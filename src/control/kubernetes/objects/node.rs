//! Pods and the nodes that they run on, as far as they tell where we are reached.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

use super::metadata::{kept_metadata, or_default, resource};

resource!(ClusterPod, "Pod", "", "v1", "pods", NamespaceResourceScope);
resource!(ClusterNode, "Node", "", "v1", "nodes", ClusterResourceScope);

/// A pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPod {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: PodSpec,
    /// How it stands.
    pub status: PodStatus,
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node that it runs on; empty before it runs.
    #[serde(deserialize_with = "or_default")]
    pub node_name: String,
}

/// How a pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// What is known of it.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<PodCondition>,
    /// The address of its node.
    #[serde(rename = "hostIP", deserialize_with = "or_default")]
    pub host_ip: String,
}

/// Something that is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// `Ready`, or something else.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

impl ClusterPod {
    /// True where it takes requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

/// A node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterNode {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// How it stands.
    pub status: NodeStatus,
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its addresses.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<NodeAddress>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `ExternalIP`, `InternalIP`, or a kind of name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
}

impl ClusterNode {
    /// Its addresses of this kind.
    pub fn addresses(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.status.addresses.iter().filter(move |address| address.kind == kind).map(|address| &*address.address)
    }
}
