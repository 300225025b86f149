//! Addresses: where to listen, and where upstreams are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::decode;

/// True where the address is in one of the networks; an IPv4 address may be written as IPv6.
#[must_use]
pub fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    !networks.is_empty() && networks.iter().any(|network| network.contains(&address.to_canonical()))
}

/// Where to listen: `"0.0.0.0:80"`, `"[::]:80"`, `":80"` for both families, `"unix:/run/x.sock"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// One family.
    Tcp(SocketAddr),
    /// A port of every local address of both families.
    Port(u16),
    /// A path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The socket addresses to bind; empty for a path.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketAddr> {
        match self {
            Self::Tcp(address) => vec![*address],
            Self::Port(port) => {
                vec![
                    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port).into(),
                    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port).into(),
                ]
            }
            Self::Unix(_) => Vec::new(),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
            return Ok(Self::Port(port));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("`{text}` is not an address to listen on; write \"0.0.0.0:80\", \"[::]:80\", \":80\" or \"unix:/run/x.sock\"")
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Port(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where an endpoint is: `"10.0.0.1:8080"`, `"[::1]:8080"`, `"app.local:8080"`, `"unix:/run/app.sock"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// An address that needs no resolving.
    Tcp(SocketAddr),
    /// A name, resolved again whenever its time to live is over.
    Name(Arc<str>, u16),
    /// A path.
    Unix(PathBuf),
}

impl FromStr for EndpointAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(format!("`{text}` has port 0; write the port"))
            } else {
                Ok(Self::Tcp(address))
            };
        }
        let fault = || {
            format!(
                "`{text}` is not a valid endpoint; write \"10.0.0.1:8080\", \"[::1]:8080\", \"app.local:8080\" or \"unix:/run/app.sock\""
            )
        };
        for (scheme, with) in [("http://", ""), ("https://", ", and `tls = {}` in the service")] {
            if let Some(rest) = text.strip_prefix(scheme) {
                if rest.starts_with("unix:") {
                    return Err(format!("`{text}` is a URL; write \"{}\"{with}", rest.trim_end_matches([':', '/'])));
                }
                let address = rest.split('/').next().unwrap_or(rest);
                let port = if address.contains(':') { "" } else { ":PORT" };
                return Err(format!("`{text}` is a URL; write \"{address}{port}\"{with}"));
            }
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!(
                "`{text}` has no port; write the port behind it, like \"10.0.0.1:8080\" or \"[::1]:8080\""
            ));
        }
        if !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        {
            return Err(format!("`{text}` has no port; write \"{text}:80\", or the port that it listens on"));
        }
        if let Some((address, weight)) = text.split_once(" weight=") {
            return Err(format!(
                "`{text}` is an endpoint of nginx; write {{ address = \"{address}\", weight = {weight} }}"
            ));
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(fault)?;
        let is_name = !name.is_empty()
            && name.len() <= crate::limits::HOST_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
            && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if is_name { Ok(Self::Name(name.to_ascii_lowercase().into(), port)) } else { Err(fault()) }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A path for a Unix socket: absolute and short enough for `sockaddr_un` (108 bytes with its end).
fn unix_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err(format!("`unix:{path}` is relative; write the absolute path"));
    }
    if path.len() > 107 || path.contains('\0') {
        return Err(format!("`unix:{path}` is not a path of a socket; at most 107 bytes, without NUL"));
    }
    Ok(PathBuf::from(path))
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl<'de> Deserialize<'de> for EndpointAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for EndpointAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["0.0.0.0:80", "[::]:80", ":80", "unix:/run/x.sock"]})
    }
}

impl JsonSchema for EndpointAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EndpointAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["10.0.0.1:8080", "app.local:8080", "unix:/run/app.sock"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        assert_eq!(":80".parse(), Ok(ListenAddress::Port(80)));
        assert!(matches!("[::]:80".parse(), Ok(ListenAddress::Tcp(_))));
        assert!(matches!("unix:/run/x".parse(), Ok(ListenAddress::Unix(_))));
        assert!("localhost:80".parse::<ListenAddress>().is_err());
        assert!(matches!("App.local:80".parse(), Ok(EndpointAddress::Name(name, 80)) if &*name == "app.local"));
        assert!("https://a:8443/x".parse::<EndpointAddress>().unwrap_err().contains("\"a:8443\", and `tls = {}`"));
        for bad in ["10.0.0.1", "10.0.0.1:0", "a:99999", "1.2.3.4.5:80", "http://a:80", "unix:x", ":80", "a b:80"] {
            assert!(bad.parse::<EndpointAddress>().is_err(), "{bad}");
        }
    }
}
