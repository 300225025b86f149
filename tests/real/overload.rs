//! More than an upstream can take: limits, the queue, the circuit breaker, shedding, clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::misbehaving::{Clients, run};
use crate::support::origin::{fill, reply, write};
use crate::support::proxy::service;
use crate::support::{After, Client, ENGINES, Origin, Proxy, eventually};

/// An origin that answers each request after so many milliseconds, and how many it had at once at most.
pub fn slow(ms: u64) -> (Origin, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let origin = Origin::start(move |request, stream| {
        let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(at_once, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(ms));
        now.fetch_sub(1, Ordering::SeqCst);
        let id: u64 = request.target().rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
        reply(stream, crate::misbehaving::origin::body(id).as_bytes())
    });
    (origin, most)
}

#[test]
fn twenty_upstream_workers_and_two_hundred_clients_wait_in_a_bounded_queue_and_nobody_starves() {
    for engine in ENGINES {
        for keys in [
            "limits = { in_flight = 20, queue = 400, queue_wait = \"10s\" }",
            "limits = { endpoint_in_flight = 20, queue = 400, queue_wait = \"10s\" }",
        ] {
            let (origin, most) = slow(10);
            let proxy = Proxy::start(engine, &service(&[origin.address], keys));
            let clients = Clients {
                method: "GET",
                body_bytes: 0,
                requests: 2_000,
                at_once: 200,
                keep_alive: true,
                pause_us: (0, 0),
                first_id: 0,
            };
            let outcome = run(proxy.address, clients);
            assert_eq!(outcome.lost(), 0, "{engine} {keys} {outcome:?}");
            assert!(most.load(Ordering::SeqCst) <= 20, "{engine} {keys}");
            let lines = proxy.access_log();
            let waits: Vec<_> = lines.iter().map(|line| line["queue_us"].as_u64().unwrap()).collect();
            assert!(waits.iter().filter(|us| **us > 20_000).count() > 1_000, "{engine}: the wait is recorded");
            // 200 clients before 20 places of 10 ms: each waits for about 90 ms, whoever comes first goes first.
            assert!(waits.iter().all(|us| *us < 2_000_000), "{engine} {:?}", waits.iter().max());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_cause_and_when_to_come_again() {
    for engine in ENGINES {
        for (limits, cause) in [
            ("in_flight = 2", "inflight_limit"),
            ("in_flight = 2, queue = 2, queue_wait = \"100ms\"", "queue_timeout"),
            ("endpoint_in_flight = 2", "inflight_limit"),
        ] {
            let (origin, _) = slow(1_000);
            let proxy = Proxy::start(engine, &service(&[origin.address], &format!("limits = {{ {limits} }}")));
            // Enough for one place of each worker to be taken, whichever a connection comes to.
            let busy: Vec<_> = (0..24)
                .map(|_| {
                    let mut client = Client::connect(proxy.address);
                    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
                    client
                })
                .collect();
            eventually("it is refused", || {
                let response = Client::connect(proxy.address).get("/2");
                if response.status == 200 {
                    return false;
                }
                assert_eq!(response.status, 503, "{engine} {limits}");
                assert_eq!(response.field("retry-after"), Some("1"));
                let expected = format!("ringress; error=connection_limit_reached; details=\"{cause}\"");
                let is_cause = response.field("proxy-status") == Some(&expected);
                assert!(is_cause || cause == "queue_timeout", "{engine} {:?}", response.field("proxy-status"));
                is_cause
            });
            if cause == "queue_timeout" {
                let has = |cause: &str| proxy.access_log().iter().any(|line| line["cause"] == cause);
                eventually("both are recorded", || has("queue_full") && has("queue_timeout"));
                let lines = proxy.access_log();
                let waited = lines.iter().find(|line| line["cause"] == "queue_timeout").unwrap();
                assert_eq!(waited["phase"], "queue");
                assert!(waited["total_us"].as_u64().unwrap() >= 90_000, "{waited}");
            }
            drop(busy);
        }
    }
}

#[test]
fn a_client_that_leaves_the_queue_is_a_499_and_its_place_is_free() {
    for engine in ENGINES {
        let (origin, _) = slow(400);
        let keys = "limits = { in_flight = 1, queue = 64, queue_wait = \"10s\" }";
        let proxy = Proxy::start(engine, &service(&[origin.address], keys));
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let mut client = Client::connect(proxy.address);
                client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
                client
            })
            .collect();
        eventually("they wait", || proxy.metric("ringress_service_requests_waiting{service=\"all\"}") >= 6);
        // The last first, so that few of them are given the place of one before it.
        for client in clients.into_iter().rev() {
            client.abort();
            std::thread::sleep(Duration::from_millis(10));
        }
        eventually("nobody waits", || proxy.metric("ringress_service_requests_waiting{service=\"all\"}") == 0);
        eventually("all are over", || proxy.metric("ringress_service_requests_in_flight{service=\"all\"}") == 0);
        eventually("they are recorded", || proxy.access_log().len() == 8);
        let lines = proxy.access_log();
        assert!(lines.iter().all(|line| line["status"] == 499), "{engine} {lines:?}");
        let queued = lines.iter().filter(|line| line["cause"] == "client_closed:queue").count();
        assert!(queued >= 4, "{engine} {lines:?}");
        assert_eq!(lines.iter().filter(|line| line["attempts"] == 0).count(), queued);
        assert_eq!(Client::connect(proxy.address).get("/9").status, 200);
    }
}

#[test]
fn the_circuit_opens_refuses_and_closes_again() {
    for engine in ENGINES {
        let is_bad = Arc::new(AtomicBool::new(true));
        let bad = Arc::clone(&is_bad);
        let origin = Origin::start(move |_, stream| {
            if bad.load(Ordering::SeqCst) {
                return write(stream, b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n");
            }
            reply(stream, b"good")
        });
        let keys = "circuit_breaker = { error_ratio = 0.5, requests_min = 10, open = \"300ms\" }";
        let proxy = Proxy::start(engine, &service(&[origin.address], keys));
        let mut client = Client::connect(proxy.address);
        let statuses: Vec<_> = (0..20).map(|_| client.get("/").status).collect();
        assert_eq!(statuses, [[500; 10], [503; 10]].concat(), "{engine}");
        let response = client.get("/open");
        assert!(response.text().contains("cause: circuit_open"));
        assert_eq!(response.field("retry-after"), Some("1"));
        assert_eq!(proxy.metric("ringress_service_circuit_open_workers{service=\"all\"}"), 1);
        std::thread::sleep(Duration::from_millis(350));
        assert_eq!((client.get("/").status, client.get("/").status), (500, 503), "{engine}: one tries");
        is_bad.store(false, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(350));
        assert!((0..20).all(|_| client.get("/").status == 200), "{engine}");
        // Our own queue is none of the upstream's latency.
        let (origin, _) = slow(5);
        let keys = "circuit_breaker = { latency = \"200ms\", quantile = 0.5, requests_min = 5 }\n\
             limits = { in_flight = 1, queue = 200, queue_wait = \"20s\" }";
        let proxy = Proxy::start(engine, &service(&[origin.address], keys));
        let statuses: Vec<_> = (0..100)
            .map(|_| {
                std::thread::spawn({
                    let address = proxy.address;
                    move || Client::connect(address).get("/").status
                })
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(statuses, [200; 100], "{engine}");
        // Too slow is as good a reason.
        let (origin, _) = slow(60);
        let keys = "circuit_breaker = { latency = \"20ms\", quantile = 0.5, requests_min = 5 }";
        let proxy = Proxy::start(engine, &service(&[origin.address], keys));
        let mut client = Client::connect(proxy.address);
        let statuses: Vec<_> = (0..8).map(|_| client.get("/").status).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 503, 503, 503], "{engine}");
    }
}

#[test]
fn connections_of_one_client_address_are_limited() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::start_with(engine, "connections_per_client = 8", &service(&[origin.address], ""));
        // Whoever looked whether it listens has left.
        eventually("nobody is there", || proxy.metric("ringress_client_connections{") == 0);
        let mut clients: Vec<_> = (0..40).map(|_| Client::connect(proxy.address)).collect();
        let served = |clients: &mut Vec<Client>| {
            clients.retain_mut(|client| {
                // A closed one may take the request before it says so.
                let _ = std::io::Write::write_all(&mut client.stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                client.fill()
            });
            clients.len()
        };
        let count = served(&mut clients);
        assert_eq!(count, 8, "{engine}: whichever of two workers has them");
        assert!(proxy.metric("ringress_client_connections_refused_total") >= 32);
        drop(clients);
        eventually("there is room again", || Client::connect(proxy.address).get_or_closed("/").is_some());
    }
}

#[test]
fn an_abort_is_ignored_where_the_service_says_so() {
    for engine in ENGINES {
        let finished = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&finished);
        let origin = Origin::start(move |_, stream| {
            std::thread::sleep(Duration::from_millis(200));
            let after = reply(stream, &[b'x'; 100_000]);
            if after == After::Next {
                count.fetch_add(1, Ordering::SeqCst);
            }
            after
        });
        let proxy = Proxy::start(engine, &service(&[origin.address], "ignore_client_abort = true"));
        let mut client = Client::connect(proxy.address);
        client.send("POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        eventually("it reached the upstream", || origin.requests().len() == 1);
        client.abort();
        let line = proxy.line("/left");
        assert_eq!((&line["status"], &line["cause"]), (&499.into(), &"client_closed:wait".into()), "{engine} {line}");
        assert_eq!(finished.load(Ordering::SeqCst), 1);
        assert_eq!(line["response_bytes"], 100_000);
        std::thread::sleep(Duration::from_millis(20));
        // The connection was read to its end and is used again.
        assert_eq!(Client::connect(proxy.address).get("/next").status, 200);
        eventually("it is the same, or the other worker's", || origin.connections() <= 2);
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    for engine in ENGINES {
        for is_reset in [false, true] {
            let origin = Origin::raw(move |stream, _, _| {
                let mut buffer = Vec::new();
                fill(stream, &mut buffer);
                write(stream, b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge");
                std::thread::sleep(Duration::from_millis(20));
                if is_reset {
                    socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
            let proxy = Proxy::to(engine, &[origin.address]);
            let mut client = Client::connect(proxy.address);
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
            for _ in 0..80 {
                client.send([b'x'; 100_000]);
            }
            let response = client.response("POST");
            assert_eq!((response.status, response.text()), (413, "large"), "{engine} {is_reset}");
            assert_eq!(response.field("connection"), Some("close"), "nobody knows where the next request begins");
        }
    }
}

#[test]
fn a_worker_that_lags_behind_refuses_some_requests_and_says_so() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let rest = service(&[origin.address], "");
        let proxy = Proxy::start(engine, &rest);
        let text = std::fs::read_to_string(proxy.folder.join("ringress.toml")).unwrap();
        let text = text.replace("threads = 2", "threads = 2\nshed_above = \"50ms\"");
        std::fs::write(proxy.folder.join("ringress.toml"), text).unwrap();
        proxy.signal("HUP");
        eventually("it was reloaded", || proxy.metric("ringress_snapshot_generation") >= 2);
        // A process that is stopped again and again is late in every look.
        let start = Instant::now();
        let mut refused = None;
        while refused.is_none() && start.elapsed() < Duration::from_secs(30) {
            for _ in 0..8 {
                proxy.signal("STOP");
                std::thread::sleep(Duration::from_millis(220));
                proxy.signal("CONT");
                std::thread::sleep(Duration::from_millis(2));
            }
            refused = (0..8).map(|_| Client::connect(proxy.address).get("/")).find(|response| response.status != 200);
        }
        let refused = refused.unwrap_or_else(|| panic!("{engine}: nothing was refused"));
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("cause: local_resource:worker"));
        assert_eq!(refused.field("retry-after"), Some("1"));
        eventually("it recovers", || proxy.metric("ringress_refused_percent") == 0);
        assert!((0..20).all(|_| Client::connect(proxy.address).get("/").status == 200), "{engine}");
    }
}
