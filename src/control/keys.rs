//! Fetches JWK sets for `jwt`: a task for each set, which asks the endpoints of its service.

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
use crate::filter::jwk::keys_of;
use crate::filter::key_source::KeySource;
use crate::limits::{KEY_SET_BYTES_MAX, KEY_SET_MS, KEY_SET_RETRY_MS};
use crate::snapshot::{Endpoint, Service, Snapshot};

/// A set that is another than the one before.
pub(super) type KeySet = (KeySource, Arc<[u8]>);

/// The tasks, each with the service that it asks.
pub(super) struct KeyFetches {
    tasks: Vec<(KeySource, Arc<Service>, AbortHandle)>,
    sender: UnboundedSender<KeySet>,
    sets: UnboundedReceiver<KeySet>,
}

impl KeyFetches {
    /// None yet.
    pub(super) fn new() -> Self {
        let (sender, sets) = unbounded_channel();
        Self { tasks: Vec::new(), sender, sets }
    }

    /// Starts the tasks that come with a snapshot and ends those that go with it.
    pub(super) fn attend(&mut self, wanted: Vec<KeySource>, snapshot: &Snapshot) {
        let services: HashMap<&str, _> = snapshot.services.iter().map(|service| (&*service.name, service)).collect();
        let mut before = std::mem::take(&mut self.tasks);
        for source in wanted {
            let Some(service) = services.get(&*source.service) else { continue };
            let is_same =
                |task: &(KeySource, Arc<Service>, AbortHandle)| task.0 == source && Arc::ptr_eq(&task.1, service);
            match before.iter().position(is_same) {
                Some(at) => self.tasks.push(before.swap_remove(at)),
                None => self.begin(source, service),
            }
        }
        before.into_iter().for_each(|(.., task)| task.abort());
    }

    /// The endpoints of this service are others now.
    pub(super) fn attend_service(&mut self, service: &Arc<Service>) {
        let (others, own) = std::mem::take(&mut self.tasks).into_iter().partition(|task| task.1.name != service.name);
        self.tasks = others;
        for (source, _, task) in own {
            task.abort();
            self.begin(source, service);
        }
    }

    fn begin(&mut self, source: KeySource, service: &Arc<Service>) {
        let fetch = KeyFetch { source: source.clone(), service: Arc::clone(service), news: self.sender.clone() };
        self.tasks.push((source, Arc::clone(service), tokio::spawn(fetch.run()).abort_handle()));
    }

    /// The next set that differs from the one before it. Cancel safe.
    pub(super) async fn news(&mut self) -> KeySet {
        match self.sets.recv().await {
            Some(set) => set,
            None => std::future::pending().await,
        }
    }
}

struct KeyFetch {
    source: KeySource,
    service: Arc<Service>,
    news: UnboundedSender<KeySet>,
}

impl KeyFetch {
    async fn run(self) {
        let (mut failed, mut known) = (0_u32, None);
        let (service, path) = (&*self.service.name, &*self.source.path);
        let every_ms = self.source.every.ms();
        loop {
            let wait_ms = match self.fetch().await {
                Ok(set) => {
                    if failed > 0 {
                        tracing::info!(service, path, "the keys of `jwt` are fetched again");
                    }
                    failed = 0;
                    if known.as_ref() != Some(&set) {
                        // Nobody listens any more where the process ends.
                        let _ = self.news.send((self.source.clone(), Arc::clone(&set)));
                        known = Some(set);
                    }
                    every_ms
                }
                Err(reason) => {
                    if failed == 0 {
                        tracing::warn!(
                            service,
                            path,
                            reason,
                            "the keys of `jwt` could not be fetched; those from before hold, and without any nobody gets in"
                        );
                    }
                    failed = failed.saturating_add(1);
                    every_ms.min(KEY_SET_RETRY_MS << failed.min(6))
                }
            };
            // A tenth less or more, so that many hosts do not ask at once.
            let spread_ms = fastrand::u64(0..=wait_ms / 5);
            tokio::time::sleep(Duration::from_millis(wait_ms - wait_ms / 10 + spread_ms)).await;
        }
    }

    /// Asks one endpoint after the other until one has keys, beginning with any of them.
    async fn fetch(&self) -> Result<Arc<[u8]>, String> {
        let endpoints = &self.service.endpoints;
        let start = fastrand::usize(0..endpoints.len().max(1));
        let mut reason = "the service has no endpoint".to_owned();
        for endpoint in endpoints.iter().cycle().skip(start).take(endpoints.len()) {
            let asked = tokio::time::timeout(Duration::from_millis(KEY_SET_MS), self.ask(endpoint)).await;
            match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(set) => return Ok(set),
                Err(what) => reason = format!("{}: {what}", endpoint.address),
            }
        }
        Err(reason)
    }

    async fn ask(&self, endpoint: &Endpoint) -> Result<Arc<[u8]>, String> {
        let stream = connect(&endpoint.address, (&endpoint.name, self.service.tls.as_deref(), true)).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let host = if endpoint.name.starts_with("unix:") { "localhost" } else { &*endpoint.name };
        let request = hyper::Request::get(&*self.source.path).header(HOST, host).header("Accept", "application/json");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            if response.status() != hyper::StatusCode::OK {
                return Err(format!("status {}", response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), KEY_SET_BYTES_MAX).collect().await;
            Ok(body.map_err(|error| error.to_string())?.to_bytes())
        };
        let answered = answered.await;
        connection.abort();
        let set = answered?;
        if keys_of(&set)?.is_empty() { Err("the set has no key that is known".to_owned()) } else { Ok((&*set).into()) }
    }
}
