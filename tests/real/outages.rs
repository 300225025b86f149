//! An outage is seen by whoever prepared nothing: in the log, in the metrics, in the API, on a terminal.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::misbehaving::{Mode, Origin as Misbehaving};
use crate::support::origin::write;
use crate::support::proxy::{free_address, service};
use crate::support::{After, Client, ENGINES, Origin, Proxy, Running, eventually, tool};

/// The lines of the process log with this message in them.
fn told(proxy: &Proxy, what: &str) -> Vec<serde_json::Value> {
    let text = proxy.process_log();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["message"].as_str().is_some_and(|message| message.contains(what))).collect()
}

fn endpoint(proxy: &Proxy) -> serde_json::Value {
    let api: serde_json::Value =
        serde_json::from_str(Client::connect(proxy.admin).get("/api/endpoints").text()).unwrap();
    api["all"][0].clone()
}

fn up(proxy: &Proxy) -> u64 {
    proxy.metric("ringress_endpoint_up{service=\"all\"")
}

#[test]
fn an_outage_of_the_only_endpoint_is_told_once_when_it_begins_and_once_when_it_is_over() {
    for engine in ENGINES {
        let gone = free_address();
        let proxy = Proxy::to(engine, &[gone]);
        let mut client = Client::connect(proxy.address);
        assert_eq!((up(&proxy), endpoint(&proxy)["last_failure"].is_null()), (1, true), "{engine}");
        for _ in 0..300 {
            assert_eq!(client.get("/").status, 502);
        }
        eventually("it is told", || !told(&proxy, "requests fail").is_empty());
        let lines = told(&proxy, "requests fail");
        assert_eq!(lines.len(), 1, "{engine} {lines:?}");
        let line = &lines[0];
        assert_eq!(
            (&line["level"], &line["service"], &line["cause"]),
            (&"WARN".into(), &"all".into(), &"connect_refused".into())
        );
        assert_eq!(line["endpoint"], gone.to_string());
        assert!(
            line["failed"].as_u64().unwrap() > 0 && line["remedy"].as_str().unwrap().contains("Start it"),
            "{line}"
        );
        let view = endpoint(&proxy);
        assert_eq!((&view["up"], &view["state"]), (&false.into(), &"failing".into()), "{engine} {view}");
        assert_eq!(view["last_failure"]["cause"], "connect_refused");
        assert!(view["last_failure"]["in_a_row"].as_u64().unwrap() >= 300, "{view}");
        assert_eq!(up(&proxy), 0, "{engine}");
        let failed = "ringress_endpoint_attempts_failed_total{service=\"all\",endpoint=";
        assert!(proxy.metric(failed) >= 300, "{engine}");
        let _origin = Misbehaving::start(Mode::Well, &gone.to_string()).unwrap();
        let succeeds = || Client::connect(proxy.address).get("/r/1").status == 200;
        eventually("it is back", succeeds);
        assert_eq!((up(&proxy), endpoint(&proxy)["state"].clone()), (1, "up".into()), "{engine}");
        eventually("it is told that it is over", || succeeds() && !told(&proxy, "requests succeed again").is_empty());
        assert_eq!(told(&proxy, "requests fail").len(), 1, "{engine}");
    }
}

#[test]
fn what_is_no_endpoints_fault_is_told_of_the_service_and_what_is_the_clients_is_not() {
    let proxy = Proxy::start("io_uring", &service(&[], ""));
    let mut client = Client::connect(proxy.address);
    assert_eq!(client.get("/").status, 503);
    eventually("it is told", || !told(&proxy, "requests fail").is_empty());
    let lines = told(&proxy, "requests fail");
    assert_eq!((&lines[0]["cause"], lines[0]["endpoint"].is_null()), (&"no_endpoints".into(), true), "{lines:?}");
    // A client that leaves, a bad request, a path that is not there.
    let origin = Origin::start(|_, stream| write(stream, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    let proxy = Proxy::to("io_uring", &[origin.address]);
    assert_eq!(Client::connect(proxy.address).get("/").status, 404);
    assert_eq!(Client::connect(proxy.address).send("GET / HTTP/1.1\r\n\r\n").response("GET").status, 400);
    eventually("both are recorded", || proxy.access_log().len() == 2);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(told(&proxy, "requests fail").is_empty(), "{}", proxy.process_log());
}

#[test]
fn what_a_name_resolved_to_is_in_line_and_metric() {
    let origin = Origin::start(|request, stream| {
        if request.target() == "/bad" {
            After::Close
        } else {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        }
    });
    let named = format!("localhost:{}", origin.address.port());
    let rest = service(&[], "").replace("endpoints = []", &format!("endpoints = [\"{named}\"]"));
    let proxy = Proxy::start("io_uring", &rest);
    let mut client = Client::connect(proxy.address);
    assert_eq!(client.get("/good").status, 200);
    let line = proxy.line("/good");
    assert_eq!((&line["endpoint"], &line["address"]), (&named.clone().into(), &origin.address.to_string().into()));
    assert_eq!(client.get("/bad").status, 502);
    let line = proxy.line("/bad");
    // The name stands for `::1`, too, where nobody listens.
    let failed = line["failed"].as_array().unwrap();
    assert!(failed.iter().any(|attempt| attempt["address"] == origin.address.to_string()), "{line}");
    let names = format!("service=\"all\",endpoint=\"{named}\",address=\"{}\"", origin.address);
    let failed = format!("ringress_endpoint_attempts_failed_total{{{names},cause=\"upstream_closed_no_response\"}}");
    assert!(proxy.metric(&failed) >= 1, "{}", proxy.metrics());
}

#[test]
fn the_process_is_measured_as_prometheus_expects() {
    let proxy = Proxy::to("io_uring", &[Origin::text("x").address]);
    let text = proxy.metrics();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_virtual_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 5.0 && value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_cpu_seconds_total") >= 0.0 && value("process_threads") >= 3.0);
    let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((value("process_start_time_seconds") - now_s).abs() < 300.0);
}

/// A program on a terminal of its own, which `script` makes.
fn on_a_terminal(arguments: &str, listen: SocketAddr) -> (Running, std::path::PathBuf) {
    let seen = std::env::temp_dir().join(format!("ringress-terminal-{}", listen.port()));
    let command = format!("exec {} {arguments} --listen {listen}", env!("CARGO_BIN_EXE_ringress"));
    let child = tool("script", "bsdutils")
        .args(["-qfec", &command, seen.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    eventually("it listens", || std::net::TcpStream::connect(listen).is_ok());
    (running, seen)
}

#[test]
fn a_proxy_in_one_line_shows_its_requests_on_a_terminal_and_nowhere_else() {
    let gone = free_address();
    let listen = free_address();
    let (terminal, seen) = on_a_terminal(&format!("--to {gone}"), listen);
    assert_eq!(Client::connect(listen).get("/a").status, 502);
    let text = || std::fs::read_to_string(&seen).unwrap_or_default();
    eventually("the request is shown", || text().contains(" GET test/a 502 ") && text().contains(" connect_refused"));
    drop(terminal);
    std::fs::remove_file(seen).unwrap();
    let listen = free_address();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringress"))
        .args(["--to", &gone.to_string(), "--listen", &listen.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || std::net::TcpStream::connect(listen).is_ok());
    assert_eq!(Client::connect(listen).get("/a").status, 502);
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut told).unwrap();
    child.wait().unwrap();
    assert_eq!(told, "", "no terminal, no line");
}
