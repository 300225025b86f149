//! Where clients reach us, as far as the configuration says how to know it.

use std::net::IpAddr;

use super::index::Index;
use super::objects::{ClusterPod, ObjectName, ReachedAt};
use crate::config::kubernetes::KubernetesSpec;

/// The addresses and names, sorted.
pub(super) fn reached(index: &Index, spec: &KubernetesSpec) -> Vec<ReachedAt> {
    let mut reached: Vec<_> = spec.publish_addresses.iter().map(|text| of_text(text)).collect();
    let service = spec.publish_service.as_ref().map(|name| ObjectName::parse(name, "default"));
    if let Some(service) = service.and_then(|name| index.services.get(&name)) {
        reached.extend(service.status.load_balancer.ingress.iter().cloned());
        reached.extend(service.spec.external_ips.iter().map(|ip| of_text(ip)));
        if reached.is_empty() && service.spec.kind.as_deref() != Some("LoadBalancer") {
            let addresses = service.spec.cluster_ips.iter().filter(|ip| *ip != "None");
            reached.extend(addresses.take(1).map(|ip| of_text(ip)));
        }
    }
    reached.extend(index.pods.values().filter(|pod| pod.is_ready()).flat_map(|pod| of_pod(index, pod)));
    reached.sort();
    reached.dedup();
    reached
}

/// The addresses of the node that a pod runs on: those from outside, where it has any.
fn of_pod(index: &Index, pod: &ClusterPod) -> Vec<ReachedAt> {
    let node = index.nodes.get(&*pod.spec.node_name);
    let of_kind = |kind| node.iter().flat_map(|node| node.addresses(kind)).map(of_text).collect::<Vec<_>>();
    let found = [of_kind("ExternalIP"), of_kind("InternalIP")].into_iter().find(|found| !found.is_empty());
    // Who may not read nodes knows the one address that the pod tells.
    found.unwrap_or_else(|| Some(&*pod.status.host_ip).filter(|ip| !ip.is_empty()).map(of_text).into_iter().collect())
}

fn of_text(text: &str) -> ReachedAt {
    match text.parse::<IpAddr>() {
        Ok(_) => ReachedAt { ip: Some(text.to_owned()), hostname: None },
        Err(_) => ReachedAt { ip: None, hostname: Some(text.to_owned()) },
    }
}
