//! Checks the settings by which a service bears failure and load, each by itself and together. They are then used as they
//! are written.

use super::compiler::Compiler;
use crate::config::health::Health;
use crate::limits::{REPLAY_BYTES_MAX, RETRY_ATTEMPTS_MAX};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::field::is_token;
use crate::units::Size;
use crate::upstream::breaker::CircuitBreaker;
use crate::upstream::ejection::Ejection;
use crate::upstream::gate::Limits;
use crate::upstream::retry::Retry;

pub(super) fn check_retry(compiler: &mut Compiler<'_>, key: &str, retry: &Retry) {
    if retry.attempts > RETRY_ATTEMPTS_MAX {
        let what = format!("{} attempts are more than {RETRY_ATTEMPTS_MAX}", retry.attempts);
        compiler.problem(&format!("{key}.retry.attempts"), what, "write 0 to 10");
    }
    if let Some(status) = retry.on_status.iter().find(|status| !(400..=599).contains(*status)) {
        let what = format!("{status} is not a status of an error");
        compiler.problem(&format!("{key}.retry.on_status"), what, "write statuses from 400 to 599");
    }
    if retry.on_status.contains(&425) {
        let what = "425 tells the client to come again once its handshake is over (RFC 8470)";
        compiler.problem(&format!("{key}.retry.on_status"), what, "leave it out");
    }
    let buffer_bytes = retry.buffer.bytes();
    if buffer_bytes > REPLAY_BYTES_MAX as u64 {
        let what = format!("{buffer_bytes} bytes for each request are more than a worker has for all");
        compiler.problem(&format!("{key}.retry.buffer"), what, "write at most 64MiB");
    }
}

pub(super) fn check_window(compiler: &mut Compiler<'_>, key: &str, window_max: Size) {
    if window_max.window_bytes().is_none() {
        let what = "it is not a window of HTTP/2";
        compiler.problem(&format!("{key}.http2_window_max"), what, "write 64KiB to 1GiB");
    }
}

pub(super) fn check_ejection(compiler: &mut Compiler<'_>, key: &str, ejection: &Ejection) {
    if ejection.share_max > 100 {
        let what = format!("{} percent are more than all", ejection.share_max);
        compiler.problem(&format!("{key}.ejection.share_max"), what, "write 0 to 100");
    }
    if ejection.failures > 0 && ejection.time.ms() == 0 {
        let what = "an endpoint would be left out for no time";
        compiler.problem(&format!("{key}.ejection.time"), what, "write failures = 0 for no ejection");
    }
    if ejection.failures > 0 && ejection.share_max == 0 {
        let what = "none of the endpoints could ever be left out";
        compiler.problem(&format!("{key}.ejection.share_max"), what, "write failures = 0 for no ejection");
    }
}

pub(super) fn check_limits(compiler: &mut Compiler<'_>, key: &str, limits: &Limits) {
    if limits.queue > 0 && limits.in_flight == 0 && limits.endpoint_in_flight == 0 {
        let what = "nothing would ever wait: there is no limit of requests in flight";
        compiler.problem(&format!("{key}.limits.queue"), what, "write in_flight or endpoint_in_flight, too");
    }
}

pub(super) fn check_breaker(compiler: &mut Compiler<'_>, key: &str, breaker: &CircuitBreaker) {
    let key = format!("{key}.circuit_breaker");
    let is_share = |share: f64| (0.0..1.0).contains(&share);
    let has_bounds = breaker.error_ratio.is_some() || breaker.latency.is_some();
    if !has_bounds && breaker.expression.is_none() {
        compiler.problem(&key, "it would never open", "write error_ratio, latency or both, or an expression");
    }
    if has_bounds && breaker.expression.is_some() {
        let what = "it stands in the place of `error_ratio` and `latency`, which are there as well";
        compiler.problem(&format!("{key}.expression"), what, "leave one or the others out");
    }
    if breaker.error_ratio.is_some_and(|ratio| !is_share(ratio)) {
        let what = "it is not a share that could be exceeded";
        compiler.problem(&format!("{key}.error_ratio"), what, "write a number from 0 to below 1");
    }
    if !is_share(breaker.quantile) || breaker.quantile == 0.0 {
        compiler.problem(&format!("{key}.quantile"), "it is not a quantile", "write a number above 0 and below 1");
    }
    if breaker.latency.is_some_and(|latency| latency.ms() == 0) {
        compiler.problem(&format!("{key}.latency"), "every answer takes longer than 0", "leave it out for no limit");
    }
    if breaker.window.ms() == 0 || breaker.open.ms() == 0 {
        compiler.problem(&key, "`window` and `open` must be longer than 0", "");
    }
}

pub(super) fn check_health(compiler: &mut Compiler<'_>, key: &str, health: &Health) {
    let key = format!("{key}.health");
    let is_path = |path: &String| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if health.path.as_ref().is_some_and(|path| !is_path(path)) {
        compiler.problem(&format!("{key}.path"), "it is not a path", "begin it with /");
    }
    if health.path.is_some() && health.grpc.is_some() {
        compiler.problem(&key, "`path` and `grpc` are two ways to ask", "leave one out");
    }
    if !is_token(health.method.as_bytes()) {
        compiler.problem(&format!("{key}.method"), format!("`{}` is not a method", health.method), "");
    }
    if let Some(host) = health.host.as_ref().filter(|host| host_length(host.as_bytes()).is_none()) {
        compiler.problem(&format!("{key}.host"), format!("`{host}` is not a host"), "");
    }
    for (name, value) in &health.headers {
        if !is_token(name.as_bytes()) || !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            compiler.problem(&format!("{key}.headers.{name}"), "it is not a field", "");
        }
    }
    if health.interval.ms() == 0 || health.timeout.ms() == 0 {
        compiler.problem(&key, "`interval` and `timeout` must be longer than 0", "");
    }
    if health.path.is_some() && health.expected.is_empty() {
        compiler.problem(&format!("{key}.expected"), "no status would count as healthy", "write the statuses that are");
    }
    if health.port == Some(0) {
        compiler.problem(&format!("{key}.port"), "0 is not a port to connect to", "leave it out for the endpoint's");
    }
    if health.headers.keys().any(|name| name.eq_ignore_ascii_case("host")) {
        compiler.problem(&format!("{key}.headers"), "`Host` is written already", "use `host`");
    }
    if health.healthy == 0 || health.unhealthy == 0 {
        compiler.problem(&key, "`healthy` and `unhealthy` must be 1 or more", "");
    }
}
