//! Who speaks another protocol than was expected is told as that, on either side, and what to write instead is said.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use crate::support::authority::Authority;
use crate::support::proxy::{free_address, service};
use crate::support::python::{grpc_server, python, server};
use crate::support::{Client, ENGINES, Origin, Proxy, Running, eventually, tool};

/// A server that takes TLS alone, from OpenSSL.
fn openssl_server(authority: &Authority) -> (Running, SocketAddr) {
    let address = free_address();
    let issued = authority.issue("s", &["127.0.0.1"]);
    let child = tool("openssl", "openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &address.port().to_string(), "-cert"])
        .arg(&issued.cert)
        .arg("-key")
        .arg(&issued.key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || TcpStream::connect(address).is_ok());
    (Running(child), address)
}

/// A server that says this, at once or once it was spoken to, and waits.
fn says(bytes: &'static [u8]) -> Origin {
    Origin::raw(move |stream, _, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(bytes);
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.read(&mut [0; 4096]);
    })
}

#[test]
fn an_upstream_that_speaks_something_else_is_named_with_the_key_to_set() {
    let authority = Authority::new();
    let (_tls, tls) = openssl_server(&authority);
    let (_grpc, grpc) = grpc_server();
    let alert = says(b"\x15\x03\x01\x00\x02\x02\x46");
    let plain = says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let ssh = says(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    let database = says(b"E\x00\x00\x00\x8cSFATAL\x00VFATAL\x00C08P01\x00Minvalid\x00\x00");
    let fast = says(b"\x01\x03\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
    let text = says(b"hello, world\n");
    let http1 = Origin::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        crate::support::After::Close
    });
    let quick = "timeouts = { header = \"5s\" }";
    for engine in ENGINES {
        for (upstream, keys, cause, remedy) in [
            // OpenSSL closes without a word where it sees a method of HTTP.
            (tls, quick, "upstream_closed_no_response", "TLS"),
            (alert.address, quick, "upstream_bad_header:speaks_tls", "write `tls = {}`"),
            (grpc, quick, "upstream_bad_header:speaks_h2", "write `protocol = \\\"h2\\\"`"),
            (ssh.address, quick, "upstream_bad_header:speaks_ssh", "correct the address"),
            (database.address, quick, "upstream_bad_header:speaks_postgresql", "correct the address"),
            (fast.address, quick, "upstream_bad_header:speaks_fastcgi", "FastCGI"),
            (text.address, quick, "upstream_bad_header:speaks_text", "without a head of HTTP"),
            (http1.address, "protocol = \"h2\"", "h2_broken:speaks_http1", "`protocol = \\\"http1\\\"`"),
            (alert.address, "protocol = \"h2\"", "h2_broken:speaks_tls", "write `tls = {}`"),
            (plain.address, "tls = { insecure_skip_verify = true }", "upstream_tls:no_tls", "leave `tls` out"),
        ] {
            let proxy = Proxy::start(engine, &service(&[upstream], keys));
            let answer = Client::connect(proxy.address).get("/x");
            assert_eq!(answer.status, 502, "{engine} {cause}: {}", answer.text());
            assert_eq!(proxy.line("/x")["cause"], cause, "{engine}");
            eventually("it is told", || proxy.process_log().contains("requests fail"));
            assert!(proxy.process_log().contains(remedy), "{engine} {cause}: {}", proxy.process_log());
        }
    }
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_one() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            stream.set_nodelay(true).unwrap();
            let _ = stream.read(&mut [0; 4096]);
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
                let _ = stream.write_all(&[*byte]);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        assert_eq!(Client::connect(proxy.address).get("/").text(), "ok", "{engine}");
    }
}

#[test]
fn a_client_that_speaks_something_else_is_named() {
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[Origin::text("x").address]);
        let url = format!("https://{}/", proxy.address);
        let curl = tool("curl", "curl").args(["-sk", &url]).output().unwrap();
        assert!(!curl.status.success(), "{engine}");
        for first in ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "SSH-2.0-x\r\n"] {
            let mut client = Client::connect(proxy.address);
            assert_eq!(client.send(first).response("GET").status, 400, "{engine} {first}");
        }
        let expected = ["proxy_protocol", "ssh", "tls_to_plain_http"].map(|rule| format!("client_bad_request:{rule}"));
        eventually("all are recorded", || {
            let mut causes: Vec<_> =
                proxy.access_log().iter().map(|line| line["cause"].as_str().unwrap_or_default().to_owned()).collect();
            causes.sort();
            causes == expected
        });
    }
}

#[test]
fn a_page_that_is_closed_is_no_failure_over_either_protocol() {
    let (_server, upstream) = server("websocket_server.py", None);
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[upstream]);
        let told = python("websocket_cancel.py").arg(proxy.address.to_string()).output().unwrap();
        assert!(told.status.success(), "{engine}: {}", String::from_utf8_lossy(&told.stderr));
        let line = proxy.line("/chat");
        assert_eq!((&line["status"], &line["cause"]), (&101.into(), &serde_json::Value::Null), "{engine} {line}");
        // The same over HTTP/1: the client closes without a word of the other protocol.
        let mut client = Client::connect(proxy.address);
        client.send(
            "GET /chat1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        assert!(client.head().starts_with("HTTP/1.1 101 "), "{engine}");
        drop(client);
        let line = proxy.line("/chat1");
        assert_eq!((&line["status"], &line["cause"]), (&101.into(), &serde_json::Value::Null), "{engine} {line}");
        eventually("nothing is left open", || proxy.metric("ringress_client_connections{") <= 2);
    }
}

#[test]
fn the_times_of_a_reused_request_are_in_order() {
    for engine in ENGINES {
        // It takes 3 ms for each answer, which nobody may take for the time that sending took.
        let origin = Origin::start(|_, stream| {
            std::thread::sleep(std::time::Duration::from_millis(3));
            crate::support::origin::reply(stream, b"x")
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), "x");
        }
        eventually("all are recorded", || proxy.access_log().len() == 50);
        for line in proxy.access_log() {
            let us = |key: &str| line[key].as_u64().unwrap();
            assert!(us("first_byte_us") >= 3_000, "{engine}: the answer was waited for: {line}");
            assert!(
                us("queue_us") + us("connect_us") + us("send_us") + us("first_byte_us") <= us("total_us"),
                "{line}"
            );
        }
    }
}
