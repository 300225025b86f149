//! Where clients reach us, as far as the configuration says how to know it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::index::Index;
use super::objects::{ClusterNode, ObjectName, ReachedAt};
use crate::config::kubernetes::KubernetesSpec;

/// By what we are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nobody knows yet, or at all.
    #[default]
    Unknown,
    /// By these addresses and names, sorted.
    At(Vec<ReachedAt>),
    /// By nodes: the name of each, and the one address that its pods know.
    ByNodes(BTreeSet<(String, String)>),
}

/// What is written goes before a Service, and that before pods. Pods count once their list is whole.
pub(super) fn reached(index: &Index, spec: &KubernetesSpec, are_pods_listed: bool) -> Reached {
    if !spec.publish_addresses.is_empty() {
        return at(spec.publish_addresses.iter().map(|text| of_text(text)).collect());
    }
    if let Some(name) = &spec.publish_service {
        let Some(service) = index.services.get(&ObjectName::parse(name, "default")) else { return Reached::Unknown };
        let mut reached = service.status.load_balancer.ingress.clone();
        reached.extend(service.spec.external_ips.iter().map(|ip| of_text(ip)));
        if reached.is_empty() && service.spec.kind.as_deref() != Some("LoadBalancer") {
            let addresses = service.spec.cluster_ips.iter().filter(|ip| *ip != "None");
            reached.extend(addresses.take(1).map(|ip| of_text(ip)));
        }
        return at(reached);
    }
    let ready = index.pods.values().filter(|pod| are_pods_listed && pod.is_ready());
    let nodes: BTreeSet<_> = ready.map(|pod| (pod.spec.node_name.clone(), pod.status.host_ip.clone())).collect();
    if nodes.is_empty() { Reached::Unknown } else { Reached::ByNodes(nodes) }
}

fn at(mut reached: Vec<ReachedAt>) -> Reached {
    reached.sort();
    reached.dedup();
    if reached.is_empty() { Reached::Unknown } else { Reached::At(reached) }
}

/// The addresses of a node: those from outside, where it has any.
pub(super) fn of_node(node: &ClusterNode) -> Vec<ReachedAt> {
    let of_kind = |kind| node.addresses(kind).map(of_text).collect::<Vec<_>>();
    [of_kind("ExternalIP"), of_kind("InternalIP")].into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

/// An address, or a name.
pub(super) fn of_text(text: &str) -> ReachedAt {
    match text.parse::<IpAddr>() {
        Ok(_) => ReachedAt { ip: Some(text.to_owned()), hostname: None },
        Err(_) => ReachedAt { ip: None, hostname: Some(text.to_owned()) },
    }
}
