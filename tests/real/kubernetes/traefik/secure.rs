//! TLS on both sides.

use std::io::Write as _;

use super::{KEYS, World, backend, frontend};
use crate::api_server::ApiServer;
use crate::kubernetes::service;
use crate::support::Proxy;
use crate::support::authority::{Authority, Issued};
use crate::support::proxy::free_address;
use crate::support::secure::{SecureClient, client_config, read_head, secure_origin};
use crate::tls::mirror;

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
fn what_a_clients_certificate_says_is_told_and_hosts_are_forced() {
    let authority = Authority::new();
    let (own, caller) = (authority.issue("own", &["a.test"]), authority.issue("caller", &["me"]));
    let origin = mirror();
    let force = [("ssl-force-host", "true"), ("ssl-host", "a.test")];
    let objects = backend("one", &[], &[&origin])
        + &certificate("own", &own)
        + &frontend(
            "web",
            &[("pass-client-tls-cert", "pem: true\ninfos: { subject: { commonname: true } }\n")],
            &[("a.test", "/", "Prefix", "one")],
        )
        .replace("  rules:", "  tls: [{ secretName: own }]\n  rules:")
        + &frontend("old", &[("pass-tls-cert", "true")], &[("a.test", "/old/path", "Prefix", "one")])
        + &frontend("force", &force, &[("a.test", "/force", "Prefix", "one"), ("", "/force", "Prefix", "one")]);
    let api = ApiServer::start();
    api.apply("shop", &objects);
    let listener = free_address();
    let ca = authority.ca();
    let rest = format!(
        "[listeners.secure]\naddress = \"{listener}\"\ntls = {{ client_auth = [{{ ca = [\"{}\"], mode = \"optional\" }}] }}\n",
        ca.display()
    );
    let _world = World::of("io_uring", api, KEYS, &rest);
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
    let sent = client.get("b.test", "/force").unwrap();
    assert!(sent.starts_with("HTTP/1.1 301") && sent.contains("https://a.test/force"), "{sent}");
}

#[test]
fn pods_and_services_that_are_asked_are_spoken_to_as_it_is_said() {
    let authority = Authority::new();
    let pod = authority.issue("pod", &["localhost"]);
    let secure = secure_origin(&pod, |stream| {
        while read_head(stream) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure").unwrap();
        }
    });
    let route = "[[routes]]\nname = \"h2c\"\nfilters = [{ respond = { status = 200, body = \"from h2c\" } }]\n";
    let h2c = Proxy::start("epoll", route);
    let pods = service("pods", &[secure]).replace("port: 80", "port: 443").replace("name: web", "name: https");
    let url = format!("https://127.0.0.1:{}/verify", secure.port());
    let asks = [("auth-type", "forward"), ("auth-url", url.as_str())];
    let own = [("auth-tls-insecure", "true"), ("auth-tls-secret", "own"), ("auth-trust-headers", "true")];
    let objects = backend("one", &[], &[&mirror()])
        + &format!("---\n{pods}---\n{}", service("h2c", &[h2c.address]))
        + &certificate("own", &pod)
        + &frontend("pods", &[], &[("pods.test", "/", "Prefix", "pods")]).replace("number: 80", "number: 443")
        + &frontend("h2c", &[("protocol", "h2c")], &[("h2c.test", "/", "Prefix", "h2c")])
        + &frontend("asks", &asks, &[("asks.test", "/", "Prefix", "one")])
        + &frontend("insecure", &[&asks[..], &own[..]].concat(), &[("insecure.test", "/", "Prefix", "one")]);
    let ca = authority.ca();
    let rest = format!("[kubernetes.service.tls]\nca = [\"{}\"]\nserver_name = \"localhost\"\n", ca.display());
    let api = ApiServer::start();
    api.apply("shop", &objects);
    let world = World::of("io_uring", api, KEYS, &rest);
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
