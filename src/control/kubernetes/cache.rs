//! What the cluster said last, in a folder: for a start while the API server is away.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::index::{Index, Object};
use super::objects::{ClusterService, ConfigMap, EndpointSlice, Ingress, IngressClass, Namespace, Secret};

const FILE: &str = "objects.json";

/// All objects, as they are written.
#[derive(Default, Serialize, Deserialize)]
struct Cached {
    ingresses: Vec<Arc<Ingress>>,
    #[serde(default)]
    namespaces: Vec<Arc<Namespace>>,
    classes: Vec<Arc<IngressClass>>,
    services: Vec<Arc<ClusterService>>,
    slices: Vec<Arc<EndpointSlice>>,
    secrets: Vec<Arc<Secret>>,
    config_maps: Vec<Arc<ConfigMap>>,
}

/// Writes what is known. It has keys in it, and nobody else may read it.
///
/// # Errors
/// Those of the file system.
pub(super) fn write(folder: &Path, index: &Index) -> std::io::Result<()> {
    let cached = Cached {
        ingresses: index.ingresses.values().cloned().collect(),
        namespaces: index.namespaces.values().cloned().collect(),
        classes: index.classes.values().cloned().collect(),
        services: index.services.values().cloned().collect(),
        slices: index.slices.values().flat_map(std::collections::BTreeMap::values).cloned().collect(),
        secrets: index.secrets.values().cloned().collect(),
        config_maps: index.config_maps.values().cloned().collect(),
    };
    std::fs::create_dir_all(folder)?;
    let (new, file) = (folder.join("objects.new"), folder.join(FILE));
    let _ = std::fs::remove_file(&new);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(&serde_json::to_vec(&cached)?)?;
    out.sync_all()?;
    std::fs::rename(new, file)
}

/// What was known; `None` where nothing was written, or what was is broken.
pub(super) fn read(folder: &Path) -> Option<Index> {
    let bytes = std::fs::read(folder.join(FILE)).ok()?;
    let cached: Cached = serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(%error, "what the cluster said last cannot be read"))
        .ok()?;
    let mut index = Index::default();
    let objects = cached.ingresses.into_iter().map(Object::Ingress);
    let objects = objects.chain(cached.namespaces.into_iter().map(Object::Namespace));
    let objects = objects.chain(cached.classes.into_iter().map(Object::Class));
    let objects = objects.chain(cached.services.into_iter().map(Object::Service));
    let objects = objects.chain(cached.slices.into_iter().map(Object::Slice));
    let objects = objects.chain(cached.secrets.into_iter().map(Object::Secret));
    let objects = objects.chain(cached.config_maps.into_iter().map(Object::ConfigMap));
    objects.for_each(|object| _ = index.put(object));
    Some(index)
}
