//! Connections with TLS 1.3, each for one request: what a handshake costs the proxy, in full or resumed.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, StreamOwned};

use crate::generate::{Shared, ask};
use crate::net;

#[derive(Args, Clone)]
pub struct Arguments {
    /// Port on 127.0.0.1.
    #[arg(long)]
    connect: u16,
    /// Connections at a time.
    #[arg(long, default_value_t = 16)]
    threads: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// With the ticket of the connection before; one that the proxy does not take is an error.
    #[arg(long)]
    resumed: bool,
    /// Processes whose CPU time is read at the start and at the end, with all their threads.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Runs the load and prints what came of it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shared = Arc::new(Shared::default());
    let threads: Vec<_> = (0..arguments.threads)
        .map(|_| {
            let (arguments, shared) = (arguments.clone(), Arc::clone(&shared));
            // Of its own, so that a ticket is used by one connection at a time.
            let client = config(if arguments.resumed { Resumption::in_memory_sessions(1) } else { Resumption::disabled() });
            std::thread::spawn(move || -> anyhow::Result<()> {
                let mut is_first = true;
                while !shared.is_over() {
                    let stream = answered(arguments.connect, &client)?;
                    let is_resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
                    anyhow::ensure!(is_first || is_resumed == arguments.resumed, "its ticket was not taken");
                    is_first = false;
                    shared.requests.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let window = shared.measure(arguments.seconds, &arguments.pids)?;
    let mut first_error = None;
    for thread in threads {
        if let Err(error) = thread.join().expect("a thread of the load") {
            shared.errors.fetch_add(1, Ordering::Relaxed);
            first_error.get_or_insert(format!("{error:#}"));
        }
    }
    shared.tell(&window, first_error.as_deref(), &serde_json::Value::Null)
}

/// So many connections with one answer each.
pub fn warm_connections(port: u16, count: usize) -> anyhow::Result<Vec<Tls>> {
    let client = config(Resumption::disabled());
    (0..count).map(|_| answered(port, &client)).collect()
}

/// A connection that has had an answer.
fn answered(port: u16, client: &Arc<ClientConfig>) -> anyhow::Result<Tls> {
    let stream = net::connect(port)?;
    stream.set_nonblocking(false)?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(client), name)?, stream);
    ask(&mut stream, &mut [0; 4096])?;
    Ok(stream)
}

/// TLS 1.3 with X25519 and AES-128, which every peer has: all of them do the same work.
fn config(resumption: Resumption) -> Arc<ClientConfig> {
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 with its suite")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = resumption;
    Arc::new(config)
}

/// Takes any certificate: the client is not what is measured.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
