//! TLS on either side: which certificates, which versions, who vouches for whom.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::tls::{ClientAuthMode, TlsVersion};
use crate::units::Duration;
pub use crate::units::Material;

/// TLS of a listener. Paths are relative to the configuration's folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTls {
    /// Certificates, told apart by the names in them. The first is for clients that ask for no name or another one.
    pub certificates: Vec<CertificateFiles>,
    /// A folder of further ones: each `NAME.crt` or `NAME.pem` with its `NAME.key`.
    pub directory: Option<PathBuf>,
    /// The lowest version: `"1.2"` or `"1.3"`.
    pub min_version: TlsVersion,
    /// The highest version.
    pub max_version: TlsVersion,
    /// Cipher suites by the names of IANA; empty for all that are good.
    pub ciphers: Vec<String>,
    /// How a client goes on from an earlier handshake: by `"tickets"` that it keeps, by `"sessions"` that are kept here, the latest 32,768 and each
    /// for one time, or by `"none"`. Clients who show a certificate go on by tickets or not at all.
    pub resumption: ResumptionKind,
    /// How long sessions are kept.
    pub session_time: Duration,
    /// 48 bytes or more that tickets are enciphered with, so that those of other hosts with the same ones, and of a process before this one, are
    /// good; whoever knows them can read what was recorded. Absent for keys of this process alone, which change.
    pub ticket_key: Option<Material>,
    /// Refuse clients that ask for no name, or for one without a certificate.
    pub strict_sni: bool,
    /// Take requests with a client's first bytes, before the handshake is over (0-RTT). Safe ones are sent on with
    /// `Early-Data: 1` (RFC 8470), others wait. Sessions are then kept in
    /// memory, the latest 32,768, and each is gone on from once.
    pub early_data: bool,
    /// Certificates that clients show; the first whose hosts fit the name asked for, else the one without hosts.
    pub client_auth: Vec<ClientAuth>,
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            directory: None,
            min_version: TlsVersion::V12,
            max_version: TlsVersion::V13,
            ciphers: Vec::new(),
            resumption: ResumptionKind::Tickets,
            session_time: Duration::from_s(6 * 3_600),
            ticket_key: None,
            strict_sni: false,
            early_data: false,
            client_auth: Vec::new(),
        }
    }
}

/// How a client goes on from an earlier handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResumptionKind {
    /// By what it keeps.
    #[default]
    Tickets,
    /// By what is kept here.
    Sessions,
    /// It does not.
    None,
}

impl ListenerTls {
    /// What it names, but for the files of `directory`.
    pub fn materials(&self) -> impl Iterator<Item = &Material> {
        // Every field is named, so that a new one is not forgotten.
        let Self {
            certificates,
            client_auth,
            ticket_key,
            directory: _,
            min_version: _,
            max_version: _,
            ciphers: _,
            resumption: _,
            session_time: _,
            strict_sni: _,
            early_data: _,
        } = self;
        let of_certificates = certificates.iter().flat_map(CertificateFiles::materials);
        of_certificates.chain(client_auth.iter().flat_map(ClientAuth::materials)).chain(ticket_key)
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain in PEM, the certificate itself first.
    pub cert: Material,
    /// Its private key in PEM.
    pub key: Material,
    /// An OCSP response in DER, to be stapled.
    #[serde(default)]
    pub ocsp: Option<Material>,
}

impl CertificateFiles {
    /// What it names.
    pub fn materials(&self) -> impl Iterator<Item = &Material> {
        let Self { cert, key, ocsp } = self;
        [cert, key].into_iter().chain(ocsp)
    }
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Files of PEM with the authorities that vouch for clients.
    pub ca: Vec<Material>,
    /// Files of PEM with certificate revocation lists (CRL); empty for none. Where there is one, a certificate counts only while a list of each
    /// authority above it says nothing against it, and has not passed its end; then its connections end as with its own.
    #[serde(default)]
    pub crl: Vec<Material>,
    /// `"required"`, `"optional"` or `"filtered"`.
    #[serde(default)]
    pub mode: ClientAuthMode,
    /// Names that clients ask for: `"admin.example.com"`, `"*.example.org"`; empty for all others.
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl ClientAuth {
    /// What it names.
    pub fn materials(&self) -> impl Iterator<Item = &Material> {
        let Self { ca, crl, mode: _, hosts: _ } = self;
        ca.iter().chain(crl)
    }
}

/// TLS towards the upstreams of a service. Paths are relative to the configuration's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceTls {
    /// Files of PEM with the authorities that vouch for upstreams; empty for those of the system.
    pub ca: Vec<Material>,
    /// The name that upstreams must have in their certificate, and are asked for; absent for that of the endpoint.
    pub server_name: Option<String>,
    /// A certificate that is shown to upstreams that ask for one.
    pub cert: Option<Material>,
    /// Its private key.
    pub key: Option<Material>,
    /// The lowest version: `"1.2"` or `"1.3"`.
    pub min_version: TlsVersion,
    /// Cipher suites by the names of IANA; empty for all that are good.
    pub ciphers: Vec<String>,
    /// Believe whoever is reached. Whoever stands between can then read and change everything.
    pub insecure_skip_verify: bool,
}

impl ServiceTls {
    /// What it names.
    pub fn materials(&self) -> impl Iterator<Item = &Material> {
        let Self { ca, cert, key, server_name: _, min_version: _, ciphers: _, insecure_skip_verify: _ } = self;
        ca.iter().chain(cert).chain(key)
    }
}
