//! What sig-network's conformance suite for Ingress (v1alpha, archived) asks of a controller: paths, hosts, classes, default backends, load.
//! The suite itself is no module that can be had any more; these are its 21 scenarios in our words.

use std::collections::BTreeSet;

use super::{World, named, slices};
use crate::api_server::ApiServer;
use crate::support::authority::Authority;
use crate::support::proxy::free_address;
use crate::support::secure::{SecureClient, client_config};
use crate::support::{Client, Origin};

const STATUS: &str = "publish_addresses = [\"203.0.113.7\"]\n";

/// A Service with the port 8080 by the name `http`, and a pod that says its name.
struct Backend(&'static str, Origin);

impl Backend {
    fn of(name: &'static str) -> Self {
        Self(name, named(name))
    }

    fn objects(&self) -> String {
        let service = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {} }}\nspec: {{ clusterIPs: [\"10.0.0.1\"], ports: [{{ name: http, port: 8080 }}] }}\n",
            self.0
        );
        service + &slices(self.0, &[self.1.address], "ready: true").replace("name: web", "name: http")
    }
}

/// An Ingress without a class; `rules` are host, path, type of path, service and its port.
fn ingress(name: &str, rules: &[(&str, &str, &str, &str, &str)]) -> String {
    let rule = |(host, path, kind, service, port): &(&str, &str, &str, &str, &str)| {
        format!(
            "  - {{ host: \"{host}\", http: {{ paths: [{{ path: \"{path}\", pathType: {kind}, backend: {{ service: {{ name: {service}, port: {{ {port} }} }} }} }}] }} }}\n"
        )
    };
    let rules: String = rules.iter().map(rule).collect();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: {name} }}\nspec:\n  rules:\n{rules}"
    )
}

/// For each dialect, as Ingress objects without a class are read.
fn keys(dialect: &str) -> String {
    format!("dialects = [\"{dialect}\"]\nwithout_class = \"{dialect}\"\n{STATUS}")
}

const NUMBER: &str = "number: 8080";

#[test]
fn paths_are_matched_by_their_types() {
    let backends = ["foo-exact", "foo-prefix", "aaa-bbb", "aaa", "aaa-bbb-slash", "foo-slash"].map(Backend::of);
    let objects: String = backends.iter().map(Backend::objects).collect();
    let rules = [
        ("exact", "/foo", "Exact", "foo-exact", NUMBER),
        ("prefix", "/foo", "Prefix", "foo-prefix", NUMBER),
        ("prefix", "/aaa/bbb", "Prefix", "aaa-bbb", NUMBER),
        ("prefix", "/aaa", "Prefix", "aaa", NUMBER),
        ("mixed", "/foo", "Prefix", "foo-prefix", NUMBER),
        ("mixed", "/foo", "Exact", "foo-exact", NUMBER),
        ("slash", "/aaa/bbb/", "Prefix", "aaa-bbb-slash", NUMBER),
        ("slash", "/foo/", "Exact", "foo-slash", NUMBER),
    ];
    // An empty name stands for 404.
    let expected = [
        ("exact", "/foo", "foo-exact"),
        ("exact", "/foo/", ""),
        ("exact", "/FOO", ""),
        ("exact", "/bar", ""),
        ("prefix", "/foo", "foo-prefix"),
        ("prefix", "/foo/", "foo-prefix"),
        ("prefix", "/FOO", ""),
        ("prefix", "/aaa/bbb", "aaa-bbb"),
        ("prefix", "/aaa/bbb/ccc", "aaa-bbb"),
        ("prefix", "/aaa/ccc", "aaa"),
        ("prefix", "/aaaccc", ""),
        ("mixed", "/foo", "foo-exact"),
        ("slash", "/aaa/bbb", "aaa-bbb-slash"),
        ("slash", "/aaa/bbb/", "aaa-bbb-slash"),
        ("slash", "/foo", ""),
    ];
    for dialect in ["ringress", "ingress-nginx"] {
        let world = World::new("epoll", &keys(dialect), &(objects.clone() + &ingress("path-rules", &rules)));
        for (host, path, name) in expected {
            let (status, body) = world.get(host, path);
            let body = if status == 200 { body } else { String::new() };
            assert_eq!((status, &*body), (if name.is_empty() { 404 } else { 200 }, name), "{dialect}: {host}{path}");
            let backend = backends.iter().find(|backend| backend.0 == name);
            let seen = backend.map(|backend| backend.1.requests().pop().unwrap().target().to_owned());
            assert!(seen.is_none_or(|seen| seen == path), "{dialect}: the path is passed on as it came");
        }
    }
}

#[test]
fn hosts_are_matched_whole_or_by_one_label() {
    let authority = Authority::new();
    let own = authority.issue("conformance-tls", &["foo.bar.com"]);
    let text = |path: &std::path::Path| serde_json::Value::from(std::fs::read_to_string(path).unwrap());
    let (wildcard, whole) = (Backend::of("wildcard-foo-com"), Backend::of("foo-bar-com"));
    let rules = [
        ("*.foo.com", "/", "Prefix", "wildcard-foo-com", NUMBER),
        ("foo.bar.com", "/", "Prefix", "foo-bar-com", "name: http"),
    ];
    let objects = wildcard.objects()
        + &whole.objects()
        + &format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: conformance-tls }}\ntype: kubernetes.io/tls\nstringData: {{ tls.crt: {}, tls.key: {} }}\n",
            text(&own.cert),
            text(&own.key)
        )
        + &ingress("host-rules", &rules)
            .replace("  rules:", "  tls: [{ hosts: [foo.bar.com], secretName: conformance-tls }]\n  rules:");
    let api = ApiServer::start();
    api.apply("shop", &objects);
    let listener = free_address();
    let rest = format!("[listeners.secure]\naddress = \"{listener}\"\ntls = {{}}\n");
    let world = World::of("io_uring", api, &keys("ringress"), &rest);
    let mut client = SecureClient::connect(listener, &client_config(&authority, None), "foo.bar.com").unwrap();
    let answer = client.get("foo.bar.com", "/").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("foo-bar-com"), "{answer}");
    for (host, expected) in [
        ("foo.bar.com", (200, "foo-bar-com")),
        ("bar.foo.com", (200, "wildcard-foo-com")),
        ("subdomain.bar.com", (404, "")),
        ("baz.bar.foo.com", (404, "")),
        ("foo.com", (404, "")),
    ] {
        let (status, body) = world.get(host, "/");
        assert_eq!(status, expected.0, "{host}");
        assert!(expected.1.is_empty() || body == expected.1, "{host}: {body}");
    }
    assert_eq!(wildcard.1.requests().pop().unwrap().field("Host"), Some("bar.foo.com"));
}

#[test]
fn objects_of_an_unknown_class_are_not_served_and_have_no_status() {
    let backend = Backend::of("one");
    let other = ingress("other", &[("class.test", "/", "Prefix", "one", NUMBER)])
        .replace("spec:\n  rules", "spec:\n  ingressClassName: some-invalid-class-name\n  rules");
    let objects = backend.objects() + &other + &ingress("own", &[("own.test", "/", "Prefix", "one", NUMBER)]);
    for dialect in ["ringress", "ingress-nginx", "traefik1"] {
        let world = World::new("epoll", &keys(dialect), &objects);
        let status = |name: &str| world.api.get("ingresses", "shop", name).unwrap()["status"].to_string();
        crate::support::eventually("the other object has a status", || status("own").contains("203.0.113.7"));
        assert_eq!(status("other"), "null", "{dialect}");
        assert_eq!((world.status("class.test", "/"), world.status("own.test", "/")), (404, 200), "{dialect}");
    }
}

#[test]
fn a_default_backend_gets_every_request() {
    let all = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: default-backend }\n\
               spec: { defaultBackend: { service: { name: echo-service, port: { number: 8080 } } } }\n";
    for dialect in ["ringress", "ingress-nginx", "traefik1"] {
        let backend = Backend::of("echo-service");
        let world = World::new("epoll", &keys(dialect), &(backend.objects() + all));
        for (method, host, path) in [
            ("GET", "my-host", "/"),
            ("GET", "my-host", "/sub-path"),
            ("POST", "some-host", "/"),
            ("PUT", "", "/resource"),
            ("DELETE", "some-host", "/resource"),
            ("PATCH", "my-host", "/resource"),
        ] {
            let address = world.proxy.address.to_string();
            let host = if host.is_empty() { &*address } else { host };
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: any/1.1\r\nContent-Length: 0\r\n\r\n");
            let answer = Client::connect(world.proxy.address).send(request).response(method);
            assert_eq!((answer.status, answer.text()), (200, "echo-service"), "{dialect}: {method} {host}{path}");
            assert!(answer.head.starts_with("HTTP/1.1 "));
            let seen = backend.1.requests().pop().unwrap();
            assert_eq!(seen.line(), format!("{method} {path} HTTP/1.1"), "{dialect}");
            assert_eq!((seen.field("Host"), seen.field("User-Agent")), (Some(host), Some("any/1.1")), "{dialect}");
        }
    }
}

#[test]
fn a_hundred_requests_meet_each_of_ten_pods() {
    const NAMES: [&str; 10] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9"];
    let pods = NAMES.map(named);
    let addresses = pods.each_ref().map(|pod| pod.address);
    let objects = Backend::of("echo-service").objects()
        + "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: load-balancing }\n\
           spec: { defaultBackend: { service: { name: echo-service, port: { number: 8080 } } } }\n"
        + &slices("echo-service", &addresses, "ready: true").replace("name: web", "name: http");
    for dialect in ["ringress", "ingress-nginx", "traefik1"] {
        let world = World::new("epoll", &keys(dialect), &objects);
        let met: BTreeSet<_> = (0..100).map(|_| world.get("load-balancing", "/")).collect();
        assert_eq!(met, NAMES.map(|name| (200, name.to_owned())).into(), "{dialect}");
    }
}
