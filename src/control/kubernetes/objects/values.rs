//! Secret, ConfigMap and Namespace.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

use super::metadata::{Named as _, kept_metadata, or_default, resource};

resource!(Secret, "Secret", "", "v1", "secrets", NamespaceResourceScope);
resource!(ConfigMap, "ConfigMap", "", "v1", "configmaps", NamespaceResourceScope);
resource!(Namespace, "Namespace", "", "v1", "namespaces", ClusterResourceScope);

/// A part of the cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
}

/// Bytes that not everybody may read, by key.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// The values, in Base64.
    #[serde(deserialize_with = "or_default")]
    data: BTreeMap<String, String>,
}

impl Secret {
    /// The bytes of a key; `None` where it is not there, or is no Base64.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(self.data.get(key)?.as_bytes()).ok()
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }
}

/// The name and never the values.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.object_name())
    }
}

/// Texts by key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// Its metadata.
    #[serde(deserialize_with = "kept_metadata")]
    pub metadata: ObjectMeta,
    /// The values.
    #[serde(deserialize_with = "or_default")]
    pub data: BTreeMap<String, String>,
}
