//! TLS towards upstreams: who vouches for them, by which name they are known, and what is shown to them.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity::Identity;
use super::{ALPN_HTTP1, Versions, unix_s};

/// TLS towards the upstreams of a service. The same value from one snapshot to the next where nothing changed.
#[derive(Debug)]
pub struct ClientTls {
    /// How handshakes are made.
    pub config: Arc<ClientConfig>,
    /// The same, with HTTP/1.1 as the only protocol.
    pub http1: Arc<ClientConfig>,
    /// The name that upstreams must have, where it is not that of their endpoint.
    name: Option<ServerName<'static>>,
    /// Nobody's word is asked: whoever is reached is believed.
    pub is_unverified: bool,
}

/// What a service says of TLS.
#[derive(Clone, Debug)]
pub struct ClientTerms {
    /// Suites and groups.
    pub provider: Arc<CryptoProvider>,
    /// TLS 1.3 alone.
    pub versions: Versions,
    /// Who vouches for upstreams; `None` asks nobody.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// The name that upstreams must have.
    pub name: Option<String>,
    /// What is shown to upstreams that ask.
    pub identity: Option<Identity>,
    /// Protocols that are offered, the best first.
    pub alpn: Vec<Vec<u8>>,
}

impl ClientTls {
    /// Puts together what a service needs.
    ///
    /// # Errors
    /// Authorities that are none, a name that is none.
    pub fn new(terms: ClientTerms) -> Result<Self, Error> {
        let fault = |what: &str| Error::General(what.to_owned());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&terms.provider)).with_protocol_versions(terms.versions)?;
        let is_unverified = terms.authorities.is_none();
        let trust = match terms.authorities {
            None => None,
            Some(given) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(given.iter().cloned());
                let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&terms.provider));
                let chains = builder.build().map_err(|error| fault(&error.to_string()))?;
                Some(ServerTrust { chains, given })
            }
        };
        let verifier = Arc::new(Verifier { provider: terms.provider, trust });
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match terms.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key))),
        };
        config.alpn_protocols = terms.alpn;
        let name = match terms.name {
            None => None,
            Some(name) => Some(ServerName::try_from(name).map_err(|_| fault("the name is none"))?),
        };
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        Ok(Self { config: Arc::new(config), http1: Arc::new(http1), name, is_unverified })
    }

    /// The name that an endpoint, written `host:port`, must have.
    #[must_use]
    pub fn server_name(&self, endpoint: &str) -> Option<ServerName<'static>> {
        if let Some(name) = &self.name {
            return Some(name.clone());
        }
        if endpoint.starts_with("unix:") {
            return None;
        }
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => Some(ServerName::from(address)),
            Err(_) => ServerName::try_from(host.to_owned()).ok(),
        }
    }
}

/// Decides whom to believe. That whoever is reached has the key of its certificate is seen in any case.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None` believes whoever is reached, as `insecure_skip_verify` asks.
    trust: Option<ServerTrust>,
}

/// Those that an authority vouches for, and a certificate that was itself given as one: what people make for one server, by
/// the shortest way, says of itself that it is an authority, and is refused as a server's by the rules.
#[derive(Debug)]
struct ServerTrust {
    chains: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerTrust {
    fn is_given(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<bool, Error> {
        if !self.given.contains(certificate) {
            return Ok(false);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let parsed = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?.1;
        let now_s = unix_s(now);
        if now_s < parsed.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now_s > parsed.validity().not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        Ok(true)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Some(trust) if !trust.is_given(certificate, name, now)? => {
                trust.chains.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsVersion;

    fn tls(name: Option<&str>) -> Result<ClientTls, Error> {
        let authority = Identity::self_signed().unwrap().key.cert[0].clone();
        ClientTls::new(ClientTerms {
            provider: super::super::provider(&[]).unwrap(),
            versions: crate::tls::versions(TlsVersion::V12, TlsVersion::V13),
            authorities: Some(vec![authority]),
            name: name.map(str::to_owned),
            identity: None,
            alpn: Vec::new(),
        })
    }

    #[test]
    fn an_endpoint_is_known_by_its_own_name_unless_it_has_another() {
        let own = tls(None).unwrap();
        let name = |endpoint| own.server_name(endpoint).map(|name| name.to_str().into_owned());
        assert_eq!(name("app.local:443").as_deref(), Some("app.local"));
        assert_eq!(name("10.0.0.1:443").as_deref(), Some("10.0.0.1"));
        assert_eq!(name("[::1]:443").as_deref(), Some("::1"));
        assert_eq!(name("unix:/run/x y.sock"), None);
        let other = tls(Some("x.example")).unwrap();
        assert_eq!(other.server_name("unix:/run/x.sock").unwrap().to_str(), "x.example");
        assert!(tls(Some("no name")).is_err());
    }
}
