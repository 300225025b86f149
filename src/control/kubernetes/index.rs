//! What the cluster says, by kind and name, and what an event changes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::objects::{
    ClusterPod, ClusterService, ConfigMap, EndpointSlice, Ingress, IngressClass, Named as _, Namespace, ObjectName,
    Secret,
};

/// An object of one of the kinds that are watched.
#[derive(Clone, Debug)]
pub enum Object {
    /// An Ingress.
    Ingress(Arc<Ingress>),
    /// A namespace whose Ingress objects are read, where not all are.
    Namespace(Arc<Namespace>),
    /// An IngressClass.
    Class(Arc<IngressClass>),
    /// A Service.
    Service(Arc<ClusterService>),
    /// Endpoints of a Service.
    Slice(Arc<EndpointSlice>),
    /// A Secret.
    Secret(Arc<Secret>),
    /// A ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// A pod by which we are reached.
    Pod(Arc<ClusterPod>),
}

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// Ingress.
    Ingress,
    /// Namespace.
    Namespace,
    /// IngressClass.
    Class,
    /// Service.
    Service,
    /// EndpointSlice.
    Slice,
    /// Secret.
    Secret,
    /// ConfigMap.
    ConfigMap,
    /// Pod.
    Pod,
}

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Ingress(_) => ObjectKind::Ingress,
            Self::Namespace(_) => ObjectKind::Namespace,
            Self::Class(_) => ObjectKind::Class,
            Self::Service(_) => ObjectKind::Service,
            Self::Slice(_) => ObjectKind::Slice,
            Self::Secret(_) => ObjectKind::Secret,
            Self::ConfigMap(_) => ObjectKind::ConfigMap,
            Self::Pod(_) => ObjectKind::Pod,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Ingress(object) => object.object_name(),
            Self::Namespace(object) => object.object_name(),
            Self::Class(object) => object.object_name(),
            Self::Service(object) => object.object_name(),
            Self::Slice(object) => object.object_name(),
            Self::Secret(object) => object.object_name(),
            Self::ConfigMap(object) => object.object_name(),
            Self::Pod(object) => object.object_name(),
        }
    }
}

/// What is known, and whether it is wanted that the values of Secrets and ConfigMaps are.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Ingress objects.
    pub ingresses: BTreeMap<ObjectName, Arc<Ingress>>,
    /// Namespaces whose Ingress objects are read, where not all are.
    pub namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    /// Classes, by their names.
    pub classes: BTreeMap<Arc<str>, Arc<IngressClass>>,
    /// Services.
    pub services: HashMap<ObjectName, Arc<ClusterService>>,
    /// Endpoints by their Service, then by the name of the slice.
    pub slices: HashMap<ObjectName, BTreeMap<Arc<str>, Arc<EndpointSlice>>>,
    /// The Service that each slice is of.
    owners: HashMap<ObjectName, ObjectName>,
    /// Secrets that an object refers to.
    pub secrets: HashMap<ObjectName, Arc<Secret>>,
    /// ConfigMaps that an object refers to.
    pub config_maps: HashMap<ObjectName, Arc<ConfigMap>>,
    /// The pods by which we are reached.
    pub pods: BTreeMap<ObjectName, Arc<ClusterPod>>,
}

/// What an event changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that is served.
    Nothing,
    /// The endpoints of a Service.
    Endpoints(ObjectName),
    /// Routes, services or certificates.
    All,
    /// Where we are reached.
    Reached,
}

impl Index {
    /// Takes an object that is new or changed.
    pub fn put(&mut self, object: Object) -> Effect {
        let name = object.name();
        match object {
            Object::Ingress(ingress) => {
                let Some(before) = self.ingresses.insert(name, Arc::clone(&ingress)) else { return Effect::All };
                if before.spec != ingress.spec || before.metadata.annotations != ingress.metadata.annotations {
                    return Effect::All;
                }
                // Somebody wrote into it where it is reached; it may have been us.
                Effect::Reached.unless(before.status == ingress.status)
            }
            Object::Namespace(namespace) => Effect::All.unless(self.namespaces.insert(name.name, namespace).is_some()),
            Object::Class(class) => {
                self.classes.insert(name.name, class);
                Effect::All
            }
            Object::Service(service) => {
                let before = self.services.insert(name, Arc::clone(&service));
                let is_same = before.is_some_and(|before| {
                    before.spec == service.spec
                        && before.metadata.annotations == service.metadata.annotations
                        && before.status == service.status
                });
                Effect::All.unless(is_same)
            }
            Object::Slice(slice) => {
                let Some(service) = slice.service() else { return Effect::Nothing };
                let owner = self.owners.get(&name).filter(|owner| **owner != service).cloned();
                if let Some(owner) = &owner {
                    self.remove_slice(owner, &name);
                }
                self.owners.insert(name.clone(), service.clone());
                let of_service = self.slices.entry(service.clone()).or_default();
                let before = of_service.insert(name.name, Arc::clone(&slice));
                let is_same =
                    before.is_some_and(|before| before.endpoints == slice.endpoints && before.ports == slice.ports);
                match owner {
                    // It was another Service's until now: both change.
                    Some(_) => Effect::All,
                    None if is_same => Effect::Nothing,
                    None => Effect::Endpoints(service),
                }
            }
            Object::Secret(secret) => {
                self.secrets.insert(name, secret);
                Effect::All
            }
            Object::ConfigMap(map) => {
                self.config_maps.insert(name, map);
                Effect::All
            }
            Object::Pod(pod) => {
                let before = self.pods.insert(name, Arc::clone(&pod));
                Effect::Reached
                    .unless(before.is_some_and(|before| before.spec == pod.spec && before.status == pod.status))
            }
        }
    }

    /// Takes an object away.
    pub fn remove(&mut self, object: &Object) -> Effect {
        let name = object.name();
        match object {
            Object::Ingress(_) => Effect::All.unless(self.ingresses.remove(&name).is_none()),
            Object::Namespace(_) => Effect::All.unless(self.namespaces.remove(&name.name).is_none()),
            Object::Class(_) => Effect::All.unless(self.classes.remove(&name.name).is_none()),
            Object::Service(_) => Effect::All.unless(self.services.remove(&name).is_none()),
            Object::Slice(slice) => {
                // As it was told last: what is gone may have another label.
                let service = self.owners.get(&name).cloned().or_else(|| slice.service());
                service.map_or(Effect::Nothing, |service| self.remove_slice(&service, &name))
            }
            Object::Secret(_) => Effect::All.unless(self.secrets.remove(&name).is_none()),
            Object::ConfigMap(_) => Effect::All.unless(self.config_maps.remove(&name).is_none()),
            Object::Pod(_) => Effect::Reached.unless(self.pods.remove(&name).is_none()),
        }
    }

    fn remove_slice(&mut self, service: &ObjectName, slice: &ObjectName) -> Effect {
        self.owners.remove(slice);
        let Some(of_service) = self.slices.get_mut(service) else { return Effect::Nothing };
        let was_there = of_service.remove(&slice.name).is_some();
        if of_service.is_empty() {
            self.slices.remove(service);
        }
        if was_there { Effect::Endpoints(service.clone()) } else { Effect::Nothing }
    }

    /// Takes away what a fresh list of this kind, in this namespace or in all, does not have.
    pub fn keep_only(
        &mut self,
        kind: ObjectKind,
        namespace: Option<&str>,
        listed: &BTreeSet<ObjectName>,
    ) -> Vec<Effect> {
        let is_here = |name: &ObjectName| {
            namespace.is_some_and(|namespace| *name.namespace != *namespace) || listed.contains(name)
        };
        // What is in no namespace is known by its name alone.
        let is_here_by_name = |name: &Arc<str>| is_here(&ObjectName { namespace: "".into(), name: Arc::clone(name) });
        let before = self.count(kind);
        match kind {
            ObjectKind::Slice => {
                let gone = self.owners.iter().filter(|(slice, _)| !is_here(slice));
                let gone: Vec<_> = gone.map(|(slice, service)| (service.clone(), slice.clone())).collect();
                return gone.iter().map(|(service, slice)| self.remove_slice(service, slice)).collect();
            }
            ObjectKind::Ingress => self.ingresses.retain(|name, _| is_here(name)),
            ObjectKind::Namespace => self.namespaces.retain(|name, _| is_here_by_name(name)),
            ObjectKind::Class => self.classes.retain(|name, _| is_here_by_name(name)),
            ObjectKind::Service => self.services.retain(|name, _| is_here(name)),
            ObjectKind::Secret => self.secrets.retain(|name, _| is_here(name)),
            ObjectKind::ConfigMap => self.config_maps.retain(|name, _| is_here(name)),
            ObjectKind::Pod => self.pods.retain(|name, _| is_here(name)),
        }
        let effect = match kind {
            ObjectKind::Pod => Effect::Reached,
            ObjectKind::Ingress
            | ObjectKind::Namespace
            | ObjectKind::Class
            | ObjectKind::Service
            | ObjectKind::Slice
            | ObjectKind::Secret
            | ObjectKind::ConfigMap => Effect::All,
        };
        vec![effect.unless(before == self.count(kind))]
    }

    /// How many objects of a kind there are.
    fn count(&self, kind: ObjectKind) -> usize {
        match kind {
            ObjectKind::Ingress => self.ingresses.len(),
            ObjectKind::Namespace => self.namespaces.len(),
            ObjectKind::Class => self.classes.len(),
            ObjectKind::Service => self.services.len(),
            ObjectKind::Slice => self.owners.len(),
            ObjectKind::Secret => self.secrets.len(),
            ObjectKind::ConfigMap => self.config_maps.len(),
            ObjectKind::Pod => self.pods.len(),
        }
    }
}

impl Effect {
    fn unless(self, is_same: bool) -> Self {
        if is_same { Self::Nothing } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, service: &str, ip: &str) -> Object {
        let slice = serde_json::json!({ "metadata": { "namespace": "shop", "name": name,
                "labels": { "kubernetes.io/service-name": service } },
            "endpoints": [{ "addresses": [ip] }], "ports": [{ "port": 80 }] });
        Object::Slice(Arc::new(serde_json::from_value(slice).unwrap()))
    }

    #[test]
    fn an_event_changes_what_it_says_and_no_more() {
        let mut index = Index::default();
        let web = ObjectName::new("shop", "web");
        assert_eq!(index.put(slice("s", "web", "10.0.0.1")), Effect::Endpoints(web.clone()));
        assert_eq!(index.put(slice("s", "web", "10.0.0.1")), Effect::Nothing, "the same again");
        assert_eq!(index.put(slice("s", "web", "10.0.0.2")), Effect::Endpoints(web.clone()));
        assert_eq!(index.put(slice("s", "other", "10.0.0.2")), Effect::All, "two services change");
        assert!(!index.slices.contains_key(&web));
        assert_eq!(index.put(slice("s", "web", "10.0.0.2")), Effect::All);
        let listed = BTreeSet::from([ObjectName::new("shop", "t")]);
        assert_eq!(index.keep_only(ObjectKind::Slice, Some("elsewhere"), &listed), [], "of another namespace");
        assert_eq!(index.keep_only(ObjectKind::Slice, None, &listed), [Effect::Endpoints(web)]);
        assert_eq!(index.remove(&slice("s", "web", "10.0.0.2")), Effect::Nothing, "it was gone");
        assert!(index.slices.is_empty());
    }
}
