//! Annotations of our own, each met by requests; and what cannot be read closes.

use std::fmt::Write as _;
use std::time::Duration;

use super::{World, ingress, named, service};
use crate::api_server::ApiServer;
use crate::support::origin::{reply, write};
use crate::support::proxy::free_address;
use crate::support::{Client, Origin};

/// An Ingress for a host and a service with these annotations.
fn object(name: &str, backend: &str, annotations: &[(&str, &str)]) -> String {
    let mut lines = String::new();
    for (key, text) in annotations {
        let _ = writeln!(lines, "    ringress.dev/{key}: {}", serde_json::Value::from(*text));
    }
    let object = ingress(name, &[(&format!("{name}.test"), "/", "Prefix", backend)]);
    object.replace(
        &format!("metadata: {{ name: {name} }}"),
        &format!("metadata:\n  name: {name}\n  annotations:\n{lines}"),
    )
}

const CHAINS: &str = "[filters.teapot]\nchain = [{ respond = { status = 418 } }]\n\
    [filters.marked]\nchain = [{ response_headers = { set = { X-Marked = \"yes\" } } }]\n";

#[test]
fn each_says_what_the_same_key_of_the_configuration_says() {
    let one = named("one");
    let slow = Origin::start(|_, stream| {
        std::thread::sleep(Duration::from_secs(2));
        reply(stream, b"late")
    });
    let busy =
        Origin::start(|_, stream| write(stream, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"));
    let hosts = Origin::start(|request, stream| reply(stream, request.head.as_bytes()));
    let objects = service("one", &[one.address])
        + "---\n"
        + &service("slow", &[slow.address])
        + "---\n"
        + &service("second", &[busy.address, one.address])
        + "---\n"
        + &service("hosts", &[hosts.address])
        + &object("use", "one", &[("use", "marked, teapot")])
        + &object("listeners", "one", &[("listeners", "inside")])
        + &object("timeouts", "slow", &[("timeouts", "{ header: 200ms }"), ("retry", "{ attempts: 0 }")])
        + &object("retry", "second", &[("retry", "{ attempts: 1, on_status: [503] }")])
        + &object("body", "one", &[("body", "{ max: 3B }")])
        + &object("access-log", "one", &[("access-log", "false")])
        + &object("service", "hosts", &[("service", "{ host: inner.test, limits: { in_flight: 7 } }")])
        + &object("plain", "one", &[]);
    let api = ApiServer::start();
    api.apply("shop", &objects);
    let inside = free_address();
    let world = World::of(
        "epoll",
        api,
        "chains = [\"teapot\", \"marked\"]",
        &format!("[listeners.inside]\naddress = \"{inside}\"\n{CHAINS}"),
    );
    let ask = |address, host: &str, rest: &str| {
        let mut client = Client::connect(address);
        client.send(format!("POST / HTTP/1.1\r\nHost: {host}.test\r\n{rest}")).response("POST")
    };
    let get = |host: &str| {
        let mut client = Client::connect(world.proxy.address);
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}.test\r\n\r\n")).response("GET")
    };
    world.eventually("plain.test", "/", (200, ""));
    let teapot = get("use");
    assert_eq!((teapot.status, teapot.field("X-Marked")), (418, Some("yes")));
    assert_eq!(get("listeners").status, 404);
    assert_eq!(ask(inside, "listeners", "Content-Length: 0\r\n\r\n").status, 200);
    assert_eq!(get("timeouts").status, 504);
    assert!((0..4).all(|_| get("retry").text() == "one"));
    assert_eq!(ask(world.proxy.address, "body", "Content-Length: 4\r\n\r\nabcd").status, 413);
    assert_eq!(ask(world.proxy.address, "body", "Content-Length: 3\r\n\r\nabc").status, 200);
    assert!(get("service").text().to_lowercase().contains("host: inner.test"));
    assert_eq!(get("access-log").status, 200);
    let logged = |host: &str| world.proxy.access_log().iter().any(|line| line["host"] == format!("{host}.test"));
    crate::support::eventually("the last request is logged", || {
        get("use");
        logged("use")
    });
    assert!(!logged("access-log"));
}

#[test]
fn what_cannot_be_read_closes_and_is_told() {
    let one = named("one");
    let wrong = [
        ("no-such", "x", "there is no annotation of this name"),
        ("use", "nobody", "`nobody` is none of the `chains` of [kubernetes]"),
        ("listeners", "nobody", "`nobody` does not serve the cluster"),
        ("use", "teapot", "`teapot` is none of the `chains` of [kubernetes]"),
        ("timeouts", "{ header: soon }", "cannot be read"),
        ("retry", "{ attempt: 1 }", "cannot be read"),
        ("body", "3", "cannot be read"),
        ("access-log", "maybe", "write true or false"),
        ("service", "{ endpoints: [\"127.0.0.1:22\"] }", "`endpoints` is no key that an object may say"),
        ("service", "{ tls: { ca: [\"/etc/passwd\"] } }", "`tls` is no key that an object may say"),
        ("service", "{ balance: 7 }", "cannot be read"),
        ("service", "[", "cannot be read"),
    ];
    let objects: String =
        wrong.iter().enumerate().map(|(at, (key, text, _))| object(&format!("w{at}"), "one", &[(key, text)])).collect();
    let api = ApiServer::start();
    api.apply("shop", &(service("one", &[one.address]) + &objects + &object("good", "one", &[])));
    let world = World::of("epoll", api, "", CHAINS);
    world.eventually("good.test", "/", (200, "one"));
    let log = world.proxy.process_log();
    for (at, (key, text, told)) in wrong.iter().enumerate() {
        assert_eq!(world.status(&format!("w{at}.test"), "/"), 503, "{key}: {text}");
        let line = log.lines().find(|line| line.contains(&format!("Ingress shop/w{at}:")) && line.contains(told));
        assert!(line.is_some(), "{key}: {text}: {told}: {log}");
    }
}
