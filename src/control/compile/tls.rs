//! Compiles TLS: certificates and authorities from what was read, each fault at the key that names its source.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;

use super::compiler::Compiler;
use crate::config::files::Folder;
use crate::config::listeners::ListenerSpec;
use crate::config::services::{Protocol, ServiceSpec};
use crate::config::tls::{CertificateFiles, ClientAuth, ListenerTls, Material, ResumptionKind, ServiceTls, TlsVersion};
use crate::limits::TLS_SESSIONS_MAX;
use crate::proto::h1::authority::host_length;
use crate::sys::clock::coarse_ms;
use crate::tls::client::{ClientTerms, ClientTls};
use crate::tls::identity::{self, Identity, IdentityFault};
use crate::tls::server::{ClientPolicy, Resumption, ServerTerms, ServerTls};
use crate::tls::sessions::Sessions;
use crate::tls::tickets::{KeyedTickets, TicketKey};
use crate::tls::{ALPN_H2, ALPN_HTTP1, provider, versions};

type Authorities = Vec<CertificateDer<'static>>;

/// The TLS of a listener; `None` where it has none, or where a problem was reported. The same value as before where none of
/// its inputs changed.
pub(super) fn of_listener(compiler: &mut Compiler<'_>, name: &str, spec: &ListenerSpec) -> Option<Arc<ServerTls>> {
    let tls = spec.tls.as_ref()?;
    let key = format!("listeners.{name}.tls");
    let mut print = DefaultHasher::new();
    (name, spec.http2, format!("{tls:?}")).hash(&mut print);
    let files = certificate_files(compiler, &key, tls);
    // The files of a folder are among these.
    let of_certificates = files.iter().flat_map(|(_, files)| files.materials());
    of_certificates.chain(tls.materials()).for_each(|material| hash_material(compiler, material, &mut print));
    if let Some(known) = compiler.kept.secrets.server(print.finish()) {
        return Some(known);
    }
    let made = new_server(compiler, (name, &key), spec, tls, &files)?;
    compiler.kept.secrets.put_server(print.finish(), &made);
    Some(made)
}

fn hash_material(compiler: &Compiler<'_>, material: &Material, print: &mut DefaultHasher) {
    compiler.source.files.get(material).hash(print);
}

/// The certificates that are named and those of the folder, each with the key that names it.
fn certificate_files(compiler: &mut Compiler<'_>, key: &str, tls: &ListenerTls) -> Vec<(String, CertificateFiles)> {
    let named = tls.certificates.iter().enumerate();
    let mut all: Vec<_> = named.map(|(at, files)| (format!("{key}.certificates.{at}"), files.clone())).collect();
    let Some(folder) = &tls.directory else { return all };
    let key = format!("{key}.directory");
    let Folder { pairs, alone } = match compiler.source.files.folder(folder) {
        Ok(read) => read.clone(),
        Err(error) => {
            compiler.problem(&key, format!("{}: {error}", folder.display()), "");
            return all;
        }
    };
    for path in alone {
        compiler.notice(&key, format!("{} has no key beside it and is passed over", path.display()));
    }
    if pairs.is_empty() {
        compiler.problem(
            &key,
            format!("{} has no certificate with its key", folder.display()),
            "add NAME.crt and NAME.key",
        );
    }
    all.extend(pairs.into_iter().map(|(cert, of_cert)| {
        let files = CertificateFiles { cert: Material::Path(cert), key: Material::Path(of_cert), ocsp: None };
        (key.clone(), files)
    }));
    all
}

fn new_server(
    compiler: &mut Compiler<'_>,
    (name, key): (&str, &str),
    spec: &ListenerSpec,
    tls: &ListenerTls,
    files: &[(String, CertificateFiles)],
) -> Option<Arc<ServerTls>> {
    let known = compiler.problems.len();
    let mut identities: Vec<_> = files.iter().filter_map(|(key, files)| identity(compiler, key, files)).collect();
    let mut clients = Vec::with_capacity(tls.client_auth.len());
    for (at, auth) in tls.client_auth.iter().enumerate() {
        let (key, before) = (format!("{key}.client_auth.{at}"), compiler.problems.len());
        let policy = client_policy(compiler, &key, auth);
        // One of an object is left out alone: what asks for a certificate there gets none, and refuses.
        if compiler.problems.len() == before || compiler.source.is_whole_at(&key) {
            clients.push(policy);
        }
    }
    check_client_auth(compiler, key, tls, &clients);
    let provider = suites(compiler, key, &tls.ciphers)?;
    let means = resumption_means(compiler, key, tls);
    if compiler.has_own_problem(known) {
        return None;
    }
    if identities.is_empty() {
        match compiler.kept.secrets.self_signed() {
            Ok(identity) => identities.push(identity),
            Err(fault) => compiler.problem(key, format!("no certificate could be made: {fault:?}"), ""),
        }
    }
    let (spoken, has_early_data) = (versions(tls.min_version, tls.max_version), tls.early_data);
    let terms = ServerTerms { provider, versions: spoken, http2: spec.http2, has_early_data };
    let means =
        ResumptionMeans { kind: if has_early_data { ResumptionKind::Sessions } else { tls.resumption }, ..means };
    let secrets = &mut compiler.kept.secrets;
    let resumption = |policy: String| secrets.resumption(format!("{name} {means:?} {policy}"), || means.make(&policy));
    match ServerTls::new(&terms, &identities, tls.strict_sni, &clients, resumption) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            compiler.problem(key, error.to_string(), "");
            None
        }
    }
}

/// By what clients go on from earlier handshakes.
#[derive(Clone, Debug)]
struct ResumptionMeans {
    kind: ResumptionKind,
    session_time: std::time::Duration,
    ticket_key: Option<TicketKey>,
}

impl ResumptionMeans {
    /// For a policy by its description: what one asked of a client is not good for another.
    fn make(&self, policy: &str) -> Result<Resumption, rustls::Error> {
        Ok(match (self.kind, &self.ticket_key) {
            (ResumptionKind::Sessions, _) => {
                Resumption::Sessions(Arc::new(Sessions::new(TLS_SESSIONS_MAX, self.session_time, coarse_ms)))
            }
            (ResumptionKind::Tickets, None) => Resumption::Tickets(Ticketer::new()?),
            (ResumptionKind::Tickets, Some(key)) => {
                Resumption::Tickets(Arc::new(KeyedTickets::new(&key.of_policy(policy))?))
            }
            (ResumptionKind::None, _) => Resumption::None,
        })
    }
}

fn resumption_means(compiler: &mut Compiler<'_>, key: &str, tls: &ListenerTls) -> ResumptionMeans {
    if tls.min_version > tls.max_version {
        compiler.problem(&format!("{key}.min_version"), "it is above `max_version`", "leave one of them out");
    }
    let ticket_key = tls.ticket_key.as_ref().and_then(|material| {
        let key = format!("{key}.ticket_key");
        let secret = bytes(compiler, &key, material)?;
        let made = TicketKey::of(&secret);
        if made.is_none() {
            let what = format!("{material} has {} bytes", secret.len());
            compiler.problem(
                &key,
                what,
                "write 48 bytes or more that nobody can guess, as `openssl rand 80` gives them",
            );
        }
        made
    });
    let session_time = std::time::Duration::from_millis(tls.session_time.ms());
    ResumptionMeans { kind: tls.resumption, session_time, ticket_key }
}

fn check_client_auth(compiler: &mut Compiler<'_>, key: &str, tls: &ListenerTls, clients: &[ClientPolicy]) {
    let mut asked = BTreeSet::new();
    for (at, policy) in clients.iter().enumerate() {
        let hosts = policy.hosts.iter().map(String::as_str);
        for host in hosts.chain(policy.hosts.is_empty().then_some("any other name")) {
            if !asked.insert(host) {
                let what = format!("another `client_auth` is for {host} already");
                compiler.problem(&format!("{key}.client_auth.{at}"), what, "");
            }
        }
    }
    if tls.early_data && !clients.is_empty() {
        compiler.problem(
            &format!("{key}.early_data"),
            "early data comes before the client has shown its certificate",
            "leave out `early_data`, or `client_auth`",
        );
    }
}

/// The TLS of a service; `None` where it has none, or where a problem was reported. The same value as before, and as for
/// other services, where its inputs are the same.
pub(super) fn of_service(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec) -> Option<Arc<ClientTls>> {
    let tls = spec.tls.as_ref()?;
    let key = format!("{key}.tls");
    let mut print = DefaultHasher::new();
    format!("{:?} {tls:?}", spec.protocol).hash(&mut print);
    tls.materials().for_each(|material| hash_material(compiler, material, &mut print));
    if tls.ca.is_empty() && !tls.insecure_skip_verify {
        compiler.source.files.system_print().hash(&mut print);
    }
    if let Some(known) = compiler.kept.secrets.client(print.finish()) {
        return Some(known);
    }
    let made = new_client(compiler, &key, spec, tls)?;
    compiler.kept.secrets.put_client(print.finish(), &made);
    Some(made)
}

fn new_client(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec, tls: &ServiceTls) -> Option<Arc<ClientTls>> {
    let known = compiler.problems.len();
    let authorities = service_authorities(compiler, key, tls);
    let identity = match (&tls.cert, &tls.key) {
        (None, None) => None,
        (Some(cert), Some(of_cert)) => {
            let files = CertificateFiles { cert: cert.clone(), key: of_cert.clone(), ocsp: None };
            identity(compiler, key, &files)
        }
        (Some(_), None) | (None, Some(_)) => {
            compiler.problem(key, "`cert` and `key` belong together", "name both, or none");
            None
        }
    };
    let provider = suites(compiler, key, &tls.ciphers)?;
    if compiler.problems.len() > known {
        return None;
    }
    let made = ClientTls::new(ClientTerms {
        provider,
        versions: versions(tls.min_version, TlsVersion::V13),
        authorities: (!tls.insecure_skip_verify).then_some(authorities),
        name: tls.server_name.clone(),
        identity,
        alpn: match spec.protocol {
            Protocol::Auto => vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()],
            Protocol::Http1 => vec![ALPN_HTTP1.to_vec()],
            Protocol::Uwsgi | Protocol::Scgi | Protocol::FastCgi => Vec::new(),
            Protocol::H2 => vec![ALPN_H2.to_vec()],
        },
    });
    made.map_err(|error| compiler.problem(key, error.to_string(), "")).ok().map(Arc::new)
}

/// Who vouches for the upstreams of a service.
fn service_authorities(compiler: &mut Compiler<'_>, key: &str, tls: &ServiceTls) -> Authorities {
    let mut all = Vec::new();
    for (at, material) in tls.ca.iter().enumerate() {
        all.extend(authorities(compiler, &format!("{key}.ca.{at}"), material));
    }
    if tls.ca.is_empty() && !tls.insecure_skip_verify {
        all = compiler.source.files.system_authorities().to_vec();
        if all.is_empty() {
            compiler.problem(key, "the system has no authorities", "install ca-certificates, or name files in `ca`");
        }
    }
    all
}

/// The authorities in a file; what is wrong with it is told.
fn authorities(compiler: &mut Compiler<'_>, key: &str, material: &Material) -> Authorities {
    let Some(pem) = bytes(compiler, key, material) else { return Vec::new() };
    identity::authorities(&pem).unwrap_or_else(|what| {
        compiler.problem(key, format!("{material}: {what}"), "");
        Vec::new()
    })
}

fn suites(compiler: &mut Compiler<'_>, key: &str, ciphers: &[String]) -> Option<Arc<CryptoProvider>> {
    let chosen = provider(ciphers);
    let tell = |what| compiler.problem(&format!("{key}.ciphers"), what, "leave it out for all that are good");
    chosen.map_err(tell).ok()
}

fn identity(compiler: &mut Compiler<'_>, key: &str, files: &CertificateFiles) -> Option<Identity> {
    let mut read = |part: &str, material: &Material| bytes(compiler, &format!("{key}.{part}"), material);
    let (chain, of_cert) = (read("cert", &files.cert), read("key", &files.key));
    let ocsp = match &files.ocsp {
        Some(material) => Some(read("ocsp", material)?),
        None => None,
    };
    match Identity::from_pem(&chain?, &of_cert?, ocsp) {
        Ok(identity) => Some(identity),
        Err(fault) => {
            let (part, material, what) = match fault {
                IdentityFault::Certificate(what) => ("cert", &files.cert, what),
                IdentityFault::Key(what) => ("key", &files.key, what),
            };
            compiler.problem(&format!("{key}.{part}"), format!("{material}: {what}"), "");
            None
        }
    }
}

/// The bytes of a certificate, a key or an authority; that they cannot be read is told at the key that names them.
fn bytes(compiler: &mut Compiler<'_>, key: &str, material: &Material) -> Option<Vec<u8>> {
    match compiler.source.files.get(material) {
        Ok(bytes) => Some(bytes.to_vec()),
        Err(error) => {
            compiler.problem(key, format!("{material} cannot be read: {error}"), "");
            None
        }
    }
}

fn client_policy(compiler: &mut Compiler<'_>, key: &str, auth: &ClientAuth) -> ClientPolicy {
    let mut vouching = Vec::new();
    if auth.ca.is_empty() {
        compiler.problem(&format!("{key}.ca"), "no client authority is named", "name a file of certificates in PEM");
    }
    for (at, material) in auth.ca.iter().enumerate() {
        vouching.extend(authorities(compiler, &format!("{key}.ca.{at}"), material));
    }
    let mut revoked = Vec::new();
    for (at, material) in auth.crl.iter().enumerate() {
        let key = format!("{key}.crl.{at}");
        // Without authorities there is nothing that a list could be of, which is told.
        let Some(pem) = bytes(compiler, &key, material).filter(|_| !vouching.is_empty()) else { continue };
        match identity::revocations(&pem, &vouching) {
            Ok(lists) => revoked.extend(lists),
            Err(what) => compiler.problem(
                &key,
                format!("{material}: {what}"),
                "name a file of certificate revocation lists (CRL) in PEM",
            ),
        }
    }
    for (at, host) in auth.hosts.iter().enumerate() {
        let name = host.strip_prefix("*.").unwrap_or(host);
        if host_length(name.as_bytes()) != Some(name.len()) {
            compiler.problem(&format!("{key}.hosts.{at}"), format!("`{host}` is not a host"), "write a name or *.name");
        }
    }
    let hosts = auth.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    ClientPolicy { hosts, authorities: vouching, revocations: revoked, mode: auth.mode }
}
