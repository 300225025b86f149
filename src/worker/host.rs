//! One worker: what it owns, and the calls by which its thread publishes to it, drains it and asks for its counters.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::engine::Transport;
use super::heads::Heads;
use super::kit::Kit;
use super::live::Live;
use super::passwords::Passwords;
use super::pressure::Pressure;
use super::remembered::{Asking, Remembered};
use super::reply::Reply;
use crate::clients::ClientConnections;
use crate::desk::Desk;
use crate::limits::ANSWERS_KNOWN_MAX;
use crate::mailbox::Bells;
use crate::observe::access_log::Line;
use crate::observe::log_writer::Batch;
use crate::observe::metrics::{GateState, PoolState, Report};
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::response::ResponseHead;
use crate::record::Record;
use crate::snapshot::{Label, Route, Service, Snapshot};
use crate::upstream::trouble::concerns_service;

/// How long after it was told that there are too many connections it is told again, in milliseconds.
const TOLD_AGAIN_MS: u64 = 60_000;

/// What a worker is made with.
#[derive(Debug)]
pub struct WorkerSettings {
    /// Its number, from 0.
    pub index: usize,
    /// The access log.
    pub log: Option<Batch>,
    /// Client connections at most.
    pub connections_max: usize,
    /// Connections by client, of the whole process.
    pub clients: ClientConnections,
    /// Wakes the other workers.
    pub bells: Bells,
    /// Where slow things are computed.
    pub desk: Desk,
}

impl WorkerSettings {
    /// For the same worker, started once more.
    #[must_use]
    pub(super) fn again(&self) -> Self {
        Self {
            index: self.index,
            log: self.log.as_ref().map(Batch::another),
            connections_max: self.connections_max,
            clients: self.clients.clone(),
            bells: self.bells.clone(),
            desk: self.desk.clone(),
        }
    }

    /// The only worker of its process, without a log.
    #[must_use]
    pub fn alone(connections_max: usize) -> Self {
        Self {
            index: 0,
            log: None,
            connections_max,
            clients: ClientConnections::default(),
            bells: Bells::default(),
            desk: Desk::default(),
        }
    }
}

/// What one worker has.
#[derive(Debug)]
pub struct Worker<T: Transport> {
    pub(super) kit: Rc<Kit<T>>,
    pub(super) live: Live<T>,
    pub(super) heads: Heads,
    /// Bytes of request bodies that are held to be sent again.
    pub(super) held_bytes: Cell<usize>,
    /// Answers that are being compressed.
    pub(super) compressions: Cell<usize>,
    /// Copies of requests that are on their way to other services, and the bytes of their bodies.
    pub(super) copies: Cell<(usize, usize)>,
    /// Pages that services are asked for.
    pub(super) pages: Cell<usize>,
    /// A response head is parsed into it and encoded from it without an `await` between, so that one serves all exchanges.
    pub(super) response_head: RefCell<ResponseHead>,
    log: RefCell<Option<Batch>>,
    connections: Cell<usize>,
    connections_max: usize,
    pub(super) clients: ClientConnections,
    pub(super) passwords: Passwords,
    /// Answers of services that filters asked, where one of them says so.
    pub(super) answers: Remembered<Rc<Reply>>,
    /// Those that are being asked for.
    pub(super) asking: Asking,
    is_draining: Cell<bool>,
    /// When connections beyond a limit were told last, in milliseconds; 0 for never.
    full_told_ms: Cell<u64>,
    crowded_told_ms: Cell<u64>,
    requests: Cell<u64>,
    pub(super) pressure: Pressure,
}

impl<T: Transport> Worker<T> {
    /// A worker without routes, and its timers' task.
    #[must_use]
    pub fn new(transport: T, settings: WorkerSettings) -> Rc<Self> {
        let kit = Kit::new(transport, settings.index, settings.bells);
        Rc::new(Self {
            live: Live::new(&kit),
            kit,
            heads: Heads::default(),
            held_bytes: Cell::new(0),
            compressions: Cell::new(0),
            copies: Cell::default(),
            pages: Cell::default(),
            response_head: RefCell::default(),
            log: RefCell::new(settings.log),
            connections: Cell::new(0),
            connections_max: settings.connections_max,
            clients: settings.clients,
            passwords: Passwords::new(settings.desk),
            answers: Remembered::new(ANSWERS_KNOWN_MAX),
            asking: Asking::default(),
            is_draining: Cell::new(false),
            full_told_ms: Cell::default(),
            crowded_told_ms: Cell::default(),
            requests: Cell::new(0),
            pressure: Pressure::default(),
        })
    }

    /// So many copies of requests were sent, and so many dropped.
    pub(super) fn count_copies(&self, sent: usize, dropped: usize) {
        let counters = &mut self.kit.metrics.borrow_mut().counters;
        counters.copies += sent as u64;
        counters.copies_dropped += dropped as u64;
    }

    /// Requests that begin from now on run with this snapshot. No connection is touched.
    pub fn publish(&self, snapshot: &Snapshot) {
        if snapshot.process.buckets_us != self.live.process().buckets_us {
            self.kit.metrics.borrow_mut().forget_durations();
        }
        self.live.publish(snapshot);
    }

    /// [`Self::publish`] where nothing but this service changed.
    pub fn publish_service(&self, service: &Arc<Service>, generation: u64) {
        self.live.publish_service(service, generation);
    }

    /// Forgets the series of names that are gone.
    pub fn forget(&self, labels: &[Label]) {
        self.kit.metrics.borrow_mut().forget(labels);
    }

    /// Ends connections as they become idle; no answer from now on keeps one open.
    pub fn drain(&self) {
        self.is_draining.set(true);
        let idle_ms = self.live.process().drain_idle_ms;
        self.kit.hasten_idle(idle_ms);
    }

    /// True since it was told to drain.
    pub(super) const fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Open client connections.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections.get()
    }

    /// A client connection that counts as open until this is dropped.
    pub(super) fn count_connection(self: &Rc<Self>) -> OpenConnection<T> {
        self.connections.set(self.connections.get() + 1);
        OpenConnection(Rc::clone(self))
    }

    /// True where another client connection would be one too many.
    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        let configured = self.live.process().connections_max.unwrap_or(usize::MAX);
        self.connections.get().saturating_sub(self.kit.leaving()) >= self.connections_max.min(configured)
    }

    /// True the first time that there are too many connections, and after each minute of it.
    pub(super) fn tells_full(&self) -> bool {
        self.tells(&self.full_told_ms)
    }

    /// The same for the connections of one client.
    pub(super) fn tells_crowded(&self) -> bool {
        self.tells(&self.crowded_told_ms)
    }

    fn tells(&self, told_ms: &Cell<u64>) -> bool {
        let now_ms = self.kit.transport.coarse_ms();
        let is_due = told_ms.get() == 0 || now_ms.saturating_sub(told_ms.get()) >= TOLD_AGAIN_MS;
        if is_due {
            told_ms.set(now_ms.max(1));
        }
        is_due
    }

    /// Counts an exchange that is over, and writes its line.
    pub(super) fn record(
        &self,
        record: &Record,
        head: &RequestHead,
        (route, service): (Option<&Route>, Option<&Service>),
    ) {
        let process = self.live.process();
        let mut metrics = self.kit.metrics.borrow_mut();
        metrics.count(record, &process.buckets_us);
        if let (Some(service), Some(failure)) = (service, record.failure)
            && concerns_service(failure, record.attempts)
        {
            service.counts.troubles.note_failure(failure, self.kit.transport.coarse_ms());
        }
        self.requests.set(self.requests.get() + 1);
        let format = process.log_format.filter(|_| route.is_none_or(|route| route.is_logged));
        if let (Some(batch), Some(format)) = (self.log.borrow_mut().as_mut(), format) {
            let (now, number) = (self.kit.transport.wall(), self.requests.get());
            let line = Line { record, head, route, service, now, number };
            metrics.counters.log_dropped += batch.push(|out| line.put(out, format));
        }
    }

    /// A turn of the loop came so much too late, in milliseconds.
    pub(super) fn note_lag(&self, lag_ms: u64) {
        self.pressure.note(lag_ms, self.live.process().shed_above_ms);
    }

    /// Hands over access log lines that wait for a full batch.
    pub(super) fn flush_log(&self) {
        if let Some(batch) = self.log.borrow_mut().as_mut() {
            self.kit.metrics.borrow_mut().counters.log_dropped += batch.hand_over();
        }
    }

    /// A copy of the counters.
    #[must_use]
    pub fn report(&self, engine: &'static str, panics: u64) -> Report {
        let (mut pools, mut gates) = (Vec::new(), Vec::new());
        let now_ms = self.kit.transport.coarse_ms();
        for live in self.live.services_in_use() {
            let members = live.members();
            let service = &members.service;
            let endpoints = service.endpoints.iter().zip(&members.endpoints);
            pools.extend(endpoints.map(|(named, endpoint)| PoolState {
                service: service.label,
                endpoint: Arc::clone(&named.name),
                address: named.address.clone(),
                idle: endpoint.idle_count(),
                busy: endpoint.busy.get(),
                standing: endpoint.passive.borrow().standing(now_ms),
                cause: endpoint.passive.borrow().cause(),
                trust: endpoint.habit.borrow().trust(),
                lifetime_us: endpoint.habit.borrow().lifetime_us(),
            }));
            gates.push(GateState {
                service: service.label,
                in_flight: live.gate.in_flight(),
                waiting: live.gate.waiting(),
                is_open: live.breaker.borrow().as_ref().is_some_and(|breaker| breaker.is_open()),
            });
        }
        let mut metrics = self.kit.metrics.borrow().clone();
        metrics.counters.panics += panics;
        Report {
            worker: self.kit.worker,
            engine,
            connections: self.connections.get(),
            generation: self.live.generation.get(),
            refused_percent: self.pressure.share(),
            metrics,
            pools,
            gates,
        }
    }
}

/// An open client connection.
#[derive(Debug)]
pub(super) struct OpenConnection<T: Transport>(Rc<Worker<T>>);

impl<T: Transport> Drop for OpenConnection<T> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}
