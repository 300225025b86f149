//! Says when a client sends too much of what costs us more than it costs it.
//!
//! Each bound is a rate, and grows with the traffic: what our own frames provoke is earned by them, and a stream that was
//! answered pays for one that was not. So a client is judged by the share of its traffic that is of no use, and not by a sum
//! over its life. A client that is beyond a bound once is told to leave, and what it has begun comes to its end; one that goes
//! on is an attacker, whose connection ends.

use crate::limits::{
    H2_DROPPED_PER_S, H2_EARLY_RESET_MS, H2_EARLY_RESETS_PER_S, H2_EARNING_BYTES_MIN, H2_EMPTIES_PER_S,
    H2_EXCESSES_MAX, H2_FAULTS_PER_S, H2_PINGS_PER_DATA, H2_PINGS_PER_S, H2_PRIORITIES_PER_S, H2_PRIORITIES_PER_STREAM,
    H2_RESETS_PER_S, H2_SAVED_MAX, H2_SETTINGS_PER_S, H2_UNKNOWN_PER_S, H2_WINDOW_UPDATES_PER_DATA,
    H2_WINDOW_UPDATES_PER_KIB, H2_WINDOW_UPDATES_PER_S,
};

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded {
    /// SETTINGS.
    Settings,
    /// PING.
    Ping,
    /// RST_STREAM.
    Reset,
    /// PRIORITY.
    Priority,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// A frame of a kind that means nothing.
    Unknown,
    /// DATA without a byte.
    Empty,
    /// A stream that was reset at once, before its answer began.
    EarlyReset,
    /// A fault that cost a stream.
    Fault,
    /// A block of fields that begins nothing: a stream too many, or one that nobody looks at any more.
    Dropped,
}

impl Bounded {
    const ALL: [Self; 10] = [
        Self::Settings,
        Self::Ping,
        Self::Reset,
        Self::Priority,
        Self::WindowUpdate,
        Self::Unknown,
        Self::Empty,
        Self::EarlyReset,
        Self::Fault,
        Self::Dropped,
    ];

    /// The name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Reset => "rst_stream",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::Unknown => "unknown_frame",
            Self::Empty => "empty_data",
            Self::EarlyReset => "early_reset",
            Self::Fault => "fault",
            Self::Dropped => "dropped_stream",
        }
    }

    /// How many there may be in a second without any earned.
    const fn per_s(self) -> u32 {
        match self {
            Self::Settings => H2_SETTINGS_PER_S,
            Self::Ping => H2_PINGS_PER_S,
            Self::Reset => H2_RESETS_PER_S,
            Self::Priority => H2_PRIORITIES_PER_S,
            Self::WindowUpdate => H2_WINDOW_UPDATES_PER_S,
            Self::Unknown => H2_UNKNOWN_PER_S,
            Self::Empty => H2_EMPTIES_PER_S,
            Self::EarlyReset => H2_EARLY_RESETS_PER_S,
            Self::Fault => H2_FAULTS_PER_S,
            Self::Dropped => H2_DROPPED_PER_S,
        }
    }
}

/// What is to be done about a client that is beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is told to leave; what it has begun comes to its end.
    Leave(Bounded),
    /// Its connection ends.
    End(Bounded),
}

/// What one client is allowed.
#[derive(Debug)]
pub struct Guard {
    second: u64,
    left: [u32; Bounded::ALL.len()],
    excesses: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self { second: 0, left: Bounded::ALL.map(Bounded::per_s), excesses: 0 }
    }
}

impl Guard {
    /// Time goes on.
    pub fn turn(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        if second != self.second {
            self.second = second;
            for (left, what) in self.left.iter_mut().zip(Bounded::ALL) {
                *left = (*left).max(what.per_s());
            }
        }
    }

    /// One more of these came.
    ///
    /// # Errors
    /// What is to be done where it is one too many.
    pub fn take(&mut self, what: Bounded) -> Result<(), Excess> {
        let left = &mut self.left[what as usize];
        if let Some(fewer) = left.checked_sub(1) {
            *left = fewer;
            return Ok(());
        }
        *left = what.per_s();
        self.excesses += 1;
        Err(if self.excesses < H2_EXCESSES_MAX { Excess::Leave(what) } else { Excess::End(what) })
    }

    /// A stream was reset `age_ms` after it had been opened, before its answer began.
    ///
    /// # Errors
    /// What is to be done where it is one too many.
    pub fn take_early_reset(&mut self, age_ms: u64) -> Result<(), Excess> {
        // Our slowness, or that of an upstream, is no fault of who gives up on it.
        if age_ms < H2_EARLY_RESET_MS { self.take(Bounded::EarlyReset) } else { Ok(()) }
    }

    fn earn(&mut self, what: Bounded, count: u32) {
        let left = &mut self.left[what as usize];
        *left = left.saturating_add(count).min(H2_SAVED_MAX.max(what.per_s()));
    }

    /// The client opened a stream.
    pub fn note_stream(&mut self) {
        self.earn(Bounded::Reset, 1);
        self.earn(Bounded::Priority, H2_PRIORITIES_PER_STREAM);
    }

    /// A stream of the client that had no fault was answered.
    pub fn note_answered(&mut self) {
        self.earn(Bounded::EarlyReset, 1);
        self.earn(Bounded::Fault, 1);
        self.earn(Bounded::Dropped, 1);
    }

    /// A DATA frame with so many bytes went to the client, which may measure by it and says when it has read it.
    pub fn note_sent(&mut self, bytes: usize) {
        let by_bytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_mul(H2_WINDOW_UPDATES_PER_KIB);
        // What a client lets us send byte by byte earns it no further such frames.
        let by_frame = if bytes >= H2_EARNING_BYTES_MIN { H2_WINDOW_UPDATES_PER_DATA } else { 0 };
        self.earn(Bounded::WindowUpdate, by_bytes.saturating_add(by_frame));
        self.earn(Bounded::Ping, H2_PINGS_PER_DATA);
    }

    /// A DATA frame with bytes came.
    pub fn note_received(&mut self) {
        self.earn(Bounded::Empty, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_of_its_own() {
        for (at, what) in Bounded::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
        }
    }

    #[test]
    fn a_flood_is_first_told_to_leave_and_then_ended() {
        for what in Bounded::ALL {
            let mut guard = Guard::default();
            let mut told = Vec::new();
            let count = (0..10_000).take_while(|_| match guard.take(what) {
                Ok(()) => true,
                Err(excess) => {
                    told.push(excess);
                    matches!(excess, Excess::Leave(_))
                }
            });
            assert!(count.count() < 3_100, "{what:?}");
            assert_eq!(told, [Excess::Leave(what), Excess::Leave(what), Excess::End(what)]);
        }
    }

    #[test]
    fn what_is_not_used_is_not_saved_up_from_second_to_second() {
        let mut guard = Guard::default();
        for second in 0..100 {
            guard.turn(second * 1_000);
        }
        let allowed = (0..1_000).take_while(|_| guard.take(Bounded::Ping).is_ok()).count();
        assert_eq!(allowed, H2_PINGS_PER_S as usize);
    }

    #[test]
    fn what_we_provoke_is_earned_by_it() {
        let mut guard = Guard::default();
        for _ in 0..5_000 {
            guard.note_sent(1_000);
            assert_eq!(guard.take(Bounded::Ping), Ok(()));
            assert_eq!(guard.take(Bounded::WindowUpdate), Ok(()));
            assert_eq!(guard.take(Bounded::WindowUpdate), Ok(()));
        }
        // A client whose deadlines are shorter than its upstream is slow.
        for _ in 0..5_000 {
            guard.note_stream();
            guard.take(Bounded::Reset).unwrap();
            guard.take_early_reset(100).unwrap();
        }
        // One in two given up at once, of many.
        for _ in 0..5_000 {
            guard.note_stream();
            guard.note_answered();
            guard.take_early_reset(0).unwrap();
        }
    }
}
