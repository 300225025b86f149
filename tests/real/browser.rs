//! A browser from a package: a page over HTTP/2, a WebSocket over the same connection, a call of gRPC-web.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::authority::Authority;
use crate::support::origin::reply;
use crate::support::proxy::free_address;
use crate::support::python::{grpc_server, grpc_web_routes, server};
use crate::support::{Origin, Proxy, Running, eventually, tool};

/// A browser takes its time on a busy machine.
const BROWSER_PATIENCE: Duration = Duration::from_secs(90);

/// A page that tells its origin what it has seen.
const PAGE: &str = r#"<!doctype html><title>seen</title><img src="/a.svg"><script type="module">
const seen = [];
const socket = new WebSocket(`wss://${location.host}/socket/echo`);
socket.onopen = () => socket.send("over a stream");
await new Promise((done, failed) => { socket.onmessage = event => { seen.push(event.data); done(); }; socket.onerror = failed; });
const message = new Uint8Array([0, 0, 0, 0, 5, ...new TextEncoder().encode("hello")]);
const answer = await fetch("/test.Test/Unary", { method: "POST", body: message, headers: { "content-type": "application/grpc-web+proto" } });
const body = new TextDecoder().decode(await answer.arrayBuffer());
seen.push(body.includes("hello") && body.includes("grpc-status: 0"));
await fetch("/early.json").then(answer => answer.json()).then(json => seen.push(json.a));
seen.push(...performance.getEntries().filter(entry => entry.nextHopProtocol).map(entry => entry.nextHopProtocol));
await fetch("/told", { method: "POST", body: seen.join() });
</script>"#;

#[test]
fn a_browser_loads_a_page_over_http2_and_speaks_websocket_and_grpc_web_over_it() {
    let (_grpc, calls) = grpc_server();
    let (_sockets, sockets) = server("websocket_server.py", None);
    let pages = Origin::start(|request, stream| match request.target() {
        "/" => crate::support::origin::write(
            stream,
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len())
                .as_bytes(),
        ),
        "/early.json" => reply(stream, b"{\"a\":7}"),
        _ => reply(stream, b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    });
    let authority = Authority::new();
    let web = format!("http2 = true\ntls.certificates = [{}]", authority.issue("a", &["a.test", "localhost"]).toml());
    let rest = format!(
        "{}[[routes]]\nname = \"sockets\"\nservice = \"sockets\"\npaths = [{{ prefix = \"/socket\" }}]\n\
         filters = [{{ strip_prefix = \"/socket\" }}]\n[services.sockets]\nendpoints = [\"{sockets}\"]\n\
         [[routes]]\nname = \"pages\"\nservice = \"pages\"\n[services.pages]\nendpoints = [\"{}\"]\n",
        grpc_web_routes(calls, free_address()),
        pages.address
    );
    let proxy = Proxy::start_with("io_uring", &web, &rest);
    let profile = std::env::temp_dir().join(format!("ringress-browser-{}", std::process::id()));
    let mut browser = tool("chromium", "chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--ignore-certificate-errors",
    ]);
    browser.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--no-proxy-server",
    ]);
    browser.args(["--host-resolver-rules=MAP * 127.0.0.1, EXCLUDE 127.0.0.1"]);
    browser.arg(format!("--user-data-dir={}", profile.display()));
    browser.arg(format!("https://localhost:{}/", proxy.address.port())).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(browser.spawn().unwrap());
    let since = Instant::now();
    let told = loop {
        let told = pages.requests().into_iter().find(|request| request.target() == "/told");
        if let Some(told) = told {
            break String::from_utf8(told.body).unwrap();
        }
        assert!(since.elapsed() < BROWSER_PATIENCE, "the page told nothing: {:?}", proxy.access_log());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(told.starts_with("over a stream,true,7,h2,"), "{told}");
    assert!(told.split(',').skip(3).all(|protocol| protocol == "h2"), "{told}");
    drop(running);
    let _ = std::fs::remove_dir_all(profile);
    eventually("the socket is recorded", || {
        proxy.access_log().iter().any(|line| line["target"] == "/socket/echo" && line["protocol"] == "HTTP/2.0")
    });
    assert_eq!(proxy.metric("ringress_panics_total"), 0);
}
