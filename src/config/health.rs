//! Active health checks: what is asked of endpoints, how often, and what is a good answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

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
