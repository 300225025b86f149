//! The whole of a configuration, and the parts of it that are about the process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubernetes::KubernetesSpec;
use super::listeners::ListenerSpec;
use super::routes::{ChainSpec, RouteSpec};
use super::services::ServiceSpec;
use crate::filter::Filter;
use crate::units::{Duration, ListenAddress};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The threads that carry traffic.
    pub workers: Workers,
    /// Where clients connect, by name.
    pub listeners: BTreeMap<String, Arc<ListenerSpec>>,
    /// Which requests go where.
    pub routes: Vec<Arc<RouteSpec>>,
    /// Chains of filters that routes and listeners name, by name.
    pub filters: BTreeMap<String, ChainSpec>,
    /// Where requests go, by name.
    pub services: BTreeMap<String, Arc<ServiceSpec>>,
    /// One line for each request; absent for none.
    pub access_log: Option<AccessLog>,
    /// What is measured.
    pub metrics: MetricsSpec,
    /// `/ping`, `/metrics` and `/api`; absent for none.
    pub admin: Option<AdminSpec>,
    /// A cluster whose Ingress objects are served beside what is written here; absent for none.
    pub kubernetes: Option<KubernetesSpec>,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// Take up a changed file by itself: this one and those that it names. Without it a change waits for SIGHUP.
    pub watch: bool,
}

impl Config {
    /// Every list of filters that is written anywhere.
    pub fn filter_lists(&self) -> impl Iterator<Item = &[Filter]> {
        let named = self.filters.values().map(|named| &named.chain[..]);
        let of_routes = self.routes.iter().flat_map(|route| {
            let targets = route.targets.iter().map(|target| &target.filters[..]);
            std::iter::once(&route.filters[..]).chain(targets)
        });
        named.chain(of_routes)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: Workers::default(),
            listeners: BTreeMap::new(),
            routes: Vec::new(),
            filters: BTreeMap::new(),
            services: BTreeMap::new(),
            access_log: None,
            metrics: MetricsSpec::default(),
            admin: None,
            kubernetes: None,
            shutdown: Shutdown::default(),
            watch: true,
        }
    }
}

/// The threads that carry traffic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// `"auto"` for one per CPU that this process may use, a number, or a list of CPUs.
    pub threads: Threads,
    /// `"auto"`, `"io_uring"` or `"epoll"`.
    pub engine: EngineChoice,
    /// Client connections of one worker at most; by default what the limit of open files allows.
    pub connections_max: Option<usize>,
    /// Requests are refused while a turn of a worker's loop takes longer than this, as many as it needs to keep up;
    /// `"0s"` refuses none.
    pub shed_above: Duration,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            threads: Threads::default(),
            engine: EngineChoice::default(),
            connections_max: None,
            shed_above: Duration::from_ms(500),
        }
    }
}

/// How many worker threads, and on which CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One per CPU that this process may use.
    #[default]
    Auto,
    /// So many, 1 or more, not pinned unless they match the CPUs.
    Count(usize),
    /// One on each of these CPUs.
    Cpus(Vec<usize>),
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        const FORM: &str =
            "threads must be \"auto\", a number from 1 to 1024, or a list of CPUs; leave it out for \"auto\"";
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(word) if word == "auto" => Ok(Self::Auto),
            serde_json::Value::Number(number) => {
                let count = number.as_u64().and_then(|count| usize::try_from(count).ok());
                count.filter(|count| (1..=1024).contains(count)).map(Self::Count).ok_or_else(|| D::Error::custom(FORM))
            }
            serde_json::Value::Array(cpus) if !cpus.is_empty() => {
                let cpus: Option<Vec<_>> =
                    cpus.iter().map(|cpu| cpu.as_u64().and_then(|cpu| usize::try_from(cpu).ok())).collect();
                cpus.map(Self::Cpus).ok_or_else(|| D::Error::custom(FORM))
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::String(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => Err(D::Error::custom(FORM)),
        }
    }
}

impl JsonSchema for Threads {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Threads".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"const": "auto"},
            {"type": "integer", "minimum": 1, "maximum": 1024},
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
        ]})
    }
}

impl Serialize for Threads {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => count.serialize(serializer),
            Self::Cpus(cpus) => cpus.serialize(serializer),
        }
    }
}

/// Which engine carries the I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    /// io_uring, else epoll with a log line that says why.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// One line for each request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// The file, or `-` for standard output.
    pub path: PathBuf,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { path: PathBuf::from("-"), format: LogFormat::default() }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// An object with everything that is known.
    #[default]
    Json,
    /// Common Log Format, with the failure record behind it.
    Common,
    /// Combined Log Format, with the failure record behind it.
    Combined,
    /// Traefik's form of CLF, with the failure record behind it.
    Traefik,
    /// For people at a terminal: time, client, request, status, duration, endpoint, and the cause of a failure.
    Short,
}

/// Upper bounds of the duration histogram where none are configured, in seconds: from a cache's answer to a slow report.
const DURATION_BUCKETS_S: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What is measured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSpec {
    /// Upper bounds of the duration histogram, in seconds, growing; by default 15 from 1 ms to 60 s.
    pub buckets: Vec<f64>,
}

impl Default for MetricsSpec {
    fn default() -> Self {
        Self { buckets: DURATION_BUCKETS_S.to_vec() }
    }
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSpec {
    /// Its address, as of a listener; not to be reached from outside.
    pub address: ListenAddress,
    /// Names that it is asked by, besides addresses, `localhost` and the name of this host; `"*"` for any. Another is refused: a
    /// page in a browser could make a name of its own lead here.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long requests in flight may take after SIGTERM.
    pub grace: Duration,
    /// How long idle connections stay open after SIGTERM, so that clients are not surprised; spread to twice that.
    pub idle: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_s(30), idle: Duration::from_s(5) }
    }
}
