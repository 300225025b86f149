//! Which requests go where: the conditions of a route and what is done on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::filter::cors::WildcardLabels;
use crate::timeouts::UpstreamTimeouts;
use crate::units::{Duration, Size};
use crate::upstream::retry::Retry;

/// Requests that meet all conditions go to the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// A name, unique, for logs and metrics.
    pub name: String,
    /// The service; may be left out where a filter answers.
    #[serde(default)]
    pub service: Option<String>,
    /// Several services in place of one, each with its share of the requests and filters of its own.
    #[serde(default)]
    pub targets: Vec<TargetSpec>,
    /// Which requests get which target whatever its weight; the first rule that fits decides.
    #[serde(default)]
    pub canary: Vec<CanaryRule>,
    /// Listeners by name; empty for all.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Hosts: `"example.com"`, `"*.example.org"`; empty for any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How much `*.` of a host stands for: `"any"` number of labels, as in Gateway API, or `"one"`, as in Ingress and Traefik 1.7.
    #[serde(default)]
    pub host_labels: WildcardLabels,
    /// Whether its hosts are closed: a request for one of them that matches no route of that host is answered 404, and never by a route
    /// of a wildcard or of any host.
    #[serde(default)]
    pub closed: bool,
    /// Paths; empty for any.
    #[serde(default)]
    pub paths: Vec<PathMatch>,
    /// Methods; empty for any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Fields that the request must carry. One that is repeated is one value, joined by `, ` in the order it came.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Query parameters that the request must carry.
    #[serde(default)]
    pub query: Vec<ValueMatch>,
    /// Higher goes first, before any other rule of precedence.
    #[serde(default)]
    pub priority: i32,
    /// Among routes of one host whose paths match in the same way, as several expressions do: higher goes first.
    #[serde(default)]
    pub order: u32,
    /// Named chains of filters (`[filters.NAME]`), before the filters of its own.
    #[serde(default, rename = "use")]
    pub chains: Vec<String>,
    /// What is done on the way, in this order.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// Timeouts in place of the service's, each that is written.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// When a failed attempt is followed by another, in place of what the service says.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// What holds for request bodies.
    #[serde(default)]
    pub body: RouteBody,
    /// Whether its requests are in the access log.
    #[serde(default = "yes")]
    pub access_log: bool,
}

const fn yes() -> bool {
    true
}

impl RouteSpec {
    /// Every service that it names, with the key that names it.
    pub fn services(&self) -> impl Iterator<Item = (String, &String)> {
        let own = self.service.iter().map(|name| ("service".to_owned(), name));
        let targets = self.targets.iter().enumerate();
        own.chain(targets.filter_map(|(at, target)| Some((format!("targets.{at}.service"), target.service.as_ref()?))))
    }
}

/// One of several services of a route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The service; may be left out where a filter answers.
    #[serde(default)]
    pub service: Option<String>,
    /// Its share among the others; 0 gets none by chance.
    #[serde(default = "one")]
    pub weight: u32,
    /// What is done on the way to this one, behind the filters of the route.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

const fn one() -> u32 {
    1
}

/// Requests with a field or a cookie get a target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryRule {
    /// The field that is looked at.
    #[serde(default)]
    pub header: Option<ValueMatch>,
    /// The cookie that is looked at.
    #[serde(default)]
    pub cookie: Option<ValueMatch>,
    /// The target, by its position in `targets` from 0.
    pub target: usize,
}

/// Timeouts of a route; what is left out is the service's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// For a connection.
    pub connect: Option<Duration>,
    /// For the response head, from the last byte of the request.
    pub header: Option<Duration>,
    /// Between two pieces of the response body.
    pub body: Option<Duration>,
    /// For a send to make progress.
    pub send: Option<Duration>,
    /// For the whole exchange.
    pub total: Option<Duration>,
    /// For a byte in either direction of an upgraded connection, or a message of gRPC.
    pub tunnel: Option<Duration>,
    /// For an upgraded connection as a whole.
    pub tunnel_total: Option<Duration>,
}

impl RouteTimeouts {
    /// These, where they are written, and the others of the service.
    #[must_use]
    pub fn over(&self, service: &UpstreamTimeouts) -> UpstreamTimeouts {
        UpstreamTimeouts {
            connect: self.connect.unwrap_or(service.connect),
            header: self.header.unwrap_or(service.header),
            body: self.body.unwrap_or(service.body),
            send: self.send.unwrap_or(service.send),
            total: self.total.unwrap_or(service.total),
            tunnel: self.tunnel.unwrap_or(service.tunnel),
            tunnel_total: self.tunnel_total.unwrap_or(service.tunnel_total),
        }
    }
}

/// What holds for request bodies of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteBody {
    /// The largest that is taken, in place of the listener's `body_max`; `"0B"` for no limit.
    pub max: Option<Size>,
}

/// A named chain of filters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// The filters, in their order.
    pub chain: Vec<Filter>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// This path and all below it, by whole elements: `/a` has `/a` and `/a/b` below it, not `/ab`.
    Prefix(String),
    /// Paths whose text begins so: `/a` has `/ab` as well.
    StartsWith(String),
    /// A regular expression, searched in the path; anchor it with `^` and `$`.
    Regex(String),
}

/// A condition on a named value: equal, matching, or present.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// The name; of a field, whatever its case.
    pub name: String,
    /// The value it must have.
    #[serde(default)]
    pub value: Option<String>,
    /// A regular expression that must be found in the value.
    #[serde(default)]
    pub regex: Option<String>,
}
