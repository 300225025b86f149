//! What one worker has seen of an endpoint's habit with idle connections, and what may be reused by it.
//!
//! A reused connection that the upstream is just closing loses a request that cannot be sent twice. So reuse is
//! earned: by surviving, by succeeding, and for a request that must not be repeated by a margin in time that the
//! endpoint was seen to keep. All times are in microseconds of one clock.

/// How long a released connection must stay open before it is reused, until one reuse has succeeded. A server that
/// closes after each response was seen to do so within 1 ms on loopback.
pub const PROBATION_US: u64 = 5_000;
/// A close within this time of the response is one right after it.
const RIGHT_AFTER_US: u64 = 5_000;
/// So many closes right after a response, or failed reuses, and no success: pooling is turned off.
const MISSES_MAX: u8 = 3;
/// How long pooling is off before one connection is tried again.
const OFF_US: u64 = 60_000_000;
/// How long a connection must survive for pooling to come back without a reuse.
const SURVIVAL_US: u64 = 1_000_000;
/// A request that must not be repeated needs to see connections kept for so much longer than its own was idle: the
/// scheduler's delays on a busy host, on either side.
const MARGIN_US: u64 = 20_000;
/// What was seen is forgotten after one to two of these periods.
const PERIOD_US: u64 = 60_000_000;
/// A close far earlier than others survived is taken for a restart, until such closes were seen in so many different
/// seconds.
const OUTLIERS_MAX: u8 = 3;

/// The habit of one endpoint.
#[derive(Clone, Debug)]
pub struct Habit {
    trust: Trust,
    misses: u8,
    /// Reuse failed, so that surviving proves nothing.
    has_failed_reuse: bool,
    /// How many new connections failed, too, since pooling was turned off: then reuse is not what fails.
    doubts: u8,
    /// A request that must not be repeated is trying out a reuse.
    is_trying: bool,
    /// Longest idle time survived, in this period and the one before.
    kept_us: [u64; 2],
    /// Shortest idle time closed by the peer, in this period and the one before.
    closed_us: [u64; 2],
    period_ends_us: u64,
    outliers: u8,
    last_outlier_us: u64,
    has_spoken_unasked: bool,
    /// Shortest time from a request to the first byte of its answer, in this period and the one before.
    quickest_us: [u64; 2],
}

/// How far reuse is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No reuse has succeeded yet.
    Unproven,
    /// Reuse has succeeded.
    Proven,
    /// Pooling is off until this time.
    Off(u64),
}

/// Why pooling was turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The peer closed right after responses without saying so.
    ClosesAfterResponse,
    /// The peer fails the second request of a connection.
    FailsSecondRequest,
}

impl Default for Habit {
    fn default() -> Self {
        Self {
            trust: Trust::Unproven,
            misses: 0,
            has_failed_reuse: false,
            doubts: 0,
            is_trying: false,
            kept_us: [0; 2],
            closed_us: [u64::MAX; 2],
            period_ends_us: 0,
            outliers: 0,
            last_outlier_us: 0,
            has_spoken_unasked: false,
            quickest_us: [u64::MAX; 2],
        }
    }
}

impl Habit {
    /// How far reuse is trusted.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// Longest idle time that was seen to be survived of late.
    #[must_use]
    pub fn kept_us(&self) -> u64 {
        self.kept_us[0].max(self.kept_us[1])
    }

    /// How long a connection may be idle at most: 0.8 of the shortest idle time at which the peer closed one.
    #[must_use]
    pub fn lifetime_us(&self) -> u64 {
        match self.closed_us[0].min(self.closed_us[1]) {
            u64::MAX => u64::MAX,
            closed_us => closed_us / 5 * 4,
        }
    }

    /// Whether a connection is kept after its response. While pooling is off, one in a while is.
    pub fn keeps(&mut self, now_us: u64) -> bool {
        self.turn(now_us);
        match self.trust {
            Trust::Off(until_us) if now_us < until_us => false,
            Trust::Off(_) => {
                self.trust = Trust::Off(now_us + OFF_US);
                true
            }
            // Kept all the same: only a kept connection shows what the peer does with it.
            Trust::Unproven => true,
            Trust::Proven => self.lifetime_us() > PROBATION_US,
        }
    }

    /// Whether a connection that was idle for so long may carry a request.
    #[must_use]
    pub fn allows(&self, idle_us: u64, is_repeatable: bool) -> bool {
        let is_young = idle_us < self.lifetime_us();
        let is_released = idle_us >= PROBATION_US || self.trust == Trust::Proven;
        let is_fit = match self.trust {
            _ if is_repeatable => true,
            Trust::Proven => self.is_survived(idle_us),
            Trust::Unproven => self.is_survived(idle_us) && !self.is_trying,
            Trust::Off(_) => false,
        };
        is_young && is_released && is_fit
    }

    /// Whether a connection that nothing was heard of must be looked at before a request goes over it. One that may be
    /// repeated needs no look where reuse is known to work: an end costs an attempt and no more, and bytes that nobody
    /// asked for have never come.
    #[must_use]
    pub fn needs_look(&self, is_repeatable: bool) -> bool {
        !is_repeatable || self.trust != Trust::Proven || self.has_spoken_unasked
    }

    /// Bytes came that answered no request; from now on every connection is looked at before it is reused.
    pub const fn speaks_unasked(&mut self) {
        self.has_spoken_unasked = true;
    }

    /// Whether an answer came sooner behind its request than any of late, so that it may be one that nobody asked for.
    #[must_use]
    pub fn is_too_soon(&self, took_us: u64) -> bool {
        let quickest_us = self.quickest_us[0].min(self.quickest_us[1]);
        took_us < quickest_us || quickest_us == u64::MAX
    }

    /// An answer to its request came so soon.
    pub fn answers_in(&mut self, took_us: u64) {
        self.quickest_us[0] = self.quickest_us[0].min(took_us);
    }

    /// Whether connections were seen to stay open for clearly longer.
    #[must_use]
    pub fn is_survived(&self, idle_us: u64) -> bool {
        self.kept_us() >= idle_us + MARGIN_US.max(idle_us / 8)
    }

    /// A connection carries a request. False where that was known to work: nothing is to be learned from it.
    pub fn takes(&mut self, is_repeatable: bool) -> bool {
        let is_trial = self.trust != Trust::Proven;
        self.is_trying |= is_trial && !is_repeatable;
        is_trial
    }

    /// A reuse was tried and nothing can be said of it.
    pub const fn drops_trial(&mut self) {
        self.is_trying = false;
    }

    /// A connection was seen open after so long an idle time.
    pub fn survives(&mut self, idle_us: u64, now_us: u64) {
        self.turn(now_us);
        self.kept_us[0] = self.kept_us[0].max(idle_us);
        if matches!(self.trust, Trust::Off(_)) && !self.has_failed_reuse && idle_us >= SURVIVAL_US {
            self.trust = Trust::Unproven;
            self.misses = 0;
        }
    }

    /// A reused connection brought its response.
    pub const fn succeeds(&mut self) {
        self.trust = Trust::Proven;
        self.misses = 0;
        self.has_failed_reuse = false;
        self.is_trying = false;
    }

    /// The peer closed an idle connection that had carried so many requests. Tells where that turned pooling off.
    pub fn closes(&mut self, idle_us: u64, requests: u32, now_us: u64) -> Option<Flaw> {
        self.learn(idle_us, now_us);
        // One that was reused before it closed speaks of a restart, not of a habit.
        if idle_us > RIGHT_AFTER_US || requests > 1 {
            return None;
        }
        self.misses(now_us, Flaw::ClosesAfterResponse)
    }

    /// A reused connection ended before the first byte of its response, the last of so many requests. Tells where
    /// that turned pooling off.
    pub fn fails(&mut self, idle_us: u64, requests: u32, now_us: u64) -> Option<Flaw> {
        self.is_trying = false;
        self.learn(idle_us, now_us);
        // Reuse has worked on this connection before, so the peer does not fail every second request.
        if requests > 2 {
            return None;
        }
        self.has_failed_reuse |= self.trust != Trust::Proven;
        self.misses(now_us, Flaw::FailsSecondRequest)
    }

    /// A new connection ended before the first byte of its response, too: so the failures of reused ones say nothing about
    /// reuse.
    pub fn fails_fresh(&mut self) {
        self.misses = 0;
        if matches!(self.trust, Trust::Off(_)) && self.has_failed_reuse {
            self.doubts += 1;
            if self.doubts >= MISSES_MAX {
                self.trust = Trust::Unproven;
                self.has_failed_reuse = false;
                self.doubts = 0;
            }
        }
    }

    fn misses(&mut self, now_us: u64, flaw: Flaw) -> Option<Flaw> {
        self.misses += 1;
        match self.trust {
            Trust::Off(_) => {
                self.trust = Trust::Off(now_us + OFF_US);
                self.misses = 0;
                None
            }
            _ if self.misses < MISSES_MAX => None,
            // It did work: a restart looks the same. It must be proven anew.
            Trust::Proven => {
                self.trust = Trust::Unproven;
                self.misses = 0;
                None
            }
            Trust::Unproven => {
                self.trust = Trust::Off(now_us + OFF_US);
                self.misses = 0;
                Some(flaw)
            }
        }
    }

    fn learn(&mut self, idle_us: u64, now_us: u64) {
        self.turn(now_us);
        // Others survived more than twice as long: most likely a restart, which closes many at once. It teaches nothing
        // before it was seen in `OUTLIERS_MAX` different seconds.
        if idle_us < self.kept_us() / 2 && self.outliers < OUTLIERS_MAX {
            if now_us >= self.last_outlier_us + 1_000_000 {
                self.last_outlier_us = now_us;
                self.outliers += 1;
            }
            return;
        }
        self.closed_us[0] = self.closed_us[0].min(idle_us);
    }

    /// Begins a new period where the last one is over.
    fn turn(&mut self, now_us: u64) {
        if now_us < self.period_ends_us {
            return;
        }
        self.period_ends_us = now_us + PERIOD_US;
        self.kept_us = [0, self.kept_us[0]];
        self.closed_us = [u64::MAX, self.closed_us[0]];
        self.quickest_us = [u64::MAX, self.quickest_us[0]];
        self.outliers = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;
    const S: u64 = 1_000_000;

    #[test]
    fn an_answer_is_too_soon_where_none_of_late_came_as_soon() {
        let mut habit = Habit::default();
        assert!(habit.is_too_soon(500), "nothing is known yet");
        habit.answers_in(500);
        assert!(!habit.is_too_soon(500) && !habit.is_too_soon(600) && habit.is_too_soon(20));
        habit.answers_in(20);
        assert!(!habit.is_too_soon(20));
        // What was seen is forgotten after two periods.
        habit.survives(0, 100 * S);
        assert!(!habit.is_too_soon(30));
        habit.survives(0, 200 * S);
        habit.survives(0, 300 * S);
        assert!(habit.is_too_soon(30));
    }

    #[test]
    fn an_endpoint_that_closes_after_each_response_is_never_trusted_and_soon_left_alone() {
        let mut habit = Habit::default();
        assert!(habit.keeps(S));
        assert!(!habit.allows(MS, true), "still on probation");
        assert_eq!(habit.closes(300, 1, S), None);
        assert!(habit.keeps(S));
        assert_eq!(habit.closes(400, 1, S), None);
        assert_eq!(habit.closes(200, 1, S), Some(Flaw::ClosesAfterResponse));
        assert_eq!(habit.trust(), Trust::Off(61 * S));
        assert!(!habit.keeps(2 * S));
        // One is tried again after a minute, and told of no second time.
        assert!(habit.keeps(61 * S));
        assert!(!habit.keeps(61 * S + 1));
        assert_eq!(habit.closes(300, 1, 61 * S), None);
        assert!(!habit.keeps(62 * S));
        // It learned to keep connections.
        assert!(habit.keeps(200 * S));
        habit.survives(2 * S, 202 * S);
        assert_eq!(habit.trust(), Trust::Unproven);
    }

    #[test]
    fn a_request_that_must_not_be_repeated_needs_a_margin_that_was_seen() {
        let mut habit = Habit::default();
        assert!(habit.allows(6 * MS, true));
        assert!(!habit.allows(6 * MS, false), "nothing is known yet");
        habit.survives(27 * MS, S);
        assert!(habit.allows(6 * MS, false));
        assert!(!habit.allows(8 * MS, false));
        assert!(habit.takes(false));
        assert!(!habit.allows(6 * MS, false), "one trial at a time");
        habit.succeeds();
        assert!(habit.allows(10, false), "proven: no probation any more");
        assert!(!habit.takes(false));
    }

    #[test]
    fn an_endpoint_that_fails_second_requests_loses_three_at_most() {
        let mut habit = Habit::default();
        habit.survives(10 * S, 10 * S);
        let mut lost = 0;
        for turn in 0..1_000 {
            let now_us = (11 + turn) * S;
            if habit.keeps(now_us) {
                habit.survives(5 * S, now_us);
            }
            if habit.allows(50 * MS, false) {
                habit.takes(false);
                habit.fails(50 * MS, 2, now_us);
                lost += 1;
            }
        }
        assert_eq!(lost, 3);
        // A request that may be repeated may find out that it works again.
        assert!(habit.allows(6 * MS, true));
        habit.succeeds();
        assert!(habit.keeps(2_000 * S));
    }

    #[test]
    fn connections_retire_before_the_peer_closes_them() {
        let mut habit = Habit::default();
        habit.survives(190 * MS, S);
        habit.succeeds();
        assert_eq!(habit.lifetime_us(), u64::MAX);
        habit.closes(200 * MS, 9, S);
        assert_eq!(habit.lifetime_us(), 160 * MS);
        assert!(habit.allows(150 * MS, true) && !habit.allows(160 * MS, true));
        // What was seen is forgotten after one to two minutes.
        assert!(habit.keeps(62 * S));
        assert_eq!(habit.lifetime_us(), 160 * MS);
        assert!(habit.keeps(130 * S));
        assert_eq!(habit.lifetime_us(), u64::MAX);
    }

    #[test]
    fn a_restart_teaches_no_lifetime() {
        let mut habit = Habit::default();
        habit.survives(10 * S, S);
        habit.succeeds();
        for _ in 0..64 {
            habit.closes(2 * MS, 7, S);
            habit.fails(2 * MS, 8, S);
        }
        assert_eq!(habit.lifetime_us(), u64::MAX);
        assert_eq!(habit.trust(), Trust::Proven);
    }

    #[test]
    fn an_endpoint_that_fails_on_new_connections_too_keeps_its_pool() {
        let mut habit = Habit::default();
        for turn in 0..30 {
            habit.fails(6 * MS, 2, turn * S);
            habit.fails_fresh();
        }
        assert_eq!(habit.trust(), Trust::Unproven);
        (0..3).for_each(|_| _ = habit.fails(6 * MS, 2, 30 * S));
        assert_eq!(habit.trust(), Trust::Off(90 * S));
        (0..3).for_each(|_| habit.fails_fresh());
        assert_eq!(habit.trust(), Trust::Unproven);
    }

    #[test]
    fn three_closes_after_a_proof_ask_for_a_proof_anew() {
        let mut habit = Habit::default();
        habit.succeeds();
        for _ in 0..3 {
            assert_eq!(habit.closes(MS, 1, S), None);
        }
        assert_eq!(habit.trust(), Trust::Unproven);
    }
}
