//! Where clients connect: addresses, patience, and what is believed of what they say.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::tls::ListenerTls;
use crate::failure::details::Details;
use crate::limits::{
    CLIENT_BYTES_PER_S_MIN, CONNECTIONS_PER_CLIENT, RATE_GRACE_MS, REQUESTS_PER_CONNECTION_MAX, SEND_GRACE_MS,
};
use crate::proto::h1::rules::{HeadRules, Underscores};
use crate::proto::h1::target::HiddenDots;
use crate::timeouts::{ClientTimeouts, Pace};
use crate::units::{FileMode, ListenAddress, Size};

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSpec {
    /// The address. Clients of a Unix socket have none of their own: they count as 127.0.0.1, in `trusted_proxies`, in what upstreams
    /// are told and in logs.
    pub address: ListenAddress,
    /// Who listens on the port: `"alone"`, so that one that is taken is an error, or `"shared"` with another process of the same user, as the old and
    /// the new one of an update are. The kernel then spreads connections over both, and the old one finishes what it has begun.
    #[serde(default)]
    pub port_use: PortUse,
    /// The port by which clients reach it, where something before it changes that, as a Service of Kubernetes does: for `X-Forwarded-Port` and
    /// `{port}`. That of the address where nothing is written.
    #[serde(default)]
    pub public_port: Option<u16>,
    /// Who may connect to a Unix socket; `"0666"`, everybody, where nothing is written.
    #[serde(default)]
    pub mode: Option<FileMode>,
    /// The group of a Unix socket, by its name or number; that of the process where nothing is written.
    #[serde(default)]
    pub group: Option<String>,
    /// Named chains of filters (`[filters.NAME]`) for every request, before the filters of its route.
    #[serde(default, rename = "use")]
    pub chains: Vec<String>,
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
    /// Requests of one connection at most, 1 and more; then the client is told to make another one.
    #[serde(default = "many_requests")]
    pub requests_per_connection: u32,
    /// Whose `X-Request-ID` the request keeps: that of `"trusted"` proxies, or of `"any"` client, as ingress-nginx has it.
    #[serde(default)]
    pub request_ids: RequestIds,
    /// Networks (`"10.0.0.0/8"`) and addresses whose `X-Forwarded-*`, `X-Real-IP`, `X-Request-ID` and the `proto` of whose `Forwarded`
    /// are believed.
    #[serde(default, deserialize_with = "networks")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Field names with `_`: `"drop"`, `"reject"` or `"keep"`.
    #[serde(default)]
    pub underscores: Underscores,
    /// Dot segments that only some servers see, as `..%2F` and `..;/`: `"reject"` or `"keep"`.
    #[serde(default)]
    pub hidden_dots: HiddenDots,
    /// The slowest that a request body may come, in bytes a second, once 10 s were waited for it; `"0B"` for no such limit. One
    /// pause counts as 5 s of waiting at most, and is bounded by `timeouts.body`.
    #[serde(default = "slowest_rate")]
    pub body_rate: Size,
    /// The slowest that a client may take an answer, in bytes a second, once 30 s were waited for it; `"0B"` for no such limit. A
    /// pause is bounded by `timeouts.send` and counts for 15 s of these at most.
    #[serde(default = "slowest_rate")]
    pub send_rate: Size,
    /// What becomes of a client that ends its side of the connection behind its request: `"answer"`, as scripts and old clients
    /// expect it, or `"abort"`, as nginx has it: it counts as gone. A client that just closes looks the same, so that by default its
    /// request keeps its place and goes on. One that resets its connection, or its stream of HTTP/2, is gone in any case.
    #[serde(default)]
    pub half_close: HalfClose,
    /// Largest request body; `"0B"` for no limit.
    #[serde(default = "no_size")]
    pub body_max: Size,
    /// Connections of one client at most, in the whole process; 0 for no limit. A client is an IPv4 address, or the first 64 bits of
    /// one of IPv6; trusted proxies are none.
    #[serde(default = "many_connections")]
    pub connections_per_client: usize,
    /// Also write `Forwarded` (RFC 7239).
    #[serde(default)]
    pub forwarded: bool,
    /// Write `Via`.
    #[serde(default = "yes")]
    pub via: bool,
    /// Where answers that are not the upstream's own tell their cause: `"header"`, in `Proxy-Status` (RFC 9209), `"body"`, there and
    /// on the page, or `"none"`.
    #[serde(default)]
    pub details: Details,
}

/// Whose identifiers of requests are taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestIds {
    /// Those of trusted proxies.
    #[default]
    Trusted,
    /// Those of anybody.
    Any,
}

/// Who listens on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortUse {
    /// This process.
    #[default]
    Alone,
    /// Others as well.
    Shared,
}

impl ListenerSpec {
    /// The slowest that a body may come.
    #[must_use]
    pub fn body_pace(&self) -> Pace {
        Pace::new(RATE_GRACE_MS, self.body_rate.bytes())
    }

    /// The slowest that an answer may be taken.
    #[must_use]
    pub fn send_pace(&self) -> Pace {
        Pace::new(SEND_GRACE_MS, self.send_rate.bytes())
    }

    /// How its requests are read.
    #[must_use]
    pub const fn head_rules(&self) -> HeadRules {
        HeadRules { underscores: self.underscores, hidden_dots: self.hidden_dots }
    }
}

/// Networks; an address is the network of itself.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);
    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map(Self).map_err(|_| {
                let form = "write \"10.0.0.0/8\", \"fd00::/8\" or an address";
                serde::de::Error::custom(format!("`{text}` is not a network; {form}"))
            })
        }
    }
    Ok(Vec::<Network>::deserialize(deserializer)?.into_iter().map(|Network(network)| network).collect())
}

const fn many_requests() -> u32 {
    REQUESTS_PER_CONNECTION_MAX
}

const fn many_connections() -> usize {
    CONNECTIONS_PER_CLIENT
}

const fn slowest_rate() -> Size {
    Size::from_bytes(CLIENT_BYTES_PER_S_MIN)
}

/// What becomes of a client that ends its side of the connection behind its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HalfClose {
    /// It is answered.
    #[default]
    Answer,
    /// It has left.
    Abort,
}

const fn no_size() -> Size {
    Size::OFF
}

const fn yes() -> bool {
    true
}
