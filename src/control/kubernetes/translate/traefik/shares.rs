//! Which services a frontend's requests go to, and in which shares.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::annotations::TraefikNotes;
use super::backend::{BackendNotes, service};
use super::frontends::Frontend;
use crate::config::routes::{RouteSpec, TargetSpec};
use crate::control::kubernetes::objects::ObjectName;
use crate::control::kubernetes::translate::plan::Plan;
use crate::control::kubernetes::translate::world::World;

/// A thousandth of a per cent: the smallest share that can be written.
const WHOLE: u32 = 100_000;

/// The services of a frontend.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The names of services, each with its share.
    targets: Vec<(String, u32)>,
    /// What the annotations of the first Service say.
    pub own: BackendNotes,
    /// One of the Services is wrong.
    pub is_denied: bool,
}

impl Shares {
    /// The service that gets the first share.
    pub(super) fn first(&self) -> Option<&str> {
        self.targets.first().map(|(name, _)| name.as_str())
    }

    /// Has a route lead there.
    pub(super) fn lead(&self, route: &mut RouteSpec) {
        if let [(name, _)] = &self.targets[..] {
            route.service = Some(name.clone());
            return;
        }
        let target = |(name, weight): &(String, u32)| TargetSpec {
            service: Some(name.clone()),
            weight: *weight,
            filters: Vec::new(),
        };
        route.targets = self.targets.iter().map(target).collect();
    }
}

/// The services of a frontend. Without `service-weights` each endpoint gets the same, whichever Service it is of.
pub(super) fn shares(
    plan: &mut Plan,
    world: World<'_>,
    notes: &TraefikNotes<'_>,
    frontend: &Frontend<'_>,
    told: &mut HashSet<ObjectName>,
) -> Shares {
    let frontend_name = frontend.name();
    let mut services = Vec::new();
    let mut shares = Shares::default();
    for (at, backend) in frontend.backends.iter().enumerate() {
        let is_told = !told.insert(backend.0.clone());
        let own = BackendNotes::read(plan, world, &backend.0, &frontend_name, is_told);
        shares.is_denied |= own.is_denied;
        services.push((backend.0.name.to_string(), service(plan, world, notes, backend, &own)));
        if at == 0 {
            shares.own = own;
        }
    }
    let weights = weights(notes, &services);
    let (weighed, others): (Vec<_>, Vec<_>) = services.into_iter().partition(|(name, _)| weights.contains_key(name));
    shares.targets = weighed.into_iter().map(|(name, service)| (service, weights[&name])).collect();
    if !others.is_empty() {
        let left = WHOLE.saturating_sub(weights.values().sum());
        let others: Vec<String> = others.into_iter().map(|(_, service)| service).collect();
        shares.targets.push((plan.together(&others), left));
    }
    shares
}

/// The shares that `service-weights` gives these Services; empty where it is not there, or wrong, which has requests refused.
fn weights(notes: &TraefikNotes<'_>, services: &[(String, String)]) -> BTreeMap<String, u32> {
    const NAME: &str = "service-weights";
    let written: BTreeMap<String, Value> = notes.strict_yaml(NAME).unwrap_or_default();
    let mut weights = BTreeMap::new();
    for (name, value) in written {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some(share) = thousandths(text.trim().trim_end_matches('%')).filter(|share| *share <= WHOLE) else {
            notes.deny(NAME, &format!("`{}` is no share of `{name}`; write 0% to 100%", text.escape_debug()));
            return BTreeMap::new();
        };
        // Those of other hosts and paths are not of this frontend.
        if services.iter().any(|(known, _)| *known == name) {
            weights.insert(name, share);
        }
    }
    let sum: u32 = weights.values().sum();
    if sum > WHOLE || sum < WHOLE && !weights.is_empty() && weights.len() == services.len() {
        notes.deny(NAME, &format!("the shares of one path are {}% together", f64::from(sum) / 1_000.0));
        return BTreeMap::new();
    }
    weights
}

/// Thousandths of a number with up to three decimals.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = whole.parse().ok()?;
    let decimals: u32 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_up_to_three_decimals() {
        for (text, expected) in [
            ("0", Some(0)),
            ("33.333", Some(33_333)),
            ("0.5", Some(500)),
            ("100", Some(WHOLE)),
            ("1.23456", Some(1_234)),
            ("", None),
            ("-1", None),
            ("1.x", None),
            ("9999999999", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
