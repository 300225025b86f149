//! Ingress objects of Traefik 1.7: each of its annotations, met with traffic.

use std::fmt::Write as _;

use super::{World, named, service};
use crate::support::authority::{Authority, Issued};
use crate::support::client::Response;
use crate::support::proxy::free_address;
use crate::support::secure::{SecureClient, client_config, read_head, secure_origin};
use crate::support::{Client, Origin, output, tool};

const KEYS: &str = "dialects = [\"traefik1\"]\nwithout_class = \"traefik1\"";

/// A path: host, path, type of path, service.
type Rule<'a> = (&'a str, &'a str, &'a str, &'a str);

/// An Ingress without a class, with these annotations (`X` for `traefik.ingress.kubernetes.io/X`).
fn frontend(name: &str, annotations: &[(&str, &str)], rules: &[Rule<'_>]) -> String {
    let web = super::ingress(name, rules).replace("  ingressClassName: ringress\n", "");
    web.replace(&format!("{{ name: {name} }}"), &format!("{{ name: {name}{} }}", noted(annotations)))
}

/// A Service with these annotations and endpoints.
fn backend(name: &str, annotations: &[(&str, &str)], origins: &[&Origin]) -> String {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let written = format!("metadata: {{ name: {name}{} }}", noted(annotations));
    "---\n".to_owned() + &service(name, &addresses).replacen(&format!("metadata: {{ name: {name} }}"), &written, 1)
}

fn noted(annotations: &[(&str, &str)]) -> String {
    let mut text = String::from(", annotations: {");
    for (name, value) in annotations {
        let prefix =
            if name.contains('/') || name.starts_with("traefik.") { "" } else { "traefik.ingress.kubernetes.io/" };
        write!(text, " {prefix}{name}: {},", serde_json::Value::from(*value)).unwrap();
    }
    text + "}"
}

/// What a request gets; `fields` are lines of its head.
fn ask(world: &World, host: &str, line: &str, fields: &[&str]) -> Response {
    let mut head = format!("{line} HTTP/1.1\r\nHost: {host}\r\n");
    fields.iter().for_each(|field| write!(head, "{field}\r\n").unwrap());
    let mut client = Client::connect(world.proxy.address);
    client.send(format!("{head}\r\n")).response(line.split(' ').next().unwrap())
}

fn statuses<const N: usize>(world: &World, host: &str, paths: [&str; N]) -> [u16; N] {
    paths.map(|path| world.status(host, path))
}

/// An origin that answers with what it was asked for.
fn echo() -> Origin {
    Origin::start(|request, stream| crate::support::origin::reply(stream, request.head.as_bytes()))
}

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
        + &frontend("today", &[], &[("d.test", "/exact", "Exact", "one")]);
    for engine in crate::support::ENGINES {
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
        ] {
            assert_eq!(world.get(host, path), (200, expected.to_owned()), "{engine} {host}{path}");
        }
        for (host, path) in [("x.y.b.test", "/"), ("c.test", "/users/x"), ("d.test", "/exact/x"), ("e.test", "/")] {
            assert_eq!(world.status(host, path), 404, "{engine} {host}{path}");
        }
    }
}

#[test]
fn the_upstream_gets_what_the_rule_and_its_modifiers_make() {
    let origin = echo();
    let mut objects = backend("one", &[], &[&origin]);
    let cases: [(&str, &[(&str, &str)], &str, &str, &str, Option<(&str, &str)>); 8] = [
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
        let answer = ask(&world, &format!("{name}.test"), &format!("GET {asked}"), &[]);
        let reached = origin.requests().pop().unwrap();
        assert_eq!((answer.status, reached.target()), (200, expected), "{name}");
        if let Some((field, value)) = field {
            assert_eq!(reached.field(field), Some(value), "{name}");
        }
    }
}

#[test]
fn clients_are_sent_where_the_annotations_say() {
    let origin = echo();
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
    let api = crate::api_server::ApiServer::start();
    api.apply("shop", &objects);
    let other = free_address();
    let rest = format!("[listeners.other]\naddress = \"{other}\"\n");
    let world = World::of("epoll", api, KEYS, &rest);
    let sent = |host: &str, line: &str| {
        let answer = ask(&world, host, line, &[]);
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
        assert_eq!(ask(&world, "ssl.test", "GET /", &[field]).status, 200, "{field}");
    }
    assert_eq!(ask(&world, "ssl.test", "GET /", &["X-Tls: no"]).status, 301);
}

#[test]
fn only_those_come_in_who_may() {
    let users = output(tool("htpasswd", "apache2-utils").args(["-nbm", "me", "right"]));
    let folder = std::env::temp_dir().join(format!("ringress-traefik-users-{}", std::process::id()));
    let digest =
        output(std::process::Command::new("sh").arg("-c").arg("printf 'me:traefik:right' | md5sum | cut -c1-32"));
    let secret = |name: &str, data: &str| {
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name} }}\nstringData: {{ {data} }}\n")
    };
    let verify = Origin::start(|request, stream| {
        let status =
            if request.field("Authorization") == Some("token") { "200 OK\r\nX-User: me" } else { "401 Unauthorized" };
        crate::support::origin::write(stream, format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
    });
    let origin = echo();
    let of = |name: &str, annotations: &[(&str, &str)]| {
        frontend(name, annotations, &[(&format!("{name}.test"), "/", "Prefix", "one")])
    };
    let url = format!("http://{}/verify", verify.address);
    let quoted = serde_json::Value::from(users.trim());
    let objects = backend("one", &[], &[&origin])
        + &secret("users", &format!("users: {quoted}"))
        + &secret("digests", &format!("users: \"# a comment\\nme:traefik:{}\"", digest.trim()))
        + &secret("many", "a: b, c: d")
        + &of("in", &[("whitelist-source-range", "127.0.0.0/8, ::1")])
        + &of("out", &[("whitelist-source-range", "192.0.2.0/24"), ("whitelist-x-forwarded-for", "true")])
        + &of("wrong", &[("whitelist-source-range", "127.0.0.0/8,nonsense")])
        + &of(
            "basic",
            &[
                ("auth-type", "Basic"),
                ("auth-secret", "users"),
                ("auth-header-field", "X-WebAuth-User"),
                ("auth-remove-header", "true"),
            ],
        )
        + &of("digest", &[("auth-type", "digest"), ("auth-secret", "digests")])
        + &of("forward", &[("auth-type", "forward"), ("auth-url", &url), ("auth-response-headers", "X-User")])
        + &of("missing", &[("auth-type", "basic"), ("auth-secret", "nowhere")])
        + &of("many", &[("auth-type", "basic"), ("auth-secret", "many")])
        + &of("realm", &[("auth-type", "basic"), ("auth-secret", "users"), ("auth-realm", "mine")])
        + &of("kind", &[("auth-type", "none")]);
    let world = World::new("io_uring", KEYS, &objects);
    assert_eq!(["in.test", "out.test", "wrong.test"].map(|host| world.status(host, "/")), [200, 403, 503]);
    assert_eq!(ask(&world, "out.test", "GET /", &["X-Forwarded-For: 192.0.2.1"]).status, 403);
    assert_eq!(["missing.test", "many.test", "realm.test", "kind.test"].map(|host| world.status(host, "/")), [503; 4]);

    // me:right and me:wrong.
    let [right, wrong] = ["Authorization: Basic bWU6cmlnaHQ=", "Authorization: Basic bWU6d3Jvbmc="];
    assert_eq!(
        [&[right][..], &[wrong], &[]].map(|fields| ask(&world, "basic.test", "GET /", fields).status),
        [200, 401, 401]
    );
    let reached = origin.requests().pop().unwrap();
    assert_eq!((reached.field("X-WebAuth-User"), reached.field("Authorization")), (Some("me"), None));

    assert_eq!(ask(&world, "forward.test", "GET /", &[]).status, 401);
    assert_eq!(ask(&world, "forward.test", "POST /x", &["Authorization: token"]).status, 200);
    let (asked, reached) = (verify.requests().pop().unwrap(), origin.requests().pop().unwrap());
    assert_eq!(asked.line(), "GET /verify HTTP/1.1");
    assert_eq!((asked.field("X-Forwarded-Method"), asked.field("X-Forwarded-Uri")), (Some("POST"), Some("/x")));
    assert_eq!(reached.field("X-User"), Some("me"));

    let digest = |user: &str| {
        let mut curl = tool("curl", "curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--digest", "-u", user, "-H", "Host: digest.test"]);
        output(curl.arg(format!("http://{}/", world.proxy.address)))
    };
    assert_eq!([digest("me:right"), digest("me:wrong")], ["200", "401"]);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn fields_are_changed_and_hosts_refused() {
    let origin = echo();
    let objects = backend("one", &[], &[&origin])
        + &frontend(
            "web",
            &[
                ("ingress.kubernetes.io/custom-request-headers", "X-Added: a:b||Cookie:"),
                ("custom-response-headers", "X-Answer:yes||Server:"),
                ("frame-deny", "true"),
                ("content-type-nosniff", "true"),
                ("browser-xss-filter", "true"),
                ("content-security-policy", "default-src 'self'"),
                ("referrer-policy", "same-origin"),
                ("public-key", "pin-sha256=\"x\"; max-age=5"),
                ("hsts-max-age", "31536000"),
                ("hsts-preload", "true"),
                ("hsts-include-subdomains", "true"),
                ("force-hsts", "true"),
                ("preserve-host", "false"),
            ],
            &[("a.test", "/", "Prefix", "one")],
        )
        + &frontend(
            "own",
            &[
                ("frame-deny", "true"),
                ("custom-frame-options-value", "SAMEORIGIN"),
                ("custom-browser-xss-value", "0"),
                ("hsts-max-age", "9"),
            ],
            &[("b.test", "/", "Prefix", "one")],
        )
        + &frontend("hosts", &[("allowed-hosts", "c.test,d.test")], &[("", "/hosts", "Prefix", "one")])
        + &frontend("other", &[("allowed-hosts", "c.test")], &[("e.test", "/", "Prefix", "one")]);
    let world = World::new("epoll", KEYS, &objects);
    let answer = ask(&world, "a.test", "GET /", &["Cookie: a=b"]);
    for (field, expected) in [
        ("X-Answer", "yes"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-XSS-Protection", "1; mode=block"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("Referrer-Policy", "same-origin"),
        ("Public-Key-Pins", "pin-sha256=\"x\"; max-age=5"),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
    ] {
        assert_eq!(answer.field(field), Some(expected), "{field}");
    }
    let reached = origin.requests().pop().unwrap();
    assert_eq!((reached.field("X-Added"), reached.field("Cookie")), (Some("a:b"), None));
    assert_eq!(reached.field("Host"), Some(origin.address.to_string().as_str()));
    let answer = ask(&world, "b.test", "GET /", &[]);
    assert_eq!((answer.field("X-Frame-Options"), answer.field("X-XSS-Protection")), (Some("SAMEORIGIN"), Some("0")));
    assert_eq!(answer.field("Strict-Transport-Security"), None, "it came without TLS");
    assert_eq!(["c.test", "D.test", "x.test"].map(|host| world.status(host, "/hosts")), [200, 200, 500]);
    assert_eq!(world.get("e.test", "/"), (500, "Bad Host".to_owned()));
}

#[test]
fn what_is_too_much_or_fails_is_answered_as_the_annotations_say() {
    let origin = echo();
    let failing = Origin::start(|_, stream| {
        crate::support::origin::write(stream, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    });
    let slow = Origin::start(|_, stream| {
        std::thread::sleep(std::time::Duration::from_secs(1));
        crate::support::origin::reply(stream, b"slow")
    });
    let breaker = [("circuit-breaker-expression", "ResponseCodeRatio(500, 600, 0, 600) > 0.5")];
    let rate = "extractorfunc: client.ip\nrateset:\n  slow: {period: 10m, average: 2, burst: 3}\n  fast: {period: 1, average: 100, burst: 100}\n";
    let by_field = "{extractorfunc: request.header.X-Key, rateset: {one: {period: 1h, average: 1, burst: 1}}}";
    let pages = "{odd: {status: [\"503\"], backend: pages.test/, query: \"/of/{status}.html\"}, no: {status: [\"500-502\"], backend: nowhere}}";
    let objects = backend("one", &[("buffering", "{maxrequestbodybytes: 10, memrequestbodybytes: 5}")], &[&origin])
        + &backend("bad", &breaker, &[&failing])
        + &backend("failing", &[], &[&failing])
        + &backend("slow", &[("max-conn-amount", "1"), ("max-conn-extractor-func", "request.host")], &[&slow])
        + &backend("typo", &[("traefik.backend.circuitbreaker", "NetworkErrors() > 1")], &[&origin])
        + &frontend("rate", &[("rate-limit", rate)], &[("rate.test", "/", "Prefix", "one")])
        + &frontend("field", &[("rate-limit", by_field)], &[("field.test", "/", "Prefix", "one")])
        + &frontend("none", &[("rate-limit", "extractorfunc: moon")], &[("none.test", "/", "Prefix", "one")])
        + &frontend("bad", &[], &[("bad.test", "/", "Prefix", "bad")])
        + &frontend("slow", &[], &[("slow.test", "/", "Prefix", "slow")])
        + &frontend("typo", &[], &[("typo.test", "/", "Prefix", "typo")])
        + &frontend("pages", &[], &[("pages.test", "/", "Prefix", "one")])
        + &frontend("errors", &[("error-pages", pages)], &[("errors.test", "/", "Prefix", "failing")]);
    let world = World::new("io_uring", KEYS, &objects);
    assert_eq!(statuses(&world, "rate.test", ["/"; 5]), [200, 200, 200, 429, 429]);
    let by = |key: &str| ask(&world, "field.test", "GET /", &[&format!("X-Key: {key}")]).status;
    assert_eq!([by("a"), by("a"), by("b")], [200, 429, 200]);
    assert_eq!([world.status("none.test", "/"), world.status("typo.test", "/")], [503, 503]);

    let post = |length: usize| {
        let head =
            format!("POST / HTTP/1.1\r\nHost: pages.test\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
        Client::connect(world.proxy.address).send(head).response("POST").status
    };
    assert_eq!([post(10), post(11)], [200, 413]);

    let answer = ask(&world, "errors.test", "GET /x", &[]);
    assert_eq!(answer.status, 503);
    assert!(answer.text().starts_with("GET /of/503.html HTTP/1.1"), "{}", answer.text());

    // One worker has seen at most 16 of these, each at least one of them: whichever it is, its breaker opens in the end.
    let before = failing.requests().len();
    for _ in 0..40 {
        assert_eq!(ask(&world, "bad.test", "GET /", &[]).status, 503);
    }
    assert!(failing.requests().len() - before < 40, "the breaker opened");
    crate::support::eventually("it is in the log", || {
        world.proxy.access_log().iter().any(|line| line["cause"] == "circuit_open")
    });

    let mut first = Client::connect(world.proxy.address);
    first.send("GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n");
    crate::support::eventually("the first is there", || !slow.requests().is_empty());
    assert_eq!(world.status("slow.test", "/"), 429);
    assert_eq!(first.response("GET").status, 200);
}

#[test]
fn services_of_one_path_share_its_requests() {
    let origins: Vec<Origin> = ["old", "old", "old", "new"].into_iter().map(named).collect();
    let olds = [&origins[0], &origins[1], &origins[2]];
    let objects = backend("old", &[], &olds)
        + &backend("new", &[], &[&origins[3]])
        + &backend(
            "sticky",
            &[("affinity", "true"), ("load-balancer-method", "drr"), ("session-same-site", "lax")],
            &[&origins[0], &origins[3]],
        )
        + &backend(
            "named",
            &[
                ("affinity", "true"),
                ("session-cookie-name", "mine"),
                ("session-http-only", "true"),
                ("session-secure", "true"),
            ],
            &olds,
        )
        + &frontend("one", &[], &[("a.test", "/", "Prefix", "old")])
        + &frontend("two", &[], &[("a.test", "/", "Prefix", "new")])
        + &frontend(
            "weights",
            &[("service-weights", "new: 75%")],
            &[("b.test", "/", "Prefix", "old"), ("b.test", "/", "Prefix", "new")],
        )
        + &frontend(
            "wrong",
            &[("service-weights", "{new: 75%, old: 50%}")],
            &[("c.test", "/", "Prefix", "old"), ("c.test", "/", "Prefix", "new")],
        )
        + &frontend("sticky", &[], &[("d.test", "/x", "Prefix", "sticky")])
        + &frontend("named", &[], &[("e.test", "/", "Prefix", "named")]);
    let world = World::new("io_uring", KEYS, &objects);
    let share = |host: &str| {
        let new = (0..400).filter(|_| world.get(host, "/") == (200, "new".to_owned())).count();
        new as f64 / 400.0
    };
    // One of four endpoints; each worker goes round by itself, from anywhere.
    let share_of_endpoints = share("a.test");
    assert!((share_of_endpoints - 0.25).abs() < 0.1, "{share_of_endpoints}");
    // Five deviations of 400 requests by chance.
    let share_of_weights = share("b.test");
    assert!((share_of_weights - 0.75).abs() < 0.11, "{share_of_weights}");
    assert_eq!(world.status("c.test", "/"), 503);

    let first = ask(&world, "d.test", "GET /x", &[]);
    let cookie = first.field("Set-Cookie").unwrap().to_owned();
    let name = output(
        std::process::Command::new("sh").arg("-c").arg("printf '_TRAEFIK_BACKEND_d.test/x' | sha1sum | cut -c1-5"),
    );
    assert!(cookie.starts_with(&format!("_{}=", name.trim())) && cookie.contains("SameSite=Lax"), "{cookie}");
    let mine = format!("Cookie: {}", cookie.split(';').next().unwrap());
    for _ in 0..20 {
        assert_eq!(ask(&world, "d.test", "GET /x", &[&mine]).text(), first.text());
    }
    let cookie = ask(&world, "e.test", "GET /", &[]).field("Set-Cookie").unwrap().to_owned();
    assert!(cookie.starts_with("mine=") && cookie.contains("HttpOnly") && cookie.contains("Secure"), "{cookie}");
}

/// A Secret of the type `kubernetes.io/tls`.
fn certificate(name: &str, issued: &Issued) -> String {
    let text = |path: &std::path::Path| serde_json::Value::from(std::fs::read_to_string(path).unwrap());
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name} }}\nstringData: {{ tls.crt: {}, tls.key: {} }}\n",
        text(&issued.cert),
        text(&issued.key)
    )
}

#[test]
fn tls_is_spoken_to_both_sides() {
    let authority = Authority::new();
    let (own, pod, caller) = (
        authority.issue("own", &["a.test"]),
        authority.issue("pod", &["localhost"]),
        authority.issue("caller", &["me"]),
    );
    let reply = |stream: &mut rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>| {
        while read_head(stream) {
            std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure").unwrap();
        }
    };
    let secure = secure_origin(&pod, reply);
    let h2c = crate::support::Proxy::start(
        "epoll",
        "[[routes]]\nname = \"h2c\"\nfilters = [{ respond = { status = 200, body = \"from h2c\" } }]\n",
    );
    let (origin, secure_port) = (echo(), secure.port());
    let secure_service =
        service("pods", &[secure]).replace("port: 80", "port: 443").replace("name: web", "name: https");
    let h2c_service = "---\n".to_owned() + &service("h2c", &[h2c.address]);
    let told = "pem: true\ninfos: { subject: { commonname: true } }\n";
    let url = format!("https://127.0.0.1:{secure_port}/verify");
    let asks = [("auth-type", "forward"), ("auth-url", url.as_str())];
    let insecure =
        [&asks[..], &[("auth-tls-insecure", "true"), ("auth-tls-secret", "own"), ("auth-trust-headers", "true")]]
            .concat();
    let objects = backend("one", &[], &[&origin])
        + "---\n"
        + &secure_service
        + &h2c_service
        + &certificate("own", &own)
        + &frontend("web", &[("pass-client-tls-cert", told)], &[("a.test", "/", "Prefix", "one")])
            .replace("  rules:", "  tls: [{ secretName: own }]\n  rules:")
        + &frontend("old", &[("pass-tls-cert", "true")], &[("a.test", "/old/path", "Prefix", "one")])
        + &frontend(
            "force",
            &[("ssl-force-host", "true"), ("ssl-host", "a.test")],
            &[("a.test", "/force", "Prefix", "one"), ("", "/force", "Prefix", "one")],
        )
        + &frontend("pods", &[], &[("pods.test", "/", "Prefix", "pods")]).replace("number: 80", "number: 443")
        + &frontend("h2c", &[("protocol", "h2c")], &[("h2c.test", "/", "Prefix", "h2c")])
        + &frontend("asks", &asks, &[("asks.test", "/", "Prefix", "one")])
        + &frontend("insecure", &insecure, &[("insecure.test", "/", "Prefix", "one")]);
    let api = crate::api_server::ApiServer::start();
    api.apply("shop", &objects);
    let listener = free_address();
    let rest = format!(
        "[kubernetes.service.tls]\nca = [\"{}\"]\nserver_name = \"localhost\"\n[listeners.secure]\naddress = \"{listener}\"\n\
         tls = {{ client_auth = [{{ ca = [\"{}\"], mode = \"optional\" }}] }}\n",
        authority.ca().display(),
        authority.ca().display()
    );
    let world = World::of("io_uring", api, KEYS, &rest);
    let mut client = SecureClient::connect(listener, &client_config(&authority, Some(&caller)), "a.test").unwrap();
    client.get("a.test", "/").unwrap();
    let reached = origin.requests().pop().unwrap();
    let subject = reached.field("X-Forwarded-Tls-Client-Cert-Subject").unwrap();
    assert!(subject.contains("CN="), "{subject}");
    let pem = std::fs::read_to_string(&caller.cert).unwrap();
    let bytes: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
    assert_eq!(reached.field("X-Forwarded-Tls-Client-Cert"), Some(bytes.as_str()));
    client.get("a.test", "/old/path").unwrap();
    let reached = origin.requests().pop().unwrap();
    assert_eq!(reached.field("X-Forwarded-Tls-Client-Cert"), Some(bytes.as_str()));
    assert_eq!(reached.field("X-Forwarded-Tls-Client-Cert-Subject"), None);
    assert!(client.get("a.test", "/force").unwrap().starts_with("HTTP/1.1 200"));
    let sent = client.get("b.test", "/force").unwrap().to_lowercase();
    assert!(sent.starts_with("http/1.1 421") || sent.contains("location: https://a.test/force"), "{sent}");
    assert_eq!(
        world.get("pods.test", "/"),
        (200, "secure".to_owned()),
        "the port says https, and the authority is known"
    );
    assert_eq!(world.get("h2c.test", "/"), (200, "from h2c".to_owned()));
    assert_eq!(h2c.line("/")["protocol"], "HTTP/2.0");
    assert_eq!(
        [world.status("asks.test", "/"), world.status("insecure.test", "/")],
        [503, 200],
        "nobody vouches for it"
    );
}

#[test]
fn every_annotation_is_met_here() {
    let written = include_str!("traefik.rs");
    let page = include_str!("../../../docs/traefik-1.7.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let missing: Vec<_> = rows
        .filter(|(name, rest)| {
            !rest.contains("| refused: ")
                && !rest.contains("| nothing to do: ")
                && !written.contains(&format!("{name}\""))
        })
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "no request meets {missing:?}");
}

#[test]
fn what_holds_for_every_service_of_the_cluster_is_checked_with_the_file() {
    let file = std::env::temp_dir().join(format!("ringress-cluster-service-{}.toml", std::process::id()));
    std::fs::write(&file, "[kubernetes.service]\nendpoints = [\"127.0.0.1:1\"]\nbalance = \"hash:nothing\"\n[listeners.web]\naddress = \":80\"\n").unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_ringress")).arg("check").arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{told}");
    for expected in [
        ":2:1: kubernetes.service.endpoints: the cluster says where its pods are",
        ":3:1: kubernetes.service.balance: ",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let _ = std::fs::remove_file(file);
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
    let api = crate::api_server::ApiServer::start();
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
    crate::support::eventually("it is told", || world.proxy.process_log().contains("there is no listener `nowhere`"));
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
