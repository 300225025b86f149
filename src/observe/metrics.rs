//! Counters of one worker, in plain integers of its own. A scrape asks each worker for a copy, so nothing is shared.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::failure::Failure;
use crate::limits::{METRIC_BUCKETS_MAX, METRIC_SERIES_MAX};
use crate::record::Record;
use crate::snapshot::{Address, Label, Labels};
use crate::tls::Facts;
use crate::upstream::ejection::Standing;
use crate::upstream::habit::Trust;

/// The names of gRPC's statuses, 0 to 16 (<https://grpc.io/docs/guides/status-codes/>).
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeriesKey {
    pub listener: Label,
    pub route: Label,
    pub service: Label,
    pub status: u16,
    pub cause: &'static str,
    /// How a call of gRPC ended, by gRPC's own name for it; empty for what is none.
    pub grpc: &'static str,
}

impl SeriesKey {
    /// The key without labels that are forgotten: a request that outlived its route's name by an hour counts for no name.
    pub(super) fn with_known(self, labels: &Labels) -> Self {
        let known = |label: Label| if labels.name(label).is_empty() { Label::default() } else { label };
        Self { listener: known(self.listener), route: known(self.route), service: known(self.service), ..self }
    }
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Series {
    pub count: u64,
    pub duration_us: u64,
    /// Counted in the first bucket that holds it; summed up when written.
    pub buckets: [u64; METRIC_BUCKETS_MAX],
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// Events that have no labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Client connections accepted.
    pub accepted: u64,
    /// Client connections closed at once, for there were too many.
    pub shed: u64,
    /// Accepts that failed for lack of descriptors or memory.
    pub accept_errors: u64,
    /// Copies of requests sent to other services.
    pub copies: u64,
    /// Copies of requests not sent: the body was too long, or too many were on their way.
    pub copies_dropped: u64,
    /// Panics caught.
    pub panics: u64,
    /// Access log lines dropped.
    pub log_dropped: u64,
    /// Upstream connections opened.
    pub upstream_opened: u64,
    /// Requests sent over a pooled connection.
    pub upstream_reused: u64,
    /// Client connections closed, for their client had too many.
    pub refused_clients: u64,
    /// Connections closed after their response, for the endpoint was seen to close them.
    pub not_pooled: u64,
    /// Times that pooling was turned off for an endpoint.
    pub pooling_off: u64,
    /// Pooled connections that the upstream closed while idle.
    pub idle_closed_eof: u64,
    /// Pooled connections that failed while idle.
    pub idle_closed_error: u64,
    /// Pooled connections on which bytes came that nobody asked for.
    pub idle_closed_unsolicited: u64,
    /// Pooled connections closed for their age or idle time.
    pub idle_closed_expired: u64,
}

/// The counters of one worker.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) series: HashMap<SeriesKey, Series, FixedState>,
    /// Attempts that failed, by service and cause.
    pub(super) failed: HashMap<(Label, &'static str), u64, FixedState>,
    /// What followed them, by service and decision.
    pub(super) retries: HashMap<(Label, &'static str), u64, FixedState>,
    /// Endpoints that were left out for their failures, by service and cause.
    pub(super) ejected: HashMap<(Label, &'static str), u64, FixedState>,
    /// TLS handshakes with clients, by listener.
    pub(super) handshakes: HashMap<(Label, HandshakeSeries), u64, FixedState>,
    /// Those that failed, by listener and reason.
    pub(super) refused_handshakes: HashMap<(Label, &'static str), u64, FixedState>,
    /// HTTP/2 connections that were ended for what their client sent too much of, by listener and frame.
    pub(super) excesses: HashMap<(Label, &'static str), u64, FixedState>,
    /// Events without labels.
    pub counters: Counters,
}

/// What handshakes are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct HandshakeSeries {
    pub version: &'static str,
    pub cipher: &'static str,
    pub is_resumed: bool,
}

/// The state of the pool of one endpoint.
#[derive(Clone, Debug)]
pub struct PoolState {
    /// The service.
    pub service: Label,
    /// The endpoint, as it was written.
    pub endpoint: std::sync::Arc<str>,
    /// Its address.
    pub address: Address,
    /// Idle connections.
    pub idle: usize,
    /// Requests in flight.
    pub busy: usize,
    /// Whether it is left out for its failures.
    pub standing: Standing,
    /// Why it is.
    pub cause: Option<Failure>,
    /// How far reuse of its connections is trusted.
    pub trust: Trust,
    /// How long its connections may be idle, as was learned; `u64::MAX` where nothing was.
    pub lifetime_us: u64,
}

/// The state of one service.
#[derive(Clone, Copy, Debug)]
pub struct GateState {
    /// The service.
    pub service: Label,
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// The circuit breaker refuses requests.
    pub is_open: bool,
}

/// What one worker answers to a scrape.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its number.
    pub worker: usize,
    /// Which engine it runs on.
    pub engine: &'static str,
    /// Open client connections.
    pub connections: usize,
    /// The generation of its snapshot.
    pub generation: u64,
    /// Its counters.
    pub metrics: Metrics,
    /// Share of requests that it refuses, for it lags behind, of 100.
    pub refused_percent: u8,
    /// The pools of the services that it uses.
    pub pools: Vec<PoolState>,
    /// The services that it uses.
    pub gates: Vec<GateState>,
}

impl Metrics {
    /// Forgets everything told apart by labels: other buckets begin other histograms, and a histogram's parts must
    /// agree. Prometheus takes it for a restart.
    pub fn forget_durations(&mut self) {
        self.series.clear();
    }

    /// Forgets the series of names that are gone.
    pub fn forget(&mut self, labels: &[Label]) {
        let is_gone = |label: &Label| labels.contains(label);
        self.series.retain(|key, _| ![key.listener, key.route, key.service].iter().any(is_gone));
        for counts in
            [&mut self.failed, &mut self.retries, &mut self.ejected, &mut self.refused_handshakes, &mut self.excesses]
        {
            counts.retain(|(label, _), _| !is_gone(label));
        }
        self.handshakes.retain(|(label, _), _| !is_gone(label));
    }

    /// Counts an attempt that failed.
    pub fn count_failed(&mut self, service: Label, cause: &'static str) {
        *self.failed.entry((service, cause)).or_default() += 1;
    }

    /// Counts an endpoint that is left out for its failures.
    pub fn count_ejection(&mut self, service: Label, cause: &'static str) {
        *self.ejected.entry((service, cause)).or_default() += 1;
    }

    /// The causes of attempts that failed, each as often as it was counted for a service.
    pub fn failed_causes(&self) -> impl Iterator<Item = &'static str> {
        self.failed.keys().map(|(_, cause)| *cause)
    }

    /// Counts what followed a failed attempt; an empty name is nothing to count.
    pub fn count_retry(&mut self, service: Label, decision: &'static str) {
        if !decision.is_empty() {
            *self.retries.entry((service, decision)).or_default() += 1;
        }
    }

    /// Counts a handshake that succeeded.
    pub fn count_handshake(&mut self, listener: Label, facts: &Facts) {
        let Facts { version, cipher, is_resumed, .. } = *facts;
        *self.handshakes.entry((listener, HandshakeSeries { version, cipher, is_resumed })).or_default() += 1;
    }

    /// Counts one that did not.
    pub fn count_refused_handshake(&mut self, listener: Label, reason: &'static str) {
        *self.refused_handshakes.entry((listener, reason)).or_default() += 1;
    }

    /// Counts an HTTP/2 connection that was ended for what its client sent too much of.
    pub fn count_excess(&mut self, listener: Label, frame: &'static str) {
        *self.excesses.entry((listener, frame)).or_default() += 1;
    }

    /// Counts an exchange that is over; `buckets_us` are the upper bounds of the histogram, in microseconds.
    pub fn count(&mut self, record: &Record, buckets_us: &[u64]) {
        let key = SeriesKey {
            listener: record.listener,
            route: record.route,
            service: record.service,
            status: record.status,
            cause: record.failure.map_or("", |failure| failure.row().cause),
            grpc: record
                .grpc_status
                .and_then(|status| GRPC_STATUSES.get(usize::from(status)))
                .copied()
                .unwrap_or_default(),
        };
        let is_full = self.series.len() >= METRIC_SERIES_MAX && !self.series.contains_key(&key);
        let key = if is_full { SeriesKey { status: record.status, ..SeriesKey::default() } } else { key };
        let series = self.series.entry(key).or_default();
        let duration_us = record.times.total_us();
        series.count += 1;
        series.duration_us += duration_us;
        let bucket = buckets_us.iter().position(|bound| duration_us <= *bound);
        if let Some(count) = bucket.and_then(|at| series.buckets.get_mut(at)) {
            *count += 1;
        }
        series.request_bytes += record.request_bytes;
        series.response_bytes += record.response_bytes;
    }
}
