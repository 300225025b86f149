//! Texts of annotations that dialects read alike.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::de::DeserializeOwned;

use crate::config::document::{Node, Syntax};

/// A switch, as Go's `strconv.ParseBool` reads it; `None` where it is none.
#[must_use]
pub fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// True where a text is a network or an address.
#[must_use]
pub fn is_network(text: &str) -> bool {
    text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok()
}

/// A list of networks; `None` where one of them is none.
#[must_use]
pub fn networks(text: &str) -> Option<Vec<String>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| is_network(part).then(|| part.to_owned())).collect()
}

/// A text in YAML.
///
/// # Errors
/// What is wrong with it.
pub fn yaml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    // A dollar sign is no variable of the environment here.
    let parsed = Node::parse(&text.replace('$', "$$"), Syntax::Yaml, Path::new(name), &|_| None)
        .map_err(|problems| problems.first().map_or_else(String::new, |problem| problem.what.clone()));
    let read = parsed.and_then(|node| serde_json::from_value(node.value()).map_err(|error| error.to_string()));
    read.map_err(|what| format!("it cannot be read: {what}"))
}
