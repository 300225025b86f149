//! Where a JWK set is fetched: the control plane does that, and compiles the filter anew when the set is another.

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
