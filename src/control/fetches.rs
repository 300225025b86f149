//! Fetches what filters need to know of others, as the keys of `jwt`: a task for each, which asks the endpoints of its services.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::connect::connect;
use crate::config::services::HostRule;
use crate::filter::fetch_source::FetchSource;
use crate::filter::jwk::public_keys_of;
use crate::filter::oidc::provider::{ProviderPlace, bundle};
use crate::limits::{FETCH_BYTES_MAX, FETCH_MS, FETCH_RETRY_MS};
use crate::snapshot::{Endpoint, Service, Snapshot};

/// Something that is another than what was fetched before.
pub(super) type Fetched = (FetchSource, Arc<[u8]>);

/// The tasks.
pub(super) struct Fetches {
    tasks: Vec<FetchTask>,
    sender: UnboundedSender<Fetched>,
    fetched: UnboundedReceiver<Fetched>,
}

struct FetchTask {
    source: FetchSource,
    /// Those that it asks, in the order of the source.
    services: Vec<Arc<Service>>,
    task: AbortHandle,
}

impl FetchTask {
    fn begin(source: FetchSource, services: Vec<Arc<Service>>, news: UnboundedSender<Fetched>) -> Self {
        let fetch = Fetch { source: source.clone(), services: services.clone(), news };
        Self { source, services, task: tokio::spawn(fetch.run()).abort_handle() }
    }

    fn is_of(&self, source: &FetchSource, services: &[Arc<Service>]) -> bool {
        let are_same = |(own, other): (&Arc<Service>, &Arc<Service>)| Arc::ptr_eq(own, other);
        self.source == *source && self.services.iter().zip(services).all(are_same)
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetches {
    /// None yet.
    pub(super) fn new() -> Self {
        let (sender, fetched) = unbounded_channel();
        Self { tasks: Vec::new(), sender, fetched }
    }

    /// Starts the tasks that come with a snapshot and ends those that go with it.
    pub(super) fn attend(&mut self, wanted: Vec<FetchSource>, snapshot: &Snapshot) {
        let known: HashMap<&str, _> = snapshot.services.iter().map(|service| (&*service.name, service)).collect();
        let mut before = std::mem::take(&mut self.tasks);
        for source in wanted {
            let services = source.services().into_iter().map(|name| known.get(name).map(|service| Arc::clone(service)));
            let Some(services) = services.collect::<Option<Vec<_>>>() else { continue };
            let task = match before.iter().position(|task| task.is_of(&source, &services)) {
                Some(at) => before.swap_remove(at),
                None => FetchTask::begin(source, services, self.sender.clone()),
            };
            self.tasks.push(task);
        }
    }

    /// The endpoints of this service are others now.
    pub(super) fn attend_service(&mut self, service: &Arc<Service>) {
        for task in &mut self.tasks {
            if task.services.iter().any(|own| own.name == service.name) {
                let of_now = |own: &Arc<Service>| Arc::clone(if own.name == service.name { service } else { own });
                let services = task.services.iter().map(of_now).collect();
                *task = FetchTask::begin(task.source.clone(), services, self.sender.clone());
            }
        }
    }

    /// The next that differs from the one before it. Cancel safe.
    pub(super) async fn news(&mut self) -> Fetched {
        match self.fetched.recv().await {
            Some(fetched) => fetched,
            None => std::future::pending().await,
        }
    }
}

struct Fetch {
    source: FetchSource,
    services: Vec<Arc<Service>>,
    news: UnboundedSender<Fetched>,
}

impl Fetch {
    async fn run(self) {
        let (mut failed, mut known) = (0_u32, None);
        let (what, every_ms) = (self.source.to_string(), self.source.every().ms());
        loop {
            let wait_ms = match self.fetch().await {
                Ok(fetched) => {
                    if failed > 0 {
                        tracing::info!("{what} are fetched again");
                    }
                    failed = 0;
                    if known.as_ref() != Some(&fetched) {
                        // Nobody listens any more where the process ends.
                        let _ = self.news.send((self.source.clone(), Arc::clone(&fetched)));
                        known = Some(fetched);
                    }
                    every_ms
                }
                Err(reason) => {
                    if failed == 0 {
                        tracing::warn!(
                            reason,
                            "{what} could not be fetched; what is known from before holds, and without that nobody new gets in"
                        );
                    }
                    failed = failed.saturating_add(1);
                    every_ms.min(FETCH_RETRY_MS << failed.min(6))
                }
            };
            // A tenth less or more, so that many hosts do not ask at once.
            let spread_ms = fastrand::u64(0..=wait_ms / 5);
            tokio::time::sleep(Duration::from_millis(wait_ms - wait_ms / 10 + spread_ms)).await;
        }
    }

    async fn fetch(&self) -> Result<Arc<[u8]>, String> {
        match (&self.source, &self.services[..]) {
            (FetchSource::Keys(source), [service]) => {
                let set = get(service, None, &source.path).await?;
                public_keys_of(&set)?;
                Ok((&*set).into())
            }
            (FetchSource::Provider(source), [service, keys_service]) => {
                let place = ProviderPlace::of_configuration(&source.issuer)?;
                let configuration = get(service, Some(&place.host), &place.target).await?;
                let place = ProviderPlace::of_keys(&configuration, &source.issuer)?;
                let keys = get(keys_service, Some(&place.host), &place.target).await?;
                Ok(bundle(&configuration, &keys, &source.issuer)?.into())
            }
            (FetchSource::Keys(_) | FetchSource::Provider(_), _) => Err("the service is gone".to_owned()),
        }
    }
}

/// Asks one endpoint after the other until one has it, beginning with any of them. `host` is what the endpoint's name gives way to.
async fn get(service: &Service, host: Option<&str>, target: &str) -> Result<Bytes, String> {
    let endpoints = &service.endpoints;
    let start = fastrand::usize(0..endpoints.len().max(1));
    let mut reason = format!("the service `{}` has no endpoint", service.name);
    for endpoint in endpoints.iter().cycle().skip(start).take(endpoints.len()) {
        let asked = ask(service, endpoint, (host, target));
        match tokio::time::timeout(Duration::from_millis(FETCH_MS), asked).await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(what)) => reason = format!("{}{target}: {what}", endpoint.address),
            Err(_) => reason = format!("{}{target}: no answer in time", endpoint.address),
        }
    }
    Err(reason)
}

async fn ask(service: &Service, endpoint: &Endpoint, (host, target): (Option<&str>, &str)) -> Result<Bytes, String> {
    let stream = connect(&endpoint.address, (&endpoint.name, service.tls.as_deref(), true)).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let own = if endpoint.name.starts_with("unix:") { "localhost" } else { &*endpoint.name };
    let host = match &service.spec.host {
        HostRule::Name(name) => name,
        HostRule::Keep => host.unwrap_or(own),
        HostRule::Endpoint => own,
    };
    let request = hyper::Request::get(target).header(HOST, host).header("Accept", "application/json");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != hyper::StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), FETCH_BYTES_MAX).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    let answered = answered.await;
    connection.abort();
    answered
}
