//! How many requests a service takes at once: the limits that it sets, and counts of them for the whole process.
//!
//! A number that is configured is meant for the process, so it is counted there: one atomic for each limit that is set, and
//! none where no limit is. Each worker says since when its first request waits, so that room goes to the one that has waited for the
//! longest.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trouble::Troubles;
use crate::units::Duration;

/// How many requests at once, in the whole process; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests in flight to the service.
    pub in_flight: usize,
    /// Requests in flight to one endpoint.
    pub endpoint_in_flight: usize,
    /// Requests that wait for one of them to end; 0 lets none wait.
    pub queue: usize,
    /// How long a request waits at most.
    pub queue_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 0, endpoint_in_flight: 0, queue: 0, queue_wait: Duration::from_s(5) }
    }
}

/// A number that many workers count together.
#[derive(Debug, Default)]
pub struct SharedCount(AtomicUsize);

impl SharedCount {
    /// Counts one more; false, and nothing counted, where there are `limit` already.
    #[must_use]
    pub fn try_take(&self, limit: usize) -> bool {
        // Sequentially consistent with the queues: whoever finds no room is either seen waiting by whoever makes room, or
        // sees the room.
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count < limit).then_some(count + 1)).is_ok()
    }

    /// Counts one less.
    pub fn give_back(&self) {
        let before = self.0.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "what is given back was taken");
    }

    /// The number now.
    #[must_use]
    pub fn load(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The requests of one service as the whole process counts them. It outlives publications.
#[derive(Debug, Default)]
pub struct ServiceCounts {
    /// Requests in flight, where `limits.in_flight` is set.
    pub in_flight: SharedCount,
    /// Requests that wait.
    pub waiting: SharedCount,
    /// What failed of late, and was no endpoint's fault.
    pub troubles: Troubles,
    /// It was told that the service takes no body without its length.
    is_length_told: AtomicBool,
    /// By worker: since when its first one waits, in milliseconds of the coarse clock; 0 where none does.
    since_ms: Box<[AtomicU64]>,
}

impl ServiceCounts {
    /// For so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { since_ms: (0..workers.max(1)).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    /// True for the first that asks: what all workers see is told once.
    pub fn tells_length_first(&self) -> bool {
        !self.is_length_told.swap(true, Ordering::Relaxed)
    }

    /// Notes since when the first request of a worker waits; `None` where none does.
    pub fn note_first(&self, worker: usize, since_ms: Option<u64>) {
        if let Some(first) = self.since_ms.get(worker) {
            first.store(since_ms.map_or(0, |ms| ms.max(1)), Ordering::SeqCst);
        }
    }

    /// The workers in which a request waits.
    pub fn all_waiting(&self) -> impl Iterator<Item = usize> {
        let waiting = self.since_ms.iter().map(|first| first.load(Ordering::SeqCst)).enumerate();
        waiting.filter(|(_, since_ms)| *since_ms > 0).map(|(worker, _)| worker)
    }

    /// The worker whose first request has waited for the longest.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        let waiting = self.since_ms.iter().map(|first| first.load(Ordering::SeqCst)).enumerate();
        waiting.filter(|(_, since_ms)| *since_ms > 0).min_by_key(|(_, since_ms)| *since_ms).map(|(worker, _)| worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn many_threads_never_hold_more_than_the_limit() {
        let count = Arc::new(SharedCount::default());
        let highest = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (count, highest) = (Arc::clone(&count), Arc::clone(&highest));
                std::thread::spawn(move || {
                    for _ in 0..50_000 {
                        if count.try_take(3) {
                            highest.fetch_max(count.load(), Ordering::Relaxed);
                            count.give_back();
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(count.load(), 0);
        assert!((1..=3).contains(&highest.load(Ordering::Relaxed)));
    }

    #[test]
    fn who_has_waited_for_the_longest_is_next() {
        let counts = ServiceCounts::new(3);
        assert_eq!(counts.next(), None);
        counts.note_first(2, Some(40));
        counts.note_first(0, Some(50));
        assert_eq!(counts.next(), Some(2));
        counts.note_first(2, None);
        assert_eq!(counts.next(), Some(0));
        counts.note_first(1, Some(0));
        assert_eq!(counts.next(), Some(1), "the first millisecond counts as waiting");
    }
}
