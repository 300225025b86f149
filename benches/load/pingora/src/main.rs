//! A load balancer on Pingora, as small as one that does the same work as the others can be: every
//! request is looked up by host and path prefix, gets the headers that name its client, and goes to
//! one origin over kept-alive connections.
//!
//! `pingora-peer LISTEN_PORT ORIGIN_PORT THREADS [ROUTES_FILE]`; the file has a route a line,
//! `host prefix`. What no route wants goes to the origin too.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::exit;

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// The routes of one host, the longest prefix first, each with the upstream it leads to.
type Prefixes = Vec<(String, usize)>;

struct Balancer {
    hosts: HashMap<String, Prefixes>,
    /// The first is the fallback's.
    upstreams: Vec<HttpPeer>,
}

impl Balancer {
    fn new(origin: SocketAddr, routes: &str) -> Result<Self, String> {
        let peer = HttpPeer::new(origin, false, String::new());
        let mut hosts: HashMap<String, Prefixes> = HashMap::new();
        let mut upstreams = vec![peer.clone()];
        for line in routes.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (host, prefix) = line.split_once(' ').ok_or_else(|| format!("not a host and a prefix: {line}"))?;
            hosts.entry(host.to_ascii_lowercase()).or_default().push((prefix.trim().to_owned(), upstreams.len()));
            upstreams.push(peer.clone());
        }
        for prefixes in hosts.values_mut() {
            prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        Ok(Self { hosts, upstreams })
    }

    fn upstream_of(&self, request: &RequestHeader) -> usize {
        self.route_of(request).unwrap_or(0)
    }

    fn route_of(&self, request: &RequestHeader) -> Option<usize> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = request.headers.get("host")?.to_str().ok()?;
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let prefixes = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            self.hosts.get(&host.to_ascii_lowercase())?
        } else {
            self.hosts.get(host)?
        };
        let path = request.uri.path();
        prefixes.iter().find(|(prefix, _)| path.starts_with(prefix.as_str())).map(|(_, upstream)| *upstream)
    }
}

#[async_trait]
impl ProxyHttp for Balancer {
    /// Which upstream the request went to.
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn early_request_filter(&self, session: &mut Session, _upstream: &mut usize) -> Result<()> {
        // Off unless asked for; the others answer requests that come together without being asked.
        session.set_pipelining_enabled(true);
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, upstream: &mut usize) -> Result<Box<HttpPeer>> {
        *upstream = self.upstream_of(session.req_header());
        Ok(Box::new(self.upstreams[*upstream].clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _upstream: &mut usize,
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            let client = client.ip();
            let forwarded = match request.headers.get("x-forwarded-for").and_then(|before| before.to_str().ok()) {
                Some(before) => format!("{before}, {client}"),
                None => client.to_string(),
            };
            request.insert_header("X-Forwarded-For", forwarded)?;
        }
        request.insert_header("X-Forwarded-Proto", "http")
    }
}

fn number(arguments: &[String], at: usize) -> u16 {
    arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        eprintln!("usage: pingora-peer LISTEN_PORT ORIGIN_PORT THREADS [ROUTES_FILE]");
        exit(2)
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--version") {
        println!("pingora-peer {} on pingora 0.9", env!("CARGO_PKG_VERSION"));
        return;
    }
    let listen = number(&arguments, 0);
    let origin = SocketAddr::from((Ipv4Addr::LOCALHOST, number(&arguments, 1)));
    let threads = number(&arguments, 2);
    let routes = arguments
        .get(3)
        .map_or(Ok(String::new()), |path| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}")));
    let balancer = routes.and_then(|routes| Balancer::new(origin, &routes)).unwrap_or_else(|why| {
        eprintln!("{why}");
        exit(2)
    });

    let configuration = ServerConf {
        threads: usize::from(threads.max(1)),
        upstream_keepalive_pool_size: 1024,
        // End at once when told to.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, balancer);
    service.add_tcp(&format!("127.0.0.1:{listen}"));
    server.add_service(service);
    server.run_forever()
}
