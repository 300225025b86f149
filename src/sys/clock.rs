//! Clocks: the coarse monotonic one, a quarter of the cost of the exact one and as fine as the timer wheel needs, and the calendar's.

/// Milliseconds of `CLOCK_MONOTONIC_COARSE`, whose resolution is the kernel's tick (1 to 10 ms).
#[must_use]
pub fn coarse_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame; the call writes it or fails and leaves it zero.
    #[expect(unsafe_code, reason = "the standard library has no coarse clock")]
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    debug_assert_eq!(result, 0, "the clock exists since Linux 2.6.32");
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000 + nanoseconds / 1_000_000
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
