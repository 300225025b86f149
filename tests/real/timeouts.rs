//! Every timer: what it becomes, and that it does not end what is in time.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::origin::{fill, read_head, reply, write};
use crate::support::proxy::service;
use crate::support::{After, Client, ENGINES, Origin, Proxy, eventually};

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[test]
fn a_head_must_come_in_time_and_a_drip_does_not_stretch_it() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::start_with(engine, "timeouts = { header = \"400ms\" }", &service(&[origin.address], ""));
        // Not one byte: closed without an answer.
        assert!(Client::connect(proxy.address).is_closed());
        // A byte every 50 ms.
        let mut client = Client::connect(proxy.address);
        let head = b"GET /drip HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut sent = 0;
        while sent < head.len() && client.stream.write_all(&head[sent..=sent]).is_ok() && sent < 12 {
            sent += 1;
            pause(50);
        }
        let response = client.response("GET");
        assert_eq!((response.status, response.field("connection")), (408, Some("close")), "{engine}");
        assert!(response.text().contains("client_header_timeout"));
        assert_eq!(origin.requests().len(), 0);
        // The second head of a connection has the whole time again.
        let mut client = Client::connect(proxy.address);
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\n");
            pause(200);
            assert_eq!(client.send("Host: a\r\n\r\n").response("GET").status, 200);
        }
    }
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::start_with(engine, "timeouts = { idle = \"300ms\" }", &service(&[origin.address], ""));
        let mut client = Client::connect(proxy.address);
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200);
            pause(150);
        }
        assert!(client.is_closed(), "{engine}");
        assert_eq!(proxy.access_log().len(), 3);
    }
}

#[test]
fn a_body_that_stalls_is_a_408_and_a_slow_one_is_not() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| reply(stream, &request.body));
        let proxy = Proxy::start_with(engine, "timeouts = { body = \"300ms\" }", &service(&[origin.address], ""));
        let mut client = Client::connect(proxy.address);
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
        for byte in ["a", "b", "c", "d", "e", "f"] {
            pause(150);
            client.send(byte);
        }
        assert_eq!(client.response("POST").text(), "abcdef");
        client.send("POST /stalls HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
        let response = client.response("POST");
        assert_eq!((response.status, response.field("connection")), (408, Some("close")), "{engine}");
        assert_eq!(proxy.line("/stalls")["cause"], "client_body_timeout");
        eventually("the upstream request is cancelled", || origin.open() == 0);
    }
}

#[test]
fn no_field_of_a_client_makes_a_body_wait_for_ever() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| match request.target() {
            "/" => reply(stream, b"x"),
            _ => {
                write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: application/grpc\r\n\r\n12345");
                pause(3_000);
                After::Close
            }
        });
        let rest = service(&[origin.address], "timeouts = { body = \"300ms\" }");
        let proxy = Proxy::start_with(engine, "timeouts = { body = \"300ms\" }", &rest);
        for content_type in ["text/plain", "application/grpc", "application/grpc-web"] {
            let mut client = Client::connect(proxy.address);
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: 100\r\n\r\n"
            ));
            assert_eq!(client.response("POST").status, 408, "{engine} {content_type}");
            let mut client = Client::connect(proxy.address);
            client.send(format!("GET /down HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n\r\n"));
            assert!(!client.response("GET").is_whole, "{engine} {content_type}");
        }
        eventually("they are recorded", || proxy.access_log().len() == 6);
        let causes: Vec<_> = proxy.access_log().iter().map(|line| line["cause"].as_str().unwrap().to_owned()).collect();
        assert_eq!(causes.iter().filter(|cause| *cause == "upstream_body_timeout").count(), 3, "{engine} {causes:?}");
    }
}

#[test]
fn a_drip_is_cut_and_a_pause_is_not() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| reply(stream, &request.body));
        // One byte behind each pause of a moment is far below this rate, and the grace is 10 s of waiting.
        let web = "timeouts = { body = \"60s\" }\nbody_rate = \"1MiB\"";
        let proxy = Proxy::start_with(engine, web, &service(&[origin.address], ""));
        let free = Proxy::start_with(
            engine,
            "timeouts = { body = \"0s\" }\nbody_rate = \"0B\"",
            &service(&[origin.address], ""),
        );
        let [mut client, mut unbound] = [&proxy, &free].map(|proxy| Client::connect(proxy.address));
        for client in [&mut client, &mut unbound] {
            client.send("POST /drip HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
        }
        // 12 s count as 5 of the 10 that are free; three more of 4 s are too many.
        pause(12_000);
        for client in [&mut client, &mut unbound] {
            client.send("a");
        }
        pause(4_000);
        for client in [&mut client, &mut unbound] {
            client.send("b");
        }
        pause(4_000);
        unbound.send("cd");
        assert_eq!(unbound.response("POST").text(), "abcd", "{engine}: nothing is bounded");
        client.send("c");
        assert_eq!(client.response("POST").status, 408, "{engine}");
    }
}

#[test]
fn a_client_that_ends_its_side_behind_its_request_is_answered() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            pause(300);
            reply(stream, b"late")
        });
        let rest = service(&[origin.address], "limits = { in_flight = 1, queue = 8, queue_wait = \"10s\" }");
        for (web, is_answered) in [("", true), ("half_close = \"abort\"", false)] {
            let proxy = Proxy::start_with(engine, web, &rest);
            // The second waits in the queue meanwhile.
            let mut clients = ["/first", "/second"].map(|target| {
                let mut client = Client::connect(proxy.address);
                client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
                client.stream.shutdown(std::net::Shutdown::Write).unwrap();
                client
            });
            for client in &mut clients {
                if is_answered {
                    let response = client.response("POST");
                    assert_eq!((response.text(), response.field("connection")), ("late", Some("close")), "{engine}");
                } else {
                    assert!(client.is_closed(), "{engine}: it counts as gone");
                }
            }
            let causes = ["/first", "/second"].map(|target| proxy.line(target)["cause"].clone());
            let is_null = causes.iter().all(serde_json::Value::is_null);
            assert_eq!(is_null, is_answered, "{engine} {causes:?}");
        }
    }
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            while write(stream, &[b'x'; 1 << 16]) == After::Next {}
            After::Close
        });
        let proxy = Proxy::start_with(engine, "timeouts = { send = \"300ms\" }", &service(&[origin.address], ""));
        let mut client = Client::connect(proxy.address);
        client.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n");
        let line = proxy.line("/stuck");
        assert_eq!((&line["status"], &line["cause"]), (&200.into(), &"client_send_timeout".into()), "{engine}");
        eventually("the upstream request is cancelled", || origin.open() == 0);
    }
}

/// A listener whose queue is full: connecting to it hangs.
pub fn black_hole() -> (socket2::Socket, Vec<TcpStream>, std::net::SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
        assert!(held.len() < 100, "the queue does not fill");
    }
    (socket, held, address)
}

#[test]
fn every_wait_for_an_upstream_ends_with_its_own_cause() {
    let (_hole, _held, hole) = black_hole();
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            let mut buffer = Vec::new();
            while let Some(request) = read_head(stream, &mut buffer) {
                match request.target() {
                    "/header" | "/total" => pause(1_500),
                    "/half" => {
                        write(stream, b"HTTP/1.1 200 OK\r\n");
                        pause(1_500);
                    }
                    "/body" => {
                        write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
                        pause(1_500);
                    }
                    "/send" => pause(2_000),
                    _ => {
                        // Slower in all than each timeout, but never still for so long.
                        write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
                        for _ in 0..6 {
                            pause(150);
                            write(stream, b"x");
                        }
                        continue;
                    }
                }
                return;
            }
        });
        let rest = format!(
            "[[routes]]\nname = \"all\"\nservice = \"all\"\n[services.all]\nendpoints = [\"{origin}\"]\n\
             timeouts = {{ header = \"400ms\", body = \"400ms\", send = \"400ms\" }}\n\
             [[routes]]\nname = \"total\"\nservice = \"total\"\npaths = [{{ exact = \"/total\" }}]\n\
             [services.total]\nendpoints = [\"{origin}\"]\ntimeouts = {{ total = \"300ms\" }}\n\
             [[routes]]\nname = \"hole\"\nservice = \"hole\"\npaths = [{{ exact = \"/connect\" }}]\n\
             [services.hole]\nendpoints = [\"{hole}\"]\ntimeouts = {{ connect = \"300ms\" }}\n",
            origin = origin.address
        );
        let proxy = Proxy::start(engine, &rest);
        for (target, status, cause) in [
            ("/connect", 504, "connect_timeout"),
            ("/header", 504, "upstream_header_timeout"),
            ("/half", 504, "upstream_header_timeout"),
            ("/total", 504, "route_timeout"),
            ("/slow", 200, ""),
        ] {
            let mut client = Client::connect(proxy.address);
            let response = client.get(target);
            assert_eq!(response.status, status, "{engine} {target}");
            assert_eq!(proxy.line(target)["cause"].as_str().unwrap_or_default(), cause, "{engine} {target}");
        }
        let response = Client::connect(proxy.address).get("/body");
        assert_eq!((response.status, response.is_whole), (200, false), "{engine}");
        assert_eq!(proxy.line("/body")["cause"], "upstream_body_timeout");

        let mut client = Client::connect(proxy.address);
        client.send("POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        let mut sender = client.stream.try_clone().unwrap();
        let upload = std::thread::spawn(move || while sender.write_all(&[b'x'; 1 << 16]).is_ok() {});
        assert_eq!(client.response("POST").status, 504, "{engine}");
        assert_eq!(proxy.line("/send")["cause"], "upstream_send_timeout");
        drop(client);
        upload.join().unwrap();
    }
}

#[test]
fn keep_alive_timeout_that_the_upstream_announces_is_obeyed() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=2\r\n\r\nx");
            let mut buffer = Vec::new();
            let start = std::time::Instant::now();
            let ended = !fill(stream, &mut buffer);
            assert!(!ended || start.elapsed() < Duration::from_millis(1_900), "it was kept until the upstream's end");
            After::Close
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        assert_eq!(Client::connect(proxy.address).get("/").status, 200);
        eventually("it is closed a second early", || origin.open() == 0);
        assert_eq!(proxy.metric("ringress_upstream_idle_closed_total{worker=\"0\",reason=\"eof\"}"), 0);
    }
}
