//! How a service bears failure and load: retries, health checks, ejection, limits, circuit breaker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Duration, Size};

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts beyond the first; the one after a stale kept-alive connection is free and not among them.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// What happens to requests that are not idempotent (POST, PATCH) and have no `Idempotency-Key`.
    pub non_idempotent: NonIdempotent,
    /// Statuses after which an idempotent request is tried at another endpoint; `Retry-After` is honoured.
    pub on_status: Vec<u16>,
    /// Further failures after which an idempotent request is tried at another endpoint.
    pub on: Vec<RetryOn>,
    /// Most bytes of a request body that are held to be sent again; `"0B"` holds none.
    pub buffer: Size,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            non_idempotent: NonIdempotent::default(),
            on_status: Vec::new(),
            on: Vec::new(),
            buffer: Size::from_kib(64),
        }
    }
}

/// What happens to requests that are not idempotent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonIdempotent {
    /// Sent again only where no upstream can have seen them.
    #[default]
    Proof,
    /// Also after any failure of a kept-alive connection: a request may be executed twice.
    Reused,
    /// Like idempotent ones: a request may be executed twice.
    Always,
    /// Never sent again.
    Never,
}

/// A failure that is tried again only where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The response head did not come in time.
    HeaderTimeout,
    /// The response breaks a rule.
    BadResponse,
}

/// An active check of every endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// What to ask for; without it a check is a TCP connection.
    pub path: Option<String>,
    /// Ask by gRPC's health-checking protocol whether this service serves; `""` for the whole server.
    pub grpc: Option<String>,
    /// How to ask.
    pub method: String,
    /// Statuses that are good.
    pub expected: Vec<u16>,
    /// The `Host`; by default the endpoint's.
    pub host: Option<String>,
    /// Further fields.
    pub headers: std::collections::BTreeMap<String, String>,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
    /// From one check to the next.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Good checks in a row until an endpoint that was down is up.
    pub healthy: u32,
    /// Bad checks in a row until an endpoint is down.
    pub unhealthy: u32,
    /// How long an endpoint that came up gets less than its share; `"0s"` for the whole at once.
    pub slow_start: Duration,
    /// Where all endpoints are down, use them all the same.
    pub fail_open: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            grpc: None,
            method: "GET".to_owned(),
            expected: vec![200, 204],
            host: None,
            headers: std::collections::BTreeMap::new(),
            port: None,
            interval: Duration::from_s(10),
            timeout: Duration::from_s(5),
            healthy: 1,
            unhealthy: 2,
            slow_start: Duration::from_ms(0),
            fail_open: true,
        }
    }
}

/// When an endpoint that fails requests is left out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Failures in a row: no connection, no answer. 0 never leaves one out.
    pub failures: u32,
    /// How long, the first time; it doubles each time.
    pub time: Duration,
    /// How long at most.
    pub time_max: Duration,
    /// Share of the endpoints that may be left out at once, in percent.
    #[schemars(range(max = 100))]
    pub share_max: u8,
    /// A status of 5xx is a failure too.
    pub server_errors: bool,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 3,
            time: Duration::from_s(1),
            time_max: Duration::from_s(4),
            share_max: 50,
            server_errors: false,
        }
    }
}

/// How many requests at once. Each worker has its part of every number, at least 1; 0 for no limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests in flight to the service.
    pub in_flight: usize,
    /// Requests in flight to one endpoint.
    pub endpoint_in_flight: usize,
    /// Requests that wait for one of them to end; 0 lets none wait.
    pub queue: usize,
    /// How long a request waits at most.
    pub queue_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 0, endpoint_in_flight: 0, queue: 0, queue_wait: Duration::from_s(5) }
    }
}

/// When requests are refused, for the service fails or is slow.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Share of requests that fail (502, 504, or the upstream's own 5xx) above which it opens, 0 to below 1.
    pub error_ratio: Option<f64>,
    /// Time to the response head above which it opens.
    pub latency: Option<Duration>,
    /// The quantile of the latency that is looked at, between 0 and 1.
    pub quantile: f64,
    /// Fewer requests in the window prove nothing. Each worker counts by itself.
    pub requests_min: u32,
    /// The time that is looked at.
    pub window: Duration,
    /// How long it stays open before one request tries.
    pub open: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            error_ratio: None,
            latency: None,
            quantile: 0.5,
            requests_min: 20,
            window: Duration::from_s(10),
            open: Duration::from_s(5),
        }
    }
}
