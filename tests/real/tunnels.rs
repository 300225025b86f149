//! Upgraded connections: WebSocket by a real library, half-close, idle limit, refusals.

use std::io::Write as _;
use std::net::TcpStream;

use crate::support::origin::{fill, read_body, read_head, reply, write};
use crate::support::proxy::service;
use crate::support::{After, Client, ENGINES, Origin, PATIENCE, Proxy, eventually};

const ASK: &str = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

/// Agrees to every upgrade, then echoes until the client is done, then says goodbye.
fn switching() -> Origin {
    Origin::raw(|stream, seen, _| {
        let mut buffer = Vec::new();
        let Some(request) = read_head(stream, &mut buffer) else { return };
        if request.field("upgrade").is_none() {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain");
            return;
        }
        seen.lock().unwrap().push(request);
        write(stream, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello ");
        loop {
            let ended = !fill(stream, &mut buffer);
            write(stream, &buffer);
            buffer.clear();
            if ended {
                write(stream, b" goodbye");
                return;
            }
        }
    })
}

#[test]
fn websocket_messages_of_every_size_come_back() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            let mut socket = tungstenite::accept(stream.try_clone().unwrap()).unwrap();
            while let Ok(message) = socket.read() {
                if message.is_close() {
                    break;
                }
                socket.send(message).unwrap();
            }
            let _ = socket.flush();
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let stream = TcpStream::connect(proxy.address).unwrap();
        let (mut socket, response) = tungstenite::client(format!("ws://{}/chat", proxy.address), stream).unwrap();
        assert_eq!(response.status(), 101);
        for length in [0, 1, 125, 126, 70_000, 1_000_000] {
            let message = tungstenite::Message::binary(crate::support::noise(length as u64, length));
            socket.send(message.clone()).unwrap();
            assert!(socket.read().unwrap() == message, "{engine} {length}");
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        drop(socket);
        let line = proxy.line("/chat");
        assert_eq!(
            (&line["status"], &line["cause"], &line["phase"]),
            (&101.into(), &serde_json::Value::Null, &"tunnel".into())
        );
    }
}

#[test]
fn half_close_passes_through_both_ways() {
    for engine in ENGINES {
        let origin = switching();
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let head = client.send(ASK).head();
        // No length and no encoding: what follows is the other protocol's (RFC 9112 §6.1).
        assert_eq!(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        client.send("ping");
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while client.fill() {}
        assert_eq!(String::from_utf8_lossy(&client.buffer), "hello ping goodbye", "{engine}");
        assert_eq!(origin.requests()[0].field("connection"), Some("upgrade"));
    }
}

#[test]
fn an_offer_may_be_taken_behind_a_body_or_left_alone() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, seen, _| {
            let mut buffer = Vec::new();
            while let Some(mut request) = read_head(stream, &mut buffer) {
                if !read_body(stream, &mut buffer, &mut request) {
                    return;
                }
                let (is_asked, body) = (request.field("upgrade") == Some("tcp"), request.body.clone());
                seen.lock().unwrap().push(request);
                if is_asked {
                    write(stream, b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nran ");
                    write(stream, &body);
                    while fill(stream, &mut buffer) {
                        write(stream, &std::mem::take(&mut buffer));
                    }
                    return;
                }
                reply(stream, &body);
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        // Docker's API: a body, then another protocol.
        for framing in
            ["Content-Length: 9\r\n\r\n{\"a\": 12}", "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"a\": 12}\r\n0\r\n\r\n"]
        {
            let mut client = Client::connect(proxy.address);
            client.send(format!("POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{framing}"));
            assert!(client.head().starts_with("HTTP/1.1 101 "), "{engine}");
            client.send(" and more");
            while client.buffer.len() < "ran {\"a\": 12} and more".len() && client.fill() {}
            assert_eq!(String::from_utf8_lossy(&client.buffer), "ran {\"a\": 12} and more", "{engine}");
        }
        // Apache's HttpClient offers TLS on each request; h2c is an offer to this hop as well.
        let mut client = Client::connect(proxy.address);
        for upgrade in ["TLS/1.2", "h2c", "h2c, other"] {
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nContent-Length: 2\r\n\r\nhi"
            ));
            assert_eq!(client.response("POST").text(), "hi", "{engine} {upgrade}");
            let seen = origin.requests().pop().unwrap();
            assert_eq!(seen.field("upgrade"), upgrade.contains("other").then_some("other"));
        }
    }
}

#[test]
fn an_idle_tunnel_ends_and_a_busy_one_does_not() {
    for engine in ENGINES {
        let origin = switching();
        let proxy = Proxy::start(engine, &service(&[origin.address], "timeouts = { tunnel = \"400ms\" }"));
        let mut client = Client::connect(proxy.address);
        client.send(ASK).head();
        for _ in 0..6 {
            std::thread::sleep(std::time::Duration::from_millis(150));
            client.send(".");
        }
        while client.fill() {}
        assert!(String::from_utf8_lossy(&client.buffer).contains("......"), "{engine}");
        assert_eq!(proxy.line("/up")["cause"], "tunnel_idle");
        eventually("the upstream's side is closed too", || origin.open() == 0);
    }
}

#[test]
fn a_busy_tunnel_ends_when_its_whole_time_is_over() {
    for engine in ENGINES {
        let origin = switching();
        let proxy = Proxy::start(engine, &service(&[origin.address], "timeouts = { tunnel_total = \"500ms\" }"));
        let mut client = Client::connect(proxy.address);
        let since = std::time::Instant::now();
        client.send(ASK).head();
        while client.stream.write_all(b".").is_ok() && client.fill() {
            assert!(since.elapsed() < PATIENCE, "{engine}: it goes on and on");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(since.elapsed().as_millis() >= 500, "{engine}");
        assert_eq!(proxy.line("/up")["cause"], "tunnel_timeout");
        eventually("the upstream's side is closed too", || origin.open() == 0);
    }
}

#[test]
fn what_is_no_upgrade_stays_http() {
    for engine in ENGINES {
        let origin = switching();
        let proxy = Proxy::to(engine, &[origin.address]);
        // h2c is answered as if it had not been asked for.
        let mut client = Client::connect(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n");
        assert_eq!(client.response("GET").text(), "plain");
        // Bytes before the 101 belong to nobody. An offer is not made where the next request waits already; a WebSocket cannot be
        // had otherwise.
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.send(format!("{ASK}{next}")).response("GET").text(), "plain", "{engine}");
        assert_eq!(client.response("GET").text(), "plain");
        let mut client = Client::connect(proxy.address);
        let response = client.send(format!("{}{next}", ASK.replace("echo", "websocket"))).response("GET");
        assert_eq!(response.status, 400, "{engine}");
        assert!(response.text().contains("bytes_before_upgrade"));
        // Not in the same segment, but before the 101 all the same.
        let slow = Origin::raw(|stream, seen, _| {
            let mut buffer = Vec::new();
            seen.lock().unwrap().extend(read_head(stream, &mut buffer));
            std::thread::sleep(std::time::Duration::from_secs(1));
            write(stream, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            while fill(stream, &mut buffer) {}
        });
        let patient = Proxy::to(engine, &[slow.address]);
        let mut client = Client::connect(patient.address);
        client.send(ASK);
        eventually("it was sent on with its offer", || slow.requests().len() == 1);
        assert_eq!(client.send("early").response("GET").status, 400, "{engine}");
        // Another protocol than the one asked for.
        let wrong = Origin::start(|_, stream| {
            write(stream, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n");
            After::Close
        });
        let proxy = Proxy::to(engine, &[wrong.address]);
        assert_eq!(Client::connect(proxy.address).send(ASK).response("GET").status, 502);
    }
}
