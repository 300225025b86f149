//! Ingress and IngressClass.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

use super::metadata::{kept_metadata, or_default, resource};

resource!(Ingress, "Ingress", "networking.k8s.io", "v1", "ingresses", NamespaceResourceScope);
resource!(IngressClass, "IngressClass", "networking.k8s.io", "v1", "ingressclasses", ClusterResourceScope);

/// Which requests of which hosts go to which services.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: IngressSpec,
    /// What it was told.
    pub status: IngressStatus,
}

/// What an Ingress asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// The name of its class.
    pub ingress_class_name: Option<String>,
    /// Where requests go that no rule is for.
    pub default_backend: Option<IngressBackend>,
    /// The rules.
    #[serde(deserialize_with = "or_default")]
    pub rules: Vec<IngressRule>,
    /// Certificates, by hosts.
    #[serde(deserialize_with = "or_default")]
    pub tls: Vec<IngressTls>,
}

/// The paths of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// The host; empty for any.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
    /// Its paths.
    pub http: Option<IngressPaths>,
}

/// Paths with their services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressPaths {
    /// The paths.
    #[serde(deserialize_with = "or_default")]
    pub paths: Vec<IngressPath>,
}

/// A path with its service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPath {
    /// The path; empty for all.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    #[serde(deserialize_with = "or_default")]
    pub path_type: String,
    /// Where its requests go.
    pub backend: IngressBackend,
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// A service of the same namespace.
    pub service: Option<IngressService>,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressService {
    /// The name of the service.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its port.
    pub port: BackendPort,
}

/// A port, by its name or its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendPort {
    /// The name.
    pub name: Option<String>,
    /// The number.
    pub number: Option<u16>,
}

impl fmt::Display for BackendPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.number) {
            (Some(name), _) if !name.is_empty() => f.write_str(name),
            (_, Some(number)) => write!(f, "{number}"),
            (_, None) => f.write_str("?"),
        }
    }
}

/// A certificate for hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// The hosts.
    #[serde(deserialize_with = "or_default")]
    pub hosts: Vec<String>,
    /// The Secret with the certificate; empty for the default one.
    #[serde(deserialize_with = "or_default")]
    pub secret_name: String,
}

/// What an Ingress was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressStatus {
    /// Where it is reached.
    pub load_balancer: LoadBalancer,
}

/// Where something is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Its addresses and names.
    #[serde(deserialize_with = "or_default")]
    pub ingress: Vec<ReachedAt>,
}

/// An address or a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ReachedAt {
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// A kind of Ingress, and who serves it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressClass {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// Who serves it.
    pub spec: IngressClassSpec,
}

/// Who serves a class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressClassSpec {
    /// A name with a domain.
    pub controller: Option<String>,
}
