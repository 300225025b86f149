//! The words of a configuration: durations, sizes, addresses. Each is parsed once, with an error that names the remedy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{H2_STREAM_WINDOW_BYTES, H2_WINDOW_BYTES_MAX};

/// A duration in milliseconds, written `"500ms"`, `"15s"`, `"2m"` or `"1h"`. `"0s"` switches a timeout off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

impl Duration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_s(s: u64) -> Self {
        Self(s * 1_000)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// In milliseconds, `None` where it is off.
    #[must_use]
    pub const fn limit_ms(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is not a duration; write a number with ms, s, m or h, like \"15s\"");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let number: u64 = text[..digits].parse().map_err(|_| fault())?;
        let unit_ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(fault()),
        };
        let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= 366 * 24 * 3_600_000);
        ms.map(Self).ok_or_else(|| format!("`{text}` is longer than a year"))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1_000) { write!(f, "{}s", self.0 / 1_000) } else { write!(f, "{}ms", self.0) }
    }
}

/// A number of bytes, written `"64KiB"`, `"10MiB"`, `"1GiB"`, or with `B`. `"0B"` switches a limit off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u64);

impl Size {
    /// No limit.
    pub const OFF: Self = Self(0);

    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// In bytes, 0 for none.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The window of a stream of HTTP/2 where nothing is said.
    #[must_use]
    pub const fn h2_window() -> Self {
        Self(H2_WINDOW_BYTES_MAX as u64)
    }

    /// As the window of a stream, in bytes; `None` where it is out of the range of one: 64 KiB to 1 GiB.
    #[must_use]
    pub fn window_bytes(self) -> Option<u32> {
        u32::try_from(self.bytes()).ok().filter(|bytes| (H2_STREAM_WINDOW_BYTES..=1 << 30).contains(bytes))
    }

    /// The bound in bytes, `None` for no limit.
    #[must_use]
    pub const fn limit_bytes(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is not a size; write a number with B, KiB, MiB or GiB, like \"64KiB\"");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let number: u64 = text[..digits].parse().map_err(|_| fault())?;
        let unit: u64 = match &text[digits..] {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(fault()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(fault)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.0)
    }
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
                "`{text}` is not an endpoint; write \"10.0.0.1:8080\", \"[::1]:8080\", \"app.local:8080\" or \"unix:/run/app.sock\""
            )
        };
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

/// Who may connect to a Unix socket, as of chmod(1) in octal digits: `"0666"`, `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Everybody may, as with nginx.
    pub const EVERYBODY: Self = Self(0o666);

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = if is_octal { u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777) } else { None };
        bits.map(Self).ok_or_else(|| format!("`{text}` is not a file mode; write octal digits such as \"0660\""))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0666", "0660"]})
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

fn decode<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
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

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["500ms", "15s", "2m"]})
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["64KiB", "10MiB"]})
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
    fn durations_and_sizes_are_numbers_with_units() {
        assert_eq!("500ms".parse(), Ok(Duration(500)));
        assert_eq!("2m".parse(), Ok(Duration(120_000)));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        for bad in ["", "5", "s", "5 s", "-5s", "1.5s", "99999999999h"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
        for bad in ["", "5", "5KB", "5k", "99999999999GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_mode_is_octal() {
        assert_eq!("0660".parse::<FileMode>().map(FileMode::bits), Ok(0o660));
        assert_eq!("660".parse::<FileMode>().unwrap().to_string(), "0660");
        for bad in ["", "66", "0888", "1777", "rw-rw----", "00660"] {
            assert!(bad.parse::<FileMode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_told_apart() {
        assert_eq!(":80".parse(), Ok(ListenAddress::Port(80)));
        assert!(matches!("[::]:80".parse(), Ok(ListenAddress::Tcp(_))));
        assert!(matches!("unix:/run/x".parse(), Ok(ListenAddress::Unix(_))));
        assert!("localhost:80".parse::<ListenAddress>().is_err());
        assert!(matches!("App.local:80".parse(), Ok(EndpointAddress::Name(name, 80)) if &*name == "app.local"));
        for bad in ["10.0.0.1", "10.0.0.1:0", "a:99999", "1.2.3.4.5:80", "http://a:80", "unix:x", ":80", "a b:80"] {
            assert!(bad.parse::<EndpointAddress>().is_err(), "{bad}");
        }
    }
}
