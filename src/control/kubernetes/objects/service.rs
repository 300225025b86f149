//! Service and EndpointSlice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

use super::ingress::IngressStatus;
use super::metadata::{ObjectName, kept_metadata, or_default, resource};

resource!(ClusterService, "Service", "", "v1", "services", NamespaceResourceScope);
resource!(EndpointSlice, "EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", NamespaceResourceScope);

/// Pods that answer alike, by a name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterService {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: ClusterServiceSpec,
    /// What it was told.
    pub status: IngressStatus,
}

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its addresses within the cluster; `None` for a headless one.
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    /// The name that it stands for, where it is one of `ExternalName`.
    pub external_name: Option<String>,
    /// Its addresses from outside.
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
    pub external_ips: Vec<String>,
    /// Its ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Its name; there may be none where it is the only one.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// What is spoken there: `kubernetes.io/h2c`, `kubernetes.io/ws`, `https`, `grpc`.
    pub app_protocol: Option<String>,
    /// The port of the pods, by its number or name.
    pub target_port: Option<serde_json::Value>,
}

/// Endpoints of a Service, or some of them. A cluster has more endpoints than anything else: nothing here has room for more than it has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Its metadata; its Service stands in the label `kubernetes.io/service-name`.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The endpoints.
    #[serde(deserialize_with = "or_default")]
    pub endpoints: Box<[SliceEndpoint]>,
    /// The ports that each of them has.
    #[serde(deserialize_with = "or_default")]
    pub ports: Box<[SlicePort]>,
}

impl EndpointSlice {
    /// The Service that it belongs to.
    #[must_use]
    pub fn service(&self) -> Option<ObjectName> {
        let service = self.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
        Some(ObjectName::new(self.metadata.namespace.as_deref().unwrap_or_default(), service))
    }
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SliceEndpoint {
    /// Its addresses, which all stand for the same.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Box<[String]>,
    /// How it stands.
    #[serde(deserialize_with = "or_default")]
    pub conditions: EndpointConditions,
    /// Where it stands.
    pub zone: Option<String>,
    /// Who should use it.
    pub hints: Option<EndpointHints>,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// It takes requests and does not end; absent counts as true.
    pub ready: Option<bool>,
    /// It takes requests; absent counts as `ready`.
    pub serving: Option<bool>,
    /// It ends.
    pub terminating: Option<bool>,
}

/// Who should use an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    /// Those of these zones.
    #[serde(deserialize_with = "or_default")]
    pub for_zones: Vec<ZoneHint>,
}

/// A zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneHint {
    /// Its name.
    pub name: String,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// The name of the Service's port.
    pub name: Option<String>,
    /// Its number.
    pub port: Option<u16>,
    /// What is spoken there.
    pub app_protocol: Option<String>,
}
