//! The sum of all workers' counters in the Prometheus text format (version 0.0.4).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

use super::exposition::{escape, family, sample, seconds};
use super::metrics::{HandshakeSeries, Metrics, Report, Series, SeriesKey};
use crate::snapshot::{Endpoint, Label, Labels, Service, Snapshot};
use crate::sys::process::figures;
use crate::upstream::ejection::Standing;
use crate::upstream::habit::Trust;
use crate::upstream::health::Condition;

/// Lines that could not be written.
#[derive(Clone, Debug, Default)]
pub struct LostLines {
    /// Of the access log.
    pub access: Arc<AtomicU64>,
    /// Of the process log.
    pub process: Arc<AtomicU64>,
}

/// The sum of all workers as text.
#[must_use]
pub fn render(
    reports: &[Report],
    (snapshot, labels): (&Snapshot, &Labels),
    (silent_workers, problems): (usize, usize),
    lost: &LostLines,
) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let version = env!("CARGO_PKG_VERSION");
    family(&mut out, "ringress_build_info", "gauge", "The running program.");
    sample(&mut out, "ringress_build_info", &format!("version=\"{version}\""), 1);
    family(&mut out, "ringress_snapshot_generation", "gauge", "Configurations published so far.");
    sample(&mut out, "ringress_snapshot_generation", "", snapshot.generation);
    let name = "ringress_reload_problems";
    family(
        &mut out,
        name,
        "gauge",
        "Problems of the last reload: where there are any, the last good configuration stays.",
    );
    sample(&mut out, name, "", problems as u64);
    family(&mut out, "ringress_workers_silent", "gauge", "Workers that did not answer this scrape.");
    sample(&mut out, "ringress_workers_silent", "", silent_workers as u64);
    let name = "ringress_log_lines_lost_total";
    family(&mut out, name, "counter", "Log lines that could not be written; what workers dropped is counted by them.");
    for (log, lost) in [("access", &lost.access), ("process", &lost.process)] {
        sample(&mut out, name, &format!("log=\"{log}\""), lost.load(Ordering::Relaxed));
    }
    render_process(&mut out);
    render_requests(&mut out, reports, snapshot, labels);
    render_grpc(&mut out, reports, labels);
    render_words(&mut out, reports, labels);
    render_tls(&mut out, reports, snapshot, labels);
    render_workers(&mut out, reports);
    render_pools(&mut out, reports, snapshot, labels);
    render_troubles(&mut out, snapshot);
    render_gates(&mut out, reports, snapshot, labels);
    out
}

/// What Prometheus' own clients say of their process, by the same names.
fn render_process(out: &mut String) {
    let Ok(figures) = figures() else { return };
    for (name, kind, help, value) in [
        ("process_resident_memory_bytes", "gauge", "Memory in RAM, in bytes.", figures.resident_bytes),
        ("process_virtual_memory_bytes", "gauge", "Address space, in bytes.", figures.virtual_bytes),
        ("process_open_fds", "gauge", "Open file descriptors.", figures.open_fds),
        ("process_max_fds", "gauge", "File descriptors that may be open.", figures.max_fds.unwrap_or(u64::MAX)),
        ("process_threads", "gauge", "Threads.", figures.threads),
    ] {
        family(out, name, kind, help);
        sample(out, name, "", value);
    }
    for (name, kind, help, ms) in [
        ("process_cpu_seconds_total", "counter", "CPU time in user and kernel mode.", figures.cpu_ms),
        ("process_start_time_seconds", "gauge", "When the process was started, since 1970.", figures.started_ms),
    ] {
        family(out, name, kind, help);
        let _ = writeln!(out, "{name} {}", seconds(ms * 1_000));
    }
}

fn render_requests(out: &mut String, reports: &[Report], snapshot: &Snapshot, labels: &Labels) {
    let mut sums: BTreeMap<SeriesKey, Series> = BTreeMap::new();
    for (key, series) in reports.iter().flat_map(|report| &report.metrics.series) {
        // gRPC's status has a family of its own.
        let sum = sums.entry(SeriesKey { grpc: "", ..key.with_known(labels) }).or_default();
        sum.count += series.count;
        sum.duration_us += series.duration_us;
        sum.request_bytes += series.request_bytes;
        sum.response_bytes += series.response_bytes;
        for (total, count) in sum.buckets.iter_mut().zip(series.buckets) {
            *total += count;
        }
    }
    let names = |key: &SeriesKey| {
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
        for (bound_us, count) in snapshot.process.buckets_us.iter().zip(series.buckets) {
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

const WORKER_FAMILIES: [WorkerFamily; 15] = [
    ("ringress_worker_generation", "gauge", "The configuration that the worker runs with.", |r| r.generation),
    ("ringress_client_connections", "gauge", "Open client connections.", |r| r.connections as u64),
    ("ringress_client_connections_accepted_total", "counter", "Client connections accepted.", |r| {
        r.metrics.counters.accepted
    }),
    ("ringress_client_connections_shed_total", "counter", "Client connections closed, for there were too many.", |r| {
        r.metrics.counters.shed
    }),
    ("ringress_accept_errors_total", "counter", "Accepts that failed.", |r| r.metrics.counters.accept_errors),
    ("ringress_copies_total", "counter", "Copies of requests sent by `mirror`.", |r| r.metrics.counters.copies),
    ("ringress_copies_dropped_total", "counter", "Copies not sent: too long, or too many on their way.", |r| {
        r.metrics.counters.copies_dropped
    }),
    ("ringress_panics_total", "counter", "Panics caught: bugs of this program.", |r| r.metrics.counters.panics),
    ("ringress_access_log_dropped_total", "counter", "Access log lines dropped.", |r| r.metrics.counters.log_dropped),
    ("ringress_upstream_connections_opened_total", "counter", "Upstream connections opened.", |r| {
        r.metrics.counters.upstream_opened
    }),
    ("ringress_upstream_connections_reused_total", "counter", "Requests sent over a pooled connection.", |r| {
        r.metrics.counters.upstream_reused
    }),
    (
        "ringress_upstream_connections_not_pooled_total",
        "counter",
        "Connections closed, for the endpoint does not keep them.",
        |r| r.metrics.counters.not_pooled,
    ),
    ("ringress_pooling_off_total", "counter", "Times that pooling was turned off for an endpoint.", |r| {
        r.metrics.counters.pooling_off
    }),
    ("ringress_refused_percent", "gauge", "Share of requests refused, for the worker lags behind.", |r| {
        u64::from(r.refused_percent)
    }),
    (
        "ringress_client_connections_refused_total",
        "counter",
        "Connections closed, for their client had too many.",
        |r| r.metrics.counters.refused_clients,
    ),
];

type Counts = HashMap<(Label, &'static str), u64, FixedState>;

/// What is counted by a service or listener and one word: name, what it is counted by, label of the word, help and value.
type WordFamily = (&'static str, &'static str, &'static str, &'static str, fn(&Metrics) -> &Counts);

const WORD_FAMILIES: [WordFamily; 5] = [
    (
        "ringress_attempts_failed_total",
        "service",
        "cause",
        "Attempts that failed, whatever became of the request.",
        |m| &m.failed,
    ),
    (
        "ringress_retry_decisions_total",
        "service",
        "decision",
        "What followed a failed attempt: where the next one went, or why there was none.",
        |m| &m.retries,
    ),
    ("ringress_ejections_total", "service", "cause", "Times that an endpoint was left out for its failures.", |m| {
        &m.ejected
    }),
    ("ringress_tls_handshakes_failed_total", "listener", "reason", "TLS handshakes with clients that failed.", |m| {
        &m.refused_handshakes
    }),
    (
        "ringress_h2_connections_ended_total",
        "listener",
        "frame",
        "HTTP/2 connections that were ended for what their client sent too much of.",
        |m| &m.excesses,
    ),
];

fn render_grpc(out: &mut String, reports: &[Report], labels: &Labels) {
    let name = "ringress_grpc_requests_total";
    family(out, name, "counter", "Calls of gRPC that are over, by gRPC's status.");
    let mut sums: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for (key, series) in
        reports.iter().flat_map(|report| &report.metrics.series).filter(|(key, _)| !key.grpc.is_empty())
    {
        *sums.entry((escape(labels.name(key.service)), key.grpc)).or_default() += series.count;
    }
    for ((service, status), count) in sums {
        sample(out, name, &format!("service=\"{service}\",status=\"{status}\""), count);
    }
}

fn render_words(out: &mut String, reports: &[Report], labels: &Labels) {
    for (name, owner_label, label, help, counts) in WORD_FAMILIES {
        family(out, name, "counter", help);
        let mut sums: BTreeMap<(String, &str), u64> = BTreeMap::new();
        for ((owner, word), count) in reports.iter().flat_map(|report| counts(&report.metrics)) {
            *sums.entry((escape(labels.name(*owner)), word)).or_default() += count;
        }
        for ((owner, word), count) in sums {
            sample(out, name, &format!("{owner_label}=\"{owner}\",{label}=\"{word}\""), count);
        }
    }
}

fn render_tls(out: &mut String, reports: &[Report], snapshot: &Snapshot, labels: &Labels) {
    let name = "ringress_tls_handshakes_total";
    family(out, name, "counter", "TLS handshakes with clients; resumed ones went on from an earlier one.");
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    for ((listener, kind), count) in reports.iter().flat_map(|report| &report.metrics.handshakes) {
        *sums.entry((escape(labels.name(*listener)), *kind)).or_default() += count;
    }
    for ((listener, kind), count) in sums {
        let HandshakeSeries { version, cipher, is_resumed } = kind;
        let names =
            format!("listener=\"{listener}\",version=\"{version}\",cipher=\"{cipher}\",resumed=\"{is_resumed}\"");
        sample(out, name, &names, count);
    }
    let name = "ringress_certificate_not_after_seconds";
    family(out, name, "gauge", "The end of a certificate's validity, in seconds since 1970.");
    for listener in snapshot.listeners.iter().map(|entrance| &entrance.listener) {
        for (names, not_after_s) in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            let names = format!("listener=\"{}\",names=\"{}\"", escape(&listener.name), escape(names));
            sample(out, name, &names, u64::try_from(*not_after_s).unwrap_or_default());
        }
    }
}

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

fn render_pools(out: &mut String, reports: &[Report], snapshot: &Snapshot, labels: &Labels) {
    let mut sums: BTreeMap<(String, String), [u64; 4]> = BTreeMap::new();
    for service in &snapshot.services {
        let name = escape(&service.name);
        sums.extend(service.endpoints.iter().map(|endpoint| ((name.clone(), escape(&endpoint.name)), [0; 4])));
    }
    for pool in reports.iter().flat_map(|report| &report.pools) {
        let sum = sums.entry((escape(labels.name(pool.service)), escape(&pool.endpoint))).or_default();
        sum[0] += pool.idle as u64;
        sum[1] += pool.busy as u64;
        sum[2] += u64::from(!matches!(pool.standing, Standing::In(_)));
        sum[3] += u64::from(matches!(pool.trust, Trust::Off(_)));
    }
    let name = "ringress_upstream_connections";
    family(out, name, "gauge", "Upstream connections by state, over all workers.");
    for ((service, endpoint), sum) in &sums {
        for (state, count) in [("idle", sum[0]), ("busy", sum[1])] {
            let names = format!("service=\"{service}\",endpoint=\"{endpoint}\",state=\"{state}\"");
            sample(out, name, &names, count);
        }
    }
    for (name, help, at) in [
        ("ringress_endpoint_ejected_workers", "Workers that leave the endpoint out for its failures.", 2),
        ("ringress_endpoint_pooling_off_workers", "Workers that do not reuse its connections.", 3),
    ] {
        family(out, name, "gauge", help);
        for ((service, endpoint), sum) in &sums {
            sample(out, name, &format!("service=\"{service}\",endpoint=\"{endpoint}\""), sum[at]);
        }
    }
    let name = "ringress_endpoint_up";
    family(out, name, "gauge", "1 where neither the endpoint's check nor its last requests failed.");
    for service in &snapshot.services {
        for endpoint in &service.endpoints {
            sample(
                out,
                name,
                &endpoint_names(service, endpoint),
                u64::from(endpoint.state.condition() == Condition::Up),
            );
        }
    }
}

/// Failed attempts by endpoint. The counts are those of the process, and go with their endpoint.
fn render_troubles(out: &mut String, snapshot: &Snapshot) {
    let name = "ringress_endpoint_attempts_failed_total";
    family(out, name, "counter", "Attempts that failed by the fault of the endpoint.");
    for service in &snapshot.services {
        for endpoint in &service.endpoints {
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for (failure, count) in endpoint.state.troubles.counts() {
                *sums.entry(failure.row().cause).or_default() += count;
            }
            for (cause, count) in sums {
                let names = format!("{},cause=\"{cause}\"", endpoint_names(service, endpoint));
                sample(out, name, &names, count);
            }
        }
    }
}

fn endpoint_names(service: &Service, endpoint: &Endpoint) -> String {
    let (service, name) = (escape(&service.name), escape(&endpoint.name));
    format!("service=\"{service}\",endpoint=\"{name}\",address=\"{}\"", escape(&endpoint.address.to_string()))
}

fn render_gates(out: &mut String, reports: &[Report], snapshot: &Snapshot, labels: &Labels) {
    let mut sums: BTreeMap<String, [u64; 3]> =
        snapshot.services.iter().map(|service| (escape(&service.name), [0; 3])).collect();
    for gate in reports.iter().flat_map(|report| &report.gates) {
        let sum = sums.entry(escape(labels.name(gate.service))).or_default();
        sum[0] += gate.in_flight as u64;
        sum[1] += gate.waiting as u64;
        sum[2] += u64::from(gate.is_open);
    }
    for (at, (name, help)) in [
        ("ringress_service_requests_in_flight", "Requests in flight, over all workers."),
        ("ringress_service_requests_waiting", "Requests that wait for room, over all workers."),
        ("ringress_service_circuit_open_workers", "Workers whose circuit breaker refuses requests."),
    ]
    .into_iter()
    .enumerate()
    {
        family(out, name, "gauge", help);
        sums.iter().for_each(|(service, sum)| sample(out, name, &format!("service=\"{service}\""), sum[at]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::record::Record;
    use crate::snapshot::ProcessSettings;

    #[test]
    fn requests_are_summed_over_workers_with_cumulative_buckets() {
        let mut labels = Labels::default();
        let web = labels.label("w\"eb");
        let process = ProcessSettings { buckets_us: vec![100_000, 300_000], ..ProcessSettings::default() };
        let snapshot = Snapshot { process: process.into(), generation: 3, ..Snapshot::default() };
        let mut metrics = Metrics::default();
        for (us, failure) in [(50_000, None), (200_000, None), (900_000, None), (1, Some(Failure::NoRoute))] {
            let mut record = Record::new(web, "127.0.0.1".parse().unwrap(), 1_000);
            record.times.ended_us = 1_000 + us;
            record.status = if failure.is_some() { 404 } else { 200 };
            record.failure = failure;
            metrics.count(&record, &snapshot.process.buckets_us);
        }
        let report = |worker| Report {
            worker,
            engine: "io_uring",
            connections: 2,
            generation: 3,
            metrics: metrics.clone(),
            refused_percent: 0,
            pools: Vec::new(),
            gates: Vec::new(),
        };
        let text = render(&[report(0), report(1)], (&snapshot, &labels), (0, 0), &LostLines::default());
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
