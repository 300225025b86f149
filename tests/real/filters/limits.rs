//! Limits that are counted for the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::{curl, everywhere, mirror, served_by};
use crate::support::origin::reply;
use crate::support::{Client, ENGINES, Origin, Proxy, eventually};

fn limited(filter: &str, origin: &Origin) -> String {
    format!("[[routes]]\nname = \"r\"\nservice = \"s\"\nfilters = [{filter}]\n{}", served_by(origin))
}

#[test]
fn a_client_above_its_rate_is_told_when_to_come_again() {
    let origin = mirror();
    let filter = "{ rate_limit = { rate = \"3/h\", key = \"header:x-key\", zone = \"inside\", tell = true } }";
    everywhere(&limited(filter, &origin), "", |proxy, version| {
        let key = format!("X-Key: {version}");
        let ask = || curl(proxy.address, version, "/", &["-H", &key]);
        for left in ["2", "1", "0"] {
            let told = ask();
            let rest = told.field("ratelimit").unwrap().to_owned();
            assert!(told.status == 200 && rest.starts_with(&format!("\"inside\";r={left};t=")), "{rest}");
            assert_eq!(told.field("ratelimit-policy"), Some("\"inside\";q=3;w=3600"));
        }
        let refused = ask();
        assert_eq!(refused.status, 429);
        assert!(refused.field("proxy-status").unwrap().contains("details=\"rate_limited:inside\""));
        let after_s: u32 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=1_200).contains(&after_s), "{after_s}");
        assert_eq!(curl(proxy.address, version, "/", &["-H", "X-Key: another"]).status / 100, 2);
    });
}

#[test]
fn a_rate_holds_for_all_workers_together() {
    for engine in ENGINES {
        let origin = mirror();
        let proxy =
            Proxy::start(engine, &limited("{ rate_limit = { rate = \"200/s\", burst = 1, key = \"none\" } }", &origin));
        let (passed, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let begun = Instant::now();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (passed, is_over, address) = (Arc::clone(&passed), Arc::clone(&is_over), proxy.address);
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    while !is_over.load(Ordering::Relaxed) {
                        passed.fetch_add(u64::from(client.get("/").status == 200), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_secs(2));
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        let most = u64::try_from(begun.elapsed().as_millis()).unwrap() / 5 + 2;
        let passed = passed.load(Ordering::Relaxed);
        // How many come through depends on the host; that no more than the rate do must hold on any.
        assert!(passed > 10 && passed <= most, "{engine}: {passed} of {most}");
        assert_eq!(origin.requests().len() as u64, passed, "{engine}");
    }
}

#[test]
fn a_zone_goes_on_over_a_reload_and_is_shared_by_routes() {
    let origin = mirror();
    let routes = |also: &str| {
        let route = |name: &str| {
            format!(
                "[[routes]]\nname = \"{name}\"\npaths = [{{ prefix = \"/{name}\" }}]\nservice = \"s\"\n\
                 filters = [{{ rate_limit = {{ rate = \"2/h\", zone = \"shared\" }} }}{also}]\n"
            )
        };
        route("a") + &route("b") + &served_by(&origin)
    };
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &routes(""));
        let mut client = Client::connect(proxy.address);
        assert_eq!([client.get("/a").status, client.get("/b").status, client.get("/a").status], [200, 200, 429]);
        proxy.rewrite("", &routes(", { response_headers = { set = { X-New = \"1\" } } }"));
        eventually("the new filter is there", || client.get("/b").field("x-new").is_some());
        assert_eq!(client.get("/b").status, 429, "{engine}: what was counted stays");
    }
}

#[test]
fn requests_in_flight_are_counted_until_they_are_over() {
    for engine in ENGINES {
        let gate = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&gate);
        let origin = Origin::start(move |request, stream| {
            eventually("the gate opens", || request.target() != "/slow" || waits.load(Ordering::Relaxed));
            reply(stream, b"done")
        });
        let proxy = Proxy::start(engine, &limited("{ concurrency_limit = { max = 2, status = 503 } }", &origin));
        let mut slow: Vec<_> = (0..2).map(|_| Client::connect(proxy.address)).collect();
        slow.iter_mut().for_each(|client| {
            client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        });
        eventually("both are in flight", || origin.requests().len() == 2);
        let refused = Client::connect(proxy.address).get("/");
        assert_eq!(refused.status, 503);
        assert!(refused.field("proxy-status").unwrap().contains("concurrency_limited"));
        // One who leaves gives his place back.
        slow.pop().unwrap().abort();
        eventually("there is room", || Client::connect(proxy.address).get("/").status == 200);
        gate.store(true, Ordering::Relaxed);
        assert_eq!(slow[0].response("GET").status, 200);
    }
}

#[test]
fn a_configuration_that_was_refused_leaves_the_counters_of_the_one_that_runs() {
    let origin = mirror();
    let with = |rate: &str, more: &str| {
        let chain = format!("[filters.m]\nchain = [{{ rate_limit = {{ rate = \"{rate}\", zone = \"z\" }} }}]\n");
        chain + "[[routes]]\nname = \"r\"\nservice = \"s\"\nuse = [\"m\"]\n" + more + &served_by(&origin)
    };
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &with("2/h", ""));
        let mut client = Client::connect(proxy.address);
        assert_eq!([client.get("/").status, client.get("/").status, client.get("/").status], [200, 200, 429]);
        proxy.rewrite("", &with("3/h", "nonsense = 1\n"));
        eventually("it is refused", || proxy.process_log().contains("nonsense"));
        proxy.rewrite("", &with("2/h", "filters = [{ response_headers = { set = { X-New = \"1\" } } }]\n"));
        eventually("the next one is taken", || client.get("/").field("x-new").is_some());
        assert_eq!(client.get("/").status, 429, "{engine}: what was counted stays");
    }
}
