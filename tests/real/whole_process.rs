//! What is promised for the whole process, over two workers: limits to the one, and memory that publications leave alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::misbehaving::{Clients, run};
use crate::overload::slow;
use crate::support::origin::reply;
use crate::support::proxy::service;
use crate::support::{Client, ENGINES, Origin, Proxy, eventually};

#[test]
fn one_place_is_one_place_and_goes_from_worker_to_worker() {
    for engine in ENGINES {
        for limits in ["in_flight = 1", "endpoint_in_flight = 1"] {
            let (origin, most) = slow(2);
            let keys = format!("limits = {{ {limits}, queue = 64, queue_wait = \"20s\" }}");
            let proxy = Proxy::start(engine, &service(&[origin.address], &keys));
            // Connections to both workers, more than any of them has places.
            let clients = Clients {
                method: "POST",
                body_bytes: 10,
                requests: 400,
                at_once: 40,
                keep_alive: true,
                pause_us: (0, 0),
                first_id: 0,
            };
            let outcome = run(proxy.address, clients);
            assert_eq!(outcome.lost(), 0, "{engine} {limits} {outcome:?}");
            assert_eq!(most.load(Ordering::SeqCst), 1, "{engine} {limits}");
            eventually("nobody waits", || proxy.metric("ringress_service_requests_waiting{service=\"all\"}") == 0);
        }
    }
}

#[test]
fn a_client_has_as_many_connections_as_it_may_whichever_worker_has_them() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::start_with(engine, "connections_per_client = 3", &service(&[origin.address], ""));
        for _ in 0..5 {
            let mut kept: Vec<_> = (0..3)
                .map(|_| {
                    let mut client = Client::connect(proxy.address);
                    // Those of the round before are closed once their worker has seen that.
                    eventually("there is a place", || {
                        if client.get_or_closed("/").is_some_and(|response| response.status == 200) {
                            return true;
                        }
                        client = Client::connect(proxy.address);
                        false
                    });
                    client
                })
                .collect();
            for _ in 0..6 {
                let refused = Client::connect(proxy.address).get_or_closed("/");
                assert!(refused.is_none_or(|response| response.status != 200), "{engine}: a fourth connection");
            }
            assert!(kept.iter_mut().all(|client| client.get("/").status == 200), "{engine}: the three go on");
        }
    }
}

#[test]
fn whoever_waits_goes_by_the_limits_that_hold_now() {
    for engine in ENGINES {
        // Answers when it is told to.
        let (now, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (busy, may) = (Arc::clone(&now), Arc::clone(&answers));
        let origin = Origin::start(move |_, stream| {
            busy.fetch_add(1, Ordering::SeqCst);
            eventually("it may answer", || may.load(Ordering::SeqCst));
            busy.fetch_sub(1, Ordering::SeqCst);
            reply(stream, b"x")
        });
        let in_flight = |count| eventually("it is in flight", || now.load(Ordering::SeqCst) == count);
        let limits = |keys: &str| service(&[origin.address], &format!("limits = {{ {keys}, queue_wait = \"15s\" }}"));
        let ask = |address| {
            let mut client = Client::connect(address);
            client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        };
        let proxy = Proxy::start(engine, &limits("in_flight = 1"));
        let reload = |keys: &str, generation| {
            proxy.rewrite("", &limits(keys));
            proxy.signal("HUP");
            eventually("it is reloaded", || proxy.metric("ringress_snapshot_generation") >= generation);
        };
        let waiting = || proxy.metric("ringress_service_requests_waiting{service=\"all\"}");
        // One that began while nobody could wait makes room for those who may wait since.
        let mut first = ask(proxy.address);
        in_flight(1);
        reload("in_flight = 1, queue = 10", 2);
        let mut second = ask(proxy.address);
        eventually("one waits", || waiting() == 1);
        answers.store(true, Ordering::SeqCst);
        assert_eq!((first.response("GET").status, second.response("GET").status), (200, 200), "{engine}");
        // More room is for those who wait already.
        answers.store(false, Ordering::SeqCst);
        let mut clients = [ask(proxy.address), ask(proxy.address)];
        eventually("one waits", || waiting() == 1);
        reload("in_flight = 2, queue = 10", 3);
        in_flight(2);
        answers.store(true, Ordering::SeqCst);
        assert!(clients.iter_mut().all(|client| client.response("GET").status == 200), "{engine}");
    }
}

#[test]
fn idle_connections_hold_nothing_of_what_was_published_before() {
    let origin = Origin::text("x");
    let routes = |generation: usize| {
        let route = |number: usize| {
            format!(
                "[[routes]]\nname = \"r{number}\"\nservice = \"all\"\nhosts = [\"h{number}.g{generation}.test\"]\n\
                 filters = [{{ response_headers = {{ set = {{ X-Generation = \"{generation}\" }} }} }}]\n"
            )
        };
        (0..1_000).map(route).collect::<String>() + &service(&[origin.address], "")
    };
    let proxy = Proxy::start(ENGINES[0], &routes(0));
    let mut clients = Vec::new();
    let mut first_kib = 0;
    for generation in 1..=40 {
        proxy.rewrite("", &routes(generation));
        proxy.signal("HUP");
        let host = format!("GET / HTTP/1.1\r\nHost: h7.g{generation}.test\r\n\r\n");
        eventually("it is published", || {
            let mut client = Client::connect(proxy.address);
            let response = client.send(&host).response("GET");
            response.field("x-generation") == Some(generation.to_string().as_str())
        });
        for _ in 0..5 {
            let mut client = Client::connect(proxy.address);
            assert_eq!(client.send(&host).response("GET").status, 200);
            clients.push(client);
        }
        if generation == 10 {
            first_kib = proxy.memory_kib("RssAnon");
        }
    }
    // Each generation of 1,000 routes is about a mebibyte: 30 of them would show.
    let grown_kib = proxy.memory_kib("RssAnon").saturating_sub(first_kib);
    assert!(grown_kib < 12 * 1_024, "{grown_kib} KiB more after 30 further publications");
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200), "they go on, by the latest routes");
}
