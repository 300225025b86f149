//! Clocks: the coarse monotonic one, a quarter of the cost of the exact one and as fine as the timer wheel needs, and the calendar's.

use nix::time::{ClockId, clock_gettime};

/// Milliseconds of `CLOCK_MONOTONIC_COARSE`, whose resolution is the kernel's tick (1 to 10 ms).
#[must_use]
pub fn coarse_ms() -> u64 {
    let (seconds, nanoseconds) = read(ClockId::CLOCK_MONOTONIC_COARSE);
    seconds * 1_000 + nanoseconds / 1_000_000
}

/// Seconds and nanoseconds of a clock. Both of ours exist since Linux 2.6.32, so that reading them cannot fail.
fn read(clock: ClockId) -> (u64, u64) {
    let time = clock_gettime(clock);
    debug_assert!(time.is_ok(), "the clock exists");
    let part = |part: Option<i64>| part.and_then(|part| u64::try_from(part).ok()).unwrap_or_default();
    let time = time.ok();
    (part(time.map(|time| time.tv_sec())), part(time.map(|time| time.tv_nsec())))
}

/// Microseconds of `CLOCK_MONOTONIC`, exactly.
#[must_use]
pub fn monotonic_us() -> u64 {
    let (seconds, nanoseconds) = read(ClockId::CLOCK_MONOTONIC);
    seconds * 1_000_000 + nanoseconds / 1_000
}

/// Seconds since 1970 of a moment.
#[must_use]
pub fn unix_s(moment: std::time::SystemTime) -> i64 {
    let since = moment.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_goes_forward() {
        let before = super::coarse_ms();
        #[expect(clippy::disallowed_methods, reason = "the test compares two clocks")]
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 30 {
            std::hint::spin_loop();
        }
        let passed = super::coarse_ms() - before;
        assert!((15..1_000).contains(&passed), "{passed}");
    }
}
