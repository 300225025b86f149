//! Which requests go where: the conditions of a route and what is done on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::units::Duration;

/// Requests that meet all conditions go to the service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
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
    /// Fields that the request must carry.
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

/// What is done with a request or its response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Takes the prefix off the path, by whole elements.
    StripPrefix(String),
    /// Puts a prefix before the path.
    AddPrefix(String),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes fields of the request.
    RequestHeaders(HeaderEdit),
    /// Changes fields of the response.
    ResponseHeaders(HeaderEdit),
    /// Tells clients that came by TLS to come by TLS alone (RFC 6797).
    Hsts(Hsts),
    /// Lets browsers call gRPC: what comes as gRPC-web goes on as gRPC, and its answer back.
    GrpcWeb,
}

/// How long clients come by TLS alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// From each answer on.
    pub max_age: Duration,
    /// To all hosts below this one too.
    #[serde(default)]
    pub include_subdomains: bool,
    /// May be put into the lists of browsers.
    #[serde(default)]
    pub preload: bool,
}

/// Where to send the client; what is left out stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// Host, with port if it is not the scheme's own.
    #[serde(default)]
    pub host: Option<String>,
    /// The path; the query is dropped with the old one.
    #[serde(default)]
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "moved")]
    pub status: u16,
}

const fn moved() -> u16 {
    302
}

/// Changes to fields: removed first, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdit {
    /// Names to take away.
    pub remove: Vec<String>,
    /// Names with the one value they shall have.
    pub set: BTreeMap<String, String>,
    /// Names with a value to add to what is there.
    pub add: BTreeMap<String, String>,
}
