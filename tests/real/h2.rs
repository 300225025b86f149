//! HTTP/2 on either side, with clients and servers from packages: curl, h2load, nginx, httpx, grpcio.

use std::net::SocketAddr;
use std::process::Stdio;

use crate::support::authority::Authority;
use crate::support::origin::reply;
use crate::support::proxy::{free_address, service};
use crate::support::python::{grpc_server, python, server};
use crate::support::{Client, ENGINES, Origin, Proxy, Running, eventually, output, tool};

fn echo() -> Origin {
    Origin::start(|request, stream| {
        let body = if request.body.is_empty() { request.head.as_bytes() } else { &request.body };
        reply(stream, body)
    })
}

/// A proxy that listens at `secure` too, by TLS, with a certificate for `a.test`.
fn with_secure(engine: &'static str, authority: &Authority, secure: SocketAddr, rest: &str) -> Proxy {
    let certificate = authority.issue("a", &["a.test"]).toml();
    let listener = format!("[listeners.secure]\naddress = \"{secure}\"\ntls.certificates = [{certificate}]\n");
    Proxy::start(engine, &format!("{listener}{rest}"))
}

#[test]
fn an_upload_that_is_refused_sees_why() {
    let authority = Authority::new();
    for engine in ENGINES {
        let secure = free_address();
        let rest = format!(
            "[[routes]]\nname = \"no\"\npaths = [{{ prefix = \"/no\" }}]\nfilters = [{{ respond = {{ status = 403 }} }}]\n{}",
            service(&["127.0.0.1:1".parse().unwrap()], "")
        );
        let proxy = with_secure(engine, &authority, secure, &rest);
        let body = proxy.folder.join("body");
        std::fs::write(&body, crate::support::noise(7, 1_000_000)).unwrap();
        let data = format!("@{}", body.display());
        for (target, expected) in [("/no", "403"), ("/dead", "502")] {
            for _ in 0..5 {
                let mut curl = tool("curl", "curl");
                curl.args(["-s", "-S", "-k", "--http2", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
                let status = output(curl.args(["--data-binary", &data]).arg(format!("https://{secure}{target}")));
                assert_eq!(status, expected, "{engine} {target}");
            }
        }
    }
}

#[test]
fn every_case_of_the_rules_is_answered_as_they_say() {
    for engine in ENGINES {
        let origin = echo();
        let authority = Authority::new();
        let secure = free_address();
        let proxy = with_secure(engine, &authority, secure, &service(&[origin.address], ""));
        let plain = output(python("conformance.py").arg(proxy.address.to_string()));
        assert!(plain.contains("138 of 138 passed"), "{engine}: {plain}");
        let over_tls = output(python("conformance.py").arg(secure.to_string()).arg(authority.ca()));
        assert!(over_tls.contains("138 of 138 passed"), "{engine}: {over_tls}");
    }
}

#[test]
fn every_attack_is_stopped_and_nobody_else_notices() {
    for engine in ENGINES {
        let origin = echo();
        let timeouts = "timeouts = { header = \"1s\", send = \"2s\", idle = \"2s\", body = \"2s\" }";
        let proxy = Proxy::start_with(engine, timeouts, &service(&[origin.address], ""));
        let told = output(python("abuse.py").arg(proxy.address.to_string()).arg(proxy.id().to_string()));
        let attacks: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(attacks.len() >= 31, "{told}");
        for attack in &attacks {
            assert_eq!((&attack["stopped"], &attack["canary"]), (&true.into(), &true.into()), "{engine}: {attack}");
            assert!(attack["frames"].as_u64().unwrap() <= 10_000, "{engine}: {attack}");
            assert!(attack["kib"].as_u64().unwrap() <= 8 << 10, "{engine}: {attack}");
        }
    }
}

#[test]
fn h2load_sees_no_failure_over_tls_and_without() {
    for engine in ENGINES {
        let origin = Origin::text("hello");
        let authority = Authority::new();
        let secure = free_address();
        let proxy = with_secure(engine, &authority, secure, &service(&[origin.address], ""));
        for url in [format!("http://{}/", proxy.address), format!("https://{secure}/")] {
            let told = output(tool("h2load", "nghttp2-client").args(["-n", "5000", "-c", "8", "-m", "16", &url]));
            assert!(told.contains("5000 succeeded, 0 failed, 0 errored"), "{engine} {url}: {told}");
        }
    }
}

#[test]
fn httpx_and_curl_speak_to_it() {
    let origin = echo();
    let authority = Authority::new();
    let web = format!("tls.certificates = [{}]", authority.issue("a", &["a.test"]).toml());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let port = proxy.address.port().to_string();
    let told = output(python("httpx_client.py").arg(&port).arg(authority.ca()));
    assert!(told.contains("all passed"), "{told}");
    let resolve = format!("a.test:{port}:127.0.0.1");
    let url = format!("https://a.test:{port}/x");
    let mut curl = tool("curl", "curl");
    curl.args(["-sS", "--http2", "--resolve", &resolve, "-w", "%{http_version}", &url, &url]);
    let told = output(curl.arg("--cacert").arg(authority.ca()));
    assert!(told.contains("Via: 2.0 ringress") && told.ends_with('2'), "{told}");
}

#[test]
fn a_failure_of_ours_says_its_cause_over_http2_too() {
    let proxy = Proxy::to("io_uring", &[free_address()]);
    let url = format!("http://{}/", proxy.address);
    let told = output(tool("curl", "curl").args(["-sS", "-i", "--http2-prior-knowledge", &url]));
    assert!(told.starts_with("HTTP/2 502") && told.contains("cause: connect_refused"), "{told}");
    assert!(told.contains("proxy-status: ringress; error=connection_refused"), "{told}");
    let line = proxy.line("/");
    assert_eq!((&line["protocol"], &line["cause"]), (&"HTTP/2.0".into(), &"connect_refused".into()));
}

#[test]
fn a_client_that_resets_its_stream_is_one_that_left() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            std::thread::sleep(std::time::Duration::from_secs(2));
            reply(stream, b"late")
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let url = format!("http://{}/", proxy.address);
        let curl = tool("curl", "curl").args(["-sS", "-m", "0.3", "--http2-prior-knowledge", &url]).output().unwrap();
        assert!(!curl.status.success());
        let line = proxy.line("/");
        assert_eq!((&line["status"], &line["cause"]), (&499.into(), &"client_closed:wait".into()), "{engine}");
    }
}

/// An upstream of HTTP/2 with these manners, and a proxy before it.
fn before(engine: &'static str, manner: &str) -> (Running, Proxy) {
    let (server, upstream) = server("h2_origin.py", Some(manner));
    (server, Proxy::start(engine, &service(&[upstream], "protocol = \"h2\"")))
}

#[test]
fn what_an_upstream_did_not_look_at_is_sent_again_a_post_too() {
    for engine in ENGINES {
        for manner in ["refuses-first", "goes-away"] {
            let (_server, proxy) = before(engine, manner);
            let mut client = Client::connect(proxy.address);
            for at in 1..=6 {
                client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
                let answer = client.response("POST");
                // Each was executed once: the upstream counts.
                assert_eq!((answer.status, answer.text()), (200, at.to_string().as_str()), "{engine} {manner}");
            }
            let cause = if manner == "goes-away" { "h2_goaway_unprocessed" } else { "h2_refused" };
            let failed = format!("ringress_attempts_failed_total{{service=\"all\",cause=\"{cause}\"}}");
            assert!(proxy.metric(&failed) >= 1, "{engine} {manner}: {}", proxy.metrics());
        }
    }
}

#[test]
fn what_an_upstream_may_have_executed_is_not_sent_again() {
    for engine in ENGINES {
        let (_server, proxy) = before(engine, "resets");
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        let answer = client.response("POST");
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains("cause: h2_reset:internal_error"), "{engine}: {}", answer.text());
        let line = proxy.line("/");
        assert_eq!((&line["attempts"], &line["no_retry"]), (&1.into(), &"non_idempotent".into()), "{engine}");
        let (_server, proxy) = before(engine, "truncates");
        let answer = Client::connect(proxy.address).get("/");
        assert!(!answer.is_whole, "{engine}");
        assert_eq!(proxy.line("/")["cause"], "upstream_truncated");
    }
}

#[test]
fn a_target_that_no_uri_may_hold_reaches_an_upstream_of_http2_encoded() {
    let (_server, proxy) = before("io_uring", "ignores");
    let answer = Client::connect(proxy.address).get("/a<b?c=\"d\"");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_websocket_that_the_upstream_does_not_know_of_is_not_opened() {
    let origin = Origin::text("a page");
    let proxy = Proxy::to("io_uring", &[origin.address]);
    let told = python("websocket_client.py").arg(proxy.address.to_string()).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("502"), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(proxy.line("/chat")["cause"], "upstream_bad_header:upgrade_ignored");
}

#[test]
fn a_drain_lets_requests_over_http2_come_to_their_end() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            std::thread::sleep(std::time::Duration::from_secs(3));
            reply(stream, b"late")
        });
        let mut proxy = Proxy::to(engine, &[origin.address]);
        let url = format!("http://{}/", proxy.address);
        let mut curl = tool("curl", "curl");
        let curl = curl.args(["-sS", "--http2-prior-knowledge", &url]).stdout(Stdio::piped()).spawn().unwrap();
        eventually("the request is there", || origin.requests().len() == 1);
        proxy.signal("TERM");
        let told = curl.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&told.stdout), "late", "{engine}");
        assert_eq!(proxy.wait(), 0);
    }
}

#[test]
fn a_websocket_over_http2_is_carried_to_an_upstream_of_http1() {
    let (_server, upstream) = server("websocket_server.py", None);
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[upstream]);
        let told = output(python("websocket_client.py").arg(proxy.address.to_string()));
        assert!(told.contains("all passed"), "{engine}: {told}");
    }
}

#[test]
fn a_deadline_of_grpc_is_kept_whoever_else_does_not() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            std::thread::sleep(std::time::Duration::from_secs(5));
            reply(stream, b"late")
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let url = format!("http://{}/test.Test/Slow", proxy.address);
        let mut curl = tool("curl", "curl");
        curl.args(["-sS", "-i", "-m", "4", "--http2-prior-knowledge", "-X", "POST", &url]);
        let told = output(curl.args(["-H", "content-type: application/grpc", "-H", "grpc-timeout: 200m"]));
        assert!(told.starts_with("HTTP/2 200") && told.contains("grpc-status: 4\r\n"), "{engine}: {told}");
        assert!(told.contains("cause: route_timeout"), "{engine}: {told}");
    }
}

/// The status of gRPC that a call of this path ends with.
fn grpc_status(proxy: &Proxy, path: &str, timeout: &str) -> String {
    let url = format!("http://{}{path}", proxy.address);
    let mut curl = tool("curl", "curl");
    curl.args(["-sS", "-i", "-m", "4", "--http2-prior-knowledge", "-X", "POST", &url, "-H", timeout]);
    let told = output(curl.args(["-H", "content-type: application/grpc"]));
    let line = told.lines().find(|line| line.starts_with("grpc-status: ")).unwrap_or_default();
    line.trim_start_matches("grpc-status: ").to_owned()
}

#[test]
fn a_stream_that_a_server_of_grpc_resets_has_the_status_of_its_code() {
    for engine in ENGINES {
        let (_server, proxy) = before(engine, "resets-as-asked");
        // PROTOCOL-HTTP2.md of gRPC, "Errors": CANCEL, ENHANCE_YOUR_CALM, and those that are bugs. REFUSED_STREAM is sent again
        // until there are no attempts left.
        for (code, status) in [(8, "1"), (11, "8"), (1, "13"), (2, "13"), (3, "13"), (12, "7"), (7, "14")] {
            let found = grpc_status(&proxy, &format!("/test.Test/0/{code}"), "grpc-timeout: 5S");
            assert_eq!(found, status, "{engine}: code {code}");
        }
        // The server's clock runs as ours does: it cancels when the deadline is over.
        assert_eq!(grpc_status(&proxy, "/test.Test/300/8", "grpc-timeout: 300m"), "4", "{engine}");
    }
}

#[test]
fn upstreams_are_asked_by_the_health_protocol_of_grpc() {
    let (_server, upstream) = grpc_server();
    let asking = |asked: &str| {
        let health = format!("health = {{ grpc = \"{asked}\", interval = \"100ms\", unhealthy = 1, healthy = 1 }}");
        service(&[upstream], &format!("protocol = \"h2\"\n{health}"))
    };
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &asking("bad"));
        let is_told = |text: &str| eventually(text, || proxy.process_log().contains(text));
        is_told("serving status 2");
        eventually("it is down", || proxy.metric("ringress_endpoint_up{") == 0);
        proxy.rewrite("", &asking(""));
        is_told("health check: the endpoint is up");
        eventually("it is up", || proxy.metric("ringress_endpoint_up{") == 1);
        proxy.rewrite("", &asking("none"));
        is_told("grpc-status 5");
    }
}

#[test]
fn every_kind_of_call_of_grpc_passes() {
    let (_server, upstream) = grpc_server();
    for engine in ENGINES {
        let authority = Authority::new();
        let secure = free_address();
        let rest = format!(
            "{}\n[[routes]]\nname = \"gone\"\nservice = \"gone\"\npaths = [{{ prefix = \"/test.Gone\" }}]\n\
             [services.gone]\nendpoints = [\"{}\"]\nprotocol = \"h2\"\n",
            service(&[upstream], "protocol = \"h2\""),
            free_address()
        );
        let proxy = with_secure(engine, &authority, secure, &rest);
        let told = output(python("grpc_client.py").arg(proxy.address.port().to_string()));
        assert!(told.contains("all passed"), "{engine}: {told}");
        let ended = |status: &str| {
            proxy.metric(&format!("ringress_grpc_requests_total{{service=\"all\",status=\"{status}\"}}"))
        };
        eventually("the calls are counted as gRPC has them", || ended("OK") > 0 && ended("FAILED_PRECONDITION") > 0);
        let told = output(python("grpc_client.py").arg(secure.port().to_string()).arg(authority.ca()));
        assert!(told.contains("all passed"), "{engine}: {told}");
        assert_eq!(proxy.metric("ringress_panics_total"), 0);
    }
}
