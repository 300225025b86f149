//! Who comes in, and how often.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{annotated, backend, holder, world};
use crate::api_server::ApiServer;
use crate::kubernetes::World;
use crate::support::authority::Authority;
use crate::support::proxy::free_address;
use crate::support::secure::{SecureClient, client_config};
use crate::tls::mirror;

/// `user` with the password `open`.
const BASIC: &str = "Authorization: Basic dXNlcjpvcGVu";
const HASH: &str = "{SHA}X8fji//gDKRq3YkUVGSi6vdZ1cI=";

#[test]
fn users_stand_in_a_file_or_one_in_each_key() {
    let origin = mirror();
    let by = |kind: &'static str, secret: &'static str| {
        [("auth-type", "basic"), ("auth-secret", secret), ("auth-secret-type", kind), ("auth-realm", "in here")]
    };
    let objects = backend("one", &[&origin])
        + &holder("Secret", "file", &[("auth", &format!("user:{HASH}\n"))])
        + &holder("Secret", "map", &[("user", HASH)])
        + &annotated("file", "one", &by("auth-file", "file"))
        + &annotated("map", "one", &by("auth-map", "map"))
        + &annotated("mixed", "one", &by("auth-file", "map"));
    let world = world(&objects, &[]);
    for host in ["file.test", "map.test"] {
        let refused = world.ask(host, "GET /", &[]);
        assert_eq!(
            (refused.status, refused.field("WWW-Authenticate")),
            (401, Some("Basic realm=\"in here\", charset=\"UTF-8\"")),
            "{host}"
        );
        assert_eq!(world.ask(host, "GET /", &[BASIC]).status, 200, "{host}");
        assert_eq!(world.ask(host, "GET /", &["Authorization: Basic dXNlcjpubw=="]).status, 401, "{host}");
    }
    assert_eq!(world.ask("mixed.test", "GET /", &[BASIC]).status, 503, "a Secret of the other form closes");
}

#[test]
fn another_service_is_told_what_annotations_say_or_is_not_asked() {
    let (origin, auth) = (mirror(), mirror());
    let url = ("auth-url", "http://auth.shop.svc.cluster.local/verify");
    let objects = backend("one", &[&origin])
        + &backend("auth", &[&auth])
        + &holder("ConfigMap", "told", &[("X-Told", "by $host"), ("X-Fixed", "a")])
        + &annotated("own", "one", &[url, ("auth-request-redirect", "/back"), ("auth-proxy-set-headers", "shop/told")])
        + &annotated("lost", "one", &[url, ("auth-proxy-set-headers", "shop/nowhere")])
        + &annotated("all", "one", &[])
        + &annotated("spared", "one", &[("enable-global-auth", "false")]);
    let world = world(&objects, &[("global-auth-url", "http://auth.shop.svc.cluster.local/global")]);
    assert_eq!(world.ask("own.test", "GET /x", &[]).status, 200);
    let asked = auth.requests().pop().unwrap();
    assert_eq!(asked.target(), "/verify");
    assert_eq!(asked.field("X-Auth-Request-Redirect"), Some("/back"));
    assert_eq!((asked.field("X-Told"), asked.field("X-Fixed")), (Some("by own.test"), Some("a")));
    assert_eq!(world.ask("lost.test", "GET /", &[]).status, 503, "without its ConfigMap it is closed");
    assert_eq!(world.ask("all.test", "GET /", &[]).status, 200);
    assert_eq!(auth.requests().pop().unwrap().target(), "/global");
    let before = auth.requests().len();
    assert_eq!(world.ask("spared.test", "GET /", &[]).status, 200);
    assert_eq!(auth.requests().len(), before, "nobody was asked");
}

#[test]
fn the_certificate_of_a_client_is_passed_on_where_it_is_said() {
    let authority = Authority::new();
    let (own, caller) =
        (authority.issue("own", &["with.test", "without.test", "revoked.test"]), authority.issue("caller", &["me"]));
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let origin = mirror();
    let asks = |pass: &'static str| {
        [
            ("auth-tls-secret", "shop/ca"),
            ("auth-tls-verify-client", "optional"),
            ("auth-tls-pass-certificate-to-upstream", pass),
        ]
    };
    let objects = backend("one", &[&origin])
        + &holder("Secret", "own", &[("tls.crt", &text(&own.cert)), ("tls.key", &text(&own.key))])
        + &holder("Secret", "ca", &[("ca.crt", &text(&authority.ca()))])
        + &annotated("with", "one", &asks("true"))
            .replace("  rules:", "  tls: [{ hosts: [with.test, without.test], secretName: own }]\n  rules:")
        + &annotated("without", "one", &asks("false"))
            .replace("  rules:", "  tls: [{ hosts: [with.test, without.test], secretName: own }]\n  rules:");
    let listed = holder(
        "Secret",
        "listed",
        &[("ca.crt", &text(&authority.ca())), ("ca.crl", &text(&authority.revoke(&[&caller], 2090)))],
    );
    let revoked = [("auth-tls-secret", "shop/listed"), ("auth-tls-verify-client", "on")];
    let revoked = annotated("revoked", "one", &revoked)
        .replace("  rules:", "  tls: [{ hosts: [revoked.test], secretName: own }]\n  rules:");
    let api = ApiServer::start();
    api.apply("shop", &(objects + &listed + &revoked));
    let listener = free_address();
    let world =
        World::of("io_uring", api, super::KEYS, &format!("[listeners.secure]\naddress = \"{listener}\"\ntls = {{}}\n"));
    world.eventually("with.test", "/", (308, ""));
    for (host, is_passed) in [("with.test", true), ("without.test", false)] {
        let config = client_config(&authority, Some(&caller));
        let mut client = SecureClient::connect(listener, &config, host).unwrap();
        assert!(client.get(host, "/").unwrap().starts_with("HTTP/1.1 200"), "{host}");
        let reached = origin.requests().pop().unwrap();
        assert_eq!(reached.field("ssl-client-verify"), Some("SUCCESS"), "{host}");
        assert_eq!(reached.field("ssl-client-cert").is_some_and(|pem| pem.contains("BEGIN%20CERTIFICATE")), is_passed);
    }
    let mut client =
        SecureClient::connect(listener, &client_config(&authority, Some(&caller)), "revoked.test").unwrap();
    let told = client.get("revoked.test", "/").unwrap();
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("denied:certificate_invalid"), "{told}");
}

#[test]
fn requests_beyond_a_rate_are_refused_but_of_those_who_are_exempt() {
    let origin = mirror();
    let mut objects = backend("one", &[&origin])
        + &annotated("second", "one", &[("limit-rps", "1"), ("limit-burst-multiplier", "2")])
        + &annotated("minute", "one", &[("limit-rpm", "1"), ("limit-burst-multiplier", "4")])
        + &annotated("default", "one", &[("limit-rpm", "1")]);
    let exempt = [("new", "limit-allowlist"), ("old", "limit-whitelist"), ("foreign", "limit-allowlist")];
    for (host, _) in exempt {
        let networks = if host == "foreign" { "192.0.2.0/24" } else { "127.0.0.0/8" };
        let list = if host == "old" { ("limit-whitelist", networks) } else { ("limit-allowlist", networks) };
        let _ = write!(objects, "{}", annotated(host, "one", &[("limit-rpm", "1"), list]));
    }
    let world = world(&objects, &[("limit-req-status-code", "429")]);
    let passed = |host: &str| {
        let statuses: Vec<_> = (0..20).map(|_| world.status(host, "/")).collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    };
    // The first, and the burst: the rate times the multiplier.
    assert_eq!(passed("minute.test"), 5);
    assert_eq!(passed("default.test"), 6);
    assert_eq!(passed("foreign.test"), 6);
    assert_eq!((passed("new.test"), passed("old.test")), (20, 20));
    let began = Instant::now();
    let first = passed("second.test");
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((3..=3 + seconds).contains(&first), "{first} in {seconds} s");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(world.status("second.test", "/"), 200, "a second later there is room again");
}
