//! Passive health: an endpoint that failed several requests in a row is left out for a while, longer each time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::failure::row::Blame;
use crate::units::Duration;

/// When an endpoint that fails requests is left out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Failures in a row (no connection, or no answer) after which an endpoint is left out; 0 for never.
    pub failures: u32,
    /// How long, the first time; it doubles each time.
    pub time: Duration,
    /// How long at most.
    pub time_max: Duration,
    /// Share of the endpoints that may be left out at once, in percent.
    #[schemars(range(max = 100))]
    pub share_max: u8,
    /// A status of 5xx is a failure too.
    pub server_errors: bool,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 3,
            time: Duration::from_s(1),
            time_max: Duration::from_s(4),
            share_max: 50,
            server_errors: false,
        }
    }
}

/// What one worker has seen of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passive {
    failures: u32,
    /// How often in a row it was ejected.
    times: u32,
    until_ms: Option<u64>,
    cause: Option<Failure>,
    trial: Trial,
    /// When it came back, for a slow start.
    back_ms: Option<u64>,
}

/// Who finds out whether an endpoint is back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trial {
    /// Nobody yet: one request may.
    #[default]
    Open,
    /// The worker, by a connection of its own.
    Probed,
    /// A request.
    Requested,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes requests; since when, where it was out before, in milliseconds.
    In(Option<u64>),
    /// Its time is over: one request may try.
    Due,
    /// It is left out for so many milliseconds more, or until its trial is over.
    Out(u64),
}

impl Passive {
    /// How it stands.
    #[must_use]
    pub fn standing(&self, now_ms: u64) -> Standing {
        match self.until_ms {
            None => Standing::In(self.back_ms),
            Some(until_ms) if now_ms < until_ms => Standing::Out(until_ms - now_ms),
            Some(_) if self.trial == Trial::Open => Standing::Due,
            Some(_) => Standing::Out(0),
        }
    }

    /// Why it is out.
    #[must_use]
    pub const fn cause(&self) -> Option<Failure> {
        match self.until_ms {
            Some(_) => self.cause,
            None => None,
        }
    }

    /// A request goes there; true where it is the trial.
    pub fn begins(&mut self, now_ms: u64) -> bool {
        let is_trial = self.standing(now_ms) == Standing::Due;
        if is_trial {
            self.trial = Trial::Requested;
        }
        is_trial
    }

    /// The request that was the trial ended without a finding.
    pub fn drops_trial(&mut self) {
        if self.trial == Trial::Requested {
            self.trial = Trial::Open;
        }
    }

    /// A request was answered; where the endpoint is out only its trial says something.
    pub const fn succeeds(&mut self, is_trial: bool, now_ms: u64) {
        if self.until_ms.is_none() || is_trial {
            self.returns(now_ms);
        }
    }

    /// It is back.
    const fn returns(&mut self, now_ms: u64) {
        self.failures = 0;
        if self.until_ms.take().is_some() {
            self.back_ms = Some(now_ms);
        }
        self.times = 0;
        self.trial = Trial::Open;
    }

    /// A request that began at `began_ms` failed. True where the endpoint is ejected now, and the worker shall probe
    /// it; `others_out` of `count` endpoints are out already.
    pub fn fails(
        &mut self,
        rules: &Ejection,
        failure: Failure,
        (began_ms, now_ms): (u64, u64),
        (others_out, count): (usize, usize),
    ) -> bool {
        let was_trial = self.trial == Trial::Requested && self.until_ms.is_some();
        // A request that began before the endpoint was ejected or came back says nothing new.
        let is_old = self.back_ms.is_some_and(|back_ms| began_ms < back_ms);
        if rules.failures == 0 || is_old || (self.until_ms.is_some() && !was_trial) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let has_room = (others_out + 1) * 100 <= count * usize::from(rules.share_max);
        if !was_trial && (self.failures < rules.failures || !has_room) {
            return false;
        }
        self.leaves(rules, failure, now_ms);
        true
    }

    fn leaves(&mut self, rules: &Ejection, failure: Failure, now_ms: u64) {
        let time_ms =
            rules.time.ms().saturating_mul(1 << self.times.min(20)).min(rules.time_max.ms().max(rules.time.ms()));
        self.times += 1;
        self.until_ms = Some(now_ms + time_ms);
        self.cause = Some(failure);
        self.trial = Trial::Probed;
    }

    /// The worker's own connection failed.
    pub fn probe_fails(&mut self, rules: &Ejection, failure: Failure, now_ms: u64) {
        self.leaves(rules, failure, now_ms);
    }

    /// The worker's own connection succeeded. Where connections were all that failed, the endpoint is back; else one
    /// request is the trial.
    pub const fn probe_succeeds(&mut self, now_ms: u64) {
        let is_all = matches!(self.cause, Some(cause) if matches!(cause.handling().ejection, Blame::Connection));
        if is_all {
            self.returns(now_ms);
        } else {
            self.trial = Trial::Open;
        }
    }
}

/// The share that an endpoint gets while it starts slowly, of 64: a tenth at first, then in proportion.
#[must_use]
pub fn slow_start(since_ms: Option<u64>, now_ms: u64, slow_start_ms: u64) -> u32 {
    let Some(since_ms) = since_ms.filter(|_| slow_start_ms > 0) else { return 64 };
    let age_ms = now_ms.saturating_sub(since_ms).min(slow_start_ms);
    u32::try_from(age_ms * 64 / slow_start_ms).unwrap_or(64).max(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Ejection = Ejection {
        failures: 3,
        time: Duration::from_s(1),
        time_max: Duration::from_s(4),
        share_max: 50,
        server_errors: false,
    };

    fn fail(ejection: &mut Passive, now_ms: u64) -> bool {
        ejection.fails(&RULES, Failure::UpstreamHeaderTimeout, (now_ms, now_ms), (0, 2))
    }

    #[test]
    fn three_failures_in_a_row_eject_and_the_time_doubles_to_its_bound() {
        let mut ejection = Passive::default();
        assert!(!fail(&mut ejection, 0) && !fail(&mut ejection, 0));
        ejection.succeeds(false, 0);
        assert!(!fail(&mut ejection, 0) && !fail(&mut ejection, 0) && fail(&mut ejection, 0));
        assert_eq!(ejection.cause(), Some(Failure::UpstreamHeaderTimeout));
        let mut now_ms = 0;
        for time_ms in [1_000, 2_000, 4_000, 4_000] {
            assert_eq!(ejection.standing(now_ms), Standing::Out(time_ms));
            assert!(!fail(&mut ejection, now_ms), "a request from before");
            ejection.succeeds(false, now_ms);
            now_ms += time_ms;
            assert_eq!(ejection.standing(now_ms), Standing::Out(0), "the worker looks first");
            assert!(!ejection.begins(now_ms));
            ejection.probe_succeeds(now_ms);
            assert_eq!(ejection.standing(now_ms), Standing::Due);
            assert!(ejection.begins(now_ms) && !ejection.begins(now_ms), "one trial at a time");
            ejection.drops_trial();
            assert!(ejection.begins(now_ms));
            assert!(fail(&mut ejection, now_ms));
        }
        now_ms += 4_000;
        ejection.probe_succeeds(now_ms);
        assert!(ejection.begins(now_ms));
        ejection.succeeds(true, now_ms);
        assert_eq!(ejection.standing(now_ms), Standing::In(Some(now_ms)));
        assert_eq!(ejection.cause(), None);
        // Requests that began before it came back cannot eject it anew.
        for _ in 0..10 {
            let before = (now_ms - 1, now_ms);
            assert!(!ejection.fails(&RULES, Failure::ConnectTimeout, before, (0, 2)));
        }
    }

    #[test]
    fn what_could_not_be_connected_to_is_back_with_a_connection() {
        let mut ejection = Passive::default();
        for _ in 0..3 {
            ejection.fails(&RULES, Failure::ConnectRefused, (0, 0), (0, 2));
        }
        ejection.probe_fails(&RULES, Failure::ConnectRefused, 1_000);
        assert_eq!(ejection.standing(1_000), Standing::Out(2_000));
        ejection.probe_succeeds(3_000);
        assert_eq!(ejection.standing(3_000), Standing::In(Some(3_000)));
    }

    #[test]
    fn no_more_than_the_share_is_ever_out() {
        let mut ejection = Passive::default();
        for _ in 0..10 {
            assert!(!ejection.fails(&RULES, Failure::ConnectRefused, (0, 0), (1, 2)));
            assert!(!ejection.fails(&RULES, Failure::ConnectRefused, (0, 0), (0, 1)));
        }
        assert!(ejection.fails(&RULES, Failure::ConnectRefused, (0, 0), (1, 4)));
    }

    #[test]
    fn a_slow_start_grows_to_the_whole() {
        assert_eq!(slow_start(None, 5, 1_000), 64);
        assert_eq!(slow_start(Some(0), 5, 0), 64);
        assert_eq!(slow_start(Some(0), 0, 1_000), 6);
        assert_eq!(slow_start(Some(0), 500, 1_000), 32);
        assert_eq!(slow_start(Some(0), 9_000, 1_000), 64);
    }
}
