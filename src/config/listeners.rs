//! Where clients connect: addresses, patience, and what is believed of what they say.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::ListenerTls;
use crate::proto::h1::request::Underscores;
use crate::timeouts::ClientTimeouts;
use crate::units::{ListenAddress, Size};

/// Where clients connect.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSpec {
    /// The address.
    pub address: ListenAddress,
    /// TLS; absent for none. Empty for a certificate that is made at start and that nobody vouches for.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Speak HTTP/2: with TLS where the client agrees (ALPN), without where it begins so (prior knowledge).
    #[serde(default = "yes")]
    pub http2: bool,
    /// The window that a stream of HTTP/2 gets at most, from 64 KiB: what its client may have on its way. It begins with 64 KiB
    /// and grows with what is measured.
    #[serde(default = "Size::h2_window")]
    pub http2_window_max: Size,
    /// How long clients are waited for.
    #[serde(default)]
    pub timeouts: ClientTimeouts,
    /// Networks whose `X-Forwarded-*`, `Forwarded` and `X-Request-ID` are believed and extended.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Field names with `_`: `"drop"`, `"reject"` or `"keep"`.
    #[serde(default)]
    pub underscores: Underscores,
    /// Largest request body; `"0B"` for no limit.
    #[serde(default = "no_size")]
    pub body_max: Size,
    /// Connections of one client address at most, in the whole process; 0 for no limit.
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
