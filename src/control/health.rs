//! Active health checks: one task for each endpoint of a service that asks for them, for the whole process.
//!
//! A finding reaches the workers through an atomic of the endpoint, and people through the status.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::connect::{Duplex, connect};
use super::{gateway_health, grpc_health};
use crate::config::health::Health;
use crate::snapshot::{Address, Endpoint, Service, ServiceGateway, Snapshot};
use crate::status::{CheckFinding, CheckKey};
use crate::sys::clock::coarse_ms;
use crate::tls::client::ClientTls;
use crate::upstream::health::EndpointState;

struct CheckEntry {
    state: Arc<EndpointState>,
    check: Option<Health>,
    how: CheckedBy,
    task: Option<AbortHandle>,
}

/// What a check speaks.
#[derive(Clone, Default)]
struct CheckedBy {
    tls: Option<Arc<ClientTls>>,
    /// The place of HTTP has this.
    gateway: Option<Arc<ServiceGateway>>,
}

impl CheckedBy {
    fn is_same(&self, other: &Self) -> bool {
        self.tls.as_ref().map(Arc::as_ptr) == other.tls.as_ref().map(Arc::as_ptr)
            && self.gateway.as_ref().map(Arc::as_ptr) == other.gateway.as_ref().map(Arc::as_ptr)
    }
}

/// All checks.
pub(super) struct Checks {
    entries: HashMap<CheckKey, CheckEntry>,
    sender: UnboundedSender<CheckFinding>,
    findings: UnboundedReceiver<CheckFinding>,
}

impl Checks {
    /// None yet.
    pub(super) fn new() -> Self {
        let (sender, findings) = unbounded_channel();
        Self { entries: HashMap::new(), sender, findings }
    }

    /// Starts the checks that come with a snapshot and ends those that go with it.
    pub(super) fn attend(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.entries);
        for service in &snapshot.services {
            for endpoint in &service.endpoints {
                let key = (Arc::clone(&service.name), endpoint.address.clone());
                let known = before.remove(&key);
                self.attend_endpoint(key, service, endpoint, known);
            }
        }
        before.into_values().filter_map(|entry| entry.task).for_each(|task| task.abort());
    }

    /// [`Self::attend`] for the endpoints of one service.
    pub(super) fn attend_service(&mut self, service: &Service, before: Option<&Service>) {
        let mut known = HashMap::new();
        for endpoint in before.map_or(&[][..], |before| &before.endpoints) {
            let key = (Arc::clone(&service.name), endpoint.address.clone());
            known.extend(self.entries.remove_entry(&key));
        }
        for endpoint in &service.endpoints {
            let key = (Arc::clone(&service.name), endpoint.address.clone());
            let known = known.remove(&key);
            self.attend_endpoint(key, service, endpoint, known);
        }
        known.into_values().filter_map(|entry| entry.task).for_each(|task| task.abort());
    }

    fn attend_endpoint(&mut self, key: CheckKey, service: &Service, endpoint: &Endpoint, known: Option<CheckEntry>) {
        // The same address twice in a service is one endpoint. One without a check has no entry, unless it had one.
        if self.entries.contains_key(&key) || service.spec.health.is_none() && known.is_none() {
            return;
        }
        let known = known.filter(|known| Arc::ptr_eq(&known.state, &endpoint.state));
        let known = known.unwrap_or_else(|| CheckEntry {
            state: Arc::clone(&endpoint.state),
            check: None,
            how: CheckedBy::default(),
            task: None,
        });
        let how = CheckedBy { tls: service.tls.clone(), gateway: service.gateway.clone() };
        let made_with = (Arc::clone(&endpoint.name), how);
        let entry = known.renewed(&key, made_with, service.spec.health.as_ref(), &self.sender);
        self.entries.insert(key, entry);
    }

    /// True where there is an active check of this endpoint.
    pub(super) fn has(&self, key: &CheckKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.check.is_some())
    }

    /// The next finding that differs from the last one of its check. Cancel safe.
    pub(super) async fn news(&mut self) -> CheckFinding {
        match self.findings.recv().await {
            Some(finding) => finding,
            None => std::future::pending().await,
        }
    }
}

impl CheckEntry {
    fn renewed(
        mut self,
        (service, address): &CheckKey,
        (name, how): (Arc<str>, CheckedBy),
        check: Option<&Health>,
        news: &UnboundedSender<CheckFinding>,
    ) -> Self {
        if self.check.as_ref() == check && self.how.is_same(&how) {
            return self;
        }
        self.how.clone_from(&how);
        if let Some(task) = self.task.take() {
            task.abort();
        }
        match check {
            // Nobody checks it any more, so it counts as up; 0: it never came back, and needs no slow start.
            None => self.state.put_up(0),
            Some(check) => {
                let checker = Checker {
                    service: Arc::clone(service),
                    address: address.clone(),
                    name,
                    how,
                    check: check.clone(),
                    state: Arc::clone(&self.state),
                    news: news.clone(),
                };
                self.task = Some(tokio::spawn(checker.run()).abort_handle());
            }
        }
        self.check = check.cloned();
        self
    }
}

/// The check of one endpoint.
struct Checker {
    service: Arc<str>,
    address: Address,
    /// As it was written.
    name: Arc<str>,
    how: CheckedBy,
    check: Health,
    state: Arc<EndpointState>,
    news: UnboundedSender<CheckFinding>,
}

impl Checker {
    async fn run(self) {
        let (mut good, mut bad) = (0_u32, 0_u32);
        let mut told: Option<(bool, String)> = None;
        loop {
            let timeout = Duration::from_millis(self.check.timeout.ms());
            let outcome = match tokio::time::timeout(timeout, self.look()).await {
                Ok(outcome) => outcome,
                Err(_) => Err("no answer in time".to_owned()),
            };
            let is_down = self.state.is_down();
            match &outcome {
                Ok(()) => (good, bad) = (good.saturating_add(1), 0),
                Err(_) => (good, bad) = (0, bad.saturating_add(1)),
            }
            let reason = outcome.err().unwrap_or_default();
            let (service, address) = (&self.service, &self.address);
            if is_down && good >= self.check.healthy {
                self.state.put_up(coarse_ms());
                tracing::info!(%service, %address, "health check: the endpoint is up");
            } else if !is_down && bad >= self.check.unhealthy {
                self.state.put_down();
                tracing::warn!(%service, %address, reason, "health check: the endpoint is down");
            }
            let finding = (!self.state.is_down(), reason);
            if told.as_ref() != Some(&finding) {
                let (is_up, reason) = finding.clone();
                let key = (Arc::clone(&self.service), self.address.clone());
                // Nobody listens any more where the process ends.
                let _ = self.news.send(CheckFinding { key, is_up, reason });
                told = Some(finding);
            }
            // A tenth more or less, so that checks of many endpoints do not come at once.
            let interval_ms = self.check.interval.ms();
            let spread_ms = fastrand::u64(0..=interval_ms / 5);
            tokio::time::sleep(Duration::from_millis((interval_ms - interval_ms / 10 + spread_ms).max(1))).await;
        }
    }

    /// Makes one check; the error says what was wrong.
    async fn look(&self) -> Result<(), String> {
        let mut address = self.address.clone();
        if let (Address::Tcp(address), Some(port)) = (&mut address, self.check.port) {
            address.set_port(port);
        }
        let how = (&*self.name, self.how.tls.as_deref(), self.check.path.is_some());
        self.ask(connect(&address, how).await?).await
    }

    /// The host that is asked for.
    fn host(&self) -> String {
        match (&self.check.host, &self.address, self.check.port) {
            (Some(host), ..) => host.clone(),
            (None, Address::Unix(_), _) => "localhost".to_owned(),
            (None, Address::Tcp(_), None) => self.name.to_string(),
            (None, Address::Tcp(_), Some(port)) => {
                let host = self.name.rsplit_once(':').map_or(&*self.name, |(host, _)| host);
                format!("{host}:{port}")
            }
        }
    }

    async fn ask(&self, stream: Box<dyn Duplex>) -> Result<(), String> {
        if let Some(service) = &self.check.grpc {
            return grpc_health::check(stream, &self.host(), service).await;
        }
        let Some(path) = &self.check.path else { return Ok(()) };
        let status = match &self.how.gateway {
            Some(gateway) => gateway_health::check(stream, gateway, (&self.check, path, &self.host())).await?,
            None => self.ask_http(stream, path).await?,
        };
        if self.check.expected.contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
    }

    /// Asks by HTTP/1; the status of the answer.
    async fn ask_http(&self, stream: Box<dyn Duplex>, path: &str) -> Result<u16, String> {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(self.check.method.as_str()).uri(path);
        request = request.header(HOST, self.host()).header("User-Agent", "ringress-health");
        for (name, value) in &self.check.headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answered = sender.send_request(request).await;
        connection.abort();
        Ok(answered.map_err(|error| error.to_string())?.status().as_u16())
    }
}
