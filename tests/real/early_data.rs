//! Early data of TLS 1.3: what is safe is answered before the handshake is over, what is not waits, and nothing is taken
//! twice.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::support::authority::Authority;
use crate::support::origin::reply;
use crate::support::proxy::service;
use crate::support::secure::{SecureClient, client_config};
use crate::support::{ENGINES, Origin, PATIENCE, Proxy};

/// A client whose first request leaves with its first bytes, and which says no more than it is told to.
struct EarlyClient {
    connection: ClientConnection,
    socket: TcpStream,
    /// What left so far.
    sent: Vec<u8>,
}

impl EarlyClient {
    /// Sends the ClientHello and as much of `request` as may come early, and says whether that was all.
    fn start(address: SocketAddr, config: &Arc<ClientConfig>, request: &[u8]) -> (Self, bool) {
        let name = ServerName::try_from("a.test").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let is_early = connection.early_data().is_some_and(|mut early| early.write(request).unwrap() == request.len());
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { connection, socket, sent: Vec::new() };
        client.speak();
        (client, is_early)
    }

    /// Sends what there is to be said.
    fn speak(&mut self) {
        let from = self.sent.len();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.sent).unwrap();
        }
        self.socket.write_all(&self.sent[from..]).unwrap();
    }

    /// Listens, without a word, until what it heard holds these bytes.
    fn hear(&mut self, end: &[u8]) -> Vec<u8> {
        let mut heard = Vec::new();
        while !heard.windows(end.len()).any(|window| window == end) {
            assert_ne!(self.connection.read_tls(&mut self.socket).unwrap(), 0, "ended after {heard:?}");
            self.connection.process_new_packets().unwrap();
            let mut part = [0; 4096];
            while let Ok(bytes @ 1..) = self.connection.reader().read(&mut part) {
                heard.extend_from_slice(&part[..bytes]);
            }
        }
        heard
    }
}

/// A proxy that takes early data, its origin, and a client's configuration with tickets of an earlier connection.
fn begun(engine: &'static str, alpn: &[&[u8]]) -> (Proxy, Origin, Arc<ClientConfig>) {
    let origin = Origin::start(|request, stream| reply(stream, request.head.as_bytes()));
    let authority = Authority::new();
    let certificates = authority.issue("a", &["a.test"]).toml();
    let web = format!("http2 = true\ntls = {{ early_data = true, certificates = [{certificates}] }}");
    let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
    let mut config = ClientConfig::clone(&client_config(&authority, None));
    config.enable_early_data = true;
    let mut first = SecureClient::connect(proxy.address, &Arc::new(config.clone()), "a.test").unwrap();
    assert!(!first.get("a.test", "/first").unwrap().contains("Early-Data"));
    if !alpn.is_empty() {
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let (mut first, _) = EarlyClient::start(proxy.address, &Arc::new(config.clone()), b"");
        while first.connection.tls13_tickets_received() == 0 {
            first.connection.read_tls(&mut first.socket).unwrap();
            first.connection.process_new_packets().unwrap();
            first.speak();
        }
    }
    (proxy, origin, Arc::new(config))
}

#[test]
fn what_is_safe_is_answered_before_the_handshake_is_over_and_its_upstream_is_told() {
    for engine in ENGINES {
        let (proxy, _origin, config) = begun(engine, &[]);
        let request = b"GET /early HTTP/1.1\r\nHost: a.test\r\nEarly-Data: 1\r\nConnection: early-data\r\n\r\n";
        let (mut client, is_early) = EarlyClient::start(proxy.address, &config, request);
        assert!(is_early, "{engine}");
        let heard = String::from_utf8(client.hear(b"X-Request-ID")).unwrap();
        assert_eq!(heard.matches("Early-Data: 1").count(), 1, "{engine}: {heard}");
        assert!(client.connection.is_early_data_accepted());
        assert_eq!(proxy.line("/early")["tls_early"], true);
        // The handshake ends, and the tickets for the next one come without a further request.
        client.speak();
        while client.connection.tls13_tickets_received() == 0 {
            client.connection.read_tls(&mut client.socket).unwrap();
            client.connection.process_new_packets().unwrap();
        }
        client.connection.writer().write_all(b"GET /late HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        client.speak();
        client.hear(b"/late");
        assert_eq!(proxy.line("/late")["tls_early"], false);
        let (mut again, is_early) =
            EarlyClient::start(proxy.address, &config, b"GET /again HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(is_early);
        again.hear(b"/again");
    }
}

#[test]
fn what_is_not_safe_waits_for_the_end_of_the_handshake() {
    for engine in ENGINES {
        let (proxy, origin, config) = begun(engine, &[]);
        let before = origin.requests().len();
        let request = b"POST /buy HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\none";
        let (mut client, is_early) = EarlyClient::start(proxy.address, &config, request);
        assert!(is_early);
        // The server's flight, to which the client says nothing yet.
        client.connection.read_tls(&mut client.socket).unwrap();
        client.connection.process_new_packets().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(origin.requests().len(), before, "{engine}: nobody knows yet who asks");
        client.speak();
        let heard = String::from_utf8(client.hear(b"X-Request-ID")).unwrap();
        assert!(heard.starts_with("HTTP/1.1 200") && !heard.contains("Early-Data"), "{engine}: {heard}");
        assert_eq!(origin.requests().len(), before + 1);
        assert_eq!(proxy.line("/buy")["tls_early"], false);
    }
}

#[test]
fn what_was_recorded_and_is_sent_again_is_not_taken_again() {
    let (proxy, origin, config) = begun("io_uring", &[]);
    let (mut client, is_early) =
        EarlyClient::start(proxy.address, &config, b"GET /once HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(is_early);
    client.hear(b"/once");
    let seen = origin.requests().len();
    for _ in 0..3 {
        let mut thief = TcpStream::connect(proxy.address).unwrap();
        thief.set_read_timeout(Some(PATIENCE)).unwrap();
        thief.write_all(&client.sent).unwrap();
        // A handshake begins that the thief cannot end.
        assert_ne!(thief.read(&mut [0; 1024]).unwrap(), 0);
    }
    client.speak();
    client.connection.writer().write_all(b"GET /on HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    client.speak();
    client.hear(b"/on");
    // Both workers have dealt with what came before.
    for _ in 0..20 {
        SecureClient::connect(proxy.address, &config, "a.test").unwrap().get("a.test", "/after").unwrap();
    }
    assert_eq!(origin.requests().iter().filter(|request| request.target() == "/once").count(), 1);
    assert_eq!(origin.requests().len(), seen + 21);
}

#[test]
fn streams_of_http2_are_told_apart_alike() {
    for engine in ENGINES {
        let (proxy, origin, config) = begun(engine, &[b"h2"]);
        let before = origin.requests().len();
        let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        // GET / on stream 1, POST / on stream 3, both of https and a.test, both without a body.
        for (stream, method) in [(1, 0x82), (3, 0x83)] {
            request.extend_from_slice(&[0, 0, 11, 1, 5, 0, 0, 0, stream, method, 0x87, 0x84, 0x41, 6]);
            request.extend_from_slice(b"a.test");
        }
        let (mut client, is_early) = EarlyClient::start(proxy.address, &config, &request);
        assert!(is_early, "{engine}");
        let heard = client.hear(b"Early-Data: 1\r\n");
        assert!(String::from_utf8_lossy(&heard).contains("GET / HTTP/1.1"));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(origin.requests().len(), before + 1, "{engine}: the POST waits");
        client.speak();
        let heard = client.hear(b"POST / HTTP/1.1\r\n");
        assert!(!String::from_utf8_lossy(&heard).contains("Early-Data"), "{engine}");
    }
}

#[test]
fn early_data_is_off_unless_it_is_asked_for() {
    let origin = Origin::start(|request, stream| reply(stream, request.head.as_bytes()));
    let authority = Authority::new();
    let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let mut config = ClientConfig::clone(&client_config(&authority, None));
    config.enable_early_data = true;
    let config = Arc::new(config);
    SecureClient::connect(proxy.address, &config, "a.test").unwrap().get("a.test", "/").unwrap();
    let mut again = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
    assert!(again.is_resumed() && again.get("a.test", "/").is_ok());
    let (_, is_early) = EarlyClient::start(proxy.address, &config, b"GET / HTTP/1.1\r\n");
    assert!(!is_early, "its tickets allow none");
}
