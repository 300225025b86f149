//! What a cluster says becomes what is served; against an API server in memory, which can fail.

mod arguments;
mod cases;
mod conformance;
mod deploy;
mod faults;
mod ingress;
mod nginx;
mod own;
mod snippets;
mod story;
mod told;
mod traefik;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api_server::ApiServer;
use crate::support::client::Response;
use crate::support::{Client, Origin, Proxy, eventually};

/// A cluster, and a proxy that reads it.
pub struct World {
    pub api: ApiServer,
    pub proxy: Proxy,
    folder: PathBuf,
}

impl World {
    /// These objects, in the namespace `shop`, read with these keys of `[kubernetes]`.
    pub fn new(engine: &'static str, keys: &str, objects: &str) -> Self {
        let api = ApiServer::start();
        api.apply("shop", objects);
        Self::of(engine, api, keys, "")
    }

    /// A proxy for this cluster, with further configuration.
    pub fn of(engine: &'static str, api: ApiServer, keys: &str, rest: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringress-cluster-{}", api.address.port()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!("[kubernetes]\nkubeconfig = \"{}\"\n{keys}\n{rest}", api.kubeconfig(&folder).display());
        let proxy = Proxy::start(engine, &config);
        Self { api, proxy, folder }
    }

    /// The file that leads to the cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig.yaml")
    }

    /// The status that a request for this host and path gets now.
    pub fn status(&self, host: &str, path: &str) -> u16 {
        self.get(host, path).0
    }

    /// Status and body of what a request for this host and path gets now.
    pub fn get(&self, host: &str, path: &str) -> (u16, String) {
        let response = self.ask(host, &format!("GET {path}"), &[]);
        (response.status, response.text().to_owned())
    }

    /// What a request for this host gets, with a method and a target; `fields` are lines of its head.
    pub fn ask(&self, host: &str, line: &str, fields: &[&str]) -> Response {
        let mut head = format!("{line} HTTP/1.1\r\nHost: {host}\r\n");
        fields.iter().for_each(|field| write!(head, "{field}\r\n").unwrap());
        let mut client = Client::connect(self.proxy.address);
        client.send(format!("{head}\r\n")).response(line.split(' ').next().unwrap())
    }

    /// Waits until such a request is answered so.
    pub fn eventually(&self, host: &str, path: &str, expected: (u16, &str)) {
        let mut last = (0, String::new());
        eventually(&format!("{host}{path} is answered {expected:?}"), || {
            last = self.get(host, path);
            (last.0, last.1.as_str()) == expected || (last.0 == expected.0 && expected.1.is_empty())
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An origin that says who it is.
pub fn named(name: &'static str) -> Origin {
    Origin::start(move |_, stream| crate::support::origin::reply(stream, name.as_bytes()))
}

/// A Service with these endpoints, each ready.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ clusterIPs: [\"10.0.0.1\"], ports: [{{ name: web, port: 80 }}] }}\n"
    );
    service + &slices(name, endpoints, "ready: true")
}

/// The slices of these endpoints, each of its own: they differ in their ports.
pub fn slices(service: &str, endpoints: &[SocketAddr], conditions: &str) -> String {
    let slice = |(at, address): (usize, &SocketAddr)| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {service}-{at}, labels: {{ kubernetes.io/service-name: {service} }} }}\naddressType: IPv4\n\
             endpoints: [{{ addresses: [\"{}\"], conditions: {{ {conditions} }} }}]\nports: [{{ name: web, port: {} }}]\n",
            address.ip(),
            address.port()
        )
    };
    endpoints.iter().enumerate().map(slice).collect()
}

/// An Ingress of our class with these rules: host, path, type of path, service.
pub fn ingress(name: &str, rules: &[(&str, &str, &str, &str)]) -> String {
    let rule = |(host, path, kind, service): &(&str, &str, &str, &str)| {
        let host = if host.is_empty() { String::new() } else { format!("host: \"{host}\", ") };
        format!(
            "  - {{ {host}http: {{ paths: [{{ path: \"{path}\", pathType: {kind}, \
             backend: {{ service: {{ name: {service}, port: {{ number: 80 }} }} }} }}] }} }}\n"
        )
    };
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: {name} }}\nspec:\n  ingressClassName: ringress\n  rules:\n{}",
        rules.iter().map(rule).collect::<String>()
    )
}
