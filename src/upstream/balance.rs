//! How the endpoint of a request is chosen, as people write it.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, smoothly by weight.
    #[default]
    RoundRobin,
    /// The less busy of two taken at random.
    LeastRequests,
    /// Of two taken at random the one that answers sooner, as far as this worker saw, for as many requests as it is busy with.
    LeastLatency,
    /// At random, by weight.
    Random,
    /// By a key of the request, on a hash ring. What keys there are [`crate::filter::key::RequestKey`] says.
    Hash(String),
}

impl Balance {
    /// The key whose hash an endpoint is looked up by; `None` where it is chosen otherwise.
    #[must_use]
    pub fn hash_key(&self) -> Option<&str> {
        match self {
            Self::Hash(key) => Some(key),
            Self::RoundRobin | Self::LeastRequests | Self::LeastLatency | Self::Random => None,
        }
    }
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "round_robin" => Ok(Self::RoundRobin),
            "least_requests" => Ok(Self::LeastRequests),
            "least_latency" => Ok(Self::LeastLatency),
            "random" => Ok(Self::Random),
            _ => match text.strip_prefix("hash:") {
                Some(key) => Ok(Self::Hash(key.to_owned())),
                None => Err(format!(
                    "`{text}` is not a balance; write round_robin, least_requests, least_latency, random, or hash:KEY, as \
                     hash:client_ip, hash:header:NAME, hash:cookie:NAME or hash:{{host}}{{path}}"
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
            Self::LeastLatency => f.write_str("least_latency"),
            Self::Random => f.write_str("random"),
            Self::Hash(key) => write!(f, "hash:{key}"),
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
            "pattern": "^(round_robin|least_requests|least_latency|random|hash:.+)$"})
    }
}
