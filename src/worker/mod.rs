//! The data plane: one thread per CPU, each with its own engine, listeners, pools, timers and counters.
//!
//! A request's way: `accept` → `serve` (one connection) → `exchange` (one request; read it first) → `connect` and
//! `pool` → `forward` (the request goes up) beside `respond` (the response comes down) → `tunnel` after an upgrade.

mod accept;
mod connect;
mod exchange;
mod forward;
pub mod io;
mod link;
mod live;
mod pool;
mod respond;
pub mod serve;
mod spares;
pub mod thread;
mod timer;
mod tunnel;
pub mod wheel;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use io::Transport;
use live::Live;
use spares::Spares;
use timer::Timers;

use crate::observe::access_log::Line;
use crate::observe::log_writer::Batch;
use crate::observe::metrics::{Metrics, PoolState, Report};
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::response::ResponseHead;
use crate::record::Record;
use crate::snapshot::Snapshot;

/// What one worker has.
#[derive(Debug)]
pub struct Worker<T: Transport> {
    transport: T,
    timers: Rc<Timers<T>>,
    spares: Spares,
    live: RefCell<Rc<Live<T>>>,
    /// Used between two waits only: parsed and encoded in one breath.
    response_head: RefCell<ResponseHead>,
    metrics: RefCell<Metrics>,
    log: RefCell<Option<Batch>>,
    connections: Cell<usize>,
    connections_max: usize,
    is_draining: Cell<bool>,
    requests: Cell<u64>,
    reserve: accept::Reserve,
}

impl<T: Transport> Worker<T> {
    /// A worker without routes, and its timers' task.
    #[must_use]
    pub fn new(transport: T, log: Option<Batch>, connections_max: usize) -> Rc<Self> {
        let timers = Timers::new(transport.clone());
        transport.spawn(Rc::clone(&timers).drive());
        Rc::new(Self {
            timers,
            spares: Spares::default(),
            live: RefCell::new(Live::new(Arc::new(Snapshot::default()), None)),
            response_head: RefCell::default(),
            metrics: RefCell::default(),
            log: RefCell::new(log),
            connections: Cell::new(0),
            connections_max,
            is_draining: Cell::new(false),
            requests: Cell::new(0),
            reserve: accept::Reserve::new(),
            transport,
        })
    }

    /// Requests that begin from now on run with this snapshot. No connection is touched.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        if snapshot.buckets_us != self.live.borrow().snapshot.buckets_us {
            self.metrics.borrow_mut().forget_durations();
        }
        let live = Live::new(snapshot, Some(&self.live.borrow()));
        let before = self.live.replace(live);
        // Endpoints that are gone close their idle connections here, outside of the borrow.
        drop(before);
    }

    /// Ends connections as they become idle; no answer from now on keeps one open.
    pub fn drain(&self) {
        self.is_draining.set(true);
        let idle_ms = self.live().snapshot.drain_idle_ms;
        self.timers.hasten_idle(idle_ms);
    }

    /// Open client connections.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections.get()
    }

    /// True where another client connection would be one too many.
    #[must_use]
    fn is_full(&self) -> bool {
        let configured = self.live.borrow().snapshot.connections_max.unwrap_or(usize::MAX);
        self.connections.get() >= self.connections_max.min(configured)
    }

    fn live(&self) -> Rc<Live<T>> {
        Rc::clone(&self.live.borrow())
    }

    /// Counts an exchange that is over, and writes its line.
    fn record(&self, record: &Record, head: &RequestHead, snapshot: &Snapshot) {
        let mut metrics = self.metrics.borrow_mut();
        metrics.count(record, snapshot);
        self.requests.set(self.requests.get() + 1);
        if let (Some(batch), Some(format)) = (self.log.borrow_mut().as_mut(), snapshot.log_format) {
            let line = Line { record, head, snapshot, now: self.transport.wall(), number: self.requests.get() };
            metrics.counters.log_dropped += batch.push(|out| line.put(out, format));
        }
    }

    /// Hands over access log lines that wait for a full batch.
    fn flush_log(&self) {
        if let Some(batch) = self.log.borrow_mut().as_mut() {
            self.metrics.borrow_mut().counters.log_dropped += batch.hand_over();
        }
    }

    /// A copy of the counters.
    #[must_use]
    pub fn report(&self, worker: usize, engine: &'static str, panics: u64) -> Report {
        let live = self.live();
        let mut pools = Vec::new();
        for (service, state) in live.snapshot.services.iter().zip(&live.services) {
            let endpoints = service.endpoints.iter().zip(&state.endpoints);
            pools.extend(endpoints.map(|(named, endpoint)| PoolState {
                service: service.label,
                endpoint: Arc::clone(&named.name),
                idle: endpoint.idle_count(),
                busy: endpoint.busy.get(),
            }));
        }
        let mut metrics = self.metrics.borrow().clone();
        metrics.counters.panics += panics;
        Report {
            worker,
            engine,
            connections: self.connections.get(),
            generation: live.snapshot.generation,
            metrics,
            pools,
        }
    }
}
