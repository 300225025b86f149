//! How much of a failure is told to the client that it befell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an answer of our own tells its cause. Logs and metrics have it in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Details {
    /// In the field `Proxy-Status` (RFC 9209), where people who look for it find it; the page says no more than its status.
    #[default]
    Header,
    /// In that field and on the page.
    Body,
    /// Nowhere.
    None,
}
