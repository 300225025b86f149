//! All objects of a cluster that concern us, read once: for those who want to know what would become of them.

use std::path::Path;
use std::sync::Arc;

use kube::api::ListParams;
use kube::core::Resource;
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::client;
use super::index::{Index, Object};
use super::objects::{ClusterService, ConfigMap, EndpointSlice, Ingress, IngressClass, Secret};
use super::watching::{OWN_SECRETS, whole};

/// Objects of one answer at most.
const PAGE: u32 = 500;

/// The objects, by a kubeconfig or, without one, by where `kubectl` looks for one. What may not be read is left out, and told.
///
/// # Errors
/// Where the API server cannot be reached, or lets nobody read Ingress objects.
pub async fn read(kubeconfig: Option<&Path>) -> Result<(Index, Vec<String>), String> {
    let client = match kubeconfig {
        Some(_) => client::connect(kubeconfig).await?,
        None => client::infer().await?,
    };
    let mut listing = Listing { client, index: Index::default(), unread: Vec::new() };
    listing.list::<Ingress>("", Object::Ingress).await?;
    listing.try_list::<IngressClass>("", Object::Class).await;
    listing.try_list::<ClusterService>("", Object::Service).await;
    listing.try_list::<EndpointSlice>("", Object::Slice).await;
    listing.try_list::<Secret>(OWN_SECRETS, Object::Secret).await;
    listing.try_list::<ConfigMap>("", Object::ConfigMap).await;
    Ok((listing.index, listing.unread))
}

struct Listing {
    client: Client,
    index: Index,
    unread: Vec<String>,
}

impl Listing {
    async fn list<K>(&mut self, fields: &str, wrap: fn(Arc<K>) -> Object) -> Result<(), String>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        let mut asked = ListParams::default().limit(PAGE);
        if !fields.is_empty() {
            asked = asked.fields(fields);
        }
        loop {
            let listed = api.list(&asked).await.map_err(|error| whole(&error))?;
            listed.items.into_iter().for_each(|object| _ = self.index.put(wrap(Arc::new(object))));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => asked = asked.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// The same, where it may be missing.
    async fn try_list<K>(&mut self, fields: &str, wrap: fn(Arc<K>) -> Object)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        if let Err(error) = self.list(fields, wrap).await {
            let kind = K::kind(&());
            self.unread.push(format!("objects of the kind {kind} cannot be read, and are taken as not there: {error}"));
        }
    }
}
