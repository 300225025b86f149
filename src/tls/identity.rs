//! A certificate chain with its key: read from PEM, checked to fit, and asked for its names and its end.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate chain with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What signs handshakes.
    pub key: Arc<CertifiedKey>,
    /// DNS names in lower case, `*.` before those that stand for one label more.
    pub names: Vec<String>,
    /// The end of its validity, in seconds since 1970.
    pub not_after_s: i64,
}

/// Why files are no identity. Each says which of the two files is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityFault {
    /// The certificate's file; what is wrong with it.
    Certificate(String),
    /// The key's file; what is wrong with it.
    Key(String),
}

impl Identity {
    /// From PEM: the chain with the leaf first, and its key (PKCS #8, PKCS #1 or SEC 1). `ocsp` is a response in DER that is
    /// stapled.
    ///
    /// # Errors
    /// [`IdentityFault`].
    pub fn from_pem(chain: &[u8], key: &[u8], ocsp: Option<Vec<u8>>) -> Result<Self, IdentityFault> {
        let chain = certificates(chain).map_err(IdentityFault::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| IdentityFault::Key(format!("no private key: {error}")))?;
        let key = any_supported_type(&key).map_err(|error| IdentityFault::Key(format!("a key of no use: {error}")))?;
        let mut certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) if let Some(at) = own_place(&certified) => {
                let what =
                    format!("the chain is in the wrong order: the key's certificate is number {at}; put it first");
                return Err(IdentityFault::Certificate(what));
            }
            // A key that does not tell its public part cannot be compared.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(IdentityFault::Key("the key of another certificate".to_owned()));
            }
            Err(error) => return Err(IdentityFault::Certificate(error.to_string())),
        }
        certified.ocsp = ocsp;
        Self::new(certified)
    }

    fn new(certified: CertifiedKey) -> Result<Self, IdentityFault> {
        let leaf = certified.cert.first().ok_or_else(|| IdentityFault::Certificate("no certificate".to_owned()))?;
        let fault = |error| IdentityFault::Certificate(format!("no X.509 certificate: {error}"));
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| fault(error.to_string()))?;
        let alternatives = leaf.subject_alternative_name().map_err(|error| fault(error.to_string()))?;
        let mut names = Vec::new();
        for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
        let not_after_s = leaf.validity().not_after.timestamp();
        Ok(Self { key: Arc::new(certified), names, not_after_s })
    }

    /// A certificate that nobody but itself vouches for, as for a listener that was given none.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn self_signed() -> Result<Self, IdentityFault> {
        const NAME: &str = "ringress.default";
        let fault = |error: rcgen::Error| IdentityFault::Key(error.to_string());
        let key = rcgen::KeyPair::generate().map_err(fault)?;
        let mut parameters = rcgen::CertificateParams::new(vec![NAME.to_owned()]).map_err(fault)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, NAME);
        let certificate = parameters.self_signed(&key).map_err(fault)?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| IdentityFault::Key(error.to_owned()))?;
        let key = any_supported_type(&der).map_err(|error| IdentityFault::Key(error.to_string()))?;
        Self::new(CertifiedKey::new(vec![certificate.der().clone()], key))
    }

    /// True for a key that signs quicker than RSA, and is offered before it.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.key.key.algorithm() != SignatureAlgorithm::RSA
    }
}

/// Where in the chain the key's own certificate stands, from 1, where that is not the first place.
fn own_place(certified: &CertifiedKey) -> Option<usize> {
    let fits = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&certified.key)).keys_match().is_ok()
    };
    certified.cert.iter().position(fits).map(|at| at + 1)
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// What is wrong with the text.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("no certificate: {error}"))?;
    if found.is_empty() { Err("no certificate in PEM".to_owned()) } else { Ok(found) }
}

/// The certificates of a text in PEM, each of which could vouch for others.
///
/// # Errors
/// What is wrong with the text, or with one of them.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(pem)?;
    let mut roots = rustls::RootCertStore::empty();
    found.iter().try_for_each(|one| roots.add(one.clone())).map_err(|error| error.to_string())?;
    Ok(found)
}

/// The certificate revocation lists (CRL, RFC 5280 §5) of a text in PEM, at least one, for certificates of these authorities.
///
/// # Errors
/// What is wrong with the text, or with one of them.
pub fn revocations(
    pem: &[u8],
    authorities: &[CertificateDer<'static>],
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("no certificate revocation list: {error}"))?;
    if found.is_empty() {
        return Err("no certificate revocation list in PEM".to_owned());
    }
    // Read as for handshakes.
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let read = builder.with_crls(found.iter().cloned()).build();
    read.map(|_| found).map_err(|error| format!("no certificate revocation list: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_are_one_and_a_foreign_key_is_not() {
        let (chain, key) = pem(&["a.example", "*.B.example"]);
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap();
        assert_eq!(identity.names, ["a.example", "*.b.example"]);
        assert!(identity.is_quick());
        assert!(identity.not_after_s > 1_700_000_000);
        let (authority, _) = pem(&["authority"]);
        let fault = Identity::from_pem(format!("{authority}{chain}").as_bytes(), key.as_bytes(), None).unwrap_err();
        let what = "the chain is in the wrong order: the key's certificate is number 2; put it first";
        assert_eq!(fault, IdentityFault::Certificate(what.to_owned()));
        let (_, foreign) = pem(&["a.example"]);
        let fault = Identity::from_pem(chain.as_bytes(), foreign.as_bytes(), None).unwrap_err();
        assert_eq!(fault, IdentityFault::Key("the key of another certificate".to_owned()));
    }

    #[test]
    fn what_is_no_pem_says_which_file_is_to_blame() {
        let (chain, key) = pem(&["a.example"]);
        let fault = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap_err();
        assert!(matches!(fault("", &key), IdentityFault::Certificate(_)));
        assert!(matches!(fault(&key, &key), IdentityFault::Certificate(_)));
        assert!(matches!(fault(&chain, "nothing"), IdentityFault::Key(_)));
        assert!(matches!(fault(&chain, &chain), IdentityFault::Key(_)));
    }

    #[test]
    fn a_listener_without_certificates_gets_one_of_its_own() {
        let identity = Identity::self_signed().unwrap();
        assert_eq!(identity.names, ["ringress.default"]);
    }
}
