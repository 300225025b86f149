//! Failures that people must hear of, as the whole process counts them: those of an endpoint, and those of a service where no
//! endpoint was at fault.
//!
//! A worker writes here where something failed, which is rare, and reads one flag where all is well. The control plane looks
//! each second and tells what has begun and what is over (`control/outage.rs`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::failure::Failure;
use crate::failure::row::{Fault, RetryClass};

/// Failures, told apart with their details, that are counted for one endpoint; what is beyond them counts for the cause alone.
const KINDS_MAX: usize = 16;
/// Failures in a row, in all workers together, after which an endpoint is said to fail.
const FAILING: u32 = 3;

/// The failures of one endpoint or service. Nothing is kept of one that never failed.
#[derive(Debug, Default)]
pub struct Troubles {
    /// Something failed, and the control plane has not found it over yet.
    is_open: AtomicBool,
    ledger: OnceLock<Box<Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    kinds: [(OnceLock<Failure>, AtomicU64); KINDS_MAX],
    /// Position of the last one in `kinds`.
    last: AtomicUsize,
    last_ms: AtomicU64,
    /// Failures since the last success.
    in_a_row: AtomicU32,
}

/// The last failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// Which.
    pub failure: Failure,
    /// When, in milliseconds of the coarse clock.
    pub at_ms: u64,
    /// Failures since the last success.
    pub in_a_row: u32,
}

impl Troubles {
    /// Counts a failure.
    pub fn note_failure(&self, failure: Failure, now_ms: u64) {
        let ledger = self.ledger.get_or_init(Box::default);
        if let Some((at, (_, count))) = ledger.place(failure) {
            count.fetch_add(1, Ordering::Relaxed);
            ledger.last.store(at, Ordering::Relaxed);
        }
        ledger.last_ms.store(now_ms, Ordering::Relaxed);
        ledger.in_a_row.fetch_add(1, Ordering::Relaxed);
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Notes that something succeeded. Where nothing failed of late this reads a flag and no more.
    pub fn note_success(&self) {
        if self.is_open()
            && let Some(ledger) = self.ledger.get()
        {
            ledger.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// True since something failed, until [`Self::close`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// What failed is over: successes are not noted until the next failure.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// True where the last requests failed, all of them.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.last().is_some_and(|last| last.in_a_row >= FAILING)
    }

    /// The last failure, if there ever was one.
    #[must_use]
    pub fn last(&self) -> Option<LastFailure> {
        let ledger = self.ledger.get()?;
        let failure = *ledger.kinds.get(ledger.last.load(Ordering::Relaxed))?.0.get()?;
        let (at_ms, in_a_row) = (ledger.last_ms.load(Ordering::Relaxed), ledger.in_a_row.load(Ordering::Relaxed));
        Some(LastFailure { failure, at_ms, in_a_row })
    }

    /// True where something succeeded since the last failure.
    #[must_use]
    pub fn has_succeeded_since(&self) -> bool {
        self.ledger.get().is_none_or(|ledger| ledger.in_a_row.load(Ordering::Relaxed) == 0)
    }

    /// How often each failure was counted, in the order in which they came up.
    pub fn counts(&self) -> impl Iterator<Item = (Failure, u64)> {
        let kinds = self.ledger.get().map_or(&[][..], |ledger| &ledger.kinds);
        kinds.iter().filter_map(|(kind, count)| Some((*kind.get()?, count.load(Ordering::Relaxed))))
    }
}

impl Ledger {
    /// Where this failure is counted: in a place of its own, else with another of its cause.
    fn place(&self, failure: Failure) -> Option<(usize, &(OnceLock<Failure>, AtomicU64))> {
        let own = |(_, (kind, _)): &(usize, &(OnceLock<Failure>, AtomicU64))| *kind.get_or_init(|| failure) == failure;
        let of_cause = |(_, (kind, _)): &(usize, &(OnceLock<Failure>, AtomicU64))| {
            kind.get().is_some_and(|kind| kind.row().cause == failure.row().cause)
        };
        let kinds = || self.kinds.iter().enumerate();
        kinds().find(own).or_else(|| kinds().find(of_cause))
    }
}

/// True where people must hear of an attempt that failed so: it is the upstream's fault, and not the end of an idle connection that
/// nobody was hurt by.
#[must_use]
pub fn concerns(failure: Failure, is_proven_unread: bool) -> bool {
    let handling = failure.handling();
    handling.fault == Fault::Upstream
        && !matches!(handling.retry, RetryClass::Stale | RetryClass::Status)
        && !(is_proven_unread && handling.retry == RetryClass::Ended)
}

/// True where people must hear of an exchange that failed so after so many attempts: no endpoint is at fault, and the client got an
/// error of the server.
#[must_use]
pub fn concerns_service(failure: Failure, attempts: u8) -> bool {
    let row = failure.row();
    let is_usual = matches!(failure, Failure::TunnelIdle | Failure::TunnelTimeout | Failure::ClientMethod);
    let is_ours = row.handling.fault == Fault::Proxy || row.handling.fault == Fault::Upstream && attempts == 0;
    row.status >= 500 && is_ours && !is_usual
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_kind_and_successes_only_after_one() {
        let troubles = Troubles::default();
        troubles.note_success();
        assert!(!troubles.is_open() && !troubles.is_failing() && troubles.last().is_none());
        for now_ms in 1..=2 {
            troubles.note_failure(Failure::ConnectRefused, now_ms);
        }
        troubles.note_failure(Failure::UpstreamBadHeader("status"), 3);
        assert!(troubles.is_open() && troubles.is_failing() && !troubles.has_succeeded_since());
        let counts: Vec<_> = troubles.counts().collect();
        assert_eq!(counts, [(Failure::ConnectRefused, 2), (Failure::UpstreamBadHeader("status"), 1)]);
        let last = LastFailure { failure: Failure::UpstreamBadHeader("status"), at_ms: 3, in_a_row: 3 };
        assert_eq!(troubles.last(), Some(last));
        troubles.note_success();
        assert!(!troubles.is_failing() && troubles.has_succeeded_since());
        troubles.close();
        assert!(!troubles.is_open());
        assert_eq!(troubles.counts().count(), 2, "counters never fall");
    }

    #[test]
    fn more_kinds_than_there_is_room_for_count_for_their_cause() {
        const RULES: [&str; KINDS_MAX + 3] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s"];
        let troubles = Troubles::default();
        RULES.iter().for_each(|rule| troubles.note_failure(Failure::UpstreamBadHeader(rule), 1));
        assert_eq!(troubles.counts().map(|(_, count)| count).sum::<u64>(), RULES.len() as u64);
        assert_eq!(troubles.counts().count(), KINDS_MAX);
    }

    #[test]
    fn an_idle_connection_that_closes_concerns_nobody() {
        assert!(!concerns(Failure::StaleReuseProven, true));
        assert!(!concerns(Failure::UpstreamClosedNoResponse, true));
        assert!(!concerns(Failure::UpstreamStatus, false));
        assert!(!concerns(Failure::ClientClosed(crate::failure::Phase::Wait), false));
        assert!(concerns(Failure::UpstreamClosedNoResponse, false));
        assert!(concerns(Failure::ConnectRefused, true));
        assert!(concerns(Failure::UpstreamHeaderTimeout, false));
        assert!(concerns_service(Failure::DnsError, 0) && concerns_service(Failure::QueueFull, 0));
        assert!(!concerns_service(Failure::ConnectRefused, 1), "the endpoint's");
        assert!(!concerns_service(Failure::NoRoute, 0) && !concerns_service(Failure::TunnelIdle, 1));
    }
}
