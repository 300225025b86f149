//! How services are spoken to.

use std::io::Write as _;

use super::{annotated, backend, heads, holder, world};
use crate::fastcgi_records::{end, record};
use crate::kubernetes::{named, service};
use crate::support::authority::Authority;
use crate::support::origin::fill;
use crate::support::secure::{read_head, secure_origin};
use crate::support::{Client, Origin};
use crate::tls::mirror;

#[test]
fn pods_with_tls_are_who_they_should_be_where_that_is_asked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pod = authority.issue("pod", &["pod.test"]);
    let address = secure_origin(&pod, |stream| {
        while read_head(stream) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure").unwrap();
        }
    });
    let text = |authority: &Authority| std::fs::read_to_string(authority.ca()).unwrap();
    let (good, bad) = (("proxy-ssl-secret", "shop/ca"), ("proxy-ssl-secret", "shop/stranger"));
    let (https, on) = (("backend-protocol", "HTTPS"), ("proxy-ssl-verify", "on"));
    let (name, sent) = (("proxy-ssl-name", "pod.test"), ("proxy-ssl-server-name", "on"));
    let objects = service("pods", &[address])
        + &holder("Secret", "ca", &[("ca.crt", &text(&authority))])
        + &holder("Secret", "stranger", &[("ca.crt", &text(&stranger))])
        + &annotated("named", "pods", &[https, good, on, name, sent])
        + &annotated("new", "pods", &[https, good, on, name, ("proxy-ssl-protocols", "TLSv1.3")])
        + &annotated("nameless", "pods", &[https, good, on])
        + &annotated("strange", "pods", &[https, bad, on, name])
        + &annotated("off", "pods", &[https, bad, ("proxy-ssl-verify", "off"), name]);
    let world = world(&objects, &[]);
    for (host, status) in
        [("named.test", 200), ("new.test", 200), ("nameless.test", 502), ("strange.test", 502), ("off.test", 200)]
    {
        assert_eq!(world.status(host, "/"), status, "{host}");
    }
}

#[test]
fn a_fastcgi_server_is_told_what_a_config_map_says() {
    let origin = Origin::raw(|stream, _, _| {
        let mut all = Vec::new();
        while !all.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
            if !fill(stream, &mut all) {
                return;
            }
        }
        let has = |text: &[u8]| all.windows(text.len()).any(|part| part == text);
        let body = format!("Status: 200\r\n\r\n{} {}", has(b"OWN_PARAMfor fcgi.test"), has(b"SCRIPT_FILENAME/app.php"));
        let answer = [record(6, 1, body.as_bytes(), 0), record(6, 1, b"", 0), end(0)].concat();
        let _ = stream.write_all(&answer);
    });
    let notes = [("backend-protocol", "FCGI"), ("fastcgi-params-configmap", "shop/params")];
    let objects = backend("app", &[&origin])
        + &holder("ConfigMap", "params", &[("OWN_PARAM", "for $host"), ("SCRIPT_FILENAME", "/app.php")])
        + &annotated("fcgi", "app", &notes);
    let world = world(&objects, &[]);
    assert_eq!(world.get("fcgi.test", "/"), (200, "true true".to_owned()));
}

#[test]
fn upstreams_are_asked_in_http_1_1_whatever_is_said() {
    let origin = heads("200 OK");
    let objects = backend("one", &[&origin]) + &annotated("old", "one", &[("proxy-http-version", "1.0")]);
    let world = world(&objects, &[]);
    assert_eq!(world.status("old.test", "/"), 200);
    assert_eq!(origin.requests().pop().unwrap().line(), "GET / HTTP/1.1");
}

#[test]
fn bodies_pass_as_they_come_whatever_is_said_of_buffers() {
    let origins = [mirror(), mirror()];
    let objects = backend("on", &[&origins[0]])
        + &backend("off", &[&origins[1]])
        + &annotated("on", "on", &[("proxy-request-buffering", "on")])
        + &annotated("off", "off", &[("proxy-request-buffering", "off")]);
    let world = world(&objects, &[]);
    for (host, origin) in ["on.test", "off.test"].into_iter().zip(&origins) {
        let mut client = Client::connect(world.proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\nhello"));
        // Half of the body is there, and the upstream has been spoken to.
        crate::support::eventually("it is passed on", || origin.connections() == 1);
        assert_eq!(client.send("hello").response("POST").status, 200, "{host}");
        assert_eq!(origin.requests().pop().unwrap().body, b"hellohello", "{host}");
    }
}

#[test]
fn what_a_service_answers_is_asked_of_another_pod_where_it_is_said() {
    let (bad, good) = (heads("503 Service Unavailable"), named("good"));
    let both = [&bad, &good];
    let objects = backend("again", &both)
        + &backend("once", &both)
        + &annotated("again", "again", &[("proxy-next-upstream", "error timeout http_503")])
        + &annotated("once", "once", &[("proxy-next-upstream", "off")]);
    let world = world(&objects, &[]);
    let statuses = |host: &str| (0..20).map(|_| world.ask(host, "GET /", &[]).status).collect::<Vec<_>>();
    assert!(statuses("again.test").iter().all(|status| *status == 200));
    assert!(statuses("once.test").contains(&503));
}
