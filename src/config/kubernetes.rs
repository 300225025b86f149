//! What is read from a cluster, and what becomes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::services::ServiceSpec;

/// A cluster whose Ingress objects become routes, beside those that are written here.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSpec {
    /// A kubeconfig that tells how the API server is reached; absent for the account of the pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The namespaces that are read, each by itself; empty for all of the cluster.
    pub namespaces: Vec<String>,
    /// Of which namespaces Ingress objects are read, by the labels of the namespaces, as `kubectl get --selector` has it; empty for all.
    pub namespace_selector: String,
    /// Which Ingress objects are read, by their labels, as `kubectl get --selector` has it; empty for all.
    pub selector: String,
    /// Whose annotations have their meaning: `"ringress"`, our own, `"ingress-nginx"`, and `"traefik1"` for Traefik 1.7. Each has the
    /// classes of its controller, `ringress.dev/ingress-controller`, `k8s.io/ingress-nginx` and `traefik.io/ingress-controller`; and where nobody
    /// made an IngressClass the names `ringress`, `nginx` and `traefik`, with `"traefik1"` those of `classes` that begin with `traefik` as well.
    pub dialects: Vec<Dialect>,
    /// Only classes of these names; empty for all that are ours.
    pub classes: Vec<String>,
    /// Controllers whose IngressClasses are ours, with the dialect of each: `"k8s.io/internal-nginx" = "ingress-nginx"`. A dialect that is here has no
    /// other controller.
    pub controllers: BTreeMap<String, Dialect>,
    /// Classes that are ours where nobody made an IngressClass, with the dialect of each: `internal = "ingress-nginx"`. A dialect that is here has
    /// no other class of that kind.
    pub class_names: BTreeMap<String, Dialect>,
    /// How Ingress objects without a class are read; absent where they are not ours.
    pub without_class: Option<Dialect>,
    /// What holds for every service of the cluster of which its objects say nothing else, as in `[services.NAME]` without `endpoints`. Its `tls` is
    /// for the pods that speak TLS, for which nobody vouches where it is absent (with `"traefik1"` the authorities of the system).
    pub service: ServiceSpec,
    /// The listeners that serve what the cluster says, by their names; empty for all. Those with `tls` get the certificates.
    pub listeners: Vec<String>,
    /// Of these, those for Ingress objects of `"traefik1"` that name none in `frontend-entry-points`; empty for all.
    pub default_listeners: Vec<String>,
    /// Chains of filters (`[filters.NAME]`) that Ingress objects of `"ringress"` may name in `ringress.dev/use`.
    pub chains: Vec<String>,
    /// The service that answers what no rule is for: `"namespace/name"`, or `"namespace/name:port"`; absent for 404.
    pub default_backend: Option<String>,
    /// Ingress objects with a default backend and no rules, which say what becomes of requests that no rule of any object is for: `"read"` or
    /// `"ignored"`.
    pub catch_all: CatchAll,
    /// The Secret with the certificate for clients that ask for no name, or for one that none is for: `"namespace/name"`.
    pub default_certificate: Option<String>,
    /// The ConfigMap of ingress-nginx: `"namespace/name"`.
    pub config_map: Option<String>,
    /// The Service by which this is reached, `"namespace/name"`: its addresses become the status of the Ingress objects.
    pub publish_service: Option<String>,
    /// Addresses and names for the status, in place of a Service's and of pods.
    pub publish_addresses: Vec<String>,
    /// Pods with the network of their host by which this is reached, `"namespace/SELECTOR"` with labels as `kubectl get --selector` has them: for
    /// each that is ready the status has the addresses of its node, those from outside where it has any. Nothing where a Service is named.
    pub publish_pods: Option<String>,
    /// Write statuses and events.
    pub write_status: bool,
    /// The Lease whose holder writes statuses: `"namespace/name"`.
    pub lease: String,
    /// Objects may name Secrets and ConfigMaps of other namespaces.
    pub cross_namespace: bool,
    /// Services of the type `ExternalName` lead to their name. Whoever may make a Service could then have anything asked that is reached from here.
    pub external_names: bool,
    /// The zone of this host, for endpoints that have hints; absent for no preference.
    pub zone: Option<String>,
    /// A folder in which what the cluster said last is kept, for a start while the API server is away; absent for none.
    pub cache: Option<PathBuf>,
}

impl Default for KubernetesSpec {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            namespaces: Vec::new(),
            namespace_selector: String::new(),
            selector: String::new(),
            dialects: vec![Dialect::Ringress],
            classes: Vec::new(),
            controllers: BTreeMap::new(),
            class_names: BTreeMap::new(),
            without_class: None,
            service: ServiceSpec::default(),
            listeners: Vec::new(),
            default_listeners: Vec::new(),
            chains: Vec::new(),
            default_backend: None,
            catch_all: CatchAll::Read,
            default_certificate: None,
            config_map: None,
            publish_service: None,
            publish_addresses: Vec::new(),
            publish_pods: None,
            write_status: true,
            lease: "ringress/ringress-leader".to_owned(),
            cross_namespace: false,
            external_names: false,
            zone: None,
            cache: None,
        }
    }
}

/// What becomes of Ingress objects for all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchAll {
    /// They are read.
    #[default]
    Read,
    /// They are not ours.
    Ignored,
}

/// Whose annotations have their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum Dialect {
    /// Our own.
    #[serde(rename = "ringress")]
    Ringress,
    /// Those of ingress-nginx.
    #[serde(rename = "ingress-nginx")]
    IngressNginx,
    /// Those of Traefik 1.7.
    #[serde(rename = "traefik1")]
    Traefik1,
}

impl std::str::FromStr for Dialect {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        serde_json::from_value(name.into()).map_err(|error| error.to_string())
    }
}

impl Dialect {
    /// The controller that an IngressClass of it names.
    #[must_use]
    pub const fn controller(self) -> &'static str {
        match self {
            Self::Ringress => "ringress.dev/ingress-controller",
            Self::IngressNginx => "k8s.io/ingress-nginx",
            Self::Traefik1 => "traefik.io/ingress-controller",
        }
    }

    /// The name of its class where nobody made one.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Ringress => "ringress",
            Self::IngressNginx => "nginx",
            Self::Traefik1 => "traefik",
        }
    }
}
