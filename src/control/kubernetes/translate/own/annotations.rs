//! The annotations of an Ingress as our own dialect reads them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::rows::{PREFIX, SERVICE_KEYS, is_known};
use crate::config::routes::RouteSpec;
use crate::config::services::ServiceSpec;
use crate::control::kubernetes::objects::{Ingress, Named as _};
use crate::control::kubernetes::translate::findings::Findings;
use crate::control::kubernetes::translate::plan::Owner;
use crate::control::kubernetes::translate::texts::{flag, yaml};
use crate::control::kubernetes::translate::world::World;

/// The annotations of an Ingress.
#[derive(Debug)]
pub(super) struct OwnNotes<'a> {
    /// What is wrong with them, and whose they are.
    pub findings: Findings<'a>,
    ingress: &'a Ingress,
    /// What they say of the service.
    service: Map<String, Value>,
}

impl<'a> OwnNotes<'a> {
    /// Those of an Ingress; what there is none of is told.
    pub(super) fn read(owner: Owner<'a>, ingress: &'a Ingress) -> Self {
        let mut notes = Self { findings: Findings::new(owner), ingress, service: Map::new() };
        for key in ingress.metadata.annotations.iter().flat_map(BTreeMap::keys) {
            if key.strip_prefix(PREFIX).is_some_and(|name| !is_known(name)) {
                notes.findings.deny(key, "there is no annotation of this name");
            }
        }
        let said: Map<String, Value> = notes.table("service").unwrap_or_default();
        let (good, other): (Map<_, _>, Map<_, _>) =
            said.into_iter().partition(|(key, _)| SERVICE_KEYS.contains(&key.as_str()));
        for key in other.keys() {
            notes.deny("service", &format!("`{key}` is no key that an object may say"));
        }
        notes.service = good;
        notes
    }

    fn deny(&self, name: &str, what: &str) {
        self.findings.deny(&format!("{PREFIX}{name}"), what);
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.ingress.annotation(&format!("{PREFIX}{name}")).map(str::trim)
    }

    fn list(&self, name: &str) -> Vec<String> {
        let parts = self.text(name).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// A table; requests are refused where it cannot be read.
    fn table<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        yaml(name, self.text(name)?).map_err(|what| self.deny(name, &what)).ok()
    }

    /// Puts what they say into a route.
    pub(super) fn say(&self, route: &mut RouteSpec, world: World<'_>) {
        route.chains = self.list("use");
        route.listeners = self.list("listeners");
        if let Some(name) = route.chains.iter().find(|name| !world.spec.chains.contains(name)) {
            self.deny("use", &format!("`{name}` is none of the `chains` of [kubernetes]"));
        }
        if let Some(name) = route.listeners.iter().find(|name| !world.is_served_by(name)) {
            self.deny("listeners", &format!("`{name}` does not serve the cluster"));
        }
        route.timeouts = self.table("timeouts").unwrap_or_default();
        route.retry = self.table("retry");
        route.body = self.table("body").unwrap_or_default();
        if let Some(text) = self.text("access-log") {
            match flag(text) {
                Some(is_logged) => route.access_log = is_logged,
                None => self.deny("access-log", "write true or false"),
            }
        }
    }

    /// Puts what they say into a service.
    pub(super) fn say_of_service(&self, spec: &mut ServiceSpec) {
        if self.service.is_empty() {
            return;
        }
        let written = serde_json::to_value(&*spec).and_then(|mut written| {
            if let Some(keys) = written.as_object_mut() {
                keys.extend(self.service.clone());
            }
            serde_json::from_value(written)
        });
        match written {
            Ok(said) => *spec = said,
            Err(error) => self.deny("service", &format!("it cannot be read: {error}")),
        }
    }
}
