//! The objects of a cluster that concern us, with the fields that are read and no others.

mod ingress;
mod metadata;
mod node;
mod service;
mod values;

pub use ingress::{BackendPort, Ingress, IngressBackend, IngressClass, IngressStatus, ReachedAt};
pub use metadata::{Named, ObjectName};
pub use node::{ClusterNode, ClusterPod};
pub use service::{ClusterService, EndpointSlice, ServicePort, SliceEndpoint, SlicePort};
pub use values::{ConfigMap, Namespace, Secret};
