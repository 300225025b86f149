//! Which requests go where: the conditions of a route and what is done on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filter::Filter;

/// Requests that meet all conditions go to the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// A name, unique, for logs and metrics.
    pub name: String,
    /// The service; may be left out where a filter answers.
    #[serde(default)]
    pub service: Option<String>,
    /// Listeners by name; empty for all.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Hosts: `"example.com"`, `"*.example.org"`; empty for any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Paths; empty for any.
    #[serde(default)]
    pub paths: Vec<PathMatch>,
    /// Methods; empty for any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Fields that the request must carry. One that is repeated is one value, joined by `, ` in the order it came.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Query parameters that the request must carry.
    #[serde(default)]
    pub query: Vec<ValueMatch>,
    /// Higher goes first, before any other rule of precedence.
    #[serde(default)]
    pub priority: i32,
    /// What is done on the way, in this order.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// This path and all below it, by whole elements: `/a` has `/a` and `/a/b` below it, not `/ab`.
    Prefix(String),
    /// A regular expression, searched in the path; anchor it with `^` and `$`.
    Regex(String),
}

/// A condition on a named value: equal, matching, or present.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// The name; of a field, whatever its case.
    pub name: String,
    /// The value it must have.
    #[serde(default)]
    pub value: Option<String>,
    /// A regular expression that must be found in the value.
    #[serde(default)]
    pub regex: Option<String>,
}
