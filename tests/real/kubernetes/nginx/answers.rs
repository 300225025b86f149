//! What clients get, beside what the upstream said.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{annotated, backend, heads, world};
use crate::kubernetes::named;
use crate::support::origin::{After, reply, write};
use crate::support::{Client, Origin, eventually};

#[test]
fn cookies_of_the_upstream_are_for_another_place() {
    let origin = heads("200 OK\r\nSet-Cookie: a=b; Domain=inner.test; Path=/inner/x");
    let objects = backend("one", &[&origin])
        + &annotated(
            "web",
            "one",
            &[("proxy-cookie-domain", "inner.test outer.test"), ("proxy-cookie-path", "/inner/ /")],
        )
        + &annotated("plain", "one", &[("proxy-cookie-domain", "off"), ("proxy-cookie-path", "off")]);
    let world = world(&objects, &[]);
    let cookie = |host: &str| world.ask(host, "GET /", &[]).field("Set-Cookie").unwrap().to_owned();
    assert_eq!(cookie("web.test"), "a=b; Domain=outer.test; Path=/x");
    assert_eq!(cookie("plain.test"), "a=b; Domain=inner.test; Path=/inner/x");
}

#[test]
fn errors_of_the_upstream_are_shown_by_the_default_backend() {
    let (origin, pages) = (heads("418 I'm a teapot"), named("a page"));
    let shown = [("custom-http-errors", "404,418"), ("default-backend", "pages")];
    let objects = backend("one", &[&origin])
        + &backend("pages", &[&pages])
        + &annotated("shown", "one", &shown)
        + &annotated("global", "one", &[("default-backend", "pages")])
        + &annotated("passed", "one", &[("disable-proxy-intercept-errors", "true"), ("default-backend", "pages")])
        + &annotated("other", "one", &[("custom-http-errors", "404"), ("default-backend", "pages")]);
    let world = world(&objects, &[("custom-http-errors", "418")]);
    for host in ["shown.test", "global.test"] {
        assert_eq!(world.get(host, "/x"), (200, "a page".to_owned()), "{host}");
        let asked = pages.requests().pop().unwrap();
        assert_eq!((asked.field("X-Code"), asked.field("X-Original-URI")), (Some("418"), Some("/x")), "{host}");
    }
    assert_eq!(world.status("passed.test", "/x"), 418);
    assert_eq!(world.status("other.test", "/x"), 418);
    // Without an endpoint the same backend answers in the place of the service.
    world.api.delete("endpointslices", "shop", "one-0");
    world.eventually("other.test", "/y", (200, "a page"));
}

#[test]
fn cors_says_what_annotations_say() {
    let objects = backend("one", &[&named("one")])
        + &annotated(
            "web",
            "one",
            &[
                ("enable-cors", "true"),
                ("cors-allow-methods", "GET, REPORT"),
                ("cors-expose-headers", "X-Seen"),
                ("cors-allow-credentials", "false"),
            ],
        );
    let world = world(&objects, &[]);
    let answer = world.ask("web.test", "GET /", &["Origin: https://app.test"]);
    assert_eq!(answer.field("Access-Control-Allow-Methods"), Some("GET, REPORT"));
    assert_eq!(answer.field("Access-Control-Expose-Headers"), Some("X-Seen"));
    assert_eq!(answer.field("Access-Control-Allow-Credentials"), None);
}

#[test]
fn an_answer_is_slowed_down_after_its_first_part() {
    let origin = Origin::start(|_, stream| {
        let body = vec![b'x'; 96 * 1_024];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        write(stream, &[head.as_bytes(), &body].concat())
    });
    let objects = backend("one", &[&origin])
        + &annotated("slow", "one", &[("limit-rate", "32"), ("limit-rate-after", "32")])
        + &annotated("later", "one", &[("limit-rate", "32"), ("limit-rate-after", "96")]);
    let world = world(&objects, &[]);
    let time = |host: &str| {
        let began = Instant::now();
        assert_eq!(world.get(host, "/").1.len(), 96 * 1_024);
        began.elapsed()
    };
    time("later.test");
    // 64 KiB at 32 KiB a second, less what a burst may be: a busy host takes longer, and none less.
    let slow = time("slow.test");
    assert!(slow > Duration::from_secs(1), "{slow:?}");
}

#[test]
fn a_cookie_keeps_its_path_and_changes_when_its_endpoint_fails() {
    let is_broken = Arc::new(Mutex::new(String::new()));
    let pod =
        |name: &'static str| {
            let is_broken = Arc::clone(&is_broken);
            Origin::start(move |_, stream| {
                if *is_broken.lock().unwrap() == name { After::Close } else { reply(stream, name.as_bytes()) }
            })
        };
    let (one, two) = (pod("one"), pod("two"));
    let sticky =
        [("affinity", "cookie"), ("session-cookie-path", "/app"), ("session-cookie-change-on-failure", "true")];
    let objects = backend("both", &[&one, &two]) + &annotated("web", "both", &sticky);
    let world = world(&objects, &[]);
    let first = world.ask("web.test", "GET /", &[]);
    let cookie = first.field("Set-Cookie").unwrap();
    assert!(cookie.to_lowercase().contains("path=/app"), "{cookie}");
    let token = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let before = first.text().to_owned();
    assert_eq!(world.ask("web.test", "GET /", &[&token]).text(), before);
    is_broken.lock().unwrap().clone_from(&before);
    // The other one answers, and the client belongs there from now on.
    let answer = world.ask("web.test", "GET /", &[&token]);
    assert_eq!(answer.status, 200);
    assert_ne!(answer.text(), before);
    assert!(answer.field("Set-Cookie").is_some_and(|own| own != cookie), "{}", answer.head);
}

#[test]
fn canaries_share_the_cookie_of_their_service_or_have_none() {
    let (main, canary) = (named("main"), named("canary"));
    let weight = [("canary", "true"), ("canary-weight", "50")];
    let main_notes = |behavior: &'static str| [("affinity", "cookie"), ("affinity-canary-behavior", behavior)];
    let of_host = |name: &str, host: &str| annotated(name, "canary", &weight).replace(&format!("{name}.test"), host);
    let objects = backend("main", &[&main])
        + &backend("canary", &[&canary])
        + &annotated("legacy", "main", &main_notes("legacy"))
        + &of_host("legacy-canary", "legacy.test")
        + &annotated("sticky", "main", &main_notes("sticky"))
        + &of_host("sticky-canary", "sticky.test");
    let world = world(&objects, &[]);
    for (host, has_cookie) in [("legacy.test", false), ("sticky.test", true)] {
        let mut of_canary = (0..200).map(|_| world.ask(host, "GET /", &[])).filter(|answer| answer.text() == "canary");
        assert_eq!(of_canary.next().unwrap().field("Set-Cookie").is_some(), has_cookie, "{host}");
    }
}

#[test]
fn copies_have_no_body_where_nobody_wants_it() {
    let (one, copies) = (named("one"), named("copies"));
    let target = ("mirror-target", "http://copies.shop.svc$request_uri");
    let objects = backend("one", &[&one])
        + &backend("copies", &[&copies])
        + &annotated("without", "one", &[target, ("mirror-request-body", "off")])
        + &annotated("with", "one", &[target, ("mirror-request-body", "on")]);
    let world = world(&objects, &[]);
    for (host, body) in [("with.test", "hello"), ("without.test", "")] {
        let before = copies.requests().len();
        let request = format!("POST /{host} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(Client::connect(world.proxy.address).send(request).response("POST").status, 200);
        eventually("the copy arrives", || copies.requests().len() > before);
        let copy = copies.requests().pop().unwrap();
        assert_eq!((copy.target(), String::from_utf8_lossy(&copy.body).as_ref()), (&*format!("/{host}"), body));
    }
}
