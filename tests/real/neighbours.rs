//! What one request can do to the others that share its connection of HTTP/2, on either side: nothing.

use std::time::Duration;

use crate::support::origin::reply;
use crate::support::proxy::service;
use crate::support::python::{python, server};
use crate::support::{Client, ENGINES, Origin, Proxy, Running, eventually, output};

/// What the access log says of requests for this target, once it says something.
fn lines(proxy: &Proxy, target: &str) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    eventually(&format!("a line of {target}"), || {
        found = proxy.access_log().into_iter().filter(|line| line["target"] == target).collect();
        !found.is_empty()
    });
    found
}

#[test]
fn a_client_that_does_nothing_wrong_and_one_stream_that_does_cost_nobody_else_anything() {
    let origin = Origin::start(|request, stream| {
        if request.head.contains(" /slow ") {
            std::thread::sleep(Duration::from_millis(300));
        }
        let large = if request.head.contains(" /large ") { vec![b'x'; 2_000_000] } else { Vec::new() };
        let bodies = [&large[..], &request.body, request.head.as_bytes()];
        reply(stream, bodies.into_iter().find(|body| !body.is_empty()).unwrap_or_default())
    });
    for engine in ENGINES {
        let proxy = Proxy::start_with(engine, "body_max = \"1MiB\"", &service(&[origin.address], ""));
        let told = output(python("neighbours.py").arg(proxy.address.to_string()));
        assert!(told.contains("all passed"), "{engine}: {told}");
        for line in lines(&proxy, "/malformed") {
            assert_eq!(line["status"], 400, "{engine}: {line}");
            assert!(line["cause"].as_str().unwrap().starts_with("client_bad_request:"), "{engine}: {line}");
        }
        assert_eq!(proxy.metric("ringress_panics_total"), 0);
    }
}

/// An upstream of HTTP/2 with these manners, and a proxy before it.
fn before(engine: &'static str, manner: &str) -> (Running, Proxy) {
    let (server, upstream) = server("shared_origin.py", Some(manner));
    (server, Proxy::start(engine, &service(&[upstream], "protocol = \"h2\"")))
}

/// So many clients at once, each with so many requests, of which every `offence`th has a head of 20 KiB: the statuses of those
/// that are without.
fn innocents(proxy: &Proxy, clients: usize, requests: usize, offence: usize) -> Vec<u16> {
    let address = proxy.address;
    let threads: Vec<_> = (0..clients)
        .map(|at| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut statuses = Vec::new();
                for number in 0..requests {
                    let is_offence = at == 0 && number % offence == 0;
                    let large = if is_offence { format!("X-Large: {}\r\n", "x".repeat(20_000)) } else { String::new() };
                    client.send(format!("GET /{at} HTTP/1.1\r\nHost: a\r\n{large}\r\n"));
                    let status = client.response("GET").status;
                    if !is_offence {
                        statuses.push(status);
                    }
                }
                statuses
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn a_head_that_the_upstream_does_not_take_is_refused_here_and_costs_no_connection() {
    for engine in ENGINES {
        let (_server, proxy) = before(engine, "says-its-limit");
        let statuses = innocents(&proxy, 8, 60, 5);
        assert!(statuses.iter().all(|status| *status == 200), "{engine}: {statuses:?}");
        let refused = lines(&proxy, "/0").into_iter().filter(|line| line["status"] == 431);
        let causes: Vec<_> = refused.map(|line| line["cause"].clone()).collect();
        assert!(
            !causes.is_empty() && causes.iter().all(|cause| cause == "upstream_head_limit"),
            "{engine}: {causes:?}"
        );
        // One for each worker.
        assert!(proxy.metric("ringress_upstream_connections_opened_total") <= 2, "{engine}: {}", proxy.metrics());
    }
}

#[test]
fn a_request_that_kills_its_connection_takes_nobody_along() {
    for engine in ENGINES {
        for manner in ["chokes", "chokes-with-goaway"] {
            let (_server, proxy) = before(engine, manner);
            let statuses = innocents(&proxy, 8, 60, 6);
            let lost = statuses.iter().filter(|status| **status != 200).count();
            assert_eq!(lost, 0, "{engine} {manner}: of {}", statuses.len());
        }
    }
}

#[test]
fn a_malformed_answer_costs_its_own_request() {
    for engine in ENGINES {
        let (_server, proxy) = before(engine, "malformed");
        let address = proxy.address;
        let waiting = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
            client.response("POST").status
        });
        std::thread::sleep(Duration::from_millis(200));
        for path in ["/capital", "/control", "/status", "/body"] {
            let answer = Client::connect(address).get(path);
            assert!(answer.status == 502 || !answer.is_whole, "{engine} {path}: {}", answer.status);
            let cause = proxy.line(path)["cause"].as_str().unwrap().to_owned();
            assert!(!cause.starts_with("h2_reset"), "{engine} {path}: it is not the upstream that reset it: {cause}");
        }
        assert_eq!(waiting.join().unwrap(), 200, "{engine}");
    }
}
