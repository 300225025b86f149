//! Who may ask, and what is said of it.

use super::{KEYS, World, backend, frontend};
use crate::support::{Origin, output, tool};
use crate::tls::mirror;

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
    let origin = mirror();
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
    assert_eq!(world.ask("out.test", "GET /", &["X-Forwarded-For: 192.0.2.1"]).status, 403);
    assert_eq!(["missing.test", "many.test", "realm.test", "kind.test"].map(|host| world.status(host, "/")), [503; 4]);

    // me:right and me:wrong.
    let [right, wrong] = ["Authorization: Basic bWU6cmlnaHQ=", "Authorization: Basic bWU6d3Jvbmc="];
    assert_eq!(
        [&[right][..], &[wrong], &[]].map(|fields| world.ask("basic.test", "GET /", fields).status),
        [200, 401, 401]
    );
    let reached = origin.requests().pop().unwrap();
    assert_eq!((reached.field("X-WebAuth-User"), reached.field("Authorization")), (Some("me"), None));

    assert_eq!(world.ask("forward.test", "GET /", &[]).status, 401);
    assert_eq!(world.ask("forward.test", "POST /x", &["Authorization: token"]).status, 200);
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
    let origin = mirror();
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
    let answer = world.ask("a.test", "GET /", &["Cookie: a=b"]);
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
    let answer = world.ask("b.test", "GET /", &[]);
    assert_eq!((answer.field("X-Frame-Options"), answer.field("X-XSS-Protection")), (Some("SAMEORIGIN"), Some("0")));
    assert_eq!(answer.field("Strict-Transport-Security"), None, "it came without TLS");
    assert_eq!(["c.test", "D.test", "x.test"].map(|host| world.status(host, "/hosts")), [200, 200, 500]);
    assert_eq!(world.get("e.test", "/"), (500, "Bad Host".to_owned()));
}
