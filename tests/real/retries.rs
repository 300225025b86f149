//! Whether and where a failed attempt is followed by another, and what the record says of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::misbehaving::{self, Clients, Mode, run};
use crate::support::origin::{fill, reply, write};
use crate::support::proxy::{free_address, service};
use crate::support::{After, Client, ENGINES, Origin, Proxy, eventually};

fn clients(method: &'static str) -> Clients {
    let body_bytes = if method == "GET" { 0 } else { 100 };
    Clients { method, body_bytes, requests: 600, at_once: 20, keep_alive: true, pause_us: (0, 0), first_id: 0 }
}

#[test]
fn closing_and_idle_closing_origins_lose_nothing_and_execute_nothing_twice() {
    for engine in ENGINES {
        for (mode, pause_us) in [
            (Mode::Closes, (0, 0)),
            (Mode::SaysClose, (0, 0)),
            (Mode::Idle1, (0, 2_000)),
            (Mode::Idle5, (0, 12_000)),
            (Mode::Unsolicited408, (0, 4_000)),
            (Mode::SecondAnswer, (0, 0)),
            (Mode::Http10, (0, 0)),
            (Mode::Interim, (0, 0)),
        ] {
            for method in ["GET", "POST"] {
                let origin = misbehaving::Origin::start(mode, "127.0.0.1:0").unwrap();
                let proxy = Proxy::to(engine, &[origin.address]);
                let outcome = run(proxy.address, Clients { pause_us, ..clients(method) });
                assert_eq!((outcome.lost(), outcome.right), (0, 600), "{engine} {mode:?} {method} {outcome:?}");
                if method == "POST" {
                    assert!(origin.executed().values().all(|count| *count == 1), "{engine} {mode:?}");
                }
                assert_eq!(origin.executed().len(), 600);
                assert_eq!(proxy.metric("ringress_ejections_total"), 0);
            }
        }
    }
}

#[test]
fn an_origin_that_fails_second_requests_loses_three_posts_for_each_worker_and_no_get() {
    for engine in ENGINES {
        for mode in [Mode::ResetsSecondUnread, Mode::ResetsSecondRead] {
            for method in ["GET", "POST"] {
                let origin = misbehaving::Origin::start(mode, "127.0.0.1:0").unwrap();
                let proxy = Proxy::to(engine, &[origin.address]);
                let outcome = run(proxy.address, clients(method));
                // Two workers learn by themselves.
                let most = if method == "GET" { 0 } else { 6 };
                assert!(outcome.lost() <= most, "{engine} {mode:?} {method} {outcome:?}");
                if method == "POST" {
                    assert!(origin.executed().values().all(|count| *count == 1));
                }
            }
        }
    }
}

#[test]
fn a_post_that_was_executed_is_never_sent_again_and_a_get_once() {
    for engine in ENGINES {
        for mode in [Mode::ExecutesCloses, Mode::ExecutesResets] {
            for (method, most) in [("POST", 1), ("GET", 2)] {
                let origin = misbehaving::Origin::start(mode, "127.0.0.1:0").unwrap();
                let proxy = Proxy::to(engine, &[origin.address]);
                let outcome = run(proxy.address, clients(method));
                assert!(outcome.right > 300 && outcome.wrong == 0, "{engine} {mode:?} {method} {outcome:?}");
                let executed = origin.executed();
                assert!(executed.values().all(|count| *count <= most), "{engine} {mode:?} {method}");
                assert!(proxy.process_log().contains("\"level\":\"INFO\"") || method == "GET");
            }
        }
    }
}

#[test]
fn the_flaw_of_an_origin_is_told_once_with_its_remedy() {
    for engine in ENGINES {
        let origin = misbehaving::Origin::start(Mode::Closes, "127.0.0.1:0").unwrap();
        let proxy = Proxy::to(engine, &[origin.address]);
        assert_eq!(run(proxy.address, clients("GET")).lost(), 0);
        eventually("it is told", || proxy.process_log().contains("http-keepalive"));
        let log = proxy.process_log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("http-keepalive")).collect();
        assert_eq!(lines.len(), 1, "{engine} {log}");
        assert!(lines[0].contains(&origin.address.to_string()) && lines[0].contains("\"level\":\"INFO\""));
        assert!(proxy.metric("ringress_upstream_connections_not_pooled_total") > 100);
        let api = Client::connect(proxy.admin).get("/api/endpoints");
        let api: serde_json::Value = serde_json::from_str(api.text()).unwrap();
        let workers = api["all"][0]["workers"].as_array().unwrap();
        assert!(workers.iter().any(|worker| worker["reuse"] == "off"), "{api}");
        // Healthy ones are reused as ever.
        let origin = misbehaving::Origin::start(Mode::Well, "127.0.0.1:0").unwrap();
        let proxy = Proxy::to(engine, &[origin.address]);
        assert_eq!(run(proxy.address, clients("GET")).lost(), 0);
        assert!(origin.connections() < 200, "{engine} {}", origin.connections());
    }
}

#[test]
fn a_post_is_reused_for_once_connections_were_seen_to_be_kept() {
    for engine in ENGINES {
        let origin = misbehaving::Origin::start(Mode::Well, "127.0.0.1:0").unwrap();
        let proxy = Proxy::to(engine, &[origin.address]);
        let clients = Clients { pause_us: (1_000, 3_000), requests: 6_000, ..clients("POST") };
        // New ones until that was seen, and in the pauses that a busy host makes: of which one run may be full.
        eventually("connections are used again", || {
            let before = origin.connections();
            assert_eq!(run(proxy.address, clients).lost(), 0, "{engine}");
            origin.connections() - before < 4_000
        });
    }
}

#[test]
fn an_endpoint_that_refuses_is_passed_over_and_the_record_says_so() {
    for engine in ENGINES {
        let origin = Origin::text("here");
        let gone = free_address();
        let proxy = Proxy::start(engine, &service(&[gone, origin.address], "ejection = { failures = 0 }"));
        let mut client = Client::connect(proxy.address);
        for number in 0..4 {
            client.send(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"));
            assert_eq!(client.response("POST").text(), "here", "{engine}");
        }
        let lines: Vec<_> = (0..4).map(|number| proxy.line(&format!("/{number}"))).collect();
        let retried: Vec<_> = lines.iter().filter(|line| line["attempts"] == 2).collect();
        assert_eq!(retried.len(), 2, "{engine} {lines:?}");
        let failed = &retried[0]["failed"][0];
        assert_eq!((&failed["cause"], &failed["errno"]), (&"connect_refused".into(), &111.into()));
        assert_eq!(failed["endpoint"], gone.to_string());
        assert_eq!(retried[0]["endpoint"], origin.address.to_string());
        assert_eq!(retried[0]["cause"], serde_json::Value::Null);
        assert_eq!(origin.requests().len(), 4);
        assert_eq!(proxy.metric("ringress_attempts_failed_total{service=\"all\",cause=\"connect_refused\"}"), 2);
        assert_eq!(proxy.metric("ringress_retry_decisions_total{service=\"all\",decision=\"other_endpoint\"}"), 2);
    }
}

/// An origin that takes the whole request and closes.
fn closing() -> Origin {
    Origin::start(|_, _| After::Close)
}

#[test]
fn why_there_is_no_other_attempt_is_said() {
    for engine in ENGINES {
        let good = Origin::text("good");
        let bad = closing();
        let refusing = free_address();
        let rest = format!(
            "{}[[routes]]\nname = \"alone\"\nservice = \"alone\"\npaths = [{{ prefix = \"/alone\" }}]\n[services.alone]\nendpoints = [\"{refusing}\"]\n\
             [[routes]]\nname = \"late\"\nservice = \"late\"\npaths = [{{ prefix = \"/late\" }}]\n[services.late]\nendpoints = [\"{}\"]\ntimeouts = {{ total = \"50ms\" }}\n\
             [[routes]]\nname = \"never\"\nservice = \"never\"\npaths = [{{ prefix = \"/never\" }}]\n[services.never]\nendpoints = [\"{refusing}\", \"{refusing}\"]\nretry = {{ non_idempotent = \"never\" }}\n",
            service(&[bad.address], "retry = { buffer = \"1KiB\" }"),
            Origin::start(|_, _| {
                std::thread::sleep(Duration::from_millis(100));
                After::Close
            })
            .address,
        );
        let proxy = Proxy::start(engine, &rest);
        let ask = |method: &str, target: &str, fields: &str, body: &[u8]| {
            let mut client = Client::connect(proxy.address);
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {}\r\n\r\n",
                body.len()
            ));
            client.send(body).response(method).status
        };
        let line = |target: &str| proxy.line(target);
        assert_eq!(ask("POST", "/n", "", b"x"), 502);
        assert_eq!(
            (&line("/n")["no_retry"], &line("/n")["attempts"]),
            (&"non_idempotent".into(), &1.into()),
            "{engine}"
        );
        assert_eq!(ask("POST", "/key", "Idempotency-Key: 7\r\n", b"x"), 502);
        assert_eq!((&line("/key")["no_retry"], &line("/key")["attempts"]), (&"attempts".into(), &2.into()));
        assert_eq!(ask("PUT", "/long", "", &[b'x'; 2_000]), 502);
        assert_eq!((&line("/long")["no_retry"], &line("/long")["attempts"]), (&"body_overflow".into(), &1.into()));
        assert_eq!(ask("GET", "/alone", "", b""), 502);
        assert_eq!(line("/alone")["no_retry"], "no_other_endpoint");
        assert_eq!(ask("GET", "/late", "", b""), 504);
        assert_eq!(line("/late")["cause"], "route_timeout");
        assert_eq!(ask("POST", "/never", "", b""), 502);
        assert_eq!(line("/never")["no_retry"], "non_idempotent");
        assert_eq!(ask("GET", "/upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\n", b""), 502);
        assert_eq!(line("/upgrade")["no_retry"], "upgrade");
        assert_eq!(bad.requests().iter().filter(|request| request.target() == "/n").count(), 1);
        drop(good);
    }
}

#[test]
fn rules_for_requests_that_are_not_idempotent_are_obeyed() {
    for engine in ENGINES {
        for (rule, status) in [("proof", 502), ("reused", 502), ("always", 200), ("never", 502)] {
            let bad = closing();
            let good = Origin::text("good");
            let keys = format!("retry = {{ non_idempotent = \"{rule}\" }}\nejection = {{ failures = 0 }}");
            let proxy = Proxy::start(engine, &service(&[bad.address, good.address], &keys));
            let mut client = Client::connect(proxy.address);
            let mut statuses: Vec<_> = (0..2)
                .map(|_| {
                    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").response("POST").status
                })
                .collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [200, status], "{engine} {rule}");
        }
    }
}

#[test]
fn a_body_is_sent_again_as_it_came_in_every_framing() {
    for engine in ENGINES {
        let bad = closing();
        let good = Origin::start(|request, stream| reply(stream, &request.body));
        let proxy = Proxy::start(engine, &service(&[bad.address, good.address], "ejection = { failures = 0 }"));
        let mut client = Client::connect(proxy.address);
        for length in [1, 100, 30_000, 65_000] {
            let body = crate::support::noise(length as u64, length);
            for _ in 0..2 {
                client
                    .send(format!("PUT /{length} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"))
                    .send(&body);
                let response = client.response("PUT");
                assert!(response.status == 200 && response.body == body, "{engine} {length} {}", response.status);
            }
        }
        let text = "PUT /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        for _ in 0..2 {
            client.send(text);
            std::thread::sleep(Duration::from_millis(20));
            client.send("2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n");
            assert_eq!(client.response("PUT").text(), "abcde", "{engine}");
        }
        let chunked: Vec<_> = good.requests().into_iter().filter(|request| request.target() == "/chunks").collect();
        assert_eq!(chunked.len(), 2);
        assert!(chunked.iter().all(|request| request.field("trailer-x-sum") == Some("5")));
        // One that waits to be told to go on.
        let head = "PUT /expect HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        for _ in 0..2 {
            client.send(head);
            assert!(client.head().starts_with("HTTP/1.1 100 "), "{engine}");
            client.send("hello");
            assert_eq!(client.response("PUT").text(), "hello", "{engine}");
        }
    }
}

#[test]
fn a_status_is_tried_elsewhere_where_the_service_says_so() {
    for engine in ENGINES {
        let turn = AtomicUsize::new(0);
        let busy = Origin::start(move |request, stream| {
            let fields = match request.target() {
                "/soon" => "Retry-After: 1\r\n",
                "/late" => "Retry-After: 60\r\n",
                _ => "",
            };
            turn.fetch_add(1, Ordering::SeqCst);
            write(stream, format!("HTTP/1.1 503 Busy\r\n{fields}Content-Length: 4\r\n\r\nbusy").as_bytes())
        });
        let good = Origin::text("good");
        let endpoints = [busy.address, good.address];
        let proxy = Proxy::start(engine, &service(&endpoints, "retry = { on_status = [503] }"));
        let mut client = Client::connect(proxy.address);
        for _ in 0..6 {
            assert_eq!(client.get("/").text(), "good", "{engine}");
        }
        assert_eq!(busy.requests().len(), 3);
        // A POST is passed through, as the upstream's own answer.
        let mut texts: Vec<_> = (0..2)
            .map(|_| client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").response("POST"))
            .collect();
        texts.sort_by_key(|response| response.status);
        assert_eq!((texts[1].status, texts[1].text(), texts[1].field("proxy-status")), (503, "busy", None), "{engine}");
        eventually("it is recorded", || {
            proxy.access_log().iter().any(|line| line["failed"][0]["cause"] == "upstream_status")
        });
        // A short wait is honoured, a long one is the client's.
        let start = Instant::now();
        assert!((0..2).all(|_| client.get("/soon").text() == "good"), "{engine}");
        // Timers go by a clock that is a tick behind.
        assert!(start.elapsed() >= Duration::from_millis(980));
        let mut statuses: Vec<_> = (0..2).map(|_| client.get("/late").status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 503], "{engine}");
        let without = service(&endpoints, "retry = { on_status = [503], retry_after_max = \"0s\" }");
        let proxy = Proxy::start(engine, &without);
        let mut client = Client::connect(proxy.address);
        let mut statuses: Vec<_> = (0..2).map(|_| client.get("/soon").status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 503], "{engine}: nothing is waited out");
        // Where all say so, the last answer goes through.
        let proxy = Proxy::start(engine, &service(&[busy.address], "retry = { on_status = [503] }"));
        let response = Client::connect(proxy.address).get("/");
        assert_eq!((response.status, response.text()), (503, "busy"));
    }
}

#[test]
fn what_the_service_asks_for_is_tried_elsewhere() {
    for engine in ENGINES {
        let silent = Origin::start(|_, stream| {
            let mut buffer = Vec::new();
            while fill(stream, &mut buffer) {}
            After::Close
        });
        let broken = Origin::start(|_, stream| {
            write(stream, b"HTTP/1.1 2OO\r\n\r\n");
            After::Close
        });
        let good = Origin::text("good");
        for (bad, on, cause) in [
            (&silent, "header_timeout", "upstream_header_timeout"),
            (&broken, "bad_response", "upstream_bad_header:status"),
        ] {
            let keys = "timeouts = { header = \"100ms\" }\nejection = { failures = 0 }";
            let with = format!("{keys}\nretry = {{ on = [\"{on}\"] }}");
            let proxy = Proxy::start(engine, &service(&[bad.address, good.address], &with));
            let mut client = Client::connect(proxy.address);
            assert!((0..4).all(|_| client.get("/").text() == "good"), "{engine} {on}");
            let proxy = Proxy::start(engine, &service(&[bad.address, good.address], keys));
            let mut client = Client::connect(proxy.address);
            let lost = (0..4).filter(|number| client.get(&format!("/{number}")).status != 200).count();
            assert_eq!(lost, 2, "{engine} {on}: only where it is asked for");
            let line =
                (0..4).map(|number| proxy.line(&format!("/{number}"))).find(|line| line["status"] != 200).unwrap();
            assert!(line["cause"].as_str().unwrap().starts_with(&cause[..20]), "{line}");
            assert_eq!(line["no_retry"], "not_asked");
        }
    }
}

#[test]
fn retries_that_cost_work_have_a_budget() {
    for engine in ENGINES {
        let (one, other) = (closing(), closing());
        let proxy = Proxy::start(engine, &service(&[one.address, other.address], "ejection = { failures = 0 }"));
        let mut client = Client::connect(proxy.address);
        for number in 0..200 {
            assert_eq!(client.get(&format!("/{number}")).status, 502);
        }
        let paid = proxy.metric("ringress_retry_decisions_total{service=\"all\",decision=\"other_endpoint\"}");
        assert!((30..=60).contains(&paid), "{engine} {paid}");
        assert!(proxy.metric("ringress_retry_decisions_total{service=\"all\",decision=\"budget\"}") > 100);
        assert_eq!(proxy.line("/199")["no_retry"], "budget");
    }
}

#[test]
fn nothing_is_sent_again_after_a_byte_of_the_answer() {
    for engine in ENGINES {
        let bad = Origin::start(|request, stream| {
            if request.target() == "/hints" {
                write(stream, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            } else {
                write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            }
            After::Close
        });
        let proxy = Proxy::to(engine, &[bad.address, bad.address]);
        let response = Client::connect(proxy.address).get("/half");
        assert!(!response.is_whole, "{engine}");
        assert_eq!(proxy.line("/half")["no_retry"], "client_bytes_sent");
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.get("/hints").status, 502);
        assert_eq!(proxy.line("/hints")["no_retry"], "client_bytes_sent");
        assert_eq!(bad.requests().len(), 2, "{engine}");
    }
}
