//! Compiles how a service bears failure and load.

use super::Compiler;
use crate::config::resilience::{CircuitBreaker, Ejection, Health, Limits, NonIdempotent, Retry, RetryOn};
use crate::limits::{REPLAY_BYTES_MAX, RETRY_ATTEMPTS_MAX};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token;
use crate::snapshot;
use crate::upstream::breaker::BreakerRules;
use crate::upstream::ejection::EjectionRules;
use crate::upstream::retry::{self, RetryRules};

impl Compiler<'_> {
    pub(super) fn retry(&mut self, key: &str, retry: &Retry) -> RetryRules {
        if retry.attempts > RETRY_ATTEMPTS_MAX {
            let what = format!("{} attempts are more than {RETRY_ATTEMPTS_MAX}", retry.attempts);
            self.problem(&format!("{key}.retry.attempts"), what, "write 0 to 10");
        }
        if let Some(status) = retry.on_status.iter().find(|status| !(400..=599).contains(*status)) {
            let what = format!("{status} is no status of an error");
            self.problem(&format!("{key}.retry.on_status"), what, "write statuses from 400 to 599");
        }
        if retry.on_status.contains(&425) {
            let what = "425 tells the client to come again once its handshake is over (RFC 8470)";
            self.problem(&format!("{key}.retry.on_status"), what, "leave it out");
        }
        let buffer_bytes = usize::try_from(retry.buffer.bytes()).unwrap_or(usize::MAX);
        if buffer_bytes > REPLAY_BYTES_MAX {
            let what = format!("{buffer_bytes} bytes for each request are more than a worker has for all");
            self.problem(&format!("{key}.retry.buffer"), what, "write at most 64MiB");
        }
        RetryRules {
            attempts: retry.attempts,
            non_idempotent: match retry.non_idempotent {
                NonIdempotent::Proof => retry::NonIdempotent::Proof,
                NonIdempotent::Reused => retry::NonIdempotent::Reused,
                NonIdempotent::Always => retry::NonIdempotent::Always,
                NonIdempotent::Never => retry::NonIdempotent::Never,
            },
            statuses: retry.on_status.clone(),
            on_header_timeout: retry.on.contains(&RetryOn::HeaderTimeout),
            on_bad_response: retry.on.contains(&RetryOn::BadResponse),
            buffer_bytes,
        }
    }

    pub(super) fn ejection(&mut self, key: &str, ejection: &Ejection) -> EjectionRules {
        if ejection.share_max > 100 {
            let what = format!("{} percent are more than all", ejection.share_max);
            self.problem(&format!("{key}.ejection.share_max"), what, "write 0 to 100");
        }
        if ejection.failures > 0 && ejection.time.ms() == 0 {
            let what = "an endpoint would be left out for no time";
            self.problem(&format!("{key}.ejection.time"), what, "write failures = 0 for no ejection");
        }
        if ejection.failures > 0 && ejection.share_max == 0 {
            let what = "none of the endpoints could ever be left out";
            self.problem(&format!("{key}.ejection.share_max"), what, "write failures = 0 for no ejection");
        }
        EjectionRules {
            failures: ejection.failures,
            time_ms: ejection.time.ms(),
            time_ms_max: ejection.time_max.ms(),
            share_percent: ejection.share_max,
            has_server_errors: ejection.server_errors,
        }
    }

    pub(super) fn limits(&mut self, key: &str, limits: &Limits) -> snapshot::Limits {
        if limits.queue > 0 && limits.in_flight == 0 && limits.endpoint_in_flight == 0 {
            let what = "nothing would ever wait: there is no limit of requests in flight";
            self.problem(&format!("{key}.limits.queue"), what, "write in_flight or endpoint_in_flight, too");
        }
        snapshot::Limits {
            in_flight: limits.in_flight,
            endpoint_in_flight: limits.endpoint_in_flight,
            queue: limits.queue,
            queue_wait_ms: limits.queue_wait.limit_ms(),
        }
    }

    pub(super) fn breaker(&mut self, key: &str, breaker: &CircuitBreaker) -> BreakerRules {
        let key = format!("{key}.circuit_breaker");
        let is_share = |share: f64| (0.0..1.0).contains(&share);
        if breaker.error_ratio.is_none() && breaker.latency.is_none() {
            self.problem(&key, "it would never open", "write error_ratio, latency or both");
        }
        if breaker.error_ratio.is_some_and(|ratio| !is_share(ratio)) {
            let what = "it is no share that could be exceeded";
            self.problem(&format!("{key}.error_ratio"), what, "write a number from 0 to below 1");
        }
        if !is_share(breaker.quantile) || breaker.quantile == 0.0 {
            self.problem(&format!("{key}.quantile"), "it is no quantile", "write a number above 0 and below 1");
        }
        if breaker.latency.is_some_and(|latency| latency.ms() == 0) {
            self.problem(&format!("{key}.latency"), "every answer takes longer than 0", "leave it out for no limit");
        }
        if breaker.window.ms() == 0 || breaker.open.ms() == 0 {
            self.problem(&key, "`window` and `open` must be longer than 0", "");
        }
        BreakerRules {
            error_ratio: breaker.error_ratio,
            latency: breaker.latency.map(|latency| (latency.ms(), breaker.quantile)),
            requests_min: breaker.requests_min.max(1),
            window_ms: breaker.window.ms(),
            open_ms: breaker.open.ms(),
        }
    }

    pub(super) fn check_health(&mut self, key: &str, health: &Health) {
        let key = format!("{key}.health");
        if health
            .path
            .as_ref()
            .is_some_and(|path| !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()))
        {
            self.problem(&format!("{key}.path"), "it is no path", "begin it with /");
        }
        if health.path.is_some() && health.grpc.is_some() {
            self.problem(&key, "`path` and `grpc` are two ways to ask", "leave one out");
        }
        if !is_token(health.method.as_bytes()) {
            self.problem(&format!("{key}.method"), format!("`{}` is no method", health.method), "");
        }
        if let Some(host) = health.host.as_ref().filter(|host| host_length(host.as_bytes()).is_none()) {
            self.problem(&format!("{key}.host"), format!("`{host}` is no host"), "");
        }
        for (name, value) in &health.headers {
            if !is_token(name.as_bytes()) || !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
                self.problem(&format!("{key}.headers.{name}"), "it is no field", "");
            }
        }
        if health.interval.ms() == 0 || health.timeout.ms() == 0 {
            self.problem(&key, "`interval` and `timeout` must be longer than 0", "");
        }
        if health.path.is_some() && health.expected.is_empty() {
            self.problem(&format!("{key}.expected"), "no answer would be good", "write the statuses that are");
        }
        if health.port == Some(0) {
            self.problem(&format!("{key}.port"), "0 is no port to connect to", "leave it out for the endpoint's");
        }
        if health.headers.keys().any(|name| name.eq_ignore_ascii_case("host")) {
            self.problem(&format!("{key}.headers"), "`Host` is written already", "use `host`");
        }
        if health.healthy == 0 || health.unhealthy == 0 {
            self.problem(&key, "`healthy` and `unhealthy` must be 1 or more", "");
        }
    }
}
