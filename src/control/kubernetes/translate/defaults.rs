//! What holds for the cluster as a whole: the default backend and the default certificate.

use super::ingress;
use super::plan::{BackendOf, Owner, Plan};
use super::world::World;
use crate::control::kubernetes::objects::{BackendPort, ObjectName};

/// The service that answers what no rule is for, where the configuration names one.
pub fn default_service(plan: &mut Plan, world: World<'_>) -> String {
    let text = world.spec.default_backend.as_deref().unwrap_or_default();
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    let name = ObjectName::parse(name, "default");
    let port = BackendPort {
        number: port.parse().ok(),
        name: (!port.is_empty() && port.parse::<u16>().is_err()).then(|| port.to_owned()),
    };
    let owner = Owner { kind: "Service", name: &name };
    plan.service(world, owner, BackendOf { service: &name, port: &port }, |_, _| {})
}

/// What holds for the cluster as a whole: the default backend and the default certificate.
pub fn defaults(plan: &mut Plan, world: World<'_>) {
    if world.spec.default_backend.is_some() {
        let name = ObjectName::new("", "default");
        let mut route = ingress::route("default backend".to_owned());
        route.priority = i32::MIN;
        route.service = Some(default_service(plan, world));
        plan.route(Owner { kind: "Service", name: &name }, route);
    }
    if let Some(text) = &world.spec.default_certificate {
        let name = ObjectName::parse(text, "default");
        let owner = Owner { kind: "Secret", name: &name };
        if plan.certificate(world, owner, &name) {
            // The first is for clients that ask for no name.
            let at = plan.certificates.iter().position(|(known, _)| *known == name).unwrap_or(0);
            plan.certificates[..=at].rotate_right(1);
        }
    }
}
