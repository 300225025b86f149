//! Where requests go: endpoints, balancing and the patience with them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::health::Health;
use super::tls::ServiceTls;
use crate::proto::gateway::script::ScriptRules;
use crate::proto::h1::rules::{ForwardedPath, Leniency, Lenient};
use crate::timeouts::UpstreamTimeouts;
use crate::units::{EndpointAddress, Size};
use crate::upstream::balance::Balance;
use crate::upstream::breaker::CircuitBreaker;
use crate::upstream::ejection::Ejection;
use crate::upstream::gate::Limits;
use crate::upstream::retry::Retry;
use crate::upstream::reuse::KeepAlive;
use crate::upstream::sticky::{Sticky, StickyMode};

/// A named group of endpoints that answer alike.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Where the upstreams are.
    #[serde(default)]
    pub endpoints: Vec<EndpointSpec>,
    /// What they speak: `"auto"` for HTTP/2 where TLS agrees on it and HTTP/1.1 elsewhere, `"http1"`, or `"h2"`, without TLS
    /// by prior knowledge (h2c); or the protocol of application servers: `"uwsgi"`, `"scgi"` or `"fastcgi"`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Variables for application servers, with variables of ours in their values, beside those that they get in any case or in their place.
    /// An empty one takes that variable away.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// The two modifiers of a packet of uwsgi, 0 and 0 for a WSGI application.
    #[serde(default)]
    pub uwsgi_modifiers: [u8; 2],
    /// Which scripts a FastCGI server has; absent for one application, which gets the whole path.
    #[serde(default)]
    pub script: Option<ScriptRules>,
    /// Connections to a FastCGI server stay open between requests. Each then has a process of php-fpm for itself, idle or not: only for
    /// servers with more processes than there can be connections. Requests that must not be sent twice have a new connection all the same.
    #[serde(default)]
    pub fastcgi_keep_conn: bool,
    /// TLS; absent for none. Empty for upstreams that an authority of the system vouches for.
    #[serde(default)]
    pub tls: Option<ServiceTls>,
    /// How one of them is chosen: `"round_robin"`, `"least_requests"`, `"least_latency"`, `"random"`, or `"hash:KEY"` with a key as limits have
    /// it: `"hash:client_ip"`, `"hash:header:NAME"`, `"hash:cookie:NAME"`, or a text with variables such as `"hash:{host}{path}"`.
    #[serde(default)]
    pub balance: Balance,
    /// Endpoints that one hash is spread over at random, 2 to 16; absent for one.
    #[serde(default)]
    pub hash_subset: Option<usize>,
    /// Per cent of its share of a worker's requests in flight above which an endpoint is passed over for the next one of the ring, 101 to
    /// 10000; absent for no bound.
    #[serde(default)]
    pub hash_load_percent: Option<u32>,
    /// Endpoints of this zone come first: the others get requests only where none of these takes any more. Absent for no preference.
    #[serde(default)]
    pub zone: Option<String>,
    /// Keeps a client with its endpoint, by a cookie or a field that is made here; absent for no such rule.
    #[serde(default)]
    pub sticky: Option<Sticky>,
    /// Upstream connections that stay open between requests.
    #[serde(default)]
    pub keep_alive: KeepAlive,
    /// The window that a stream of HTTP/2 gets at most, from 64 KiB: what its upstream may have on its way. It begins with 64 KiB
    /// and grows with what is measured.
    #[serde(default = "Size::h2_window")]
    pub http2_window_max: Size,
    /// How long upstreams are waited for.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// The `Host` that upstreams get: `"keep"` for the client's, `"endpoint"` for the endpoint's, or a name.
    #[serde(default)]
    pub host: HostRule,
    /// The form of the path that upstreams get: `"resolved"` as the client sent it less its dot segments, `"matched"` as routes
    /// match it, with slashes merged and unreserved characters decoded, or `"as_sent"` byte for byte, as signed requests need it.
    /// Routes see the strictest reading of it in any case.
    #[serde(default)]
    pub path: ForwardedPath,
    /// What is read in answers although the rules forbid it, for servers that cannot be mended.
    #[serde(default)]
    pub lenient: Vec<Lenient>,
    /// When a failed attempt is followed by another.
    #[serde(default)]
    pub retry: Retry,
    /// An active check of every endpoint; absent for none.
    #[serde(default)]
    pub health: Option<Health>,
    /// When an endpoint that fails requests is left out for a while.
    #[serde(default)]
    pub ejection: Ejection,
    /// How many requests at once.
    #[serde(default)]
    pub limits: Limits,
    /// When requests are refused, for the service fails or is slow; absent for never.
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Where a client leaves, let the upstream finish what it has begun.
    #[serde(default)]
    pub ignore_client_abort: bool,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        // Decoded once: a cluster has thousands of services of which nothing is said.
        static PLAIN: LazyLock<ServiceSpec> = LazyLock::new(|| {
            let written = serde_json::Value::Object(serde_json::Map::new());
            serde_json::from_value(written).unwrap_or_else(|_| unreachable!("every key has a default"))
        });
        PLAIN.clone()
    }
}

/// What upstreams speak. Upgrades, as of WebSocket, are asked for in HTTP/1.1 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/2 where TLS agrees on it (ALPN), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    H2,
    /// uwsgi, as uWSGI's `socket` speaks it.
    Uwsgi,
    /// SCGI.
    Scgi,
    /// FastCGI.
    #[serde(rename = "fastcgi")]
    FastCgi,
}

impl Protocol {
    /// True for application servers, which are told of a request in variables.
    #[must_use]
    pub const fn is_gateway(self) -> bool {
        matches!(self, Self::Uwsgi | Self::Scgi | Self::FastCgi)
    }
}

impl ServiceSpec {
    /// How its answers are read.
    #[must_use]
    pub fn leniency(&self) -> Leniency {
        let leniency = Leniency::of(&self.lenient);
        if self.protocol.is_gateway() { leniency.of_cgi() } else { leniency }
    }

    /// True where an endpoint is looked up by a hash.
    #[must_use]
    pub fn hashes(&self) -> bool {
        let is_balanced = self.sticky.as_ref().is_some_and(|sticky| sticky.mode == StickyMode::Balanced);
        is_balanced || self.balance.hash_key().is_some()
    }

    /// True where its upstreams are, or may be, spoken to in HTTP/2.
    #[must_use]
    pub fn may_speak_h2(&self) -> bool {
        match self.protocol {
            Protocol::Auto => self.tls.is_some(),
            Protocol::Http1 | Protocol::Uwsgi | Protocol::Scgi | Protocol::FastCgi => false,
            Protocol::H2 => true,
        }
    }
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointSpec {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its share among the others, 0 to 256; 0 gets none.
    pub weight: u16,
    /// It gets requests only where none of the others takes any.
    pub backup: bool,
    /// Where it stands, in the service's own words; `None` where nobody said.
    pub zone: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    /// Where it is.
    address: EndpointAddress,
    /// Its share among the others, 0 to 256; 0 gets none.
    #[serde(default = "one")]
    #[schemars(range(max = 256))]
    weight: u16,
    /// It gets requests only where none of the others takes any: all are left out, down, or tried.
    #[serde(default)]
    backup: bool,
    /// Where it stands: see `zone` of the service.
    #[serde(default)]
    zone: Option<String>,
}

const fn one() -> u16 {
    1
}

impl EndpointSpec {
    /// One of which nothing but its address is said.
    #[must_use]
    pub const fn of(address: EndpointAddress) -> Self {
        Self { address, weight: 1, backup: false, zone: None }
    }
}

impl<'de> Deserialize<'de> for EndpointSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = EndpointSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a table of address, weight, backup and zone")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EndpointSpec, E> {
                text.parse().map(EndpointSpec::of).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<EndpointSpec, A::Error> {
                let table = EndpointTable::deserialize(MapAccessDeserializer::new(map))?;
                if table.weight > 256 {
                    return Err(serde::de::Error::custom("the weight is above 256; write 0 to 256"));
                }
                let EndpointTable { address, weight, backup, zone } = table;
                Ok(EndpointSpec { address, weight, backup, zone })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for EndpointSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EndpointSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<EndpointAddress>();
        let table = generator.subschema_for::<EndpointTable>();
        json_schema!({"anyOf": [address, table]})
    }
}

/// The `Host` that upstreams get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostRule {
    /// What the client sent.
    #[default]
    Keep,
    /// The endpoint's name or address with its port.
    Endpoint,
    /// This.
    Name(String),
}

impl<'de> Deserialize<'de> for HostRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "keep" => Self::Keep,
            "endpoint" => Self::Endpoint,
            name => Self::Name(name.to_owned()),
        })
    }
}

impl Serialize for HostRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Keep => "keep",
            Self::Endpoint => "endpoint",
            Self::Name(name) => name,
        })
    }
}

impl JsonSchema for HostRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["keep", "endpoint", "app.internal"]})
    }
}
