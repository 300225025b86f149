//! What a worker reads: listeners, tables of routes, services. Immutable; made by `control::compile`.
//!
//! A snapshot is a tree of `Arc`s. What a publication does not change keeps its pointer from one snapshot to the next, and
//! with it all that workers know of it. Where nothing is compiled a part holds what was written (its *spec*) as it is.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::LogFormat;
use crate::config::listeners::ListenerSpec;
use crate::config::routes::RouteTimeouts;
use crate::config::services::ServiceSpec;
use crate::failure::Failure;
use crate::filter::key::RequestKey;
use crate::filter::template::{Template, Values, Within};
use crate::filter::{Chain, Filter};
pub use crate::label::{Label, Labels};
use crate::proto::gateway::Gateway;
use crate::proto::gateway::script::ScriptRules;
use crate::proto::h1::request::RequestHead;
use crate::route::Router;
use crate::route::targets::TargetChoice;
use crate::shared_list::SharedList;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;
use crate::units::{FileMode, Size};
use crate::upstream::gate::ServiceCounts;
use crate::upstream::health::EndpointState;
use crate::upstream::retry::Retry;
use crate::upstream::ring::HashRing;
use crate::upstream::sticky::{Sticky, StickyTokens};

/// Everything that a worker knows of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts publications, from 1.
    pub generation: u64,
    /// What holds for the whole process.
    pub process: Arc<ProcessSettings>,
    /// The listeners, each with its routes.
    pub listeners: Vec<Entrance>,
    /// All routes, in the order that they were written in.
    pub routes: Arc<[Arc<Route>]>,
    /// The services, in the order of their names.
    pub services: SharedList<Arc<Service>>,
}

/// What holds for the whole process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// How access log lines look; `None` writes none.
    pub log_format: Option<LogFormat>,
    /// Upper bounds of the duration histogram, in microseconds, growing.
    pub buckets_us: Vec<u64>,
    /// Lag of a worker's loop above which requests are refused, in milliseconds; `None` refuses none.
    pub shed_above_ms: Option<u64>,
    /// Client connections of one worker at most; `None` for what the limit of open files allows.
    pub connections_max: Option<usize>,
    /// How long idle client connections stay open while draining, in milliseconds.
    pub drain_idle_ms: u64,
}

/// A listener with the routes that requests take from it.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The listener.
    pub listener: Arc<Listener>,
    /// Its routes. Listeners with the same routes share one table.
    pub table: Arc<RouteTable>,
}

/// Routes, and how the one for a request is found.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Finds positions in [`Self::routes`].
    pub router: Router,
    /// The routes.
    pub routes: Vec<Arc<Route>>,
    /// The routes in whose place others stand that are closed, by their positions: their expressions are left out.
    pub left_out: Vec<(usize, Arc<Route>)>,
}

impl RouteTable {
    /// True where it was made of these routes.
    pub fn is_of<'r>(&self, routes: impl ExactSizeIterator<Item = &'r Arc<Route>>) -> bool {
        let mut left_out = self.left_out.iter().peekable();
        let made_of = self
            .routes
            .iter()
            .enumerate()
            .map(|(at, route)| left_out.next_if(|(of, _)| *of == at).map_or(route, |(_, original)| original));
        self.routes.len() == routes.len() && made_of.zip(routes).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// The route that a request takes.
    #[must_use]
    pub fn find(&self, head: &RequestHead) -> Option<&Arc<Route>> {
        self.routes.get(self.router.find(head)?)
    }
}

/// Where clients connect and how they are treated.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// The name as a number.
    pub label: Label,
    /// What was written.
    pub spec: Arc<ListenerSpec>,
    /// The port by which clients reach it, 0 where nobody knows.
    pub port: u16,
    /// Who may connect, where it is a Unix socket.
    pub access: SocketAccess,
    /// TLS; `None` for none.
    pub tls: Option<Arc<ServerTls>>,
    /// What is done with every request, before its route's own filters.
    pub chain: Chain,
    /// As it was written.
    pub filters: Vec<Filter>,
    /// Another number where a file that they name holds something else.
    pub filters_print: u64,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// The bits of its mode.
    pub mode: u32,
    /// The number of its group; `None` for that of the process.
    pub group: Option<u32>,
}

impl Default for SocketAccess {
    fn default() -> Self {
        Self { mode: FileMode::EVERYBODY.bits(), group: None }
    }
}

/// One route.
#[derive(Debug, Default)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The name as a number.
    pub label: Label,
    /// What is done on the way.
    pub chain: Chain,
    /// Where it leads; empty where a filter answers.
    pub targets: Vec<RouteTarget>,
    /// Nothing is done on the way but what the edits of `chain` say, whichever the target: most requests need no more.
    pub is_plain: bool,
    /// Which of them a request gets.
    pub choice: TargetChoice,
    /// What is said over the services' own; `None` for nothing.
    pub patience: Option<RoutePatience>,
    /// The largest request body, in bytes, in place of the listener's.
    pub body_max: Option<Size>,
    /// Its requests are in the access log.
    pub is_logged: bool,
}

/// One of the places where a route leads.
#[derive(Debug)]
pub struct RouteTarget {
    /// Its service; `None` where a filter of its own answers.
    pub service: Option<Label>,
    /// What is done on the way to it.
    pub chain: Chain,
}

/// Patience with upstreams that a route has in place of its services'.
#[derive(Clone, Debug)]
pub struct RoutePatience {
    /// Timeouts.
    pub timeouts: RouteTimeouts,
    /// Retries.
    pub retry: Option<Retry>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// The name as a number.
    pub label: Label,
    /// What was written.
    pub spec: Arc<ServiceSpec>,
    /// Its endpoints; empty where there are none or no name resolves.
    pub endpoints: Vec<Endpoint>,
    /// Why a name did not resolve, where one did not.
    pub unresolved: Option<Failure>,
    /// TLS towards them; `None` for none.
    pub tls: Option<Arc<ClientTls>>,
    /// The hash ring, where its balance hashes.
    pub ring: Option<Arc<HashRing>>,
    /// By what its balance hashes.
    pub hash_key: Option<RequestKey>,
    /// How it is told of requests, where it is an application server.
    pub gateway: Option<Arc<ServiceGateway>>,
    /// What stands for its endpoints, where clients are kept with them.
    pub tokens: Option<Arc<StickyTokens>>,
    /// Its requests, counted for the process.
    pub counts: Arc<ServiceCounts>,
}

impl Service {
    /// How clients are kept with its endpoints, and what stands for each; `None` where they are not.
    #[must_use]
    pub fn sticky(&self) -> Option<(&Sticky, &StickyTokens)> {
        self.spec.sticky.as_ref().zip(self.tokens.as_deref())
    }
}

/// How an application server is told of requests.
#[derive(Clone, Debug)]
pub struct ServiceGateway {
    /// What it speaks.
    pub gateway: Gateway,
    /// Variables of its own; an empty text takes one away.
    pub params: Vec<(Box<[u8]>, Template)>,
    /// How a path names a script, where it has scripts.
    pub script: Option<ScriptRules>,
}

impl ServiceGateway {
    /// The variables of its own for a request.
    #[must_use]
    pub fn params_of(&self, values: &Values<'_>) -> Vec<(Box<[u8]>, Vec<u8>)> {
        let text = |(name, template): &(Box<[u8]>, Template)| (name.clone(), template.text(values, Within::Value));
        self.params.iter().map(text).collect()
    }
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// As it was written: for logs, and for `Host` where the service says so.
    pub name: Arc<str>,
    /// The address as text, where something else was written: for logs.
    pub resolved: Option<Arc<str>>,
    /// Its share.
    pub weight: u16,
    /// It gets requests only where none of the others takes any.
    pub is_backup: bool,
    /// It is in another zone than the one that the service prefers.
    pub is_far: bool,
    /// What the whole process knows of it.
    pub state: Arc<EndpointState>,
}

/// Where to connect: nothing left to resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
