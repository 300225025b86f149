//! How far a worker lags behind, and how many requests it refuses so that the rest is answered in time.

use std::cell::Cell;

/// By how many percentage points the share of refused requests changes with each measurement.
const STEP: u8 = 10;
/// Largest share of refused requests, of 100: some must pass, or nobody would notice that it is better.
const SHARE_MAX: u8 = 90;
/// Measurements in a row that must all show a lag before requests are refused: one late turn of the loop is no overload.
const LOOKS: u8 = 5;

/// The pressure on one worker.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    late: Cell<u8>,
    share: Cell<u8>,
}

impl Pressure {
    /// Takes a measurement: how late a turn of the loop was, in milliseconds. From [`LOOKS`] in a row above `most_ms` on,
    /// each raises the share of refused requests.
    pub(super) fn note(&self, lag_ms: u64, most_ms: Option<u64>) {
        let is_late = most_ms.is_some_and(|most_ms| lag_ms > most_ms);
        self.late.set(if is_late { self.late.get().saturating_add(1) } else { 0 });
        let share = self.share.get();
        self.share.set(match is_late {
            true if self.late.get() >= LOOKS => (share + STEP).min(SHARE_MAX),
            true => share,
            false => share.saturating_sub(STEP),
        });
    }

    /// True where this request is refused; `random` is uniform.
    pub(super) fn refuses(&self, random: u64) -> bool {
        self.share.get() > 0 && random % 100 < u64::from(self.share.get())
    }

    /// The share of requests that are refused, of 100.
    pub(super) const fn share(&self) -> u8 {
        self.share.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_lag_refuses_more_and_more_and_a_single_one_nothing() {
        let pressure = Pressure::default();
        (0..4).for_each(|_| pressure.note(600, Some(500)));
        pressure.note(10, Some(500));
        assert_eq!(pressure.share(), 0);
        assert!(!pressure.refuses(0));
        (0..8).for_each(|_| pressure.note(600, Some(500)));
        assert_eq!(pressure.share(), 40);
        assert!(pressure.refuses(39) && !pressure.refuses(40));
        (0..90).for_each(|_| pressure.note(600, Some(500)));
        assert_eq!(pressure.share(), 90);
        (0..9).for_each(|_| pressure.note(0, Some(500)));
        assert_eq!(pressure.share(), 0);
        (0..90).for_each(|_| pressure.note(60_000, None));
        assert_eq!(pressure.share(), 0);
    }
}
