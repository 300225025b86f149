//! The admin listener: `/ping`, `/metrics`, `/api/snapshot`, `/api/endpoints`. It runs beside the control plane, on hyper.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::mailbox::{Mailbox, Order};
use crate::observe::metrics::{PoolState, Report};
use crate::observe::prometheus::{LostLines, render};
use crate::proto::h1::authority::parts;
use crate::snapshot::{Address, Label};
use crate::status::Status;
use crate::sys::clock::coarse_ms;
use crate::sys::limits::hostname;
use crate::sys::socket::{has_no_family, listen_alone, listen_unix};
use crate::units::ListenAddress;
use crate::upstream::ejection::Standing;
use crate::upstream::habit::Trust;
use crate::upstream::health::Condition;
use crate::upstream::trouble::LastFailure;

/// How long a scrape waits for a worker.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client of the admin listener may take for a head.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Connections at a time: others wait, so that they take no descriptors from clients.
const CONNECTIONS_MAX: usize = 64;
/// Who may connect to a Unix socket of the admin listener: its own user.
const ADMIN_MODE: u32 = 0o600;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the admin listener accepts.
#[derive(Debug)]
pub enum AdminSocket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl AdminSocket {
    /// Binds every socket of an address, within the runtime. A host without IPv6 serves `":9000"` over IPv4 alone.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn bind(address: &ListenAddress) -> io::Result<Vec<Self>> {
        if let ListenAddress::Unix(path) = address {
            // Who may connect may see everything: this user alone.
            let listener = listen_unix(path, ADMIN_MODE, None)?;
            return Ok(vec![Self::Unix(UnixListener::from_std(listener)?)]);
        }
        let is_optional = |error: &io::Error| matches!(address, ListenAddress::Port(_)) && has_no_family(error);
        let bound =
            address.sockets().into_iter().map(listen_alone).filter(|bound| !bound.as_ref().is_err_and(is_optional));
        bound.map(|listener| Ok(Self::Tcp(TcpListener::from_std(listener?)?))).collect()
    }
}

/// What the admin listener reads.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The control plane's state.
    pub status: watch::Receiver<Status>,
    /// The workers, for their counters.
    pub mailboxes: Arc<Vec<Mailbox>>,
    /// Lines of logs that were lost.
    pub lost: LostLines,
}

impl Admin {
    /// Serves for ever.
    pub async fn serve(self, socket: AdminSocket) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = match &socket {
                AdminSocket::Tcp(listener) => {
                    listener.accept().await.map(|(stream, _)| _ = tokio::spawn(self.clone().converse(stream, place)))
                }
                AdminSocket::Unix(listener) => {
                    listener.accept().await.map(|(stream, _)| _ = tokio::spawn(self.clone().converse(stream, place)))
                }
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Serves one connection, which has a place among those that are served.
    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin, place: OwnedSemaphorePermit) {
        let service = service_fn(|request| self.answer(request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an admin connection ended");
        }
        drop(place);
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if !self.is_known(&request) {
            return Ok(text(
                StatusCode::MISDIRECTED_REQUEST,
                "nobody is known by this name here; ask by the address, or add the name to `admin.hosts`\n",
            ));
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"));
        }
        Ok(match request.uri().path() {
            "/ping" if self.status.borrow().is_draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
            "/ping" => text(StatusCode::OK, "OK"),
            "/metrics" => self.metrics().await,
            "/api/snapshot" => self.snapshot(),
            "/api/endpoints" => self.endpoints().await,
            "/" => text(StatusCode::OK, "Ringress\n/ping\n/metrics\n/api/snapshot\n/api/endpoints\n"),
            _ => text(StatusCode::NOT_FOUND, "here are /ping, /metrics, /api/snapshot and /api/endpoints\n"),
        })
    }

    /// True where the request asks by an address, or by a name that is known to be this listener's.
    fn is_known(&self, request: &Request<Incoming>) -> bool {
        let Some(host) = request.headers().get(HOST).map(HeaderValue::as_bytes) else { return true };
        let Some((host, _)) = parts(host) else { return false };
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = host.trim_matches(['[', ']']);
        let is_of = |own: &str| name.eq_ignore_ascii_case(own);
        let is_own = || Some(hostname()).filter(|own| !own.is_empty()).is_some_and(|own| is_of(&own));
        let hosts = &self.status.borrow().config.admin;
        let is_listed = hosts.iter().flat_map(|admin| &admin.hosts).any(|known| known == "*" || is_of(known));
        name.parse::<IpAddr>().is_ok() || is_of("localhost") || is_listed || is_own()
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let reports = self.reports().await;
        let status = self.status.borrow().clone();
        let silent = self.mailboxes.len() - reports.len();
        let body = render(&reports, (&status.snapshot, &status.labels), (silent, status.problems.len()), &self.lost);
        answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
    }

    /// Every endpoint: what its check found, and what each worker knows of it that uses its service.
    async fn endpoints(&self) -> Response<Full<Bytes>> {
        let reports = self.reports().await;
        let status = self.status.borrow().clone();
        let mut known: HashMap<(Label, &Address), Vec<serde_json::Value>> = HashMap::new();
        for (worker, pool) in reports.iter().flat_map(|report| report.pools.iter().map(|pool| (report.worker, pool))) {
            known.entry((pool.service, &pool.address)).or_default().push(worker_view(worker, pool));
        }
        let mut services = serde_json::Map::new();
        for service in &status.snapshot.services {
            let endpoints = service.endpoints.iter().map(|endpoint| {
                let finding = status.findings.get(&(Arc::clone(&service.name), endpoint.address.clone()));
                let condition = endpoint.state.condition();
                serde_json::json!({
                    "name": *endpoint.name,
                    "address": endpoint.address.to_string(),
                    "weight": endpoint.weight,
                    "up": condition == Condition::Up,
                    "state": condition.name(),
                    "last_failure": endpoint.state.troubles.last().map(last_failure),
                    "check": finding.map(|finding| if finding.reason.is_empty() { "ok" } else { &finding.reason }),
                    "workers": known.get(&(service.label, &endpoint.address)).map_or(&[][..], Vec::as_slice),
                })
            });
            services.insert(service.name.to_string(), endpoints.collect());
        }
        answer(StatusCode::OK, "application/json", format!("{:#}\n", serde_json::Value::Object(services)))
    }

    async fn reports(&self) -> Vec<Report> {
        let mut waiting = Vec::new();
        for mailbox in self.mailboxes.iter() {
            let (answer, answered) = sync_channel(1);
            if mailbox.give(Order::Report(answer)) {
                waiting.push(tokio::task::spawn_blocking(move || answered.recv_timeout(REPORT_PATIENCE).ok()));
            }
        }
        let mut reports = Vec::new();
        for report in waiting {
            reports.extend(report.await.ok().flatten());
        }
        reports
    }

    /// The effective configuration, what names resolved to, and the problems of the last reload.
    fn snapshot(&self) -> Response<Full<Bytes>> {
        let status = self.status.borrow().clone();
        let services = status.snapshot.services.iter().map(|service| {
            let endpoints: Vec<_> =
                service.endpoints.iter().map(|endpoint| format!("{:?}", endpoint.address)).collect();
            (
                service.name.to_string(),
                serde_json::json!({ "endpoints": endpoints, "unresolved": service.unresolved.map(|failure| failure.to_string()) }),
            )
        });
        let body = serde_json::json!({
            "generation": status.snapshot.generation,
            "draining": status.is_draining,
            "problems": *status.problems,
            "resolved": services.collect::<serde_json::Map<_, _>>(),
            "config": redacted(serde_json::to_value(&*status.config).unwrap_or_default(), ""),
        });
        answer(StatusCode::OK, "application/json", format!("{body:#}\n"))
    }
}

/// The configuration without what may be a secret: values of fields that requests are given or must carry.
fn redacted(mut value: serde_json::Value, key: &str) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(entries) => {
            let is_secret = matches!(key, "set" | "add" | "headers");
            for (name, entry) in entries.iter_mut() {
                let is_condition = matches!(key, "headers" | "query") && matches!(name.as_str(), "value" | "regex");
                *entry = if entry.is_string() && (is_condition || is_secret && name != "name") {
                    "…".into()
                } else {
                    redacted(entry.take(), name)
                };
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| *item = redacted(item.take(), key)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
    value
}

/// The last failure of an endpoint.
fn last_failure(last: LastFailure) -> serde_json::Value {
    serde_json::json!({
        "cause": last.failure.to_string(),
        "ago_ms": coarse_ms().saturating_sub(last.at_ms),
        "in_a_row": last.in_a_row,
        "remedy": last.failure.remedy(),
    })
}

/// What one worker knows of an endpoint.
fn worker_view(worker: usize, pool: &PoolState) -> serde_json::Value {
    let (is_out, left_ms) = match pool.standing {
        Standing::In(_) => (false, 0),
        Standing::Due => (true, 0),
        Standing::Out(ms) => (true, ms),
    };
    let reuse = match pool.trust {
        Trust::Unproven => "unproven",
        Trust::Proven => "proven",
        Trust::Off(_) => "off",
    };
    serde_json::json!({
        "worker": worker,
        "idle": pool.idle,
        "busy": pool.busy,
        "ejected": is_out,
        "ejected_for_ms": left_ms,
        "ejected_because": pool.cause.map(|cause| cause.to_string()),
        "reuse": reuse,
        "learned_idle_ms": (pool.lifetime_us < u64::MAX).then_some(pool.lifetime_us / 1_000),
    })
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body.to_owned())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
