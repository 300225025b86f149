//! Logs what is allowed and should not be forgotten: upstreams that are not verified, certificates that expire soon.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::config::Config;
use crate::config::problem::Problem;
use crate::limits::CERTIFICATE_DAYS_MIN;
use crate::snapshot::Snapshot;
use crate::status::Status;

/// One line of the log for each.
pub(super) fn tell_ends(snapshot: &Snapshot) {
    for service in &snapshot.services {
        if service.tls.as_ref().is_some_and(|tls| tls.is_unverified) {
            tracing::warn!(
                service = &*service.name,
                "insecure_skip_verify: the upstream is not verified; anybody on the way to it can read and change everything"
            );
        }
    }
    let now_s = UNIX_EPOCH.elapsed().map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    for listener in snapshot.listeners.iter().map(|entrance| &entrance.listener) {
        for (names, not_after_s) in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            let days = (*not_after_s - now_s).div_euclid(24 * 3600);
            let listener = &*listener.name;
            if days < 0 {
                tracing::error!(listener, names, "the certificate has expired; renew it");
            } else if days <= CERTIFICATE_DAYS_MIN {
                tracing::warn!(listener, names, days, "the certificate expires soon; renew it");
            }
        }
    }
}

/// Writes each problem to the log.
pub(super) fn tell(problems: &[Problem]) {
    problems.iter().for_each(|problem| tracing::error!("{problem}"));
}

/// Writes what is worth knowing to the log.
pub(super) fn warn(notices: &[Problem]) {
    notices.iter().for_each(|notice| tracing::warn!("{notice}"));
}

/// Shows all problems, those of objects of a cluster with them, and writes those that are new to the log.
pub(super) fn tell_new(status: &mut Status, problems: &[Problem], of_cluster: &[Problem]) {
    let texts = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut all = texts(problems);
    all.iter().filter(|problem| !status.problems.contains(problem)).for_each(|problem| tracing::error!("{problem}"));
    all.extend(texts(of_cluster));
    status.problems = Arc::new(all);
}

/// Tells which changed parts of a configuration wait for the next start.
pub(super) fn next_start(before: &Config, now: &Config) {
    for (key, is_changed) in [
        ("workers.threads", now.workers.threads != before.workers.threads),
        ("workers.engine", now.workers.engine != before.workers.engine),
        ("admin", now.admin != before.admin),
        ("kubernetes", now.kubernetes != before.kubernetes),
    ] {
        if is_changed {
            tracing::warn!(key, "this part of the configuration takes effect at the next start");
        }
    }
}
