//! TLS as configuration means it: whose certificates, which clients, what is asked of upstreams. Pure: bytes in,
//! configurations of rustls out. Files are read by `config`, connections are driven by `worker/tls`.

pub mod bounded;
pub mod client;
pub mod fault;
pub mod identity;
pub mod server;
pub mod sessions;
pub mod subject;
pub mod tickets;

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The protocols of ALPN (RFC 7301).
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Seconds since 1970, as certificates count them.
fn unix_s(moment: UnixTime) -> i64 {
    i64::try_from(moment.as_secs()).unwrap_or(i64::MAX)
}

/// What a handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite as IANA names it.
    pub cipher: &'static str,
    /// It went on from an earlier handshake.
    pub is_resumed: bool,
    /// HTTP/2 was agreed on.
    pub is_h2: bool,
    /// Which policy a client met, by its print.
    pub policy: u64,
    /// The client's certificate, which an authority of the policy vouches for, as RFC 9440 §2.2 writes it.
    pub client: Option<Box<str>>,
    /// It showed one that nobody vouches for, which counts as none.
    pub client_is_refused: bool,
    /// When that certificate ends, or one that was sent to vouch for it, in seconds since 1970.
    pub client_until_s: Option<i64>,
}

impl Facts {
    /// From a connection whose handshake is over.
    #[must_use]
    pub fn of(connection: &rustls::CommonState, server_name: Option<&str>) -> Self {
        Self {
            server_name: server_name.map(|name| name.to_ascii_lowercase().into()),
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| suite_name(suite.suite())),
            is_resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            policy: 0,
            client_is_refused: false,
            client_until_s: None,
            is_h2: connection.alpn_protocol() == Some(ALPN_H2),
            client: connection
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(|certificate| format!(":{}:", BASE64_STANDARD.encode(certificate)).into()),
        }
    }
}

/// The cipher suites and groups of this build, with only the suites of these names, in this order; all where there is no
/// name.
///
/// # Errors
/// The name that is none, with those that are.
pub fn provider(suites: &[String]) -> Result<Arc<CryptoProvider>, String> {
    let mut provider = aws_lc_rs::default_provider();
    if !suites.is_empty() {
        let all = std::mem::take(&mut provider.cipher_suites);
        let name = |suite: &rustls::SupportedCipherSuite| suite_name(suite.suite());
        for wanted in suites {
            let Some(suite) = all.iter().find(|suite| name(suite) == *wanted) else {
                let known: Vec<_> = all.iter().map(name).collect();
                return Err(format!("`{wanted}` is not a cipher suite of this build; it has {}", known.join(", ")));
            };
            provider.cipher_suites.push(*suite);
        }
    }
    Ok(Arc::new(provider))
}

/// The name that IANA gives a suite; rustls writes those of TLS 1.3 with another prefix.
#[must_use]
pub fn suite_name(suite: rustls::CipherSuite) -> &'static str {
    const OF_TLS13: [(rustls::CipherSuite, &str); 3] = [
        (rustls::CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
        (rustls::CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
        (rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
    ];
    let of_tls13 = OF_TLS13.iter().find(|(other, _)| *other == suite).map(|(_, name)| *name);
    of_tls13.or_else(|| suite.as_str()).unwrap_or("unknown")
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// It must.
    #[default]
    Required,
    /// It may; one that nobody vouches for is refused all the same.
    Optional,
    /// It may; with one that nobody vouches for the connection is made, as nginx does it: the filter `client_certificate` answers its requests with
    /// a refusal, and everywhere else it counts as none.
    Filtered,
}

/// Versions of a protocol, the newest first.
pub type Versions = &'static [&'static rustls::SupportedProtocolVersion];

/// The versions from one to another; none where the first is above the second.
#[must_use]
pub fn versions(min: TlsVersion, max: TlsVersion) -> Versions {
    const BOTH: Versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let at = |version: TlsVersion| usize::from(version == TlsVersion::V12);
    BOTH.get(at(max)..=at(min)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_the_names_of_iana_and_kept_in_order() {
        let names = ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"].map(str::to_owned);
        let chosen = provider(&names).unwrap();
        let found: Vec<_> = chosen.cipher_suites.iter().map(|suite| suite_name(suite.suite())).collect();
        assert_eq!(found, names);
        let fault = provider(&["RC4".to_owned()]).unwrap_err();
        assert!(fault.contains("`RC4` is not a cipher suite") && fault.contains("TLS_AES_256_GCM_SHA384"), "{fault}");
        assert!(provider(&[]).unwrap().cipher_suites.len() > 5);
    }
}
