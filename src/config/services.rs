//! Where requests go: endpoints, balancing and the patience with them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::resilience::{CircuitBreaker, Ejection, Health, Limits, Retry};
use super::tls::ServiceTls;
use super::units::{Duration, EndpointAddress};

/// A named group of endpoints that answer alike.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Where the upstreams are.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// What they speak: `"auto"` for HTTP/2 where TLS agrees on it and HTTP/1.1 elsewhere, `"http1"`, or `"h2"`, without TLS
    /// by prior knowledge (h2c).
    #[serde(default)]
    pub protocol: Protocol,
    /// TLS; absent for none. Empty for upstreams that an authority of the system vouches for.
    #[serde(default)]
    pub tls: Option<ServiceTls>,
    /// How one of them is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// Upstream connections that stay open between requests.
    #[serde(default)]
    pub keep_alive: KeepAlive,
    /// How long upstreams are waited for.
    #[serde(default)]
    pub timeouts: ServiceTimeouts,
    /// The `Host` that upstreams get: `"keep"` for the client's, `"endpoint"` for the endpoint's, or a name.
    #[serde(default)]
    pub host: HostRule,
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
}

impl Service {
    /// True where its upstreams are, or may be, spoken to in HTTP/2.
    #[must_use]
    pub fn may_speak_h2(&self) -> bool {
        match self.protocol {
            Protocol::Auto => self.tls.is_some(),
            Protocol::Http1 => false,
            Protocol::H2 => true,
        }
    }
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its share among the others, 0 to 256; 0 gets none.
    pub weight: u16,
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
}

const fn one() -> u16 {
    1
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Endpoint;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a table of address and weight")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Endpoint, E> {
                text.parse().map(|address| Endpoint { address, weight: 1 }).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
                let table = EndpointTable::deserialize(MapAccessDeserializer::new(map))?;
                if table.weight > 256 {
                    return Err(serde::de::Error::custom("the weight is above 256; write 0 to 256"));
                }
                Ok(Endpoint { address: table.address, weight: table.weight })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<EndpointAddress>();
        let table = generator.subschema_for::<EndpointTable>();
        json_schema!({"anyOf": [address, table]})
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, smoothly by weight.
    #[default]
    RoundRobin,
    /// The less busy of two taken at random.
    LeastRequests,
    /// At random, by weight.
    Random,
    /// By the client's address, on a hash ring.
    HashClientIp,
    /// By the value of a field, on a hash ring; without it by the client's address.
    HashHeader(String),
    /// By the value of a cookie, on a hash ring; without it by the client's address.
    HashCookie(String),
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "round_robin" => Ok(Self::RoundRobin),
            "least_requests" => Ok(Self::LeastRequests),
            "random" => Ok(Self::Random),
            "hash:client_ip" => Ok(Self::HashClientIp),
            _ => match (text.strip_prefix("hash:header:"), text.strip_prefix("hash:cookie:")) {
                (Some(name), _) if !name.is_empty() => Ok(Self::HashHeader(name.to_owned())),
                (_, Some(name)) if !name.is_empty() => Ok(Self::HashCookie(name.to_owned())),
                _ => Err(format!(
                    "`{text}` is no balance; write round_robin, least_requests, random, hash:client_ip, \
                     hash:header:NAME or hash:cookie:NAME"
                )),
            },
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round_robin"),
            Self::LeastRequests => f.write_str("least_requests"),
            Self::Random => f.write_str("random"),
            Self::HashClientIp => f.write_str("hash:client_ip"),
            Self::HashHeader(name) => write!(f, "hash:header:{name}"),
            Self::HashCookie(name) => write!(f, "hash:cookie:{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string",
            "pattern": "^(round_robin|least_requests|random|hash:client_ip|hash:header:.+|hash:cookie:.+)$"})
    }
}

/// Upstream connections that stay open between requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepAlive {
    /// How long an idle connection is kept at most; `"0s"` keeps none.
    pub idle: Duration,
    /// Idle connections to one endpoint that one worker keeps.
    pub per_worker: usize,
    /// Requests sent over one connection at most; 0 for no limit.
    pub requests_max: u32,
    /// Age at which a connection is closed after its response; `"0s"` for no limit.
    pub age_max: Duration,
    /// How often an HTTP/2 upstream with requests is asked whether it is there (PING); `"0s"` for never. Servers of gRPC
    /// take more than one in five minutes for an attack.
    pub ping: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_s(15),
            per_worker: 256,
            requests_max: 0,
            age_max: Duration::from_ms(0),
            ping: Duration::from_ms(0),
        }
    }
}

/// How long upstreams are waited for; `"0s"` without end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the response head, from the last byte of the request.
    pub header: Duration,
    /// Between two pieces of the response body.
    pub body: Duration,
    /// For a send to make progress.
    pub send: Duration,
    /// For the whole exchange.
    pub total: Duration,
    /// For a byte in either direction of an upgraded connection.
    pub tunnel: Duration,
    /// For an upgraded connection as a whole.
    pub tunnel_total: Duration,
}

impl Default for ServiceTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_s(5),
            header: Duration::from_s(60),
            body: Duration::from_s(60),
            send: Duration::from_s(60),
            total: Duration::from_ms(0),
            tunnel: Duration::from_s(3_600),
            tunnel_total: Duration::from_ms(0),
        }
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
