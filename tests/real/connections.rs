//! Client and upstream connections: kept, pipelined, closed.

use std::io::Write as _;

use crate::support::authority::Authority;
use crate::support::origin::{read_head, reply, write};
use crate::support::proxy::{free_address, service};
use crate::support::secure::{SecureClient, client_config};
use crate::support::{Client, ENGINES, Origin, Proxy, eventually, past_probation};

#[test]
fn requests_of_one_connection_share_an_upstream_connection() {
    for engine in ENGINES {
        let origin = Origin::text("hello");
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        for turn in 0..50 {
            let response = client.get("/");
            assert_eq!((response.status, response.text()), (200, "hello"));
            assert_eq!(response.field("connection"), None);
            if turn == 0 {
                past_probation();
            }
        }
        assert_eq!(origin.connections(), 1, "{engine}");
        assert_eq!(proxy.metric("ringress_upstream_connections_reused_total"), 49);
    }
}

#[test]
fn a_connection_that_was_authenticated_stays_with_its_client_and_ends_with_it() {
    for engine in ENGINES {
        // As servers of NTLM do it: whoever authenticates on a connection is who uses it from then on.
        let origin = Origin::raw(|stream, seen, connection| {
            let (mut buffer, mut user) = (Vec::new(), "nobody");
            while let Some(mut request) = read_head(stream, &mut buffer) {
                request.connection = connection;
                let authorization = request.field("authorization").unwrap_or_default().to_owned();
                seen.lock().unwrap().push(request);
                match authorization.as_str() {
                    "NTLM one" => {
                        write(stream, b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM two\r\nContent-Length: 0\r\n\r\n");
                        continue;
                    }
                    "NTLM three" => user = "alice",
                    _ => {}
                }
                reply(stream, user.as_bytes());
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let other = || Client::connect(proxy.address).get("/other").text().to_owned();
        assert_eq!(other(), "nobody");
        past_probation();
        let mut alice = Client::connect(proxy.address);
        let mut ask = |authorization: &str| {
            alice.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{authorization}\r\n"));
            let response = alice.response("GET");
            (response.status, response.text().to_owned())
        };
        assert_eq!(ask("Authorization: NTLM one\r\n").0, 401, "{engine}");
        for _ in 0..5 {
            assert_eq!(other(), "nobody");
        }
        assert_eq!(
            ask("Authorization: NTLM three\r\n"),
            (200, "alice".to_owned()),
            "{engine}: over the same connection"
        );
        for _ in 0..20 {
            past_probation();
            assert_eq!(other(), "nobody", "{engine}");
            assert_eq!(ask(""), (200, "alice".to_owned()), "{engine}");
        }
        // A trusted proxy has the requests of many on its connection.
        let behind = Proxy::start_with(engine, "trusted_proxies = [\"127.0.0.1/32\"]", &service(&[origin.address], ""));
        let mut balancer = Client::connect(behind.address);
        let mut of = |client: &str, authorization: &str| {
            let forwarded = if client.is_empty() { String::new() } else { format!("X-Forwarded-For: {client}\r\n") };
            balancer.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{forwarded}{authorization}\r\n"));
            balancer.response("GET").text().to_owned()
        };
        assert_eq!(of("192.0.2.1", "Authorization: NTLM three\r\n"), "alice");
        assert_eq!((of("192.0.2.2", ""), of("192.0.2.1", "")), ("nobody".to_owned(), "alice".to_owned()), "{engine}");
        assert_eq!(of("", "Authorization: NTLM three\r\n"), "alice");
        assert_eq!(of("", ""), "nobody", "{engine}: nobody says whose it is");
        drop(alice);
        let pooled = origin
            .requests()
            .iter()
            .filter(|request| request.target() == "/other")
            .map(|request| request.connection)
            .max();
        assert!(pooled.is_some());
        eventually("her connection is closed with hers", || origin.open() <= 2 && other() == "nobody");
    }
}

#[test]
fn a_body_that_an_origin_may_not_have_read_is_answered_to_nobody_else() {
    for engine in ENGINES {
        // It takes the body of a GET for the next request, and answers that, too, a while later.
        let origin = Origin::raw(|stream, _, _| {
            let mut buffer = Vec::new();
            while let Some(request) = read_head(stream, &mut buffer) {
                if request.target() == "/smuggled" {
                    std::thread::sleep(std::time::Duration::from_millis(400));
                }
                reply(stream, request.target().as_bytes());
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        for method in ["GET", "OPTIONS", "DELETE"] {
            let mut client = Client::connect(proxy.address);
            client.send(format!("{method} /own HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            assert_eq!(client.response(method).text(), "/own", "{engine} {method}");
            for _ in 0..5 {
                past_probation();
                assert_eq!(Client::connect(proxy.address).get("/next").text(), "/next", "{engine} {method}");
            }
        }
        // Where upstreams are known to read it, the connection is kept.
        let reader = Origin::text("x");
        let proxy = Proxy::start(engine, &service(&[reader.address], "keep_alive = { unusual_bodies = true }"));
        let mut client = Client::connect(proxy.address);
        for _ in 0..5 {
            client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            assert_eq!(client.response("GET").status, 200);
            past_probation();
        }
        assert_eq!(reader.connections(), 1, "{engine}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| reply(stream, request.target().as_bytes()));
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let requests: Vec<_> = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        client.send(requests.concat());
        for n in 0..100 {
            assert_eq!(client.response("GET").text(), format!("/{n}"));
        }
        // Cut inside a head, and a body before the next head.
        client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyzGET /b HT");
        assert_eq!(client.response("POST").text(), "/a");
        client.send("TP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response("GET").text(), "/b");
    }
}

#[test]
fn http10_closes_unless_it_asks_for_keep_alive() {
    for engine in ENGINES {
        let origin = Origin::text("old");
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let response = client.send("GET / HTTP/1.0\r\n\r\n").response("GET");
        assert_eq!((response.status, response.text()), (200, "old"));
        assert_eq!(response.field("connection"), Some("close"));
        assert!(client.is_closed());

        let mut client = Client::connect(proxy.address);
        for _ in 0..3 {
            let response = client.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").response("GET");
            assert_eq!(response.field("connection"), Some("keep-alive"));
            assert_eq!(response.text(), "old");
        }
    }
}

#[test]
fn connection_close_of_the_client_is_obeyed() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let response = client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").response("GET");
        assert_eq!(response.field("connection"), Some("close"));
        assert!(client.is_closed());
        // The upstream's connection is ours to keep: the client has no say in it.
        assert_eq!(origin.requests()[0].field("connection"), None);
        assert_eq!(Client::connect(proxy.address).get("/").status, 200);
        eventually("the upstream connection is used again or its worker was another", || origin.connections() <= 2);
    }
}

#[test]
fn an_upstream_that_closes_while_idle_is_noticed_before_the_next_request() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| {
            let after = reply(stream, b"x");
            if request.target() == "/last" {
                std::thread::sleep(std::time::Duration::from_millis(50));
                return crate::support::After::Close;
            }
            after
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.get("/last").status, 200);
        eventually("the close is counted", || proxy.metric("ringress_upstream_idle_closed_total") > 0);
        assert_eq!(client.get("/").status, 200);
        assert_eq!(origin.connections(), 2);
    }
}

#[test]
fn an_upstream_that_says_close_is_not_used_again() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            crate::support::origin::write(
                stream,
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
            );
            crate::support::After::Next
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        for _ in 0..5 {
            let response = client.get("/");
            assert_eq!((response.status, response.field("connection")), (200, None));
        }
        assert_eq!(origin.connections(), 5);
        eventually("the proxy closed them", || origin.open() == 0);
    }
}

#[test]
fn idle_upstream_connections_are_bounded_and_expire() {
    let origin = Origin::start(|_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        reply(stream, b"x")
    });
    let keys = "keep_alive = { per_worker = 2, idle = \"400ms\" }";
    let proxy = Proxy::start("io_uring", &service(&[origin.address], keys));
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(proxy.address)).collect();
    clients.iter_mut().for_each(|client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    });
    clients.iter_mut().for_each(|client| assert_eq!(client.response("GET").status, 200));
    eventually("two of each worker stay", || origin.open() <= 4);
    eventually("then they expire", || origin.open() == 0);
    let expired = |worker| format!("ringress_upstream_idle_closed_total{{worker=\"{worker}\",reason=\"expired\"}}");
    assert!((0..2).map(|worker| proxy.metric(&expired(worker))).sum::<u64>() >= 1);
}

#[test]
fn unix_sockets_serve_and_are_served() {
    use std::io::Read as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    for engine in ENGINES {
        let folder = std::env::temp_dir().join(format!("ringress-unix-{}-{engine}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (upstream, front) = (folder.join("up.sock"), folder.join("front.sock"));
        let _ = std::fs::remove_file(&upstream);
        let listener = UnixListener::bind(&upstream).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
                    }
                });
            }
        });
        let rest = format!(
            "[listeners.front]\naddress = \"unix:{}\"\n[[routes]]\nname = \"all\"\nservice = \"up\"\n\
             [services.up]\nendpoints = [\"unix:{}\"]\n",
            front.display(),
            upstream.display()
        );
        let mut proxy = Proxy::start(engine, &rest);
        assert_eq!(Client::connect(proxy.address).get("/").text(), "unix");
        let mut stream = UnixStream::connect(&front).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("unix"), "{text}");
        proxy.signal("TERM");
        assert_eq!(proxy.wait(), 0);
        assert!(!front.exists(), "the socket's file is removed at the end");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn connections_beyond_the_limit_are_shed_and_the_others_go_on() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let rest = service(&[origin.address], "");
        let proxy = Proxy::start(engine, &rest);
        let mut first = Client::connect(proxy.address);
        assert_eq!(first.get("/").status, 200);
        drop(proxy);
        let proxy = {
            let rest = rest.clone();
            limited(engine, &rest)
        };
        let mut kept: Vec<Client> = Vec::new();
        let mut shed = 0;
        for _ in 0..40 {
            let mut client = Client::connect(proxy.address);
            client.stream.set_nodelay(true).unwrap();
            let _ = client.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            if client.fill() {
                assert_eq!(client.response("GET").status, 200);
                kept.push(client);
            } else {
                shed += 1;
            }
        }
        assert!(shed >= 20 && kept.len() >= 10, "{shed} shed, {} kept", kept.len());
        kept.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        assert!(proxy.metric("ringress_client_connections_shed_total") >= 20);
    }
}

#[test]
fn silent_connections_give_way_to_those_that_speak() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let authority = Authority::new();
        let secure = free_address();
        let rest = format!(
            "[listeners.secure]\naddress = \"{secure}\"\ntls.certificates = [{}]\n{}",
            authority.issue("a", &["a.test"]).toml(),
            service(&[origin.address], "")
        );
        let proxy = limited(engine, &rest);
        let config = client_config(&authority, None);
        // Some say nothing at all, some begin and stop.
        let said: [&[u8]; 4] = [b"", b"GET / HT", b"PRI * HTTP/2.0\r\n\r\nSM", &[22, 3, 1, 0, 200, 1]];
        let silent: Vec<_> = (0..120)
            .map(|at| {
                let mut client = Client::connect(if at % 2 == 0 { proxy.address } else { secure });
                let _ = client.stream.write_all(said[at / 2 % 4]);
                client
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(Client::connect(proxy.address).get("/").text(), "x", "{engine}");
            let mut client = SecureClient::connect(secure, &config, "a.test").unwrap();
            assert!(client.get("a.test", "/").unwrap().starts_with("HTTP/1.1 200"), "{engine}");
        }
        assert!(proxy.metric("ringress_client_connections_shed_total") >= 20, "{engine}");
        drop(silent);
    }
}

/// Ten connections for each of two workers.
fn limited(engine: &'static str, rest: &str) -> Proxy {
    let proxy = Proxy::start(engine, rest);
    let path = proxy.folder.join("ringress.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[workers]", "[workers]\nconnections_max = 10")).unwrap();
    proxy.signal("HUP");
    eventually("it is reloaded", || proxy.metric("ringress_snapshot_generation") >= 2);
    proxy
}
