//! How long an endpoint takes to answer, as one worker sees it: a moving average that follows what is slow at once and forgets it with time
//! (peak EWMA, as Finagle's).

use crate::limits::LATENCY_MEMORY_MS;

/// A moving average of the time until an endpoint's answers begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    us: f64,
    at_ms: u64,
}

impl Latency {
    /// An answer took so many microseconds.
    pub fn observe(&mut self, took_us: u64, now_ms: u64) {
        let took_us = as_f64(took_us.max(1));
        let before_us = self.us;
        let weight = self.weight(now_ms);
        self.at_ms = now_ms;
        self.us = if took_us >= before_us { took_us } else { before_us * weight + took_us * (1.0 - weight) };
    }

    /// A request failed after so many microseconds: one that fails soon must not draw more of them, so it counts as twice what is known,
    /// or as a second.
    pub fn observe_failure(&mut self, took_us: u64, now_ms: u64) {
        const SECOND_US: f64 = 1_000_000.0;
        let known_us = self.us.min(SECOND_US) * 2.0;
        let told_us = if self.us > 0.0 { known_us } else { SECOND_US };
        self.us = as_f64(took_us).max(told_us);
        self.at_ms = now_ms;
    }

    /// The average now, in microseconds: what is long ago counts less and less, so that an endpoint that was slow is asked again. 0 where
    /// nothing is known.
    #[must_use]
    pub fn us(&self, now_ms: u64) -> f64 {
        self.us * self.weight(now_ms)
    }

    fn weight(&self, now_ms: u64) -> f64 {
        (-as_f64(now_ms.saturating_sub(self.at_ms)) / as_f64(LATENCY_MEMORY_MS)).exp()
    }
}

/// What is above an hour of microseconds is no different.
fn as_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_counts_at_once_and_is_forgotten_with_time() {
        let mut latency = Latency::default();
        assert!(latency.us(0) < f64::EPSILON);
        latency.observe(1_000, 0);
        latency.observe(50_000, 10);
        assert!((latency.us(10) - 50_000.0).abs() < 1.0);
        for at in 1..=10 {
            latency.observe(1_000, 10 + at * LATENCY_MEMORY_MS / 5);
        }
        let us = latency.us(10 + LATENCY_MEMORY_MS * 2);
        assert!((1_000.0..15_000.0).contains(&us), "{us}");
        assert!(latency.us(10 + LATENCY_MEMORY_MS * 12) < 1.0, "it is asked again after a while");
    }

    #[test]
    fn failing_soon_is_not_being_fast() {
        let mut fails = Latency::default();
        fails.observe_failure(10, 0);
        assert!(fails.us(0) > 900_000.0);
        let mut slow = Latency::default();
        slow.observe(20_000, 0);
        slow.observe_failure(10, 1);
        assert!((slow.us(1) - 40_000.0).abs() < 1.0);
        (0..100).for_each(|at| slow.observe_failure(10, at));
        assert!(slow.us(99) <= 2_000_000.0, "it is bounded");
    }
}
