//! Sessions of clients that showed a certificate: none goes on after that certificate's end. The end is written into each ticket, and
//! a ticket that is past it is not taken, so that a new handshake looks at the certificate again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::unix_s;

/// The end of what a client showed on one connection, in seconds since 1970; `i64::MAX` where it showed nothing, and `REFUSED` where nobody
/// vouches for that.
#[derive(Debug)]
pub struct ShownUntil(AtomicI64);

/// What nobody vouches for is over at any time, so that no session goes on from it.
const REFUSED: i64 = i64::MIN;

impl Default for ShownUntil {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl ShownUntil {
    /// The end, in seconds since 1970; `None` where there is none.
    #[must_use]
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|until_s| !matches!(*until_s, REFUSED | i64::MAX))
    }

    /// True where something was shown that nobody vouches for.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.load(Ordering::Relaxed) == REFUSED
    }

    fn put(&self, until_s: i64) {
        self.0.store(until_s, Ordering::Relaxed);
    }
}

/// Notes when the certificates end that it verifies.
#[derive(Debug)]
pub(super) struct NotingVerifier {
    pub inner: Arc<dyn ClientCertVerifier>,
    pub until: Arc<ShownUntil>,
    /// The connection is made with what nobody vouches for, which is noted.
    pub passes_refused: bool,
    /// When the first of the revocation lists ends, in seconds since 1970; `i64::MAX` without.
    pub lists_until_s: i64,
}

/// The end of the first of these to end: of the certificate itself, and of what may vouch for it. One that was over already did not.
fn end_of(certificate: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now_s: i64) -> i64 {
    let end = |der: &CertificateDer<'_>| Some(X509Certificate::from_der(der).ok()?.1.validity().not_after.timestamp());
    let vouching = intermediates.iter().filter_map(end).filter(|end_s| *end_s > now_s);
    end(certificate).into_iter().chain(vouching).min().unwrap_or(i64::MAX)
}

impl ClientCertVerifier for NotingVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.inner.verify_client_cert(certificate, intermediates, now) {
            Err(_) if self.passes_refused => {
                self.until.put(REFUSED);
                return Ok(ClientCertVerified::assertion());
            }
            verified => verified?,
        };
        let now_s = unix_s(now);
        self.until.put(end_of(certificate, intermediates, now_s).min(self.lists_until_s));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Tickets that say when they end.
#[derive(Debug)]
pub(super) struct EndingTickets {
    pub inner: Arc<dyn ProducesTickets>,
    pub until: Arc<ShownUntil>,
    /// The time of the handshake, in seconds since 1970.
    pub now_s: i64,
}

impl ProducesTickets for EndingTickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let until_s = self.until.0.load(Ordering::Relaxed);
        self.inner.encrypt(&[&until_s.to_be_bytes(), plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let told = self.inner.decrypt(cipher)?;
        let (until_s, plain) = told.split_first_chunk()?;
        let until_s = i64::from_be_bytes(*until_s);
        (self.now_s < until_s).then(|| {
            // The next ticket ends when this one does.
            self.until.put(until_s);
            plain.to_vec()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_until_the_end_of_what_was_shown() {
        let inner = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let tickets = |now_s| EndingTickets { inner: Arc::clone(&inner), until: Arc::default(), now_s };
        let issuing = tickets(1_000);
        issuing.until.put(2_000);
        let ticket = issuing.encrypt(b"session").unwrap();
        let later = tickets(1_999);
        assert_eq!(later.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(later.until.get(), Some(2_000), "the next ticket ends no later");
        assert_eq!(tickets(2_000).decrypt(&ticket), None);
        assert_eq!(tickets(0).decrypt(b"no ticket"), None);
        let free = tickets(1_000);
        let ticket = free.encrypt(b"nobody").unwrap();
        assert!(tickets(i64::MAX - 1).decrypt(&ticket).is_some() && free.until.get().is_none());
        let refused = tickets(1_000);
        refused.until.put(REFUSED);
        assert_eq!(tickets(0).decrypt(&refused.encrypt(b"anybody").unwrap()), None);
        assert!(refused.until.is_refused() && refused.until.get().is_none());
    }
}
