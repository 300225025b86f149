//! Failures of upstreams and clients: the answer, its cause in the log, and that nothing else is touched.

use std::time::Duration;

use crate::support::origin::{read_head, reply, write};
use crate::support::proxy::{free_address, service};
use crate::support::{After, Client, ENGINES, Origin, Proxy, eventually};

#[test]
fn an_upstream_that_is_not_there_is_a_502_with_its_cause_in_every_form() {
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[free_address()]);
        let mut client = Client::connect(proxy.address);
        let response = client.get("/refused");
        assert_eq!(response.status, 502);
        assert!(response.text().ends_with("cause: connect_refused\n"));
        let expected = "ringress; error=connection_refused; details=\"connect_refused\"";
        assert_eq!(response.field("proxy-status"), Some(expected));
        let line = proxy.line("/refused");
        for (key, value) in [
            ("status", serde_json::json!(502)),
            ("cause", "connect_refused".into()),
            ("phase", "connect".into()),
            ("route", "all".into()),
            ("service", "all".into()),
            ("attempts", 1.into()),
            ("reused", false.into()),
            ("errno", 111.into()),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        // The connection goes on, and the form follows Accept.
        client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
        let json: serde_json::Value = serde_json::from_str(client.response("GET").text()).unwrap();
        assert_eq!(json["cause"], "connect_refused");
        client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n");
        assert!(client.response("GET").text().contains("<h1>502 Bad Gateway</h1>"));
        assert_eq!(proxy.metric("ringress_requests_total{listener=\"web\",route=\"all\",service=\"all\",code=\"502\",cause=\"connect_refused\"}"), 3);
    }
}

#[test]
fn responses_that_break_a_rule_are_502_with_the_rule() {
    let cases: &[(&str, &str, &[u8])] = &[
        ("/closes", "upstream_closed_no_response", b""),
        ("/half", "upstream_bad_header:head_truncated", b"HTTP/1.1 200 OK\r\nContent"),
        ("/garbage", "upstream_bad_header:speaks_text", b"garbage\r\n\r\n"),
        ("/http2", "upstream_bad_header:status_line", b"HTTP/2.0 200 OK\r\n\r\n"),
        ("/status", "upstream_bad_header:status", b"HTTP/1.1 1000 OK\r\n\r\n"),
        ("/bare", "upstream_bad_header:bare_line_feed", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("/fold", "upstream_bad_header:field_name", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        ("/nul", "upstream_bad_header:field_value", b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n"),
        (
            "/both",
            "upstream_bad_header:content_length_with_transfer_encoding",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "/twice",
            "upstream_bad_header:content_length_repeated",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        ),
        ("/negative", "upstream_bad_header:content_length_invalid", b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n"),
        (
            "/encoding",
            "upstream_bad_header:transfer_encoding_invalid",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "/upgrade",
            "upstream_bad_header:upgrade_not_asked",
            b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    ];
    for engine in ENGINES {
        let origin = Origin::start(move |request, stream| {
            if let Some((_, _, bytes)) = cases.iter().find(|(target, ..)| *target == request.target()) {
                write(stream, bytes);
            }
            match request.target() {
                "/huge" => {
                    write(stream, format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(70_000)).as_bytes());
                }
                "/many" => {
                    write(stream, format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(2_049)).as_bytes());
                }
                "/interim" => {
                    write(stream, "HTTP/1.1 102 Wait\r\n\r\n".repeat(60_000).as_bytes());
                }
                _ => {}
            }
            After::Close
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let more = [
            ("/huge", "upstream_head_too_large"),
            ("/many", "upstream_head_too_large"),
            ("/interim", "upstream_bad_header:too_many_interim"),
        ];
        for (target, cause) in cases.iter().map(|(target, cause, _)| (*target, *cause)).chain(more) {
            let response = client.get(target);
            assert_eq!(response.status, 502, "{engine} {target}");
            assert!(response.text().contains(cause), "{engine} {target}: {}", response.text());
            assert_eq!(proxy.line(target)["cause"], cause);
        }
    }
}

#[test]
fn bytes_behind_a_response_end_the_upstream_connection_and_answer_nobody() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            write(
                stream,
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmineHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
            )
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "mine", "{engine}");
        }
        assert_eq!(origin.connections(), 20);
    }
}

#[test]
fn nothing_to_route_to_says_so() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let rest = format!(
            "[[routes]]\nname = \"a\"\nhosts = [\"a.test\"]\nservice = \"a\"\n[services.a]\nendpoints = [\"{}\"]\n\
             [[routes]]\nname = \"none\"\nhosts = [\"none.test\"]\nservice = \"none\"\n[services.none]\n\
             [[routes]]\nname = \"dns\"\nhosts = [\"dns.test\"]\nservice = \"dns\"\n[services.dns]\nendpoints = [\"no.such.name.invalid:80\"]\n",
            origin.address
        );
        let proxy = Proxy::start(engine, &rest);
        let mut client = Client::connect(proxy.address);
        for (host, status, cause) in [
            ("b.test", 404, "no_route"),
            ("none.test", 503, "no_endpoints"),
            ("dns.test", 502, "dns_error"),
            ("a.test", 200, ""),
        ] {
            client.send(format!("GET /{host} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(client.response("GET").status, status, "{engine} {host}");
            assert_eq!(proxy.line(&format!("/{host}"))["cause"].as_str().unwrap_or_default(), cause);
        }
    }
}

#[test]
fn a_client_that_leaves_is_a_499_and_its_upstream_request_is_cancelled() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| {
            if request.target() == "/quick" {
                return reply(stream, b"x");
            }
            // Until the proxy hangs up.
            let mut buffer = Vec::new();
            while crate::support::origin::fill(stream, &mut buffer) {}
            After::Close
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("it reached the upstream", || origin.requests().len() == 1);
        client.abort();
        eventually("the upstream connection is closed", || origin.open() == 0);
        let line = proxy.line("/slow");
        assert_eq!((&line["status"], &line["cause"]), (&499.into(), &"client_closed:wait".into()), "{engine}");
        assert_eq!(Client::connect(proxy.address).get("/quick").status, 200);

        let mut client = Client::connect(proxy.address);
        client.send("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
        assert_eq!(proxy.line("/body")["cause"], "client_closed:send", "{engine}");
    }
}

#[test]
fn an_answer_is_used_though_the_upstream_resets_while_the_body_is_sent() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            let mut buffer = Vec::new();
            if read_head(stream, &mut buffer).is_some() {
                write(stream, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
                std::thread::sleep(Duration::from_millis(100));
                // Closing with unread bytes resets the connection.
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n");
        let mut sender = client.stream.try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            use std::io::Write as _;
            (0..20).take_while(|_| sender.write_all(&[b'x'; 100_000]).is_ok()).count()
        });
        let response = client.response("POST");
        assert_eq!((response.status, response.text()), (403, "no"), "{engine}");
        upload.join().unwrap();
    }
}

#[test]
fn endpoints_are_balanced_and_hashed() {
    let origins: Vec<_> = ["a", "b", "c"].into_iter().map(Origin::text).collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &addresses);
        let mut client = Client::connect(proxy.address);
        let turn: String = (0..9).map(|_| client.get("/").text().to_owned()).collect();
        assert_eq!(turn, turn[..3].repeat(3), "{engine}");
        for balance in ["random", "least_requests"] {
            let proxy = Proxy::start(engine, &service(&addresses, &format!("balance = \"{balance}\"")));
            let mut client = Client::connect(proxy.address);
            let mut seen: Vec<_> = (0..60).map(|_| client.get("/").text().to_owned()).collect();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 3, "{engine} {balance}");
        }
        let proxy = Proxy::start(engine, &service(&addresses, "balance = \"hash:header:X-User\""));
        let mut client = Client::connect(proxy.address);
        let mut seen = std::collections::BTreeSet::new();
        for user in 0..30 {
            let mut ask = || {
                client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n"));
                client.response("GET").text().to_owned()
            };
            let first = ask();
            assert!((0..3).all(|_| ask() == first), "{engine}");
            seen.insert(first);
        }
        assert_eq!(seen.len(), 3);
    }
}
