//! Texts of annotations that dialects read alike.

use std::net::IpAddr;

use ipnet::IpNet;

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
