//! Compiles TLS: certificates and authorities from the files that were read, each fault at the key that names the file.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;

use super::Compiler;
use crate::config::services::Protocol;
use crate::config::tls::{CertificateFiles, ClientAuth, ClientAuthMode, ServiceTls, TlsVersion};
use crate::config::{Listener, Service};
use crate::limits::EARLY_SESSIONS_MAX;
use crate::proto::h1::authority::host_length;
use crate::tls::client::{self, ClientTls};
use crate::tls::identity::{Fault, Identity, certificates};
use crate::tls::server::{ClientPolicy, Resumption, ServerTls, Terms};
use crate::tls::sessions::Sessions;
use crate::tls::{ALPN_H2, ALPN_HTTP1, provider};

type Authorities = Vec<CertificateDer<'static>>;

/// What outlives a snapshot, so that a reload costs nobody a handshake.
#[derive(Debug, Default)]
pub struct Secrets {
    /// How handshakes go on from earlier ones, by listener and what is asked of clients.
    resumption: HashMap<String, Resumption>,
    /// The certificate of listeners that were given none.
    self_signed: Option<Identity>,
    /// TLS of services, by what it was made of: a service that stays as it was keeps its connections and sessions.
    clients: HashMap<u64, Arc<ClientTls>>,
}

impl Secrets {
    fn resumption(&mut self, policy: String, has_early_data: bool) -> Result<Resumption, rustls::Error> {
        if let Some(resumption) = self.resumption.get(&policy) {
            return Ok(resumption.clone());
        }
        let resumption = if has_early_data {
            Resumption::Sessions(Arc::new(Sessions::new(EARLY_SESSIONS_MAX)))
        } else {
            Resumption::Tickets(Ticketer::new()?)
        };
        // Those of listeners that are gone, or are others now.
        self.resumption.retain(|_, resumption| resumption.is_used());
        self.resumption.insert(policy, resumption.clone());
        Ok(resumption)
    }

    fn self_signed(&mut self) -> Result<Identity, Fault> {
        if self.self_signed.is_none() {
            self.self_signed = Some(Identity::self_signed()?);
        }
        self.self_signed.clone().ok_or_else(|| Fault::Key("none was made".to_owned()))
    }
}

impl<'a> Compiler<'a> {
    /// `None` where there is none, or a problem, which is told.
    pub(super) fn listener_tls(&mut self, name: &str, listener: &Listener) -> Option<Arc<ServerTls>> {
        let tls = listener.tls.as_ref()?;
        let key = format!("listeners.{name}.tls");
        let known = self.problems.len();
        let mut identities = Vec::new();
        for (at, files) in tls.certificates.iter().enumerate() {
            identities.extend(self.identity(&format!("{key}.certificates.{at}"), files));
        }
        if let Some(folder) = &tls.directory {
            let key = format!("{key}.directory");
            match self.source.files.pairs(folder) {
                Err(error) => self.problem(&key, format!("{}: {error}", folder.display()), ""),
                Ok([]) => {
                    self.problem(&key, format!("{} has no certificate", folder.display()), "add NAME.crt and NAME.key");
                }
                Ok(pairs) => {
                    for (cert, of_cert) in pairs.iter().cloned() {
                        let files = CertificateFiles { cert, key: of_cert, ocsp: None };
                        identities.extend(self.identity(&key, &files));
                    }
                }
            }
        }
        let clients: Vec<_> = tls
            .client_auth
            .iter()
            .enumerate()
            .map(|(at, auth)| self.client_policy(&format!("{key}.client_auth.{at}"), auth))
            .collect();
        let mut asked = BTreeSet::new();
        for (at, policy) in clients.iter().enumerate() {
            let hosts = policy.hosts.iter().map(String::as_str);
            for host in hosts.chain(policy.hosts.is_empty().then_some("any other name")) {
                if !asked.insert(host) {
                    self.problem(
                        &format!("{key}.client_auth.{at}"),
                        format!("{host} is asked for something before"),
                        "",
                    );
                }
            }
        }
        if tls.early_data && !clients.is_empty() {
            self.problem(
                &format!("{key}.early_data"),
                "who has shown no certificate yet could not be answered early",
                "leave out `early_data`, or `client_auth`",
            );
        }
        let provider = self.provider(&key, &tls.ciphers)?;
        if self.problems.len() > known {
            return None;
        }
        if identities.is_empty() {
            match self.kept.secrets.self_signed() {
                Ok(identity) => identities.push(identity),
                Err(fault) => self.problem(&key, format!("no certificate could be made: {fault:?}"), ""),
            }
        }
        let (is_13_only, has_early_data) = (tls.min_version == TlsVersion::V13, tls.early_data);
        let terms = Terms { provider, is_13_only, http2: listener.http2, has_early_data };
        let secrets = &mut self.kept.secrets;
        let resumption = |policy| secrets.resumption(format!("{name} {has_early_data} {policy}"), has_early_data);
        match ServerTls::new(&terms, &identities, tls.strict_sni, &clients, resumption) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => {
                self.problem(&key, error.to_string(), "");
                None
            }
        }
    }

    /// `None` where there is none, or a problem, which is told.
    pub(super) fn service_tls(&mut self, key: &str, service: &Service) -> Option<Arc<ClientTls>> {
        let tls = service.tls.as_ref()?;
        let key = format!("{key}.tls");
        let known = self.problems.len();
        let mut print = DefaultHasher::new();
        format!("{:?} {tls:?}", service.protocol).hash(&mut print);
        let authorities = self.service_authorities(&key, tls, &mut print);
        let identity = match (&tls.cert, &tls.key) {
            (None, None) => None,
            (Some(cert), Some(of_cert)) => {
                let files = CertificateFiles { cert: cert.clone(), key: of_cert.clone(), ocsp: None };
                self.identity(&key, &files)
            }
            _ => {
                self.problem(&key, "`cert` and `key` belong together", "name both, or none");
                None
            }
        };
        identity
            .iter()
            .flat_map(|identity| &identity.key.cert)
            .for_each(|certificate| certificate.as_ref().hash(&mut print));
        let provider = self.provider(&key, &tls.ciphers)?;
        if self.problems.len() > known {
            return None;
        }
        let clients = &mut self.kept.secrets.clients;
        if let Some(client) = clients.get(&print.finish()) {
            return Some(Arc::clone(client));
        }
        let made = ClientTls::new(client::Terms {
            provider,
            is_13_only: tls.min_version == TlsVersion::V13,
            authorities: (!tls.insecure_skip_verify).then_some(authorities),
            name: tls.server_name.clone(),
            identity,
            alpn: match service.protocol {
                Protocol::Auto => vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()],
                Protocol::Http1 => vec![ALPN_HTTP1.to_vec()],
                Protocol::H2 => vec![ALPN_H2.to_vec()],
            },
        });
        match made {
            Ok(made) => {
                // Those of services that are gone, or are others now.
                clients.retain(|_, client| Arc::strong_count(client) > 1);
                Some(Arc::clone(clients.entry(print.finish()).or_insert(Arc::new(made))))
            }
            Err(error) => {
                self.problem(&key, error.to_string(), "");
                None
            }
        }
    }

    /// Who vouches for the upstreams of a service.
    fn service_authorities(&mut self, key: &str, tls: &ServiceTls, print: &mut DefaultHasher) -> Authorities {
        let mut authorities = Vec::new();
        for (at, path) in tls.ca.iter().enumerate() {
            authorities.extend(self.authorities(&format!("{key}.ca.{at}"), path));
        }
        if tls.ca.is_empty() && !tls.insecure_skip_verify {
            authorities = self.source.files.system_authorities().to_vec();
            if authorities.is_empty() {
                self.problem(key, "the system has no authorities", "install ca-certificates, or name files in `ca`");
            }
        }
        authorities.iter().for_each(|authority| authority.as_ref().hash(print));
        authorities
    }

    /// The authorities in a file; what is wrong with it is told.
    fn authorities(&mut self, key: &str, path: &Path) -> Authorities {
        let Some(pem) = self.file(key, path) else { return Vec::new() };
        certificates(pem).unwrap_or_else(|what| {
            self.problem(key, format!("{}: {what}", path.display()), "");
            Vec::new()
        })
    }

    fn provider(&mut self, key: &str, ciphers: &[String]) -> Option<Arc<CryptoProvider>> {
        provider(ciphers)
            .map_err(|what| self.problem(&format!("{key}.ciphers"), what, "leave it out for all that are good"))
            .ok()
    }

    /// What a file holds; a file that cannot be read is told at the key that names it.
    fn file(&mut self, key: &str, path: &Path) -> Option<&'a [u8]> {
        match self.source.files.get(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.problem(key, format!("{} cannot be read: {error}", path.display()), "");
                None
            }
        }
    }

    fn identity(&mut self, key: &str, files: &CertificateFiles) -> Option<Identity> {
        let chain = self.file(&format!("{key}.cert"), &files.cert);
        let of_cert = self.file(&format!("{key}.key"), &files.key);
        let ocsp = match &files.ocsp {
            Some(path) => Some(self.file(&format!("{key}.ocsp"), path)?.to_vec()),
            None => None,
        };
        match Identity::from_pem(chain?, of_cert?, ocsp) {
            Ok(identity) => Some(identity),
            Err(fault) => {
                let (part, path, what) = match fault {
                    Fault::Certificate(what) => ("cert", &files.cert, what),
                    Fault::Key(what) => ("key", &files.key, what),
                };
                self.problem(&format!("{key}.{part}"), format!("{}: {what}", path.display()), "");
                None
            }
        }
    }

    fn client_policy(&mut self, key: &str, auth: &ClientAuth) -> ClientPolicy {
        let mut authorities = Vec::new();
        if auth.ca.is_empty() {
            self.problem(&format!("{key}.ca"), "nobody vouches for clients", "name a file of certificates in PEM");
        }
        for (at, path) in auth.ca.iter().enumerate() {
            authorities.extend(self.authorities(&format!("{key}.ca.{at}"), path));
        }
        for (at, host) in auth.hosts.iter().enumerate() {
            let name = host.strip_prefix("*.").unwrap_or(host);
            if host_length(name.as_bytes()) != Some(name.len()) {
                self.problem(&format!("{key}.hosts.{at}"), format!("`{host}` is no host"), "write a name or *.name");
            }
        }
        let hosts = auth.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        ClientPolicy { hosts, authorities, is_required: auth.mode == ClientAuthMode::Required }
    }
}
