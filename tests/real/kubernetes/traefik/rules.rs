//! Which requests go where, and what they become on the way.

use super::{KEYS, World, backend, frontend};
use crate::api_server::ApiServer;
use crate::kubernetes::named;
use crate::support::proxy::free_address;
use crate::support::{Client, ENGINES, eventually};
use crate::tls::mirror;

#[test]
fn longer_rules_go_first_and_paths_are_beginnings_of_texts() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let objects = backend("one", &[], &[&one])
        + &backend("two", &[], &[&two])
        + &backend("three", &[], &[&three])
        + &frontend("all", &[], &[("a.test", "", "ImplementationSpecific", "one"), ("a.test", "/foo", "Prefix", "two")])
        + &frontend("exact", &[("rule-type", "Path")], &[("a.test", "/foo/only/this", "Prefix", "three")])
        + &frontend("short", &[("rule-type", "Path")], &[("a.test", "/foo/no", "Prefix", "three")])
        + &frontend("wild", &[], &[("*.b.test", "/", "Prefix", "two")])
        // Longer than the rule of a host, whichever host is asked for; and one that says so.
        + &frontend("long", &[], &[("", "/a-path-that-is-longer-than-others", "Prefix", "three")])
        + &frontend("first", &[("traefik.frontend.priority", "500")], &[("a.test", "/foo/first", "Prefix", "one")])
        + &frontend("template", &[], &[("c.test", "/users/{id:[0-9]+}", "ImplementationSpecific", "three")])
        + &frontend("today", &[], &[("d.test", "/exact", "Exact", "one")])
        // `Path:/e` would be shorter than `PathPrefix:/`.
        + &frontend("both", &[], &[("e.test", "/", "Prefix", "two"), ("e.test", "/e", "Exact", "one"), ("e.test", "/e", "Prefix", "three")]);
    for engine in ENGINES {
        let world = World::new(engine, KEYS, &objects);
        for (host, path, expected) in [
            ("a.test", "/", "one"),
            ("a.test", "/foo", "two"),
            ("a.test", "/foobar", "two"),
            ("a.test", "/foo/only/this", "three"),
            ("a.test", "/foo/only/this/x", "two"),
            ("a.test", "/foo/first/x", "one"),
            // `Path:/foo/no` is shorter than `PathPrefix:/foo`.
            ("a.test", "/foo/no", "two"),
            ("A.TEST", "/foo", "two"),
            ("x.b.test", "/", "two"),
            ("a.test", "/a-path-that-is-longer-than-others", "three"),
            ("nobody.test", "/a-path-that-is-longer-than-others/x", "three"),
            ("c.test", "/users/12/x", "three"),
            ("d.test", "/exact", "one"),
            ("e.test", "/e", "one"),
            ("e.test", "/e/x", "three"),
            ("e.test", "/x", "two"),
        ] {
            assert_eq!(world.get(host, path), (200, expected.to_owned()), "{engine} {host}{path}");
        }
        let slash = world.ask("a.test", "GET /foo/only/this/?q=1", &[]);
        assert_eq!((slash.status, slash.field("Location")), (301, Some("http://a.test/foo/only/this?q=1")), "{engine}");
        for (host, path) in [("x.y.b.test", "/"), ("c.test", "/users/x"), ("d.test", "/exact/x"), ("f.test", "/")] {
            assert_eq!(world.status(host, path), 404, "{engine} {host}{path}");
        }
    }
}

/// Name, annotations, path, what is asked for, what the upstream gets, a field of it.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str, Option<(&'a str, &'a str)>);

#[test]
fn the_upstream_gets_what_the_rule_and_its_modifiers_make() {
    let origin = mirror();
    let mut objects = backend("one", &[], &[&origin]);
    let cases: [Case<'_>; 8] = [
        (
            "strip",
            &[("rule-type", "PathPrefixStrip")],
            "/api",
            "/api/x?q=1",
            "/x?q=1",
            Some(("X-Forwarded-Prefix", "/api")),
        ),
        ("raw", &[("rule-type", "PathPrefixStrip")], "/foo", "/foobar", "/bar", Some(("X-Forwarded-Prefix", "/foo"))),
        ("exact", &[("rule-type", "PathStrip")], "/old", "/old?q", "/?q", Some(("X-Forwarded-Prefix", "/old"))),
        ("target", &[("rewrite-target", "/new/")], "/app", "/app/x?q", "/new/x?q", Some(("X-Replaced-Path", "/app/x"))),
        ("root", &[("rewrite-target", "/new")], "/", "/x", "/new/x", Some(("X-Replaced-Path", "/x"))),
        ("add", &[("request-modifier", "AddPrefix: /v2")], "/x", "/x/y", "/v2/x/y", None),
        (
            "replace",
            &[("request-modifier", "ReplacePath: /other")],
            "/x",
            "/x/y?q",
            "/other?q",
            Some(("X-Replaced-Path", "/x/y")),
        ),
        (
            "regex",
            &[("request-modifier", "ReplacePathRegex: ^/x/(.*)$ /of/$1")],
            "/x",
            "/x/y",
            "/of/y",
            Some(("X-Replaced-Path", "/x/y")),
        ),
    ];
    for (name, annotations, path, ..) in &cases {
        objects += &frontend(name, annotations, &[(&format!("{name}.test"), path, "Prefix", "one")]);
    }
    let world = World::new("io_uring", KEYS, &objects);
    for (name, _, _, asked, expected, field) in cases {
        let answer = world.ask(&format!("{name}.test"), &format!("GET {asked}"), &[]);
        let reached = origin.requests().pop().unwrap();
        assert_eq!((answer.status, reached.target()), (200, expected), "{name}");
        if let Some((field, value)) = field {
            assert_eq!(reached.field(field), Some(value), "{name}");
        }
    }
}

#[test]
fn clients_are_sent_where_the_annotations_say() {
    let origin = mirror();
    let objects = backend("one", &[], &[&origin])
        + &frontend("root", &[("app-root", "/app")], &[("root.test", "/", "Prefix", "one")])
        + &frontend(
            "entry",
            &[("redirect-entry-point", "other"), ("redirect-permanent", "true")],
            &[("entry.test", "/", "Prefix", "one")],
        )
        + &frontend(
            "regex",
            &[("redirect-regex", "^http://([^/:]+)(:[0-9]+)?/(.*)"), ("redirect-replacement", "https://www.$1/$3")],
            &[("regex.test", "/", "Prefix", "one")],
        )
        + &frontend(
            "ssl",
            &[("ssl-redirect", "true"), ("ssl-proxy-headers", "X-Tls:yes||Front-End-Https:on")],
            &[("ssl.test", "/", "Prefix", "one")],
        )
        + &frontend(
            "host",
            &[("ssl-temporary-redirect", "true"), ("ssl-host", "secure.test")],
            &[("host.test", "/", "Prefix", "one")],
        )
        + &frontend(
            "dev",
            &[("ssl-redirect", "true"), ("is-development", "true"), ("hsts-max-age", "9"), ("force-hsts", "true")],
            &[("dev.test", "/", "Prefix", "one")],
        )
        + &frontend(
            "go",
            &[("redirect-regex", "x"), ("redirect-replacement", "{{ .Request.Host }}")],
            &[("go.test", "/", "Prefix", "one")],
        );
    let api = ApiServer::start();
    api.apply("shop", &objects);
    let other = free_address();
    let rest = format!("[listeners.other]\naddress = \"{other}\"\n");
    let world = World::of("epoll", api, KEYS, &rest);
    let sent = |host: &str, line: &str| {
        let answer = world.ask(host, line, &[]);
        (answer.status, answer.field("Location").unwrap_or_default().to_owned())
    };
    let port = other.port();
    for (host, line, expected) in [
        ("root.test", "GET /", (302, "http://root.test/app".to_owned())),
        ("root.test", "GET /x", (200, String::new())),
        ("entry.test", "GET /x?q", (301, format!("http://entry.test:{port}/x?q"))),
        ("entry.test", "POST /x", (308, format!("http://entry.test:{port}/x"))),
        ("regex.test", "GET /a?b", (302, "https://www.regex.test/a?b".to_owned())),
        ("ssl.test", "GET /a?b", (301, "https://ssl.test/a?b".to_owned())),
        ("host.test", "GET /a?b", (302, "https://secure.test/a?b".to_owned())),
        ("dev.test", "GET /", (200, String::new())),
        ("go.test", "GET /", (503, String::new())),
    ] {
        assert_eq!(sent(host, line), expected, "{host} {line}");
    }
    for field in ["X-Tls: yes", "Front-End-Https: on"] {
        assert_eq!(world.ask("ssl.test", "GET /", &[field]).status, 200, "{field}");
    }
    assert_eq!(world.ask("ssl.test", "GET /", &["X-Tls: no"]).status, 301);
}

#[test]
fn an_ingress_asks_for_listeners_and_what_no_other_takes() {
    let (one, two) = (named("one"), named("two"));
    let default = frontend("default", &[("auth-type", "basic"), ("auth-secret", "nowhere")], &[])
        .replace("  rules:\n", "  defaultBackend: { service: { name: two, port: { number: 80 } } }\n");
    let objects = backend("one", &[], &[&one])
        + &backend("two", &[], &[&two])
        + &frontend("other", &[("frontend-entry-points", "other")], &[("a.test", "/other", "Prefix", "one")])
        + &frontend("web", &[("frontend-entry-points", "web,nowhere")], &[("a.test", "/web", "Prefix", "one")])
        + &frontend("lost", &[("frontend-entry-points", "nowhere")], &[("a.test", "/lost/and/found", "Prefix", "one")])
        + &default;
    let api = ApiServer::start();
    api.apply("shop", &objects);
    let other = free_address();
    let world = World::of("epoll", api, KEYS, &format!("[listeners.other]\naddress = \"{other}\"\n"));
    let on_other = |path: &str| {
        let mut client = Client::connect(other);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).response("GET").text().to_owned()
    };
    // What no other takes goes to the default backend, which Traefik asks nobody for a password.
    assert_eq!(["/other", "/web", "/lost/and/found", "/"].map(on_other), ["one", "two", "two", "two"]);
    let on_web = |path: &str| world.get("a.test", path).1;
    assert_eq!(["/other", "/web", "/lost/and/found", "/"].map(on_web), ["two", "one", "two", "two"]);
    eventually("it is told", || world.proxy.process_log().contains("there is no listener `nowhere` that serves"));
}

#[test]
fn classes_are_those_of_traefik() {
    let one = named("one");
    let of_class = |name: &str, class: &str| {
        frontend(name, &[("kubernetes.io/ingress.class", class)], &[(&format!("{name}.test"), "/", "Prefix", "one")])
    };
    let objects = backend("one", &[], &[&one])
        + &frontend("none", &[], &[("none.test", "/", "Prefix", "one")])
        + &of_class("usual", "traefik")
        + &of_class("inner", "traefik-inner")
        + &of_class("nginx", "nginx");
    let asked = |keys: &str| {
        let world = World::new("epoll", keys, &objects);
        ["none.test", "usual.test", "inner.test", "nginx.test"].map(|host| world.status(host, "/"))
    };
    assert_eq!(asked(KEYS), [200, 200, 404, 404]);
    assert_eq!(asked("dialects = [\"traefik1\"]\nclasses = [\"traefik-inner\"]"), [404, 404, 200, 404]);
}
