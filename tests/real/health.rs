//! Endpoints that go and come back: active checks, ejection, fail-open; no client pays for it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::misbehaving::{self, Clients, Mode, run};
use crate::support::origin::{fill, reply, write};
use crate::support::proxy::{free_address, service};
use crate::support::{After, Client, ENGINES, Origin, Proxy, eventually};

/// The part of `/api/endpoints` that is about an endpoint of the service `all`.
fn endpoint(proxy: &Proxy, address: SocketAddr) -> serde_json::Value {
    let api = Client::connect(proxy.admin).get("/api/endpoints");
    let api: serde_json::Value = serde_json::from_str(api.text()).unwrap();
    let endpoints = api["all"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["address"] == address.to_string()).unwrap().clone()
}

fn is_ejected(proxy: &Proxy, address: SocketAddr) -> bool {
    endpoint(proxy, address)["workers"].as_array().unwrap().iter().any(|worker| worker["ejected"] == true)
}

#[test]
fn a_check_over_http_takes_an_endpoint_out_and_back_in_and_says_why() {
    for engine in ENGINES {
        let is_well = Arc::new(AtomicBool::new(true));
        let answer = Arc::clone(&is_well);
        let sick = Origin::start(move |request, stream| match request.target() {
            "/healthz" if request.field("x-check") != Some("1") || request.field("host") != Some("h.test") => {
                write(stream, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
            }
            "/healthz" if !answer.load(Ordering::SeqCst) => {
                write(stream, b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n")
            }
            _ => reply(stream, b"sick"),
        });
        let good = Origin::text("good");
        let keys = "health = { path = \"/healthz\", host = \"h.test\", headers = { X-Check = \"1\" }, interval = \"50ms\", timeout = \"1s\", unhealthy = 2, healthy = 2, expected = [200] }";
        let proxy = Proxy::start(engine, &service(&[sick.address, good.address], keys));
        let mut client = Client::connect(proxy.address);
        eventually("the checks have looked", || endpoint(&proxy, good.address)["check"] == "ok");
        assert!((0..4).any(|_| client.get("/").text() == "sick"), "{engine}");
        is_well.store(false, Ordering::SeqCst);
        eventually("it is out", || endpoint(&proxy, sick.address)["up"] == false);
        assert_eq!(endpoint(&proxy, sick.address)["check"], "status 500", "{engine}");
        assert!((0..10).all(|_| client.get("/").text() == "good"), "{engine}");
        assert_eq!(proxy.metric(&format!("ringress_endpoint_up{{service=\"all\",endpoint=\"{}\"", sick.address)), 0);
        eventually("it is told", || proxy.process_log().contains("the endpoint is down"));
        is_well.store(true, Ordering::SeqCst);
        eventually("it is back", || endpoint(&proxy, sick.address)["up"] == true);
        assert!((0..10).any(|_| client.get("/").text() == "sick"), "{engine}");
        let checks =
            |origin: &Origin| origin.requests().iter().filter(|request| request.target() == "/healthz").count();
        // Once for the process, not once for each worker: two workers would have asked twice as often.
        let before = checks(&good);
        std::thread::sleep(Duration::from_millis(1_000));
        assert!((8..30).contains(&(checks(&good) - before)), "{engine} {}", checks(&good) - before);
    }
}

#[test]
fn a_check_by_connection_and_a_service_that_does_not_fail_open() {
    for engine in ENGINES {
        let gone = free_address();
        let fast = "interval = \"30ms\", unhealthy = 1";
        let open = Proxy::start(engine, &service(&[gone], &format!("health = {{ {fast} }}")));
        let shut = Proxy::start(engine, &service(&[gone], &format!("health = {{ {fast}, fail_open = false }}")));
        for proxy in [&open, &shut] {
            eventually("it is out", || endpoint(proxy, gone)["up"] == false);
        }
        let response = Client::connect(open.address).get("/");
        assert_eq!((response.status, response.text().contains("connect_refused")), (502, true), "{engine}");
        let response = Client::connect(shut.address).get("/shut");
        assert_eq!((response.status, response.text().contains("all_unhealthy")), (503, true), "{engine}");
        let expected = "ringress; error=destination_unavailable; details=\"all_unhealthy\"";
        assert_eq!(response.field("proxy-status"), Some(expected));
        assert_eq!(shut.line("/shut")["cause"], "all_unhealthy");
        // It comes up, and all is well within a check.
        let listener = std::net::TcpListener::bind(gone).unwrap();
        eventually("it is back", || endpoint(&shut, gone)["up"] == true);
        drop(listener);
    }
}

#[test]
fn checks_survive_a_reload_and_go_with_their_configuration() {
    let gone = free_address();
    let good = Origin::text("good");
    let checked = |keys: &str| service(&[gone, good.address], keys);
    let proxy = Proxy::start("io_uring", &checked("health = { interval = \"30ms\", unhealthy = 1 }"));
    eventually("it is out", || endpoint(&proxy, gone)["up"] == false);
    proxy.rewrite("body_max = \"1MiB\"", &checked("health = { interval = \"30ms\", unhealthy = 1 }"));
    proxy.signal("HUP");
    eventually("it was reloaded", || proxy.metric("ringress_snapshot_generation") >= 2);
    assert_eq!(endpoint(&proxy, gone)["up"], false, "nothing was forgotten");
    proxy.rewrite("", &checked(""));
    proxy.signal("HUP");
    eventually("without a check it is up", || endpoint(&proxy, gone)["up"] == true);
}

/// A server in a process of its own, so that it can be killed.
struct Killable {
    address: SocketAddr,
    child: Option<Child>,
}

impl Killable {
    fn new() -> Self {
        let mut killable = Self { address: free_address(), child: None };
        killable.start();
        killable
    }

    fn start(&mut self) {
        let script = format!(
            "import http.server, socketserver\n\
             class H(http.server.BaseHTTPRequestHandler):\n\
            \x20 protocol_version = 'HTTP/1.1'\n\
            \x20 def log_message(self, *a): pass\n\
            \x20 def do_GET(self):\n\
            \x20  body = b'the answer to request %12d\\n' % int(self.path.rsplit('/')[-1] or 0)\n\
            \x20  self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body)\n\
             class S(socketserver.ThreadingMixIn, http.server.HTTPServer):\n\
            \x20 daemon_threads = True; request_queue_size = 256\n\
            S(('127.0.0.1', {}), H).serve_forever()\n",
            self.address.port()
        );
        let mut command = Command::new("python3");
        self.child = Some(command.args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap());
        eventually("the server listens", || std::net::TcpStream::connect(self.address).is_ok());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_killed_endpoint_costs_no_get_is_ejected_within_3_s_and_back_within_5_s() {
    for engine in ENGINES {
        let mut mortal = Killable::new();
        let steady = Killable::new();
        let proxy = Proxy::to(engine, &[mortal.address, steady.address]);
        let is_over = AtomicBool::new(false);
        let rounds = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut lost = Vec::new();
                let start = Instant::now();
                while !is_over.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(60) {
                    let clients = Clients {
                        method: "GET",
                        body_bytes: 0,
                        requests: 500,
                        at_once: 20,
                        keep_alive: true,
                        pause_us: (0, 2_000),
                        first_id: 0,
                    };
                    let outcome = run(proxy.address, clients);
                    rounds.fetch_add(1, Ordering::SeqCst);
                    if outcome.lost() > 0 {
                        lost.push(outcome);
                    }
                }
                lost
            });
            eventually("there is load", || rounds.load(Ordering::SeqCst) > 2);
            mortal.kill();
            let killed = Instant::now();
            eventually("it is ejected", || is_ejected(&proxy, mortal.address));
            assert!(killed.elapsed() < Duration::from_secs(3), "{engine} {:?}", killed.elapsed());
            let view = endpoint(&proxy, mortal.address);
            let because = view["workers"].as_array().unwrap().iter().find(|worker| worker["ejected"] == true).unwrap();
            // The first to fail may be those in flight when it died.
            let causes = ["connect_refused", "upstream_closed_no_response"].map(serde_json::Value::from);
            assert!(causes.contains(&because["ejected_because"]), "{engine} {because}");
            std::thread::sleep(Duration::from_secs(6));
            mortal.start();
            let started = Instant::now();
            eventually("it is back", || !is_ejected(&proxy, mortal.address));
            assert!(started.elapsed() < Duration::from_secs(5), "{engine} {:?}", started.elapsed());
            let before = proxy.metric("ringress_upstream_connections_reused_total");
            eventually("it works", || proxy.metric("ringress_upstream_connections_reused_total") > before);
            is_over.store(true, Ordering::SeqCst);
            assert_eq!(load.join().unwrap(), [], "{engine}");
        });
        assert!(!is_ejected(&proxy, steady.address));
    }
}

#[test]
fn an_endpoint_that_answers_nothing_is_ejected_and_tried_by_one_request_at_a_time() {
    for engine in ENGINES {
        let is_silent = Arc::new(AtomicBool::new(true));
        let silence = Arc::clone(&is_silent);
        let silent = Origin::start(move |request, stream| {
            if silence.load(Ordering::SeqCst) {
                let mut buffer = Vec::new();
                while fill(stream, &mut buffer) {}
                return After::Close;
            }
            reply(stream, request.target().as_bytes())
        });
        let good = Origin::start(|request, stream| reply(stream, request.target().as_bytes()));
        let keys =
            "timeouts = { header = \"100ms\" }\nejection = { failures = 2, time = \"300ms\", time_max = \"300ms\" }";
        let proxy = Proxy::start(engine, &service(&[silent.address, good.address], keys));
        let mut client = Client::connect(proxy.address);
        let lost = (0..8).filter(|_| client.get("/x").status == 504).count();
        assert_eq!(lost, 2, "{engine}");
        assert!(is_ejected(&proxy, silent.address));
        // Each worker learns by itself.
        eventually("both leave it out", || {
            (0..4).for_each(|_| _ = Client::connect(proxy.address).get("/w"));
            let view = endpoint(&proxy, silent.address);
            let workers = view["workers"].as_array().unwrap();
            workers.len() == 2 && workers.iter().all(|worker| worker["ejected"] == true)
        });
        std::thread::sleep(Duration::from_millis(400));
        // Its time is over: of many that come at once, one finds out.
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let ask = || Client::connect(proxy.address).get("/y").status;
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let lost = statuses.iter().filter(|status| **status == 504).count();
        assert!(lost <= 2, "{engine}: one for each worker: {statuses:?}");
        is_silent.store(false, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(400));
        eventually("it is back", || {
            let _ = Client::connect(proxy.address).get("/z");
            !is_ejected(&proxy, silent.address)
        });
    }
}

#[test]
fn server_errors_eject_only_where_they_are_asked_to() {
    for engine in ENGINES {
        let bad = Origin::start(|_, stream| write(stream, b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n"));
        let good = Origin::text("good");
        for (keys, is_out) in [("", false), ("ejection = { server_errors = true }", true)] {
            let proxy = Proxy::start(engine, &service(&[bad.address, good.address], keys));
            let mut client = Client::connect(proxy.address);
            (0..20).for_each(|_| _ = client.get("/"));
            assert_eq!(is_ejected(&proxy, bad.address), is_out, "{engine}");
        }
    }
}

#[test]
fn stale_closes_under_load_eject_neither_of_two_endpoints() {
    // A minute in the long run of the suite, some seconds here.
    let seconds = std::env::var("RINGRESS_LONG").map_or(4, |_| 60);
    for engine in ENGINES {
        for mode in [Mode::Closes, Mode::Idle5] {
            let origins = [0, 1].map(|_| misbehaving::Origin::start(mode, "127.0.0.1:0").unwrap());
            let proxy = Proxy::to(engine, &[origins[0].address, origins[1].address]);
            let start = Instant::now();
            let mut first_id = 0;
            while start.elapsed() < Duration::from_secs(seconds) {
                for method in ["GET", "POST"] {
                    let body_bytes = if method == "GET" { 0 } else { 50 };
                    let clients = Clients {
                        method,
                        body_bytes,
                        requests: 2_000,
                        at_once: 20,
                        keep_alive: true,
                        pause_us: (0, 3_000),
                        first_id,
                    };
                    let outcome = run(proxy.address, clients);
                    assert_eq!(outcome.lost(), 0, "{engine} {mode:?} {method} {outcome:?}");
                    first_id += 2_000;
                }
                assert_eq!(proxy.metric("ringress_ejections_total"), 0, "{engine} {mode:?}");
            }
        }
    }
}
