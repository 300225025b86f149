//! What every object has: its name and its annotations, and how it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::Resource;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::problem::Place;

/// A namespace and a name in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The namespace; empty for what is in none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// Of these two.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// `name`, or `namespace/name`; without a namespace it is in that of `home`.
    #[must_use]
    pub fn parse(text: &str, home: &str) -> Self {
        text.split_once('/').map_or_else(|| Self::new(home, text), |(namespace, name)| Self::new(namespace, name))
    }

    /// True where an object may have this name (RFC 1123): nothing else is asked for, whatever an annotation says.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let is_name = |text: &str| {
            let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            !text.is_empty() && text.len() <= 253 && text.bytes().all(is_part) && !text.starts_with(['-', '.'])
        };
        is_name(&self.namespace) && is_name(&self.name)
    }

    /// As a place of problems.
    #[must_use]
    pub fn place(&self, kind: &str) -> Place {
        Place::Object { kind: kind.into(), namespace: Arc::clone(&self.namespace), name: Arc::clone(&self.name) }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What every object has.
pub trait Named {
    /// Its name.
    fn object_name(&self) -> ObjectName;
    /// A text of its annotations; `None` where it is not there.
    fn annotation(&self, name: &str) -> Option<&str>;
}

impl<K: Resource> Named for K {
    fn object_name(&self) -> ObjectName {
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        ObjectName { namespace: text(&self.meta().namespace), name: text(&self.meta().name) }
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(name).map(String::as_str)
    }
}

/// The part of the metadata that is kept: who owns which field alone is longer than all the rest.
pub(super) fn kept_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct KeptMetadata {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
        annotations: Option<BTreeMap<String, String>>,
        labels: Option<BTreeMap<String, String>>,
    }
    let kept = KeptMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: kept.name,
        namespace: kept.namespace,
        uid: kept.uid,
        resource_version: kept.resource_version,
        creation_timestamp: kept.creation_timestamp,
        annotations: kept.annotations,
        labels: kept.labels,
        ..ObjectMeta::default()
    })
}

/// Reads `null` as what is not there.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

macro_rules! resource {
    ($type:ident, $kind:literal, $group:literal, $version:literal, $plural:literal, $scope:ty) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(super) use resource;
