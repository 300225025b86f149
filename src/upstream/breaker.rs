//! The circuit breaker of a service in one worker: too many failures, or too slow, and requests are refused for a while.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trip::{RATIOS_MAX, Seen, TripExpression};
use crate::units::Duration;

/// Parts that the sliding window is divided into.
const PARTS: usize = 10;
/// Buckets of the latency histogram: four for each doubling, from 1 ms to 18 h.
const LATENCIES: usize = 104;

/// When requests are refused, for the service fails or is slow.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Share of requests that fail (502, 504, or the upstream's own 5xx) above which it opens, 0 to below 1.
    pub error_ratio: Option<f64>,
    /// Time to the response head above which it opens.
    pub latency: Option<Duration>,
    /// The quantile of the latency that is looked at, between 0 and 1.
    pub quantile: f64,
    /// When it opens, as an expression, in the place of the three before: `"NetworkErrorRatio() > 0.3"`,
    /// `"ResponseCodeRatio(500, 600, 0, 600) > 0.5"` or `"LatencyAtQuantileMS(50.0) > 200"`, joined by `&&` and `||`.
    pub expression: Option<TripExpression>,
    /// Fewer requests in the window prove nothing. Each worker counts by itself.
    pub requests_min: u32,
    /// Length of the sliding window.
    pub window: Duration,
    /// How long it stays open before one request is let through as a trial.
    pub open: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            error_ratio: None,
            latency: None,
            quantile: 0.5,
            expression: None,
            requests_min: 20,
            window: Duration::from_s(10),
            open: Duration::from_s(5),
        }
    }
}

/// What it has seen.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: BreakerState,
    parts: [Part; PARTS],
    /// The part that is counted in, as its number since the clock began.
    at: u64,
    /// The window that the parts are of, in milliseconds.
    window_ms: u64,
}

/// How a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// With all others.
    Usual,
    /// To find out whether the service is back.
    Trial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    Closed,
    /// Until then.
    Open(u64),
    /// One request is finding out.
    Trying,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    requests: u32,
    errors: u32,
    /// What the ratios of an expression count.
    ratios: [(u32, u32); RATIOS_MAX],
    latencies: [u32; LATENCIES],
}

const EMPTY: Part = Part { requests: 0, errors: 0, ratios: [(0, 0); RATIOS_MAX], latencies: [0; LATENCIES] };

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOutcome {
    /// The status that the client gets.
    pub status: u16,
    /// Whether it counts as a failure of the service.
    pub is_error: bool,
    /// How long its response head took.
    pub took_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: BreakerState::Closed, parts: [EMPTY; PARTS], at: 0, window_ms: 0 }
    }
}

impl Breaker {
    /// Whether a request may pass. After the open time one may, and decides by its outcome.
    pub fn admits(&mut self, now_ms: u64) -> Option<Pass> {
        match self.state {
            BreakerState::Closed => Some(Pass::Usual),
            BreakerState::Open(until_ms) if now_ms >= until_ms => {
                self.state = BreakerState::Trying;
                Some(Pass::Trial)
            }
            BreakerState::Open(_) | BreakerState::Trying => None,
        }
    }

    /// True while requests are refused.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, BreakerState::Closed)
    }

    /// The trial ended without a finding: its client left.
    pub const fn drops_trial(&mut self, now_ms: u64) {
        if matches!(self.state, BreakerState::Trying) {
            self.state = BreakerState::Open(now_ms);
        }
    }

    /// A request that was admitted is over. True where the breaker opened by it.
    pub fn counts(&mut self, rules: &CircuitBreaker, pass: Pass, outcome: BreakerOutcome, now_ms: u64) -> bool {
        let BreakerOutcome { status, is_error, took_ms } = outcome;
        match self.state {
            // It began before the breaker opened.
            BreakerState::Trying if pass == Pass::Usual => return false,
            BreakerState::Trying if is_error => {
                self.state = BreakerState::Open(now_ms + rules.open.ms());
                return false;
            }
            BreakerState::Trying => {
                self.state = BreakerState::Closed;
                self.parts = [EMPTY; PARTS];
            }
            BreakerState::Open(_) => return false,
            BreakerState::Closed => {}
        }
        self.advance(rules, now_ms);
        let part = &mut self.parts[usize::try_from(self.at).unwrap_or(0) % PARTS];
        part.requests += 1;
        part.errors += u32::from(is_error);
        part.latencies[bucket(took_ms)] += 1;
        if let Some(expression) = &rules.expression {
            expression.count(status, &mut part.ratios);
        }
        let is_open = self.is_too_bad(rules);
        if is_open {
            self.state = BreakerState::Open(now_ms + rules.open.ms());
        }
        is_open
    }

    fn advance(&mut self, rules: &CircuitBreaker, now_ms: u64) {
        let now = now_ms / (rules.window.ms() / PARTS as u64).max(1);
        if self.window_ms != rules.window.ms() {
            (self.parts, self.at, self.window_ms) = ([EMPTY; PARTS], now, rules.window.ms());
        }
        // Clears the parts that time has passed over since the last request, each once at most.
        for at in self.at.max(now.saturating_sub(PARTS as u64))..now {
            self.parts[usize::try_from(at + 1).unwrap_or(0) % PARTS] = EMPTY;
        }
        self.at = self.at.max(now);
    }

    fn is_too_bad(&self, rules: &CircuitBreaker) -> bool {
        let sum = |of: fn(&Part) -> u32| self.parts.iter().map(of).sum::<u32>();
        let requests = sum(|part| part.requests);
        if requests < rules.requests_min.max(1) {
            return false;
        }
        if let Some(expression) = &rules.expression {
            return expression.holds(self);
        }
        let share = |count: u32| f64::from(count) / f64::from(requests);
        let is_failing = rules.error_ratio.is_some_and(|most| share(sum(|part| part.errors)) > most);
        let is_slow = rules.latency.is_some_and(|most| {
            let slow = self.parts.iter().flat_map(|part| &part.latencies[bucket(most.ms()) + 1..]).sum();
            // With a larger share of slow requests the quantile itself is above the bound.
            share(slow) > 1.0 - rules.quantile
        });
        is_failing || is_slow
    }
}

impl Seen for Breaker {
    fn ratio(&self, at: usize) -> (u32, u32) {
        let counts = self.parts.iter().map(|part| part.ratios[at]);
        counts.fold((0, 0), |(found, among), (more, of)| (found + more, among + of))
    }

    fn latency_ms(&self, quantile: f64) -> f64 {
        let sum = |at: usize| self.parts.iter().map(|part| part.latencies[at]).sum::<u32>();
        let all: u32 = (0..LATENCIES).map(sum).sum();
        let mut below = 0;
        let at = (0..LATENCIES).position(|at| {
            below += sum(at);
            below > 0 && f64::from(below) >= quantile * f64::from(all)
        });
        at.map_or(0.0, start_of)
    }
}

/// The bucket of a latency: exact to a fifth.
fn bucket(ms: u64) -> usize {
    let ms = ms.max(1);
    let octave = ms.ilog2();
    let quarter = if octave >= 2 { (ms >> (octave - 2)) & 3 } else { (ms << (2 - octave)) & 3 };
    (octave as usize * 4 + usize::try_from(quarter).unwrap_or(0)).min(LATENCIES - 1)
}

/// The shortest latency of a bucket, in milliseconds.
fn start_of(bucket: usize) -> f64 {
    // At most 7 × 2^25.
    let quarters = u32::try_from((4 + bucket % 4) << (bucket / 4)).unwrap_or(u32::MAX);
    f64::from(quarters) / 4.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CircuitBreaker = CircuitBreaker {
        error_ratio: Some(0.5),
        latency: Some(Duration::from_ms(200)),
        quantile: 0.5,
        expression: None,
        requests_min: 10,
        window: Duration::from_s(10),
        open: Duration::from_s(5),
    };

    fn count(breaker: &mut Breaker, is_error: bool, took_ms: u64, now_ms: u64) -> bool {
        breaker.counts(&RULES, Pass::Usual, outcome(is_error, took_ms), now_ms)
    }

    fn outcome(is_error: bool, took_ms: u64) -> BreakerOutcome {
        BreakerOutcome { status: if is_error { 502 } else { 200 }, is_error, took_ms }
    }

    #[test]
    fn an_expression_takes_the_place_of_the_other_rules() {
        let rules = |text: &str| CircuitBreaker { expression: Some(TripExpression::parse(text).unwrap()), ..RULES };
        let opens = |text: &str, outcomes: &[BreakerOutcome]| {
            let (rules, mut breaker) = (rules(text), Breaker::default());
            outcomes.iter().any(|outcome| breaker.counts(&rules, Pass::Usual, *outcome, 1_000))
        };
        let slow_failures = [outcome(true, 900); 20];
        assert!(!opens("NetworkErrorRatio() > 1", &slow_failures));
        assert!(
            opens("NetworkErrorRatio() > 0.5", &slow_failures)
                && !opens("NetworkErrorRatio() > 0.5", &slow_failures[..9])
        );
        assert!(opens("LatencyAtQuantileMS(50.0) > 800", &slow_failures));
        assert!(!opens("LatencyAtQuantileMS(50.0) > 900", &slow_failures));
        assert!(opens("ResponseCodeRatio(500, 600, 0, 600) > 0.9 && LatencyAtQuantileMS(99.0) > 800", &slow_failures));
    }

    #[test]
    fn it_opens_above_the_ratio_and_closes_after_one_success() {
        let mut breaker = Breaker::default();
        for turn in 0..20 {
            assert!(!count(&mut breaker, turn % 2 == 1, 5, 1_000), "half is not above half");
        }
        assert!(count(&mut breaker, true, 5, 1_000));
        assert!(breaker.admits(5_999).is_none() && breaker.is_open());
        assert_eq!((breaker.admits(6_000), breaker.admits(6_000)), (Some(Pass::Trial), None), "one finds out");
        assert!(!count(&mut breaker, false, 5, 6_000) && breaker.is_open(), "one from before says nothing");
        breaker.counts(&RULES, Pass::Trial, outcome(true, 5), 6_000);
        assert_eq!((breaker.admits(10_999), breaker.admits(11_000)), (None, Some(Pass::Trial)));
        breaker.drops_trial(11_000);
        assert_eq!(breaker.admits(11_000), Some(Pass::Trial));
        breaker.counts(&RULES, Pass::Trial, outcome(false, 5), 11_000);
        assert_eq!(breaker.admits(11_000), Some(Pass::Usual));
        assert!(!breaker.is_open());
    }

    #[test]
    fn it_opens_where_the_quantile_is_too_slow() {
        let mut breaker = Breaker::default();
        let opened = (0..100).map(|turn| count(&mut breaker, false, if turn < 8 { 10 } else { 500 }, turn));
        assert_eq!(opened.collect::<Vec<_>>().iter().position(|open| *open), Some(16));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut breaker = Breaker::default();
        for at in 0..9 {
            assert!(!count(&mut breaker, true, 5, at));
        }
        for at in 0..100 {
            assert!(!count(&mut breaker, at % 2 == 1, 5, 12_000 + at * 10));
        }
    }

    #[test]
    fn another_window_begins_anew_and_slides() {
        let mut breaker = Breaker::default();
        let short = CircuitBreaker { window: Duration::from_s(1), ..RULES };
        (0..9).for_each(|_| _ = breaker.counts(&short, Pass::Usual, outcome(true, 5), 1_000_000));
        assert!(!count(&mut breaker, false, 5, 1_000_001));
        (0..100).for_each(|at| assert!(!count(&mut breaker, at % 3 == 1, 5, 1_000_002 + at * 200)));
    }

    #[test]
    fn buckets_grow_with_the_latency() {
        let all: Vec<_> = (0..40_000_000_u64).step_by(997).map(bucket).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(bucket(200) < bucket(250));
        assert!((0..LATENCIES - 1).all(|at| start_of(at) < start_of(at + 1)));
        for ms in [1_u32, 4, 50, 200, 900, 12_345] {
            let start = start_of(bucket(ms.into()));
            assert!(start <= ms.into() && f64::from(ms) <= start * 1.25, "{ms}: {start}");
        }
        assert_eq!(bucket(u64::MAX), LATENCIES - 1);
    }
}
