//! A path of a host with the Ingress that it is of: what every part of a route is made from.

use std::collections::BTreeMap;

use super::annotations::Annotations;
use super::hosts::HostPlan;
use super::settings::ClusterSettings;
use super::variables::Constants;
use crate::control::kubernetes::objects::{BackendPort, ObjectName};
use crate::control::kubernetes::translate::plan::Plan;
use crate::control::kubernetes::translate::world::World;

/// A host, and what is known beside it.
#[derive(Clone, Copy)]
pub(super) struct HostPlace<'p, 'a> {
    /// The objects.
    pub world: World<'a>,
    /// The ConfigMap.
    pub settings: &'p ClusterSettings<'a>,
    /// Every Ingress.
    pub all: &'p [Annotations<'a>],
    /// The host.
    pub host: (&'p str, &'p HostPlan<'a>),
}

/// A path of it, with the Ingress that it is of.
#[derive(Clone, Copy)]
pub(super) struct Spot<'p, 'a> {
    /// The host.
    pub place: &'p HostPlace<'p, 'a>,
    /// The annotations that hold.
    pub notes: &'p Annotations<'a>,
    /// The path.
    pub path: &'p str,
    /// Where it leads.
    pub backend: Option<&'p (ObjectName, BackendPort)>,
    /// Its clients come by TLS, which `AUTO_HTTP` asks.
    pub is_secure: bool,
}

impl<'p> Spot<'p, '_> {
    /// What variables stand for that do not depend on the request.
    pub(super) fn constants<'c>(&self, port: &'c str) -> Constants<'c>
    where
        'p: 'c,
    {
        Constants {
            namespace: &self.notes.owner.name.namespace,
            ingress: &self.notes.owner.name.name,
            service: self.backend.map_or("", |(service, _)| &service.name),
            port,
            path: self.path,
        }
    }
}

/// The values of a ConfigMap that is named as `namespace/name`.
pub(super) fn named_map(plan: &mut Plan, spot: Spot<'_, '_>, text: Option<&str>) -> Option<BTreeMap<String, String>> {
    let name = ObjectName::parse(text?, &spot.notes.owner.name.namespace);
    plan.wanted.config_maps.insert(name.clone());
    spot.place.world.index.config_maps.get(&name).map(|map| map.data.clone())
}

/// A Secret or ConfigMap that an annotation names; requests are refused where it is in a namespace that may not be named.
pub(super) fn named(spot: Spot<'_, '_>, name: &str, text: &str) -> Option<ObjectName> {
    let (notes, world) = (spot.notes, spot.place.world);
    let object = ObjectName::parse(text, &notes.owner.name.namespace);
    let may_cross = world.spec.cross_namespace || spot.place.settings.flag("allow-cross-namespace-resources", false);
    if object.namespace != notes.owner.name.namespace && !may_cross {
        notes.deny(name, &format!("`{text}` is in another namespace, which `cross_namespace` does not allow"));
        return None;
    }
    Some(object)
}
