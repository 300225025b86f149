//! TLS with upstreams: who is believed, and the real reason where somebody is not.

use std::io::{Read as _, Write as _};

use crate::support::authority::{Authority, Issued};
use crate::support::secure::{read_head, secure_origin};
use crate::support::{Client, ENGINES, Origin, Proxy, eventually};

fn text_origin(shows: &Issued, text: &'static str) -> std::net::SocketAddr {
    secure_origin(shows, move |stream| {
        while read_head(stream) {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// One that speaks no TLS, and says so in its own way.
fn deaf() -> Origin {
    Origin::raw(|stream, _, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    })
}

fn service(endpoints: &[std::net::SocketAddr], tls: &str) -> String {
    crate::support::proxy::service(endpoints, &format!("tls = {{ {tls} }}"))
}

#[test]
fn an_upstream_is_believed_for_its_authority_and_its_name() {
    for engine in ENGINES {
        let (authority, other) = (Authority::new(), Authority::new());
        let good = text_origin(&authority.issue("o", &["127.0.0.1", "o.test"]), "hello");
        let late = text_origin(&authority.issue_until("l", &["127.0.0.1"], 2021), "late");
        let plain = deaf();
        let ca = format!("ca = [\"{}\"]", authority.ca().display());
        let strangers = format!("ca = [\"{}\"]", other.ca().display());
        for (endpoint, tls, expected) in [
            (good, ca.clone(), Ok("hello")),
            (good, format!("{ca}, server_name = \"o.test\""), Ok("hello")),
            (good, "insecure_skip_verify = true".to_owned(), Ok("hello")),
            (good, format!("{ca}, server_name = \"x.test\""), Err("upstream_tls:name_mismatch")),
            (good, strangers, Err("upstream_tls:unknown_issuer")),
            (late, ca.clone(), Err("upstream_tls:expired")),
            (plain.address, ca.clone(), Err("upstream_tls:no_tls")),
        ] {
            let proxy = Proxy::start(engine, &service(&[endpoint], &tls));
            let answer = Client::connect(proxy.address).get("/");
            match expected {
                Ok(text) => assert_eq!((answer.status, answer.text()), (200, text), "{engine} {tls}"),
                Err(cause) => {
                    assert_eq!(answer.status, 502, "{engine} {tls}");
                    assert!(answer.text().contains(&format!("cause: {cause}\n")), "{engine} {tls}: {}", answer.text());
                }
            }
            if tls.contains("insecure") {
                eventually("it is told", || {
                    proxy.process_log().contains("insecure_skip_verify: the upstream is not verified")
                });
            }
        }
    }
}

#[test]
fn a_connection_is_used_again_and_its_handshake_is_not_paid_twice() {
    for engine in ENGINES {
        let authority = Authority::new();
        let origin = text_origin(&authority.issue("o", &["127.0.0.1"]), "hello");
        let ca = format!("ca = [\"{}\"]", authority.ca().display());
        let proxy = Proxy::start(engine, &service(&[origin], &ca));
        let mut client = Client::connect(proxy.address);
        client.get("/first");
        crate::support::past_probation();
        client.get("/second");
        let (first, second) = (proxy.line("/first"), proxy.line("/second"));
        assert!(first["tls_us"].as_u64().unwrap() > 0, "{engine}: {first}");
        assert_eq!((&second["reused"], &second["tls_us"]), (&true.into(), &0.into()), "{engine}");
    }
}

#[test]
fn an_upstream_that_speaks_no_tls_is_passed_over_and_a_false_one_is_not() {
    for engine in ENGINES {
        let (authority, other) = (Authority::new(), Authority::new());
        let good = text_origin(&authority.issue("o", &["127.0.0.1"]), "hello");
        let plain = deaf();
        let ca = format!("ca = [\"{}\"]", authority.ca().display());
        let proxy = Proxy::start(engine, &service(&[plain.address, good], &ca));
        for _ in 0..4 {
            assert_eq!(Client::connect(proxy.address).get("/").text(), "hello", "{engine}");
        }
        let fake = text_origin(&other.issue("f", &["127.0.0.1"]), "fake");
        let proxy = Proxy::start(engine, &service(&[fake, fake], &ca));
        let answer = Client::connect(proxy.address).get("/");
        assert!(answer.text().contains("cause: upstream_tls:unknown_issuer"), "{}", answer.text());
        assert_eq!(proxy.line("/")["attempts"], 1, "{engine}");
    }
}

#[test]
fn an_end_that_was_not_announced_is_no_end_of_a_body() {
    for engine in ENGINES {
        let authority = Authority::new();
        let shows = authority.issue("o", &["127.0.0.1"]);
        for is_announced in [true, false] {
            let origin = secure_origin(&shows, move |stream| {
                read_head(stream);
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nall there is").unwrap();
                if is_announced {
                    stream.conn.send_close_notify();
                    stream.flush().unwrap();
                }
            });
            let ca = format!("ca = [\"{}\"]", authority.ca().display());
            let proxy = Proxy::start(engine, &service(&[origin], &ca));
            let answer = Client::connect(proxy.address).get("/");
            assert_eq!(answer.is_whole, is_announced, "{engine}");
            let cause = if is_announced { serde_json::Value::Null } else { "upstream_truncated".into() };
            assert_eq!(proxy.line("/")["cause"], cause, "{engine}");
        }
    }
}
