//! The stories this program exists for, one test each. Those told elsewhere:
//! S3 `retries::a_post_that_was_executed…`, S5 `timeouts::every_wait…` and `bodies::a_cut_body…`, S7 `overload::twenty…`,
//! S9 `health::stale_closes…`, S11 `reload::a_rotated_log…`, S12 `reload::reloads_under_load…`.
//!
//! With `RINGRESS_LONG` they take as long as the stories did.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::misbehaving::{self, Clients, Mode, run};
use crate::support::origin::{fill, reply, write};
use crate::support::proxy::{free_address, service};
use crate::support::{After, Client, ENGINES, Origin, PATIENCE, Proxy, eventually, output, tool};

fn is_long() -> bool {
    std::env::var("RINGRESS_LONG").is_ok()
}

/// uWSGI behind its own HTTP router, without `http-keepalive`: it closes after each response and does not say so.
struct Uwsgi {
    address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Uwsgi {
    fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("ringress-uwsgi-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let executed = folder.join("executed");
        std::fs::write(&executed, "").unwrap();
        // One byte for each execution, appended by whichever worker it was.
        let app = format!(
            "import os\n\
             log = os.open('{}', os.O_WRONLY | os.O_APPEND)\n\
             def application(env, start):\n\
            \x20 n = int(env.get('CONTENT_LENGTH') or 0)\n\
            \x20 if n: env['wsgi.input'].read(n)\n\
            \x20 if env['REQUEST_METHOD'] == 'POST': os.write(log, b'x')\n\
            \x20 i = env['PATH_INFO'].rsplit('/')[-1]\n\
            \x20 out = b'the answer to request %12d\\n' % (int(i) if i.isdigit() else 0)\n\
            \x20 start('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(out)))])\n\
            \x20 return [out]\n",
            executed.display()
        );
        std::fs::write(folder.join("app.py"), app).unwrap();
        let address = free_address();
        let mut command = tool("uwsgi", "uwsgi uwsgi-plugin-python3");
        command.args(["--plugins", "http,python3", "--http", &address.to_string(), "--wsgi-file"]);
        command.arg(folder.join("app.py"));
        command.args([
            "--processes",
            "4",
            "--master",
            "--need-app",
            "--die-on-term",
            "--disable-logging",
            "--listen",
            "1024",
        ]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let uwsgi = Self { address, folder, child };
        eventually("uWSGI answers", || {
            let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            let is_flawed = text.starts_with("HTTP/1.1 200 OK") && !text.to_ascii_lowercase().contains("connection:");
            is_flawed && text.contains("Content-Length")
        });
        uwsgi
    }

    fn executed(&self) -> u64 {
        std::fs::metadata(self.folder.join("executed")).unwrap().len()
    }
}

impl Drop for Uwsgi {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn s1_uwsgi_without_keep_alive_loses_no_post_and_executes_each_once() {
    for engine in ENGINES {
        let uwsgi = Uwsgi::start();
        let proxy = Proxy::to(engine, &[uwsgi.address]);
        let body = uwsgi.folder.join("body");
        std::fs::write(&body, "a=b").unwrap();
        let url = format!("http://{}/1", proxy.address);
        let mut sent = 0;
        for (at_once, requests) in [("20", 200), ("200", 10_000)] {
            for keep in [&[][..], &["-k"]] {
                let mut ab = tool("ab", "apache2-utils");
                ab.args(["-q", "-s", "60", "-c", at_once, "-n", &requests.to_string(), "-p"]).arg(&body);
                let text = output(ab.args(["-T", "text/plain"]).args(keep).arg(&url));
                assert!(text.contains(&format!("Complete requests:      {requests}")), "{engine}: {text}");
                assert!(text.contains("Failed requests:        0"), "{engine}: {text}");
                assert!(!text.contains("Non-2xx"), "{engine}: {text}");
                sent += requests;
                assert_eq!(uwsgi.executed(), sent, "{engine}: each once");
            }
        }
        let requests = if is_long() { 200_000 } else { 5_000 };
        let clients = Clients {
            method: "POST",
            body_bytes: 100,
            requests,
            at_once: 20,
            keep_alive: true,
            pause_us: (0, 0),
            first_id: 0,
        };
        let outcome = run(proxy.address, clients);
        assert_eq!((outcome.right, outcome.lost()), (requests, 0), "{engine} {outcome:?}");
        assert_eq!(uwsgi.executed(), sent + requests, "{engine}: each once");
        assert_eq!(proxy.metric("ringress_requests_total{listener=\"web\",route=\"all\",service=\"all\",code=\"5"), 0);
        assert_eq!(proxy.metric("ringress_ejections_total"), 0);
        eventually("it is told", || proxy.process_log().contains("http-keepalive"));
        assert_eq!(proxy.process_log().matches("http-keepalive").count(), 1, "{engine}: told once");
    }
}

#[test]
fn s2_a_client_that_comes_just_as_the_upstream_closes_loses_nothing() {
    let requests = if is_long() { 6_000 } else { 400 };
    for engine in ENGINES {
        for method in ["GET", "POST"] {
            let origin = misbehaving::Origin::start(Mode::Idle200, "127.0.0.1:0").unwrap();
            let proxy = Proxy::to(engine, &[origin.address]);
            let body_bytes = if method == "GET" { 0 } else { 100 };
            let clients = Clients {
                method,
                body_bytes,
                requests,
                at_once: 20,
                keep_alive: true,
                pause_us: (199_000, 201_000),
                first_id: 0,
            };
            let outcome = run(proxy.address, clients);
            assert_eq!((outcome.right, outcome.lost()), (requests, 0), "{engine} {method} {outcome:?}");
            let is_once = origin.executed().values().all(|count| *count == 1);
            assert!(is_once || method == "GET", "{engine}");
        }
    }
}

#[test]
fn s4_what_does_not_connect_is_tried_elsewhere_with_its_cause() {
    let (_hole, _held, hole) = crate::timeouts::black_hole();
    for engine in ENGINES {
        let resetting = Origin::raw(|stream, _, _| {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
        });
        let good = Origin::text("good");
        // What comes of a reset depends on which is first, the request or the reset.
        let closed = ["upstream_closed_no_response", "upstream_reset_during_send", "connect_refused"];
        for (bad, status, causes) in [
            (free_address(), 502, &["connect_refused"][..]),
            (hole, 504, &["connect_timeout"]),
            (resetting.address, 502, &closed),
        ] {
            let keys = "timeouts = { connect = \"200ms\" }\nejection = { failures = 0 }";
            let proxy = Proxy::start(engine, &service(&[bad, good.address], keys));
            let mut client = Client::connect(proxy.address);
            assert!((0..4).all(|_| client.get("/both").text() == "good"), "{engine} {causes:?}");
            eventually("they are recorded", || proxy.access_log().len() == 4);
            let lines = proxy.access_log();
            let failed: Vec<_> = lines.iter().filter_map(|line| line["failed"][0]["cause"].as_str()).collect();
            assert_eq!(failed.len(), 2, "{engine} {lines:?}");
            assert!(failed.iter().all(|cause| causes.contains(cause)), "{engine} {failed:?}");
            let proxy = Proxy::start(engine, &service(&[bad], keys));
            let response = Client::connect(proxy.address).get("/alone");
            assert_eq!(response.status, status, "{engine} {causes:?}");
            let cause = proxy.line("/alone")["cause"].clone();
            assert!(causes.contains(&cause.as_str().unwrap()), "{engine} {cause}");
            assert!(response.field("proxy-status").unwrap().ends_with(&format!("details={cause}")));
        }
    }
}

#[test]
fn s6_a_client_that_gives_up_is_a_499_and_the_upstream_connection_is_closed() {
    let patience = Duration::from_millis(if is_long() { 3_000 } else { 300 });
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            let mut buffer = Vec::new();
            while fill(stream, &mut buffer) {}
            After::Close
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        // From here on the client waits, however long the proxy took to notice the request.
        eventually("the upstream has the request", || origin.open() == 1);
        std::thread::sleep(patience);
        client.abort();
        eventually("the upstream connection is closed", || origin.open() == 0);
        let line = proxy.line("/slow");
        assert_eq!((&line["status"], &line["cause"]), (&499.into(), &"client_closed:wait".into()), "{engine}");
        let total = Duration::from_micros(line["total_us"].as_u64().unwrap());
        assert!(total >= patience, "{engine} {total:?}");
        assert_eq!(proxy.metric("ringress_requests_total{listener=\"web\",route=\"all\",service=\"all\",code=\"499\",cause=\"client_closed\"}"), 1);
    }
}

#[test]
fn s8_a_503_of_the_upstream_is_passed_through_as_its_own() {
    for engine in ENGINES {
        let count = AtomicUsize::new(0);
        let origin = Origin::start(move |_, stream| match count.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => reply(stream, b"ok"),
            _ => write(
                stream,
                b"HTTP/1.1 503 Too Much\r\nServer: app\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow",
            ),
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        for number in 0..10 {
            let response = client.get(&format!("/{number}"));
            if number % 2 == 1 {
                assert!(response.head.starts_with("HTTP/1.1 503 Too Much\r\n"), "{engine} {}", response.head);
                assert_eq!((response.field("retry-after"), response.field("proxy-status")), (Some("7"), None));
                assert_eq!(response.text(), "slow");
                let line = proxy.line(&format!("/{number}"));
                assert_eq!((&line["status"], &line["cause"]), (&503.into(), &serde_json::Value::Null), "its own");
                assert_eq!(line["attempts"], 1);
            }
        }
        let own = "ringress_requests_total{listener=\"web\",route=\"all\",service=\"all\",code=\"503\",cause=\"\"}";
        assert_eq!(proxy.metric(own), 5);
    }
}

#[test]
fn s10_a_log_that_nobody_takes_holds_no_request_up_and_drops_are_counted() {
    for engine in ENGINES {
        let origin = misbehaving::Origin::start(Mode::Well, "127.0.0.1:0").unwrap();
        let proxy = Proxy::to(engine, &[origin.address]);
        let fifo = proxy.folder.join("fifo");
        output(tool("mkfifo", "coreutils").arg(&fifo));
        // It has a reader, which never reads.
        let _reader = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        let text = std::fs::read_to_string(proxy.folder.join("ringress.toml")).unwrap();
        let log = proxy.folder.join("access.log").display().to_string();
        std::fs::write(proxy.folder.join("ringress.toml"), text.replace(&log, &fifo.display().to_string())).unwrap();
        proxy.signal("HUP");
        eventually("it is reloaded", || proxy.metric("ringress_snapshot_generation") >= 2);
        let start = Instant::now();
        let clients = Clients {
            method: "GET",
            body_bytes: 0,
            requests: 20_000,
            at_once: 20,
            keep_alive: true,
            pause_us: (0, 0),
            first_id: 0,
        };
        let outcome = run(proxy.address, clients);
        assert_eq!(outcome.lost(), 0, "{engine} {outcome:?}");
        assert!(start.elapsed() < PATIENCE, "{engine} {:?}", start.elapsed());
        assert!(proxy.metric("ringress_access_log_dropped_total") > 0, "{engine}");
        // Whoever stops it now does not wait for the reader either.
        assert_eq!(Client::connect(proxy.address).get("/r/1").status, 200);
    }
}
