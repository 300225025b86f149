//! What the whole process knows of one endpoint: what the control plane's check found, and how busy it is.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::gate::SharedCount;
use super::trouble::Troubles;

/// The finding of active checks, and the requests of all workers. Without checks an endpoint is up.
#[derive(Debug, Default)]
pub struct EndpointState {
    is_down: AtomicBool,
    /// When it came up after having been down, in milliseconds of the coarse clock; 0 for never.
    up_since_ms: AtomicU64,
    /// Some worker has logged a flaw in its habit with idle connections.
    is_told: AtomicBool,
    /// Workers that leave it out.
    left_out_by: AtomicUsize,
    /// Requests in flight, where `limits.endpoint_in_flight` is set.
    pub in_flight: SharedCount,
    /// What failed of late.
    pub troubles: Troubles,
}

/// How an endpoint stands, as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Neither its check nor its last requests failed.
    Up,
    /// Its last requests failed.
    Failing,
    /// Its check failed.
    Down,
}

impl Condition {
    /// As the API and the log write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failing => "failing",
            Self::Down => "down",
        }
    }
}

impl EndpointState {
    /// True where the last checks failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// How it stands: the check's word first.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match (self.is_down(), self.troubles.is_failing()) {
            (true, _) => Condition::Down,
            (false, true) => Condition::Failing,
            (false, false) => Condition::Up,
        }
    }

    /// When it came up after having been down, in milliseconds of the coarse clock.
    #[must_use]
    pub fn up_since_ms(&self) -> Option<u64> {
        Some(self.up_since_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    /// It is down.
    pub fn put_down(&self) {
        self.is_down.store(true, Ordering::Relaxed);
    }

    /// It is up again.
    pub fn put_up(&self, now_ms: u64) {
        self.up_since_ms.store(now_ms, Ordering::Relaxed);
        self.is_down.store(false, Ordering::Relaxed);
    }

    /// A worker leaves it out; true where it is the first.
    pub fn begin_out(&self) -> bool {
        self.left_out_by.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// A worker takes it back; true where it was the last.
    pub fn end_out(&self) -> bool {
        let before = self.left_out_by.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        before == Ok(1)
    }

    /// True for the first worker that asks: what all of them see is told once.
    pub fn tells_first(&self) -> bool {
        !self.is_told.swap(true, Ordering::Relaxed)
    }
}
