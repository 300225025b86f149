//! What the whole process knows of one endpoint: what the control plane's check found, and how busy it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::gate::SharedCount;

/// The finding of active checks, and the requests of all workers. Without checks an endpoint is up.
#[derive(Debug, Default)]
pub struct EndpointState {
    is_down: AtomicBool,
    /// When it came up after having been down, in milliseconds of the coarse clock; 0 for never.
    up_since_ms: AtomicU64,
    /// Some worker has logged a flaw in its habit with idle connections.
    is_told: AtomicBool,
    /// Requests in flight, where `limits.endpoint_in_flight` is set.
    pub in_flight: SharedCount,
}

impl EndpointState {
    /// True where the last checks failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
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

    /// True for the first worker that asks: what all of them see is told once.
    pub fn tells_first(&self) -> bool {
        !self.is_told.swap(true, Ordering::Relaxed)
    }
}
