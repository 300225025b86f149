//! The data plane: one thread per CPU, each with its own engine, listeners, pools, timers and counters.
//!
//! A request's way: `accept` → `serve` (one connection; `tls` below it, `h2` beside it) → `exchange` (one request; read it first) → `admit` (limits, the
//! queue, the endpoint) → `attempts`, each an `attempt`: `connect` and `pool`, then `forward` (the request goes up)
//! beside `respond` (the response comes down) → `tunnel` after an upgrade → `settle` (failures become answers).

mod accept;
mod admit;
mod attempt;
mod attempts;
mod connect;
mod ends;
mod exchange;
mod forward;
mod gate;
mod h2;
mod held;
pub mod io;
mod judge;
mod link;
mod live;
mod pool;
mod pressure;
mod respond;
mod response_body;
mod revive;
pub mod serve;
mod settle;
mod spares;
pub mod thread;
mod timer;
mod tls;
mod tunnel;
mod upload;
pub mod wheel;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use io::Transport;
use live::Live;
use pressure::Pressure;
use spares::Spares;
use timer::Timers;

use crate::observe::access_log::Line;
use crate::observe::log_writer::Batch;
use crate::observe::metrics::{GateState, Metrics, PoolState, Report};
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
    /// TLS handshakes that are not over.
    handshakes: Cell<usize>,
    /// Connections by client address, where a listener limits them.
    clients: RefCell<HashMap<IpAddr, usize>>,
    is_draining: Cell<bool>,
    requests: Cell<u64>,
    pressure: Pressure,
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
            handshakes: Cell::new(0),
            clients: RefCell::default(),
            is_draining: Cell::new(false),
            requests: Cell::new(0),
            pressure: Pressure::default(),
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

    /// A turn of the loop came so much too late, in milliseconds.
    fn note_lag(&self, lag_ms: u64) {
        self.pressure.note(lag_ms, self.live.borrow().snapshot.shed_above_ms);
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
        let (mut pools, mut gates) = (Vec::new(), Vec::new());
        for (service, state) in live.snapshot.services.iter().zip(&live.services) {
            let endpoints = service.endpoints.iter().zip(&state.endpoints);
            let now_ms = self.transport.coarse_ms();
            pools.extend(endpoints.map(|(named, endpoint)| PoolState {
                service: service.label,
                endpoint: Arc::clone(&named.name),
                address: named.address.to_string(),
                idle: endpoint.idle_count(),
                busy: endpoint.busy.get(),
                standing: endpoint.ejection.borrow().standing(now_ms),
                cause: endpoint.ejection.borrow().cause(),
                trust: endpoint.habit.borrow().trust(),
                lifetime_us: endpoint.habit.borrow().lifetime_us(),
            }));
            gates.push(GateState {
                service: service.label,
                in_flight: state.state.gate.in_flight(),
                waiting: state.state.gate.waiting(),
                is_open: state.state.breaker.borrow().is_open(),
            });
        }
        let mut metrics = self.metrics.borrow().clone();
        metrics.counters.panics += panics;
        Report {
            worker,
            engine,
            connections: self.connections.get(),
            generation: live.snapshot.generation,
            refused_percent: self.pressure.share(),
            metrics,
            pools,
            gates,
        }
    }
}
