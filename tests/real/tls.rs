//! TLS with clients: certificates by name, versions, clients that show one, tickets, reloads, and what goes wrong.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::support::authority::Authority;
use crate::support::origin::reply;
use crate::support::proxy::service;
use crate::support::secure::{SecureClient, client_config};
use crate::support::{Client, ENGINES, Origin, PATIENCE, Proxy, eventually, noise, output, tool};

/// An origin that answers with the head it got.
pub fn mirror() -> Origin {
    Origin::start(|request, stream| reply(stream, request.head.as_bytes()))
}

#[test]
fn the_certificate_is_the_one_of_the_name_asked_for() {
    for engine in ENGINES {
        let origin = mirror();
        let authority = Authority::new();
        let (a, wild) = (authority.issue("a", &["a.test"]), authority.issue("w", &["*.w.test"]));
        let web = format!("tls.certificates = [{}, {}]", a.toml(), wild.toml());
        let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
        let config = client_config(&authority, None);
        let mut client = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
        assert_eq!(client.certificate(), a.der);
        let seen = client.get("a.test", "/x").unwrap();
        assert!(seen.contains("X-Forwarded-Proto: https\r\n"), "{engine}: {seen}");
        let client = SecureClient::connect(proxy.address, &config, "x.w.test").unwrap();
        assert_eq!(client.certificate(), wild.der);
        // Any other name gets the first, which is not for it.
        let fault = SecureClient::connect(proxy.address, &config, "x.y.w.test").err().unwrap();
        assert!(fault.contains("not valid for name"), "{fault}");
        let line = proxy.line("/x");
        assert_eq!((&line["tls_version"], &line["tls_name"]), (&"TLSv1.3".into(), &"a.test".into()));
        assert!(
            proxy.metrics().contains("ringress_certificate_not_after_seconds{listener=\"web\",names=\"a.test\"} 38")
        );
    }
}

#[test]
fn names_without_a_certificate_are_refused_where_the_rule_is_strict() {
    let origin = mirror();
    let authority = Authority::new();
    let web = format!("tls = {{ strict_sni = true, certificates = [{}] }}", authority.issue("a", &["a.test"]).toml());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let config = client_config(&authority, None);
    assert!(SecureClient::connect(proxy.address, &config, "a.test").is_ok());
    let fault = SecureClient::connect(proxy.address, &config, "b.test").err().unwrap();
    assert!(fault.contains("alert"), "{fault}");
    eventually("it is counted", || {
        proxy.metric("ringress_tls_handshakes_failed_total{listener=\"web\",reason=\"no_name\"}") == 1
    });
}

#[test]
fn versions_are_those_that_the_listener_allows() {
    let origin = mirror();
    let authority = Authority::new();
    let certificate = authority.issue("a", &["a.test"]).toml();
    let roots = authority.roots();
    for (min, version, is_allowed) in
        [("1.2", &TLS12, true), ("1.2", &TLS13, true), ("1.3", &TLS12, false), ("1.3", &TLS13, true)]
    {
        let web = format!("tls = {{ min_version = \"{min}\", certificates = [{certificate}] }}");
        let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
        let config = rustls::ClientConfig::builder_with_protocol_versions(&[version]);
        let config = std::sync::Arc::new(config.with_root_certificates(roots.clone()).with_no_client_auth());
        let connected = SecureClient::connect(proxy.address, &config, "a.test");
        assert_eq!(connected.is_ok(), is_allowed, "{min} {version:?}");
        if let Ok(mut client) = connected {
            assert!(client.get("a.test", "/").unwrap().starts_with("HTTP/1.1 200"));
        }
    }
}

#[test]
fn a_listener_without_certificates_makes_one() {
    let origin = mirror();
    let proxy = Proxy::start_with("io_uring", "tls = {}", &service(&[origin.address], ""));
    let url = format!("https://{}/", proxy.address);
    let body = output(tool("curl", "curl").args(["-sk", "--http1.1", &url]));
    assert!(body.contains("X-Forwarded-Proto: https"), "{body}");
}

#[test]
fn bodies_of_every_size_pass_both_ways() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| reply(stream, &request.body));
        let authority = Authority::new();
        let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
        let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
        let sizes = [0, 1, 1_000, 16_383, 16_384, 16_385, 70_000, 3_000_000];
        for (at, size) in sizes.into_iter().enumerate() {
            let file = proxy.folder.join("body");
            std::fs::write(&file, noise(at as u64, size)).unwrap();
            for version in ["--http1.1", "--http2"] {
                let got = proxy.folder.join("got");
                let resolve = format!("a.test:{}:127.0.0.1", proxy.address.port());
                let body = format!("@{}", file.display());
                let url = format!("https://a.test:{}/", proxy.address.port());
                let ca = authority.ca();
                let arguments = ["-sS", version, "--resolve", &resolve, "--data-binary", &body, "-H", "Expect:", &url];
                output(tool("curl", "curl").args(arguments).arg("--cacert").arg(ca).arg("-o").arg(&got));
                assert!(std::fs::read(&got).unwrap() == noise(at as u64, size), "{engine} {version} {size}");
            }
        }
    }
}

#[test]
fn an_earlier_handshake_is_gone_on_from_at_any_worker_and_after_a_reload() {
    let origin = mirror();
    let authority = Authority::new();
    let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
    let rest = service(&[origin.address], "");
    let proxy = Proxy::start_with("io_uring", &web, &rest);
    let config = client_config(&authority, None);
    let visit = || {
        let mut client = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
        client.get("a.test", "/").unwrap();
        client.is_resumed()
    };
    assert!(!visit());
    // Two workers: some of these meet the one that did not write the ticket.
    assert!((0..10).all(|_| visit()));
    proxy.rewrite(&format!("{web}\nvia = false"), &rest);
    eventually("it is reloaded", || proxy.metric("ringress_snapshot_generation") == 2);
    assert!((0..10).all(|_| visit()));
    assert!(proxy.metrics().contains("resumed=\"true\"} 20"));
}

#[test]
fn hosts_with_the_same_ticket_key_go_on_from_each_others_handshakes() {
    let (origin, authority) = (mirror(), Authority::new());
    let own = authority.issue("a", &["a.test"]);
    let key = own.cert.with_file_name("tickets.key");
    std::fs::write(&key, [7; 48]).unwrap();
    let host = |keys: &str| {
        let web = format!("tls = {{ certificates = [{}]{keys} }}", own.toml());
        Proxy::start_with("epoll", &web, &service(&[origin.address], ""))
    };
    let shared = format!(", ticket_key = \"{}\"", key.display());
    let (one, two, alone) = (host(&shared), host(&shared), host(""));
    let config = client_config(&authority, None);
    let visit = |proxy: &Proxy| {
        let mut client = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
        client.get("a.test", "/").unwrap();
        client.is_resumed()
    };
    assert!(!visit(&one));
    assert!(visit(&two) && visit(&one));
    assert!(!visit(&alone), "it has keys of its own");
}

#[test]
fn who_speaks_without_tls_is_told_so() {
    for engine in ENGINES {
        let origin = mirror();
        let proxy = Proxy::start_with(engine, "tls = {}", &service(&[origin.address], ""));
        let answer = Client::connect(proxy.address).get("/");
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("cause: client_bad_request:plain_http_to_tls"), "{}", answer.text());
    }
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    for engine in ENGINES {
        let origin = mirror();
        let web = "tls = {}\ntimeouts = { handshake = \"300ms\" }";
        let proxy = Proxy::start_with(engine, web, &service(&[origin.address], ""));
        // Silent, dripping, and not TLS at all.
        let mut silent = TcpStream::connect(proxy.address).unwrap();
        let mut dripping = TcpStream::connect(proxy.address).unwrap();
        let mut garbage = TcpStream::connect(proxy.address).unwrap();
        garbage.write_all(&[0xff; 100]).unwrap();
        let start = Instant::now();
        let mut is_open = true;
        while is_open {
            assert!(start.elapsed() < Duration::from_secs(10), "{engine}: a drip holds it open");
            is_open = dripping.write_all(&[22]).is_ok();
            std::thread::sleep(Duration::from_millis(20));
        }
        for stream in [&mut silent, &mut garbage] {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        eventually("they are counted", || {
            proxy.metric("ringress_tls_handshakes_failed_total{listener=\"web\",reason=\"timeout\"}") >= 1
                && proxy.metric("ringress_tls_handshakes_failed_total{listener=\"web\",reason=\"no_tls\"}") >= 1
        });
    }
}

#[test]
fn hsts_is_said_over_tls_alone() {
    let origin = mirror();
    let plain = crate::support::proxy::free_address();
    let rest = format!(
        "[listeners.plain]\naddress = \"{plain}\"\n[[routes]]\nname = \"all\"\nservice = \"all\"\n\
         filters = [{{ hsts = {{ max_age = \"1h\", include_subdomains = true }} }}]\n\
         [services.all]\nendpoints = [\"{}\"]\n",
        origin.address
    );
    let authority = Authority::new();
    let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
    let proxy = Proxy::start_with("io_uring", &web, &rest);
    let mut client = SecureClient::connect(proxy.address, &client_config(&authority, None), "a.test").unwrap();
    let secure = client.get("a.test", "/").unwrap();
    assert!(secure.contains("Strict-Transport-Security: max-age=3600; includeSubDomains\r\n"), "{secure}");
    assert_eq!(Client::connect(plain).get("/").field("strict-transport-security"), None);
}

#[test]
fn the_end_of_a_connection_is_announced() {
    let origin = mirror();
    let authority = Authority::new();
    let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let mut client = SecureClient::connect(proxy.address, &client_config(&authority, None), "a.test").unwrap();
    client.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    // rustls makes an error of an end without close_notify.
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn certificates_rotate_under_load_and_nobody_notices() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let (rotations, requests) = if std::env::var_os("RINGRESS_LONG").is_some() { (40, 100_000) } else { (5, 2_000) };
    let origin = Origin::text("x");
    let authority = Authority::new();
    let first = authority.issue("a", &["a.test"]);
    let web = format!("tls.certificates = [{}]", first.toml());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let config = client_config(&authority, None);
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
                    for _ in 0..50 {
                        assert!(client.get("a.test", "/").unwrap().starts_with("HTTP/1.1 200"));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for rotation in 1..=rotations {
            authority.issue("a", &["a.test"]);
            eventually("the new one is taken", || proxy.metric("ringress_snapshot_generation") > rotation);
        }
        while answered.load(Ordering::Relaxed) < requests {
            std::thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let metrics = proxy.metrics();
    assert!(!metrics.contains("code=\"5"), "{metrics}");
    println!("{} requests, {rotations} rotations, no failure", answered.load(Ordering::Relaxed));
}

#[test]
fn a_response_of_ocsp_is_stapled() {
    let origin = mirror();
    let authority = Authority::new();
    let issued = authority.issue("a", &["a.test"]);
    let certificate = issued.toml().replace(" }", &format!(", ocsp = {:?} }}", authority.ocsp(&issued)));
    let web = format!("tls.certificates = [{certificate}]");
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let mut openssl = tool("openssl", "openssl");
    openssl.args(["s_client", "-status", "-servername", "a.test", "-connect", &proxy.address.to_string()]);
    let told = output(openssl.arg("-CAfile").arg(authority.ca()).stdin(std::process::Stdio::null()));
    assert!(told.contains("OCSP Response Status: successful") && told.contains("Cert Status: good"), "{told}");
}

/// What a client has to say, in the order of its bytes.
fn said(connection: &mut rustls::ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn records_may_come_byte_by_byte() {
    for engine in ENGINES {
        let origin = mirror();
        let authority = Authority::new();
        let web = format!("http2 = true\ntls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
        let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
        let config = client_config(&authority, None);
        let mut socket = TcpStream::connect(proxy.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = rustls::ClientConnection::new(config, "a.test".try_into().unwrap()).unwrap();
        let mut heard = Vec::new();
        connection.writer().write_all(b"GET /slowly HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        while !String::from_utf8_lossy(&heard).contains("GET /slowly") {
            for byte in said(&mut connection) {
                socket.write_all(&[byte]).unwrap();
            }
            assert_ne!(connection.read_tls(&mut socket).unwrap(), 0, "{engine}");
            connection.process_new_packets().unwrap();
            let _ = connection.reader().read_to_end(&mut heard);
        }
        assert_eq!(proxy.line("/slowly")["status"], 200, "{engine}");
    }
}

#[test]
fn an_end_at_any_byte_of_a_handshake_or_a_record_is_no_request() {
    for engine in ENGINES {
        let origin = mirror();
        let authority = Authority::new();
        let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
        let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
        let config = client_config(&authority, None);
        let new = || rustls::ClientConnection::new(config.clone(), "a.test".try_into().unwrap()).unwrap();
        let hello = said(&mut new());
        let cuts: Vec<_> = (1..=hello.len().min(120)).chain((120..hello.len()).step_by(13)).collect();
        for &cut in &cuts {
            let mut socket = TcpStream::connect(proxy.address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.write_all(&hello[..cut]).unwrap();
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        }
        eventually("all of them are counted", || {
            let failed = proxy.metrics();
            let failed = failed.lines().filter(|line| line.starts_with("ringress_tls_handshakes_failed_total"));
            failed.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>() >= cuts.len()
        });
        // A record of a request, of which the last byte is missing at the latest.
        let mut record_length = 2;
        let mut cut = 1;
        while cut < record_length {
            let mut client = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
            client.stream.conn.writer().write_all(b"GET /cut HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
            let record = said(&mut client.stream.conn);
            record_length = record.len();
            client.stream.sock.write_all(&record[..cut]).unwrap();
            client.stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = client.stream.sock.read_to_end(&mut Vec::new());
            cut += 1;
        }
        assert!(record_length > 40, "{record_length}");
        let answer = SecureClient::connect(proxy.address, &config, "a.test").unwrap().get("a.test", "/whole").unwrap();
        assert!(answer.contains("GET /whole"), "{engine}: {answer}");
        assert_eq!(origin.requests().len(), 1, "{engine}");
        assert_eq!(proxy.metric("ringress_panics_total"), 0);
    }
}
