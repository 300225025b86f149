//! TLS towards clients: which certificate for which name, which clients must show one, and what goes on without them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::bounded::{EndingTickets, NotingVerifier, ShownUntil};
use super::identity::Identity;
use super::{ALPN_H2, ALPN_HTTP1, ClientAuthMode, Versions};
use crate::hash::hex;
use crate::limits::EARLY_DATA_BYTES_MAX;

/// Keys for one name, the quick ones first.
type Keys = Vec<Arc<CertifiedKey>>;

/// Tells certificates by the name that the client asks for.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<String, Keys>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Keys>,
    /// For clients that ask for another name or none; empty where such are refused.
    default: Keys,
}

impl Certificates {
    /// From identities of which the first is for all other names, unless the rule is strict.
    #[must_use]
    pub fn new(identities: &[Identity], is_strict: bool) -> Self {
        let mut certificates = Self::default();
        let mut sorted: Vec<_> = identities.iter().collect();
        sorted.sort_by_key(|identity| !identity.is_quick());
        for identity in &sorted {
            for name in &identity.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut certificates.wildcard, parent),
                    None => (&mut certificates.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(&identity.key));
            }
        }
        if let Some(first) = identities.first().filter(|_| !is_strict) {
            // Those for the same names in another algorithm serve as well.
            let is_alike = |other: &&&Identity| !other.names.is_empty() && other.names == first.names;
            let alike = sorted.iter().filter(|other| is_alike(other) || Arc::ptr_eq(&other.key, &first.key));
            certificates.default = alike.map(|identity| Arc::clone(&identity.key)).collect();
        }
        certificates
    }

    fn keys(&self, name: Option<&str>) -> &Keys {
        let Some(name) = name else { return &self.default };
        let name = name.to_ascii_lowercase();
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).or_else(parent).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys(hello.server_name());
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(fits).or(keys.first()).map(Arc::clone)
    }
}

/// What is asked of clients under some names.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// The names it is for, in lower case, `*.` before those that stand for one label more; empty for all others.
    pub hosts: Vec<String>,
    /// Who vouches for clients.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Their lists of revoked certificates; empty where nobody looks.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    /// Whether a client without one is refused, and one with a wrong one.
    pub mode: ClientAuthMode,
}

/// What all handshakes of a listener have in common.
#[derive(Clone, Debug)]
pub struct ServerTerms {
    /// Suites and groups.
    pub provider: Arc<CryptoProvider>,
    /// What is spoken.
    pub versions: Versions,
    /// Offer HTTP/2.
    pub http2: bool,
    /// Take early data.
    pub has_early_data: bool,
}

/// How a handshake goes on from an earlier one.
#[derive(Clone, Debug)]
pub enum Resumption {
    /// By tickets that hold all that is needed, enciphered by this: nothing is remembered.
    Tickets(Arc<dyn ProducesTickets>),
    /// By what is remembered here, once each: so nobody can have early data taken a second time (RFC 8446 §8.1).
    Sessions(Arc<dyn StoresServerSessions>),
    /// It does not.
    None,
}

impl Resumption {
    /// True where somebody beside the asker has it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        match self {
            Self::Tickets(tickets) => Arc::strong_count(tickets) > 1,
            Self::Sessions(sessions) => Arc::strong_count(sessions) > 1,
            Self::None => false,
        }
    }
}

/// What is asked of clients under some names, and how.
#[derive(Debug)]
pub struct Policy {
    hosts: Vec<String>,
    /// How handshakes are made where nobody shows anything.
    config: Arc<ServerConfig>,
    /// What a configuration for one connection is made of, where clients show a certificate.
    shown: Option<Shown>,
    /// A number that another policy has another of, whatever snapshot it is from.
    pub print: u64,
}

/// What makes handshakes in which clients show a certificate.
#[derive(Debug)]
struct Shown {
    terms: ServerTerms,
    certificates: Arc<dyn ResolvesServerCert>,
    verifier: Arc<dyn ClientCertVerifier>,
    mode: ClientAuthMode,
    /// When the first of the revocation lists ends, in seconds since 1970; `i64::MAX` without.
    lists_until_s: i64,
    resumption: Resumption,
}

impl Policy {
    /// How the handshake of one connection is made, `now_s` seconds after 1970, and when what its client shows ends: where clients
    /// show certificates, each connection has a configuration of its own, which is told of them.
    ///
    /// # Errors
    /// Versions without suites.
    pub fn config(&self, now_s: i64) -> Result<(Arc<ServerConfig>, Arc<ShownUntil>), rustls::Error> {
        let until = Arc::<ShownUntil>::default();
        let Some(Shown { terms, certificates, verifier, mode, lists_until_s, resumption }) = &self.shown else {
            return Ok((Arc::clone(&self.config), until));
        };
        let passes_refused = *mode == ClientAuthMode::Filtered;
        let (inner, lists_until_s) = (Arc::clone(verifier), *lists_until_s);
        let noting = NotingVerifier { inner, until: Arc::clone(&until), passes_refused, lists_until_s };
        let resumption = match resumption {
            Resumption::Tickets(tickets) => {
                let ending = EndingTickets { inner: Arc::clone(tickets), until: Arc::clone(&until), now_s };
                Resumption::Tickets(Arc::new(ending))
            }
            // What is kept here does not say when it ends.
            Resumption::Sessions(_) | Resumption::None => Resumption::None,
        };
        let config = server_config(terms, certificates, Some(Arc::new(noting)), resumption)?;
        Ok((Arc::new(config), until))
    }
}

/// TLS of one listener.
#[derive(Debug)]
pub struct ServerTls {
    /// The first asks clients for nothing, or is the one for all names without their own.
    policies: Vec<Policy>,
    /// Positions of policies by the names that they are for, `*.` before those that stand for one label more.
    by_host: HashMap<String, usize>,
    /// Names of each certificate and the end of its validity, in seconds since 1970.
    pub certificates: Vec<(String, i64)>,
}

impl ServerTls {
    /// Puts together what a listener needs. `resumption` is asked for each policy, by its description: a
    /// ticket from a client that showed nothing must not be good where a certificate is required.
    ///
    /// # Errors
    /// Authorities that are none, versions without suites.
    pub fn new(
        terms: &ServerTerms,
        identities: &[Identity],
        is_strict: bool,
        clients: &[ClientPolicy],
        mut resumption: impl FnMut(String) -> Result<Resumption, rustls::Error>,
    ) -> Result<Self, rustls::Error> {
        let certificates: Arc<dyn ResolvesServerCert> = Arc::new(Certificates::new(identities, is_strict));
        let base = clients.iter().find(|policy| policy.hosts.is_empty());
        let mut policies = Vec::new();
        for policy in std::iter::once(base).chain(clients.iter().filter(|policy| !policy.hosts.is_empty()).map(Some)) {
            let written = format!("{:?}", policy.map(|policy| (&policy.authorities, &policy.revocations, policy.mode)));
            // Lists may be long, and this is kept.
            let description = hex(digest(&SHA256, written.as_bytes()).as_ref());
            let mut print = DefaultHasher::new();
            description.hash(&mut print);
            let verifier = policy.map(|policy| verifier(terms, policy)).transpose()?;
            let resumption = resumption(description)?;
            let config = server_config(terms, &certificates, verifier.clone(), resumption.clone())?;
            let shown = verifier.zip(policy).map(|(verifier, policy)| Shown {
                terms: terms.clone(),
                certificates: Arc::clone(&certificates),
                verifier,
                mode: policy.mode,
                lists_until_s: lists_end(&policy.revocations),
                resumption,
            });
            policies.push(Policy {
                hosts: policy.map_or_else(Vec::new, |policy| policy.hosts.clone()),
                config: Arc::new(config),
                shown,
                print: print.finish(),
            });
        }
        let mut by_host = HashMap::new();
        for (at, policy) in policies.iter().enumerate() {
            policy.hosts.iter().for_each(|host| _ = by_host.entry(host.clone()).or_insert(at));
        }
        let facts = identities.iter().map(|identity| (identity.names.join(","), identity.not_after_s));
        Ok(Self { policies, by_host, certificates: facts.collect() })
    }

    /// The policy for a name.
    #[must_use]
    pub fn policy(&self, name: Option<&str>) -> Option<&Policy> {
        let Some(name) = name.filter(|_| self.policies.len() > 1) else { return self.policies.first() };
        let name = name.to_ascii_lowercase();
        let parent = || self.by_host.get(&format!("*.{}", name.split_once('.')?.1));
        let at = self.by_host.get(&name).or_else(parent).copied().unwrap_or(0);
        self.policies.get(at)
    }
}

/// When the first of these lists ends, in seconds since 1970; `i64::MAX` where none does.
fn lists_end(lists: &[CertificateRevocationListDer<'static>]) -> i64 {
    let end = |list: &CertificateRevocationListDer<'static>| {
        let (_, read) = CertificateRevocationList::from_der(list).ok()?;
        Some(read.next_update()?.timestamp())
    };
    lists.iter().filter_map(end).min().unwrap_or(i64::MAX)
}

fn server_config(
    terms: &ServerTerms,
    certificates: &Arc<dyn ResolvesServerCert>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    resumption: Resumption,
) -> Result<ServerConfig, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&terms.provider)).with_protocol_versions(terms.versions)?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(certificates));
    // Nothing is remembered unless that is asked for: it is a lock between workers.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match resumption {
        Resumption::Tickets(tickets) => config.ticketer = tickets,
        Resumption::Sessions(sessions) => config.session_storage = sessions,
        Resumption::None => config.send_tls13_tickets = 0,
    }
    if terms.has_early_data {
        config.max_early_data_size = EARLY_DATA_BYTES_MAX;
        // Each of them is remembered.
        config.send_tls13_tickets = 1;
        // The answer need not wait for the rest of the handshake.
        config.send_half_rtt_data = true;
    }
    config.alpn_protocols = [ALPN_H2, ALPN_HTTP1].map(<[u8]>::to_vec).into();
    if !terms.http2 {
        config.alpn_protocols.remove(0);
    }
    Ok(config)
}

fn verifier(terms: &ServerTerms, policy: &ClientPolicy) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in &policy.authorities {
        roots.add(authority.clone())?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&terms.provider));
    if !policy.revocations.is_empty() {
        builder = builder.with_crls(policy.revocations.iter().cloned()).enforce_revocation_expiration();
    }
    let is_required = policy.mode == ClientAuthMode::Required;
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| rustls::Error::General(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsVersion;

    fn identity(names: &[&str]) -> Identity {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Identity { names, ..Identity::self_signed().unwrap() }
    }

    #[test]
    fn a_certificate_is_found_by_name_then_by_wildcard_then_by_default() {
        let identities = [identity(&["x.example"]), identity(&["*.example"]), identity(&["a.b.example"])];
        let certificates = Certificates::new(&identities, false);
        let is = |name: Option<&str>, at: usize| {
            certificates.keys(name).first().is_some_and(|key| Arc::ptr_eq(key, &identities[at].key))
        };
        assert!(is(Some("X.example"), 0));
        assert!(is(Some("y.example"), 1));
        assert!(is(Some("a.b.example"), 2));
        assert!(is(Some("c.b.example"), 0), "a wildcard stands for one label");
        assert!(is(None, 0));
        let strict = Certificates::new(&identities, true);
        assert!(strict.keys(Some("elsewhere")).is_empty());
        assert!(strict.keys(None).is_empty());
    }

    #[test]
    fn a_policy_is_found_by_name_and_is_another_configuration() {
        let authority = || Identity::self_signed().unwrap().key.cert[0].clone();
        let policy = |hosts: &[&str], mode| ClientPolicy {
            revocations: Vec::new(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            authorities: vec![authority()],
            mode,
        };
        let terms = ServerTerms {
            provider: super::super::provider(&[]).unwrap(),
            versions: crate::tls::versions(TlsVersion::V12, TlsVersion::V13),
            http2: true,
            has_early_data: false,
        };
        let mut described = Vec::new();
        let tls = ServerTls::new(
            &terms,
            &[identity(&["x.example"])],
            false,
            &[policy(&["admin.example", "*.in.example"], ClientAuthMode::Required)],
            |description| {
                described.push(description);
                rustls::crypto::aws_lc_rs::Ticketer::new().map(Resumption::Tickets)
            },
        );
        let tls = tls.unwrap();
        let is_base = |name| tls.policy(name).unwrap().print == tls.policies[0].print;
        assert!(is_base(None) && is_base(Some("x.example")) && is_base(Some("a.b.in.example")));
        assert!(!is_base(Some("Admin.example")) && !is_base(Some("a.in.example")));
        assert_ne!(described[0], described[1], "tickets of one must not be good for the other");
    }
}
