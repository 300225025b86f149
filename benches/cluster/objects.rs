//! What the cluster has: so many Services with ten endpoints and an Ingress each.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::api_server::ApiServer;

/// The namespace of all of it.
pub const NAMESPACE: &str = "shop";

/// All services with their Ingress objects and endpoints.
pub fn fill(api: &ApiServer, count: usize) {
    for at in 0..count {
        service(api, at);
        ingress(api, at, "/");
        slice(api, at, &addresses(at, 10), 8080);
    }
}

/// So many addresses of pods that nobody runs.
pub fn addresses(at: usize, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("10.{}.{}.{}", 1 + n, at / 250, 1 + at % 250)).collect()
}

/// The host of a service.
pub fn host(at: usize) -> String {
    format!("h{at}.test")
}

/// Makes a Service.
pub fn service(api: &ApiServer, at: usize) {
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": format!("s{at}") },
        "spec": { "ports": [{ "name": "web", "port": 80 }] } });
    api.store.apply(NAMESPACE, service);
}

/// Makes or changes an Ingress.
pub fn ingress(api: &ApiServer, at: usize, path: &str) {
    let rule = json!({ "host": host(at), "http": { "paths": [{ "path": path, "pathType": "Prefix",
        "backend": { "service": { "name": format!("s{at}"), "port": { "number": 80 } } } }] } });
    let ingress = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": format!("i{at}") },
        "spec": { "rules": [rule] } });
    api.store.apply(NAMESPACE, ingress);
}

/// Has a service these endpoints.
pub fn slice(api: &ApiServer, at: usize, addresses: &[String], port: u16) {
    let endpoints: Vec<Value> =
        addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect();
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": format!("s{at}-1"), "labels": { "kubernetes.io/service-name": format!("s{at}") } },
        "endpoints": endpoints, "ports": [{ "name": "web", "port": port }] });
    api.store.apply(NAMESPACE, slice);
}

/// Has a service this one endpoint.
pub fn lead_to(api: &ApiServer, at: usize, origin: SocketAddr) {
    slice(api, at, &[origin.ip().to_string()], origin.port());
}

/// Changes a Secret that nobody refers to: an event as large as that of a slice, of which nothing comes.
pub fn nobodys_secret(api: &ApiServer, at: usize) {
    let data: serde_json::Map<_, _> =
        (0..10).map(|n| (format!("key{n}"), "bm9ib2R5IG5lZWRzIHRoaXMgaGVyZSBhdCBhbGw=".into())).collect();
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("n{}", at % 100) },
        "type": "Opaque", "data": data });
    api.store.apply(NAMESPACE, secret);
}
