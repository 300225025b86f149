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

/// Opens the page of this host in a browser, and waits for what it tells its origin by a POST to `/told`.
fn told_by_browser(proxy: &Proxy, host: &str, pages: &Origin) -> String {
    let profile =
        std::env::temp_dir().join(format!("ringress-browser-{}", std::process::id() + u32::from(proxy.address.port())));
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
    browser.arg(format!("https://{host}:{}/", proxy.address.port())).stdout(Stdio::null()).stderr(Stdio::null());
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
    drop(running);
    let _ = std::fs::remove_dir_all(profile);
    told
}

/// An origin of one page, which answers everything else by `answer`.
fn page(page: String, answer: &'static str) -> Origin {
    Origin::start(move |request, stream| match request.target() {
        "/" => crate::support::origin::write(
            stream,
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len())
                .as_bytes(),
        ),
        "/early.json" => reply(stream, b"{\"a\":7}"),
        _ => reply(stream, answer.as_bytes()),
    })
}

#[test]
fn a_browser_loads_a_page_over_http2_and_speaks_websocket_and_grpc_web_over_it() {
    let (_grpc, calls) = grpc_server();
    let (_sockets, sockets) = server("websocket_server.py", None);
    let pages = page(PAGE.to_owned(), "<svg xmlns='http://www.w3.org/2000/svg'/>");
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
    let told = told_by_browser(&proxy, "localhost", &pages);
    assert!(told.starts_with("over a stream,true,7,h2,"), "{told}");
    assert!(told.split(',').skip(3).all(|protocol| protocol == "h2"), "{told}");
    eventually("the socket is recorded", || {
        proxy.access_log().iter().any(|line| line["target"] == "/socket/echo" && line["protocol"] == "HTTP/2.0")
    });
    assert_eq!(proxy.metric("ringress_panics_total"), 0);
}

/// A page that asks another origin for what it may have, and for what it may not.
const ASKING_PAGE: &str = r#"<!doctype html><title>cors</title><script type="module">
const api = `https://api.page.test:${location.port}`;
const seen = [];
const ask = async (path, more) => {
    try {
        const answer = await fetch(api + path, { credentials: "include", ...more });
        seen.push(answer.status, answer.headers.get("x-seen"), (await answer.text()).length > 0);
    } catch (error) {
        seen.push("refused");
    }
};
const put = { method: "PUT", headers: { "X-Custom": "1" }, body: "{}" };
await ask("/open", put);
await ask("/open", put);
await ask("/closed", put);
await ask("/closed");
await ask("/open", { method: "DELETE" });
await ask("/secret");
await ask("/rare");
await ask("/rare");
await ask("/none", { credentials: "omit" });
await fetch("/told", { method: "POST", body: seen.join() });
</script>"#;

#[test]
fn a_browser_reads_what_cors_lets_it_read_refusals_among_it() {
    let pages = page(ASKING_PAGE.to_owned(), "");
    let other = Origin::start(|request, stream| {
        let cookie = if request.field("cookie").is_some() { "with a cookie" } else { "without" };
        let head = format!("HTTP/1.1 200 OK\r\nX-Seen: {cookie}\r\nContent-Length: 2\r\n\r\nok");
        crate::support::origin::write(stream, head.as_bytes())
    });
    let authority = Authority::new();
    let web = format!("http2 = true\ntls.certificates = [{}]", authority.issue("a", &["page.test"]).toml());
    let route = |name: &str, origin: &str, more: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\nhosts = [\"api.page.test\"]\npaths = [{{ prefix = \"/{name}\" }}]\nservice = \"api\"\n\
             filters = [{{ cors = {{ origins = [\"https://{origin}\"], credentials = true, methods = [\"GET\", \"PUT\"], \
             headers = [\"X-Custom\"], expose = [\"X-Seen\"] }} }}{more}]\n"
        )
    };
    let rest = format!(
        "{}{}{}{}[[routes]]\nname = \"none\"\nhosts = [\"api.page.test\"]\nservice = \"api\"\n\
         [[routes]]\nname = \"pages\"\nservice = \"pages\"\n[services.pages]\nendpoints = [\"{}\"]\n\
         [services.api]\nsticky = {{ cookie = \"kept\" }}\nendpoints = [\"{}\"]\n",
        route("open", "page.test:PORT", ""),
        route("closed", "elsewhere.test", ""),
        route("secret", "page.test:PORT", ", { api_key = { keys = { a = \"0123456789abcdef\" } } }"),
        route("rare", "page.test:PORT", ", { rate_limit = { rate = \"1/h\" } }"),
        pages.address,
        other.address
    );
    let proxy = Proxy::start_with("io_uring", &web, &rest.replace(":PORT", ""));
    // Only now is it known.
    proxy.rewrite(&web, &rest.replace("PORT", &proxy.address.port().to_string()));
    eventually("the origin is told with its port", || proxy.process_log().contains("reloaded"));
    let told = told_by_browser(&proxy, "page.test", &pages);
    let expected = "200,without,true,200,with a cookie,true,refused,refused,refused,401,,true,200,with a cookie,true,429,,true,refused";
    assert_eq!(told, expected, "{:?}", proxy.access_log());
    let preflights = other.requests().iter().filter(|request| request.line().starts_with("OPTIONS")).count();
    assert_eq!(preflights, 0, "they are answered here");
    assert!(other.requests().iter().all(|request| !request.line().starts_with("DELETE")), "it was not allowed");
}
