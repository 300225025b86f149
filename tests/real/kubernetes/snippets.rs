//! Directives of nginx in annotations: what they do to requests, and that one without a meaning closes.

use super::{World, service};
use crate::api_server::ApiServer;
use crate::support::Client;
use crate::tls::mirror;

fn map(keys: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: controller }}\ndata:\n  annotations-risk-level: Critical\n{keys}"
    )
}

fn object(at: usize, snippet: &str) -> String {
    let annotation = serde_json::Value::from(snippet);
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: s{at}\n  annotations:\n    \
         nginx.ingress.kubernetes.io/configuration-snippet: {annotation}\nspec:\n  ingressClassName: nginx\n  rules:\n  - host: s{at}.test\n    \
         http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }}] }}\n"
    )
}

#[test]
fn directives_with_a_meaning_are_read_and_others_close() {
    // The directives, the target, and what the answer begins with and has in it; the upstream's body is the head that it got.
    let cases = [
        ("more_set_headers \"X-A: one $host\" 'X-B: two';", "/", "HTTP/1.1 200", "x-a: one s0.test\r\n"),
        ("add_header X-A $request_method always;", "/", "HTTP/1.1 200", "x-a: get\r\n"),
        ("proxy_set_header X-Up $http_x_in;", "/", "HTTP/1.1 200", "x-up: given\r\n"),
        ("more_set_input_headers \"X-Up: $request_uri\";", "/a?b", "HTTP/1.1 200", "x-up: /a?b\r\n"),
        ("proxy_set_header Host inner.test;", "/", "HTTP/1.1 200", "host: inner.test\r\n"),
        ("return 301 https://other.test$request_uri;", "/a?b", "HTTP/1.1 301", "location: https://other.test/a?b\r\n"),
        ("return 418;", "/", "HTTP/1.1 418", ""),
        ("return 200 \"a text\";", "/", "HTTP/1.1 200", "\r\n\r\na text"),
        ("rewrite ^/old/(.*)$ /new/$1 break;", "/old/x", "HTTP/1.1 200", "get /new/x http/1.1"),
        ("rewrite ^/old/(.*)$ /new/$1 permanent;", "/old/x", "HTTP/1.1 301", "location: http://s9.test/new/x\r\n"),
        ("allow 127.0.0.0/8; deny all;", "/", "HTTP/1.1 200", ""),
        ("allow 192.0.2.1; deny all;", "/", "HTTP/1.1 403", "denied:address"),
        ("deny 127.0.0.1;", "/", "HTTP/1.1 403", "denied:address"),
        ("# only a comment\nserver_tokens off;", "/", "HTTP/1.1 200", ""),
        ("if ($scheme = http) { return 403; }", "/", "HTTP/1.1 503", ""),
        ("content_by_lua_block { ngx.say(1) }", "/", "HTTP/1.1 503", ""),
        ("set_by_lua $a 'x';", "/", "HTTP/1.1 503", ""),
        ("more_set_headers \"X: $nobody\";", "/", "HTTP/1.1 503", ""),
        ("more_set_headers \"X: y", "/", "HTTP/1.1 503", ""),
    ];
    let origin = mirror();
    let api = ApiServer::start();
    let objects: String = cases.iter().enumerate().map(|(at, (snippet, ..))| object(at, snippet)).collect();
    api.apply(
        "shop",
        &(service("web", &[origin.address]) + &objects + "---\n" + &map("  allow-snippet-annotations: \"true\"\n")),
    );
    let keys = "dialects = [\"ingress-nginx\"]\nconfig_map = \"shop/controller\"\nwrite_status = false";
    let world = World::of("epoll", api, keys, "");
    let get = |at: usize, target: &str| {
        let mut client = Client::connect(world.proxy.address);
        let request = format!("GET {target} HTTP/1.1\r\nHost: s{at}.test\r\nX-In: given\r\nConnection: close\r\n\r\n");
        let response = client.send(request).response("GET");
        response.head.clone() + response.text()
    };
    world.eventually("s0.test", "/", (200, ""));
    for (at, (snippet, target, begins, has)) in cases.iter().enumerate() {
        let told = get(at, target);
        assert!(told.starts_with(begins) && told.to_lowercase().contains(has), "{snippet}: {told}");
    }
    // Nobody allows them: they are left out.
    world.api.apply("shop", &map("  allow-snippet-annotations: \"false\"\n"));
    world.eventually("s6.test", "/", (200, ""));
    assert!(!get(0, "/").to_lowercase().contains("x-a: one"));
}
