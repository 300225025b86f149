//! Where clients connect: addresses, patience, and what is believed of what they say.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::ListenerTls;
use super::units::{Duration, ListenAddress, Size};

/// Where clients connect.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address.
    pub address: ListenAddress,
    /// TLS; absent for none. Empty for a certificate that is made at start and that nobody vouches for.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Speak HTTP/2: with TLS where the client agrees (ALPN), without where it begins so (prior knowledge).
    #[serde(default = "yes")]
    pub http2: bool,
    /// How long clients are waited for.
    #[serde(default)]
    pub timeouts: ListenerTimeouts,
    /// Networks whose `X-Forwarded-*`, `Forwarded` and `X-Request-ID` are believed and extended.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Field names with `_`: `"drop"`, `"reject"` or `"keep"`.
    #[serde(default)]
    pub underscores: UnderscoreRule,
    /// Largest request body; `"0B"` for no limit.
    #[serde(default = "no_size")]
    pub body_max: Size,
    /// Connections of one client address at most; each worker has its part. 0 for no limit.
    #[serde(default)]
    pub connections_per_client: usize,
    /// Also write `Forwarded` (RFC 7239).
    #[serde(default)]
    pub forwarded: bool,
    /// Write `Via`.
    #[serde(default = "yes")]
    pub via: bool,
    /// Write `Proxy-Status` (RFC 9209) on answers that are not the upstream's own.
    #[serde(default = "yes")]
    pub proxy_status: bool,
}

const fn no_size() -> Size {
    Size::OFF
}

const fn yes() -> bool {
    true
}

/// How long clients are waited for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTimeouts {
    /// For a whole TLS handshake.
    pub handshake: Duration,
    /// For a whole request head, from its first byte.
    pub header: Duration,
    /// Between two pieces of a request body.
    pub body: Duration,
    /// For the next request on a kept-alive connection.
    pub idle: Duration,
    /// For a send to make progress.
    pub send: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_s(10),
            header: Duration::from_s(10),
            body: Duration::from_s(30),
            idle: Duration::from_s(75),
            send: Duration::from_s(30),
        }
    }
}

/// What to do with field names that contain `_`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnderscoreRule {
    /// Leave the field out.
    #[default]
    Drop,
    /// Answer 400.
    Reject,
    /// Pass it on.
    Keep,
}
