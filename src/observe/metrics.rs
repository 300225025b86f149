//! Counters of one worker, and their sum in the Prometheus text format (version 0.0.4).
//!
//! A worker counts in plain integers of its own. A scrape asks each worker for a copy, so nothing is shared.

use std::collections::HashMap;
use std::fmt::Write as _;

use foldhash::fast::FixedState;

use crate::limits::{METRIC_BUCKETS_MAX, METRIC_SERIES_MAX};
use crate::record::Record;
use crate::snapshot::{Label, Labels, Snapshot};

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    listener: Label,
    route: Label,
    service: Label,
    status: u16,
    cause: &'static str,
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Series {
    count: u64,
    duration_us: u64,
    /// Counted in the first bucket that holds it; summed up when written.
    buckets: [u64; METRIC_BUCKETS_MAX],
    request_bytes: u64,
    response_bytes: u64,
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
    /// Panics caught.
    pub panics: u64,
    /// Access log lines dropped.
    pub log_dropped: u64,
    /// Upstream connections opened.
    pub upstream_opened: u64,
    /// Requests sent over a pooled connection.
    pub upstream_reused: u64,
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
    series: HashMap<Key, Series, FixedState>,
    /// Events without labels.
    pub counters: Counters,
}

/// The state of the pool of one endpoint.
#[derive(Clone, Debug)]
pub struct PoolState {
    /// The service.
    pub service: Label,
    /// The endpoint, as it was written.
    pub endpoint: std::sync::Arc<str>,
    /// Idle connections.
    pub idle: usize,
    /// Requests in flight.
    pub busy: usize,
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
    /// Its pools.
    pub pools: Vec<PoolState>,
}

impl Metrics {
    /// Forgets everything told apart by labels: other buckets begin other histograms, and a histogram's parts must
    /// agree. Prometheus takes it for a restart.
    pub fn forget_durations(&mut self) {
        self.series.clear();
    }

    /// Counts an exchange that is over.
    pub fn count(&mut self, record: &Record, snapshot: &Snapshot) {
        let key = Key {
            listener: record.listener,
            route: record.route.and_then(|at| snapshot.routes.get(at)).map(|route| route.label).unwrap_or_default(),
            service: record
                .service
                .and_then(|at| snapshot.services.get(at))
                .map(|service| service.label)
                .unwrap_or_default(),
            status: record.status,
            cause: record.failure.map_or("", |failure| failure.row().cause),
        };
        let is_full = self.series.len() >= METRIC_SERIES_MAX && !self.series.contains_key(&key);
        let key = if is_full { Key { status: record.status, ..Key::default() } } else { key };
        let series = self.series.entry(key).or_default();
        let duration_us = record.times.total_us();
        series.count += 1;
        series.duration_us += duration_us;
        let bucket = snapshot.buckets_us.iter().position(|bound| duration_us <= *bound);
        if let Some(count) = bucket.and_then(|at| series.buckets.get_mut(at)) {
            *count += 1;
        }
        series.request_bytes += record.request_bytes;
        series.response_bytes += record.response_bytes;
    }
}

/// The sum of all workers as text.
#[must_use]
pub fn render(reports: &[Report], snapshot: &Snapshot, labels: &Labels, silent_workers: usize) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let version = env!("CARGO_PKG_VERSION");
    family(&mut out, "ringress_build_info", "gauge", "The running program.");
    sample(&mut out, "ringress_build_info", &format!("version=\"{version}\""), 1);
    family(&mut out, "ringress_snapshot_generation", "gauge", "Configurations published so far.");
    sample(&mut out, "ringress_snapshot_generation", "", snapshot.generation);
    family(&mut out, "ringress_workers_silent", "gauge", "Workers that did not answer this scrape.");
    sample(&mut out, "ringress_workers_silent", "", silent_workers as u64);
    render_requests(&mut out, reports, snapshot, labels);
    render_workers(&mut out, reports);
    render_pools(&mut out, reports, labels);
    out
}

fn render_requests(out: &mut String, reports: &[Report], snapshot: &Snapshot, labels: &Labels) {
    let mut sums: std::collections::BTreeMap<Key, Series> = std::collections::BTreeMap::new();
    for (key, series) in reports.iter().flat_map(|report| &report.metrics.series) {
        let sum = sums.entry(*key).or_default();
        sum.count += series.count;
        sum.duration_us += series.duration_us;
        sum.request_bytes += series.request_bytes;
        sum.response_bytes += series.response_bytes;
        for (total, count) in sum.buckets.iter_mut().zip(series.buckets) {
            *total += count;
        }
    }
    let names = |key: &Key| {
        format!(
            "listener=\"{}\",route=\"{}\",service=\"{}\",code=\"{}\",cause=\"{}\"",
            escape(labels.name(key.listener)),
            escape(labels.name(key.route)),
            escape(labels.name(key.service)),
            key.status,
            key.cause
        )
    };
    let counters: [RequestFamily; 3] = [
        ("ringress_requests_total", "Requests that are over.", |series| series.count),
        ("ringress_request_bytes_total", "Bytes of request bodies.", |series| series.request_bytes),
        ("ringress_response_bytes_total", "Bytes of response bodies.", |series| series.response_bytes),
    ];
    for (name, help, value) in counters {
        family(out, name, "counter", help);
        sums.iter().for_each(|(key, series)| sample(out, name, &names(key), value(series)));
    }
    let name = "ringress_request_duration_seconds";
    family(out, name, "histogram", "From the complete request head to the last byte of the response.");
    for (key, series) in &sums {
        let names = names(key);
        let mut below = 0;
        for (bound_us, count) in snapshot.buckets_us.iter().zip(series.buckets) {
            below += count;
            let bound = seconds(*bound_us);
            sample(out, &format!("{name}_bucket"), &format!("{names},le=\"{bound}\""), below);
        }
        sample(out, &format!("{name}_bucket"), &format!("{names},le=\"+Inf\""), series.count);
        let _ = writeln!(out, "{name}_sum{{{names}}} {}", seconds(series.duration_us));
        sample(out, &format!("{name}_count"), &names, series.count);
    }
}

/// What is counted of requests: name, help and value.
type RequestFamily = (&'static str, &'static str, fn(&Series) -> u64);

/// What each worker counts by itself: name, type, help and value.
type WorkerFamily = (&'static str, &'static str, &'static str, fn(&Report) -> u64);

const WORKER_FAMILIES: [WorkerFamily; 9] = [
    ("ringress_worker_generation", "gauge", "The configuration that the worker runs with.", |r| r.generation),
    ("ringress_client_connections", "gauge", "Open client connections.", |r| r.connections as u64),
    ("ringress_client_connections_accepted_total", "counter", "Client connections accepted.", |r| {
        r.metrics.counters.accepted
    }),
    ("ringress_client_connections_shed_total", "counter", "Client connections closed, for there were too many.", |r| {
        r.metrics.counters.shed
    }),
    ("ringress_accept_errors_total", "counter", "Accepts that failed.", |r| r.metrics.counters.accept_errors),
    ("ringress_panics_total", "counter", "Panics caught: bugs of this program.", |r| r.metrics.counters.panics),
    ("ringress_access_log_dropped_total", "counter", "Access log lines dropped.", |r| r.metrics.counters.log_dropped),
    ("ringress_upstream_connections_opened_total", "counter", "Upstream connections opened.", |r| {
        r.metrics.counters.upstream_opened
    }),
    ("ringress_upstream_connections_reused_total", "counter", "Requests sent over a pooled connection.", |r| {
        r.metrics.counters.upstream_reused
    }),
];

fn render_workers(out: &mut String, reports: &[Report]) {
    family(out, "ringress_worker_info", "gauge", "The engine of each worker.");
    for report in reports {
        sample(out, "ringress_worker_info", &format!("worker=\"{}\",engine=\"{}\"", report.worker, report.engine), 1);
    }
    for (name, kind, help, value) in WORKER_FAMILIES {
        family(out, name, kind, help);
        for report in reports {
            sample(out, name, &format!("worker=\"{}\"", report.worker), value(report));
        }
    }
    let name = "ringress_upstream_idle_closed_total";
    family(out, name, "counter", "Pooled upstream connections that ended while idle.");
    for report in reports {
        let counters = &report.metrics.counters;
        for (reason, count) in [
            ("eof", counters.idle_closed_eof),
            ("error", counters.idle_closed_error),
            ("unsolicited", counters.idle_closed_unsolicited),
            ("expired", counters.idle_closed_expired),
        ] {
            sample(out, name, &format!("worker=\"{}\",reason=\"{reason}\"", report.worker), count);
        }
    }
}

fn render_pools(out: &mut String, reports: &[Report], labels: &Labels) {
    let mut sums: std::collections::BTreeMap<(String, String), (u64, u64)> = std::collections::BTreeMap::new();
    for pool in reports.iter().flat_map(|report| &report.pools) {
        let sum = sums.entry((escape(labels.name(pool.service)), escape(&pool.endpoint))).or_default();
        sum.0 += pool.idle as u64;
        sum.1 += pool.busy as u64;
    }
    let name = "ringress_upstream_connections";
    family(out, name, "gauge", "Upstream connections by state, over all workers.");
    for ((service, endpoint), (idle, busy)) in sums {
        for (state, count) in [("idle", idle), ("busy", busy)] {
            let names = format!("service=\"{service}\",endpoint=\"{endpoint}\",state=\"{state}\"");
            sample(out, name, &names, count);
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, names: &str, value: u64) {
    let _ = if names.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{names}}} {value}") };
}

/// Microseconds as seconds, without the rounding of a float.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let trimmed = text.trim_end_matches('0');
    if let Some(whole) = trimmed.strip_suffix('.') { format!("{whole}.0") } else { trimmed.to_owned() }
}

fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn requests_are_summed_over_workers_with_cumulative_buckets() {
        let mut labels = Labels::default();
        let web = labels.label("w\"eb");
        let snapshot = Snapshot { buckets_us: vec![100_000, 300_000], generation: 3, ..Snapshot::default() };
        let mut metrics = Metrics::default();
        for (us, failure) in [(50_000, None), (200_000, None), (900_000, None), (1, Some(Failure::NoRoute))] {
            let mut record = Record::new(web, "127.0.0.1".parse().unwrap(), 1_000);
            record.times.ended_us = 1_000 + us;
            record.status = if failure.is_some() { 404 } else { 200 };
            record.failure = failure;
            metrics.count(&record, &snapshot);
        }
        let report = |worker| Report {
            worker,
            engine: "io_uring",
            connections: 2,
            generation: 3,
            metrics: metrics.clone(),
            pools: Vec::new(),
        };
        let text = render(&[report(0), report(1)], &snapshot, &labels, 0);
        let names = "listener=\"w\\\"eb\",route=\"\",service=\"\",code=\"200\",cause=\"\"";
        for line in [
            format!("ringress_requests_total{{{names}}} 6"),
            format!("ringress_request_duration_seconds_bucket{{{names},le=\"0.1\"}} 2"),
            format!("ringress_request_duration_seconds_bucket{{{names},le=\"0.3\"}} 4"),
            format!("ringress_request_duration_seconds_bucket{{{names},le=\"+Inf\"}} 6"),
            format!("ringress_request_duration_seconds_sum{{{names}}} 2.3"),
            "ringress_client_connections{worker=\"1\"} 2".to_owned(),
            "ringress_worker_info{worker=\"0\",engine=\"io_uring\"} 1".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}\nnot in\n{text}");
        }
        assert!(text.contains("code=\"404\",cause=\"no_route\"} 2"));
    }
}
