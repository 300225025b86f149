//! What the control plane fetches for filters: it does that again and again, and compiles them anew when it gets something else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// Where a JWK set is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySource {
    /// The service that is asked, by its endpoints and its TLS.
    pub service: String,
    /// The path of the set.
    #[serde(default = "well_known")]
    pub path: String,
    /// How often, from a second on. The set that was fetched last holds until another one comes, also where a fetch fails.
    #[serde(default = "some_minutes")]
    pub every: Duration,
}

fn well_known() -> String {
    "/.well-known/jwks.json".to_owned()
}

const fn some_minutes() -> Duration {
    Duration::from_s(300)
}

/// A provider of OpenID Connect: its configuration and its keys are fetched together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProviderSource {
    /// What it calls itself.
    pub issuer: String,
    /// The service that has its configuration.
    pub service: String,
    /// The service that has its keys.
    pub keys_service: String,
}

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchSource {
    /// A JWK set.
    Keys(KeySource),
    /// What a provider says of itself.
    Provider(ProviderSource),
}

impl FetchSource {
    /// The services that are asked.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        match self {
            Self::Keys(source) => vec![&source.service],
            Self::Provider(source) => vec![&source.service, &source.keys_service],
        }
    }

    /// How often.
    #[must_use]
    pub const fn every(&self) -> Duration {
        match self {
            Self::Keys(source) => source.every,
            Self::Provider(_) => some_minutes(),
        }
    }
}

/// As people are told of it.
impl std::fmt::Display for FetchSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys(source) => write!(f, "the keys for `jwt` at {}{}", source.service, source.path),
            Self::Provider(source) => write!(f, "the configuration and keys of {} for `oidc`", source.issuer),
        }
    }
}
