//! What a worker reads: listeners, routes, filters, services, timeouts. Immutable; made by `control::compile`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::LogFormat;
use crate::config::resilience::Health;
use crate::config::services::Protocol;
use crate::config::units::ListenAddress;
use crate::failure::Failure;
use crate::filter::Filter;
use crate::proto::h1::request::Underscores;
use crate::route::Router;
use crate::timeouts::EARLY_MS;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;
use crate::upstream::breaker::BreakerRules;
use crate::upstream::ejection::EjectionRules;
use crate::upstream::health::Checked;
use crate::upstream::pick::HashRing;
use crate::upstream::retry::RetryRules;
use crate::upstream::reuse::ReuseBounds;

/// Everything that a worker knows of the configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications, from 1.
    pub generation: u64,
    /// By position, as [`Router`]s and labels refer to them.
    pub listeners: Vec<Listener>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The services.
    pub services: Vec<Service>,
    /// How access log lines look; `None` writes none.
    pub log_format: Option<LogFormat>,
    /// Upper bounds of the duration histogram, in microseconds, growing.
    pub buckets_us: Vec<u64>,
    /// Workers that share the numbers of limits; 0 counts as 1.
    pub workers: usize,
    /// Lag of a worker's loop above which requests are refused, in milliseconds; `None` refuses none.
    pub shed_above_ms: Option<u64>,
    /// Client connections of one worker at most; `None` for what the limit of open files allows.
    pub connections_max: Option<usize>,
    /// How long idle client connections stay open while draining, in milliseconds.
    pub drain_idle_ms: u64,
}

impl Snapshot {
    /// One worker's part of a number that counts for the process, at least 1; `None` where there is no limit.
    #[must_use]
    pub fn part_of(&self, limit: usize) -> Option<usize> {
        (limit > 0).then(|| (limit / self.workers.max(1)).max(1))
    }

    /// The listener with this label, unless it is gone.
    #[must_use]
    pub fn listener(&self, label: Label) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.label == label)
    }
}

/// A name as a number that stays the same from one snapshot to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(u32);

/// All names that ever had a label. Number 0 is the empty name.
#[derive(Clone, Debug)]
pub struct Labels {
    names: Vec<Arc<str>>,
}

impl Default for Labels {
    fn default() -> Self {
        Self { names: vec!["".into()] }
    }
}

impl Labels {
    /// The label of a name, new if need be.
    pub fn label(&mut self, name: &str) -> Label {
        let at = self.names.iter().position(|known| &**known == name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        Label(u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// The labels of many names at once: one pass, however many are known.
    pub fn labels<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> Vec<Label> {
        let mut known: std::collections::HashMap<Arc<str>, usize> =
            self.names.iter().enumerate().map(|(at, name)| (Arc::clone(name), at)).collect();
        let mut labels = Vec::new();
        for name in names {
            let at = known.get(name).copied().unwrap_or_else(|| {
                let name: Arc<str> = name.into();
                self.names.push(Arc::clone(&name));
                known.insert(name, self.names.len() - 1);
                self.names.len() - 1
            });
            labels.push(Label(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        labels
    }

    /// The name of a label.
    #[must_use]
    pub fn name(&self, label: Label) -> &str {
        self.names.get(label.0 as usize).map_or("", |name| name)
    }
}

/// Where clients connect and how they are treated.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// The name as a number.
    pub label: Label,
    /// Where it listens.
    pub address: ListenAddress,
    /// Its port, 0 for a Unix socket.
    pub port: u16,
    /// How long clients are waited for.
    pub timeouts: ClientTimeouts,
    /// Whose forwarding fields are believed.
    pub trusted: Vec<IpNet>,
    /// What happens to names with `_`.
    pub underscores: Underscores,
    /// Largest request body in bytes.
    pub body_bytes_max: Option<u64>,
    /// Connections of one client address at most, 0 for no limit.
    pub connections_per_client: usize,
    /// Also write `Forwarded`.
    pub forwarded: bool,
    /// Write `Via`.
    pub via: bool,
    /// Write `Proxy-Status`.
    pub proxy_status: bool,
    /// Speak HTTP/2.
    pub http2: bool,
    /// TLS; `None` for none.
    pub tls: Option<Arc<ServerTls>>,
    /// Its routes.
    pub router: Router,
}

/// How long clients are waited for, in milliseconds; `None` without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a whole TLS handshake.
    pub handshake_ms: Option<u64>,
    /// For a whole request head.
    pub header_ms: Option<u64>,
    /// Between two pieces of a request body.
    pub body_ms: Option<u64>,
    /// For the next request.
    pub idle_ms: Option<u64>,
    /// For a send to make progress.
    pub send_ms: Option<u64>,
}

impl ClientTimeouts {
    /// For the end of a handshake whose client sent early data: it is never without one.
    #[must_use]
    pub fn early_ms(&self) -> u64 {
        self.handshake_ms.unwrap_or(EARLY_MS)
    }
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The name as a number.
    pub label: Label,
    /// What is done on the way.
    pub filters: Vec<Filter>,
    /// The position of its service; `None` where a filter answers.
    pub service: Option<usize>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// The name as a number.
    pub label: Label,
    /// Its endpoints; empty where there are none or no name resolves.
    pub endpoints: Vec<Endpoint>,
    /// Why a name did not resolve, where one did not.
    pub unresolved: Option<Failure>,
    /// What they speak.
    pub protocol: Protocol,
    /// How often an HTTP/2 upstream is asked whether it is there, in milliseconds; `None` for never.
    pub ping_ms: Option<u64>,
    /// TLS towards them; `None` for none.
    pub tls: Option<Arc<ClientTls>>,
    /// How one is chosen.
    pub balance: Balance,
    /// What `Host` upstreams get.
    pub host: Host,
    /// How long connections are reused.
    pub reuse: ReuseBounds,
    /// Idle connections to one endpoint in one worker.
    pub idle_connections_max: usize,
    /// How long upstreams are waited for.
    pub timeouts: UpstreamTimeouts,
    /// When a failed attempt is followed by another.
    pub retry: RetryRules,
    /// When an endpoint is left out.
    pub ejection: EjectionRules,
    /// How many requests at once.
    pub limits: Limits,
    /// When requests are refused.
    pub breaker: Option<BreakerRules>,
    /// The active check of its endpoints.
    pub check: Option<Health>,
    /// How long an endpoint that came back gets less than its share, in milliseconds.
    pub slow_start_ms: u64,
    /// Where all endpoints are down, use them all the same.
    pub fail_open: bool,
    /// Where a client leaves, let the upstream finish.
    pub ignore_client_abort: bool,
}

/// How many requests at once, in the whole process; 0 for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// To the service.
    pub in_flight: usize,
    /// To one endpoint.
    pub endpoint_in_flight: usize,
    /// Waiting.
    pub queue: usize,
    /// How long one waits, in milliseconds; `None` without end.
    pub queue_wait_ms: Option<u64>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// As it was written: for logs, and for `Host` where the service says so.
    pub name: Arc<str>,
    /// Its share.
    pub weight: u16,
    /// What checks found.
    pub checked: Arc<Checked>,
}

/// Where to connect: nothing left to resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Debug)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The less busy of two.
    LeastRequests,
    /// At random.
    Random,
    /// By a hash of something in the request.
    Hash(HashKey, HashRing),
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// The value of this field, by its name in lower case.
    Header(Box<[u8]>),
    /// The value of this cookie.
    Cookie(Box<[u8]>),
}

/// What `Host` upstreams get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The client's.
    Keep,
    /// The endpoint's.
    Endpoint,
    /// This.
    Name(Box<[u8]>),
}

/// How long upstreams are waited for, in milliseconds; `None` without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// For a connection.
    pub connect_ms: Option<u64>,
    /// For the response head.
    pub header_ms: Option<u64>,
    /// Between two pieces of the response body.
    pub body_ms: Option<u64>,
    /// For a send to make progress.
    pub send_ms: Option<u64>,
    /// For the whole exchange.
    pub total_ms: Option<u64>,
    /// For a byte of an upgraded connection, or a message of gRPC in either direction.
    pub tunnel_ms: Option<u64>,
    /// For an upgraded connection as a whole.
    pub tunnel_total_ms: Option<u64>,
}

/// The client's side of a connection, as the listener's socket told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address; the loopback address for a Unix socket.
    pub address: IpAddr,
    /// The port, 0 for a Unix socket.
    pub port: u16,
}

impl Peer {
    /// The peer of a Unix socket, which is on this host.
    pub const LOCAL: Self = Self { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port: 0 };
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip().to_canonical(), port: address.port() }
    }
}
