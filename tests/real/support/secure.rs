//! Clients and origins that speak TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::PATIENCE;
use super::authority::{Authority, Issued};

pub struct SecureClient {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

/// What a client of TLS has: whom it believes, and what it shows.
pub fn client_config(authority: &Authority, shows: Option<&Issued>) -> Arc<ClientConfig> {
    config(authority.roots(), shows)
}

fn config(roots: Arc<RootCertStore>, shows: Option<&Issued>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some(issued) => builder.with_client_auth_cert(vec![issued.der.clone()], issued.key_der.clone_key()).unwrap(),
    })
}

impl SecureClient {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// What went wrong with the handshake.
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Result<Self, String> {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        Ok(Self { stream })
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends a request and reads one answer with a `Content-Length`; head and body.
    ///
    /// # Errors
    /// How the connection ended before it came.
    pub fn get(&mut self, host: &str, target: &str) -> Result<String, String> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
                if body.len() >= length.parse().unwrap() {
                    return Ok(String::from_utf8(answer).unwrap());
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the connection ended".to_owned()),
                Ok(bytes) => answer.extend_from_slice(&chunk[..bytes]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// An origin that speaks TLS and treats each connection by `serve`, once it is asked for something.
pub fn secure_origin(
    shows: &Issued,
    serve: impl Fn(&mut StreamOwned<ServerConnection, TcpStream>) + Send + Sync + 'static,
) -> SocketAddr {
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![shows.der.clone()], shows.key_der.clone_key()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(&mut stream));
        }
    });
    address
}

/// Reads a head; false at the connection's end.
pub fn read_head(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}
