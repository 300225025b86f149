//! Logs what is allowed and should not be forgotten: upstreams that are not verified, certificates that expire soon.

use std::time::UNIX_EPOCH;

use crate::limits::CERTIFICATE_DAYS_MIN;
use crate::snapshot::Snapshot;

/// One line of the log for each.
pub(super) fn tell(snapshot: &Snapshot) {
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
