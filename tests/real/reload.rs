//! Reloads, drains and log rotation while traffic runs: nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::proxy::{free_address, service};
use crate::support::{Client, ENGINES, Origin, Proxy, eventually};

/// Clients that ask without pause until told to stop: kept-alive ones and ones with a connection for each request.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(address: std::net::SocketAddr) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = |kept: bool| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    if !kept {
                        client = Client::connect(address);
                    }
                    let response = client.get("/");
                    assert!(response.status == 200 && response.is_whole, "{response:?}");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = [true, true, true, true, false, false].into_iter().map(thread).collect();
        Self { stop, answers, threads }
    }

    /// Waits for so many more answers.
    fn more(&self, count: usize) {
        let until = self.answers.load(Ordering::Relaxed) + count;
        eventually("answers come", || self.answers.load(Ordering::Relaxed) >= until);
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.answers.load(Ordering::Relaxed)
    }
}

#[test]
fn reloads_under_load_lose_nothing_and_touch_no_connection() {
    for engine in ENGINES {
        let (first, second) = (Origin::text("1"), Origin::text("2"));
        let proxy = Proxy::to(engine, &[first.address]);
        let mut kept = Client::connect(proxy.address);
        assert_eq!(kept.get("/").text(), "1");
        let load = Load::start(proxy.address);
        for round in 0..20 {
            let origin = if round % 2 == 0 { &second } else { &first };
            proxy.rewrite("", &service(&[origin.address], ""));
            proxy.signal("HUP");
            eventually("it is reloaded", || proxy.metric("ringress_snapshot_generation") >= round + 2);
            load.more(50);
            let expected = if round % 2 == 0 { "2" } else { "1" };
            assert_eq!(kept.get("/").text(), expected, "{engine}: the kept connection sees the new routes");
        }
        assert!(load.end() >= 1_000);
        assert_eq!(proxy.metric("ringress_requests_total{listener=\"web\",route=\"all\",service=\"all\",code=\"5"), 0);
    }
}

#[test]
fn a_changed_file_is_taken_and_a_bad_one_is_told_and_left() {
    for engine in ENGINES {
        let origin = Origin::text("good");
        let proxy = Proxy::to(engine, &[origin.address]);
        proxy.rewrite(
            "colour = \"blue\"",
            "[[routes]]\nname = \"x\"\nservice = \"nope\"\npaths = [{ prefx = \"/\" }]\n",
        );
        eventually("every problem is told", || {
            let log = proxy.process_log();
            log.contains("unknown key `colour`") && log.contains("did you mean `prefix`?")
        });
        let status = Client::connect(proxy.admin).get("/api/snapshot");
        let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
        assert_eq!((&status["generation"], status["problems"].as_array().unwrap().len()), (&1.into(), 2));
        assert_eq!(proxy.metric("ringress_reload_problems "), 2, "{engine}");
        assert_eq!(Client::connect(proxy.address).get("/").text(), "good", "{engine}");

        let other = Origin::text("better");
        proxy.rewrite("", &service(&[other.address], ""));
        eventually("the change is seen without a signal", || {
            Client::connect(proxy.address).get("/").text() == "better"
        });
        assert_eq!(proxy.metric("ringress_reload_problems "), 0, "{engine}");
    }
}

#[test]
fn listeners_come_and_go_with_a_reload() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let rest = service(&[origin.address], "");
        let proxy = Proxy::start(engine, &rest);
        let mut kept = Client::connect(proxy.address);
        kept.get("/");
        let extra = free_address();
        proxy.rewrite("", &format!("[listeners.extra]\naddress = \"{extra}\"\n{rest}"));
        eventually("the new listener answers", || std::net::TcpStream::connect(extra).is_ok());
        let mut on_extra = Client::connect(extra);
        assert_eq!(on_extra.get("/").text(), "x");
        proxy.rewrite("", &rest);
        eventually("the listener is gone", || std::net::TcpStream::connect(extra).is_err());
        // A connection of the listener that went gets its answer and is closed then; others are not touched.
        let last = on_extra.get("/");
        assert_eq!((last.status, last.field("connection")), (200, Some("close")), "{engine}");
        assert_eq!(kept.get("/").field("connection"), None);
        // An address that is taken refuses the whole reload.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        proxy.rewrite("", &format!("[listeners.extra]\naddress = \"{address}\"\n{rest}"));
        eventually("it is told", || proxy.process_log().contains("listeners.extra.address: cannot listen"));
        assert_eq!(kept.get("/").status, 200);
    }
}

#[test]
fn a_unix_socket_goes_from_one_name_to_another_and_stays_where_the_reload_is_refused() {
    use std::io::{Read as _, Write as _};
    for engine in ENGINES {
        let origin = Origin::text("x");
        let path = std::env::temp_dir().join(format!("ringress-moved-{}-{engine}.sock", std::process::id()));
        let listener = |name: &str| format!("[listeners.{name}]\naddress = \"unix:{}\"\n", path.display());
        let rest = service(&[origin.address], "");
        let proxy = Proxy::start(engine, &format!("{}{rest}", listener("one")));
        let answers = || {
            let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&path) else { return false };
            let mut text = String::new();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
                && stream.read_to_string(&mut text).is_ok()
                && text.ends_with('x')
        };
        assert!(answers());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = format!("[listeners.z]\naddress = \"{}\"\n", taken.local_addr().unwrap());
        proxy.rewrite("", &format!("{}{refused}{rest}", listener("two")));
        eventually("it is refused", || proxy.process_log().contains("listeners.z.address: cannot listen"));
        assert!(answers(), "{engine}: what was served goes on");
        proxy.rewrite("", &format!("{}{rest}", listener("two")));
        eventually("it is taken", || proxy.metric("ringress_snapshot_generation") == 2);
        eventually("the new one answers", answers);
        let log = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let beside = log.filter_map(Result::ok).filter(|entry| entry.path().to_string_lossy().ends_with(".sock.next"));
        assert_eq!(beside.count(), 0, "nothing is left beside it");
    }
}

#[test]
fn the_admin_listener_knows_its_names_and_keeps_secrets() {
    let origin = Origin::text("x");
    let filters = "filters = [{ request_headers = { set = { Authorization = \"Bearer s3cret\" } } }]\nheaders = [{ name = \"X-Key\", regex = \"s3cret\" }]\n";
    let rest = service(&[origin.address], "health = { path = \"/\", headers = { X-Token = \"s3cret\" } }")
        .replace("service = \"all\"\n", &format!("service = \"all\"\n{filters}"));
    let proxy = Proxy::start("io_uring", &rest);
    let ask = |host: &str, target: &str| {
        let mut client = Client::connect(proxy.admin);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).response("GET")
    };
    for host in ["127.0.0.1:9000", "[::1]", "localhost:1", "test"] {
        assert_eq!(ask(host, "/ping").status, 200, "{host}");
    }
    let refused = ask("rebound.evil.example", "/api/snapshot");
    assert_eq!(refused.status, 421);
    assert!(refused.text().contains("admin.hosts"));
    let snapshot = ask("test", "/api/snapshot");
    assert!(!snapshot.text().contains("s3cret"), "{}", snapshot.text());
    let told: serde_json::Value = serde_json::from_str(snapshot.text()).unwrap();
    assert_eq!(told["config"]["routes"][0]["headers"][0]["name"], "X-Key");
}

#[test]
fn a_listener_may_move_to_another_address_of_its_own_port() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::to(engine, &[origin.address]);
        let path = proxy.folder.join("ringress.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let port = proxy.address.port();
        std::fs::write(&path, text.replace(&format!("\"127.0.0.1:{port}\""), &format!("\":{port}\""))).unwrap();
        proxy.signal("HUP");
        eventually("both workers have moved", || proxy.metric("ringress_worker_generation") == 4);
        assert_eq!(Client::connect(proxy.address).get("/").status, 200, "{engine}");
        let local = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
        if std::net::TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok() {
            assert_eq!(Client::connect(local).get("/").status, 200, "{engine}: both families");
        }
    }
}

#[test]
fn a_drain_loses_no_fresh_connection() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let mut proxy = Proxy::to(engine, &[origin.address]);
        let address = proxy.address;
        let answered = Arc::<AtomicUsize>::default();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let answered = Arc::clone(&answered);
                std::thread::spawn(move || {
                    while let Ok(stream) = std::net::TcpStream::connect(address) {
                        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
                        let mut client = Client { stream, buffer: Vec::new() };
                        assert_eq!(client.get("/").status, 200);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        eventually("traffic runs", || answered.load(Ordering::Relaxed) > 200);
        proxy.signal("TERM");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(proxy.wait(), 0, "{engine}");
    }
}

#[test]
fn a_drain_under_load_loses_nothing() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            crate::support::origin::reply(stream, b"x")
        });
        let keys = "[shutdown]\nidle = \"200ms\"\n";
        let mut proxy = Proxy::start(engine, &format!("{}{keys}", service(&[origin.address], "")));
        let address = proxy.address;
        let admin = proxy.admin;
        assert_eq!(Client::connect(admin).get("/ping").text(), "OK");
        let asked = Arc::<AtomicUsize>::default();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    loop {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let response = client.get("/");
                        assert!(response.status == 200 && response.is_whole);
                        if response.field("connection") == Some("close") {
                            assert!(client.is_closed());
                            return;
                        }
                    }
                })
            })
            .collect();
        let mut idle = Client::connect(address);
        assert_eq!(idle.get("/").status, 200);
        eventually("traffic runs", || asked.load(Ordering::Relaxed) > 50);
        proxy.signal("TERM");
        eventually("ping says so", || {
            proxy.has_ended()
                || std::net::TcpStream::connect(admin).is_err()
                || Client::connect(admin).get("/ping").status == 503
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(idle.is_closed(), "{engine}: an idle connection is closed in time");
        assert_eq!(proxy.wait(), 0);
        assert!(std::net::TcpStream::connect(address).is_err());
        let lines = proxy.access_log();
        assert_eq!(lines.len(), asked.load(Ordering::Relaxed) + 1, "{engine}: every request has its line");
        assert!(lines.iter().all(|line| line["status"] == 200));
    }
}

#[test]
fn a_drain_leaves_a_busy_client_its_time() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let keys = "[shutdown]\nidle = \"5s\"\n";
        let mut proxy = Proxy::start(engine, &format!("{}{keys}", service(&[origin.address], "")));
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.get("/").status, 200);
        proxy.signal("TERM");
        // Longer than the connection keeps the memory of an exchange.
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let response = client.get("/");
        assert_eq!((response.status, response.field("connection")), (200, Some("close")), "{engine}");
        assert_eq!(proxy.wait(), 0);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for engine in ENGINES {
        let origin = Origin::start(|_, _| {
            std::thread::sleep(std::time::Duration::from_secs(30));
            crate::support::After::Close
        });
        let mut proxy = Proxy::to(engine, &[origin.address]);
        Client::connect(proxy.address).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = Client::connect(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("it is under way", || !origin.requests().is_empty());
        proxy.signal("TERM");
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!proxy.has_ended(), "{engine}: it waits for the request in flight");
        proxy.signal("TERM");
        eventually("it ended", || proxy.has_ended());
        assert_eq!(proxy.wait(), 0);
    }
}

#[test]
fn a_rotated_log_misses_no_line_under_load() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let mut proxy = Proxy::to(engine, &[origin.address]);
        let load = Load::start(proxy.address);
        let path = proxy.folder.join("access.log");
        for round in 0..5 {
            load.more(100);
            std::fs::rename(&path, proxy.folder.join(format!("access.log.{round}"))).unwrap();
            proxy.signal("USR1");
            eventually("the new file is there", || path.exists());
        }
        let answers = load.end();
        proxy.signal("TERM");
        proxy.wait();
        let files = std::fs::read_dir(&proxy.folder).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("access.log"));
        let lines: usize = logs.map(|path| std::fs::read_to_string(path).unwrap().lines().count()).sum();
        assert_eq!(lines, answers, "{engine}");
    }
}

#[test]
fn a_log_that_cannot_be_written_holds_no_request_up() {
    let origin = Origin::text("x");
    let proxy = Proxy::to("io_uring", &[origin.address]);
    let text = std::fs::read_to_string(proxy.folder.join("ringress.toml")).unwrap();
    let log = proxy.folder.join("access.log").display().to_string();
    std::fs::write(proxy.folder.join("ringress.toml"), text.replace(&log, "/dev/full")).unwrap();
    proxy.signal("HUP");
    eventually("it is reloaded", || proxy.metric("ringress_snapshot_generation") >= 2);
    let mut client = Client::connect(proxy.address);
    (0..2_000).for_each(|_| assert_eq!(client.get("/").status, 200));
    eventually("the loss is told", || proxy.process_log().contains("lines are lost"));
}
