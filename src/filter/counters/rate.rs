//! How often: a token bucket for each key, exactly for the whole process.
//!
//! The bucket is the generic cell rate algorithm (ITU-T I.371): one number for a key, the moment at which its bucket would be full.
//! nginx's leaky bucket with `nodelay` is the same bucket, with a burst of one more.

use std::str::FromStr;
use std::sync::atomic::Ordering;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table::{Eviction, SharedTable};
use crate::units::Duration;

/// So many in a time: `"100/s"`, `"20/m"`, `"1000/h"`, `"5/10s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePerTime {
    /// Requests, 1 or more.
    count: u32,
    /// In this time, in milliseconds.
    period_ms: u64,
}

impl FromStr for RatePerTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(count, period)| {
            let period = period.trim();
            let period =
                if period.starts_with(|c: char| c.is_ascii_digit()) { period.to_owned() } else { format!("1{period}") };
            Some((count.trim().parse().ok()?, period.parse::<Duration>().ok()?.ms()))
        });
        let sound = parsed.filter(|(count, period_ms)| *count > 0 && *period_ms > 0);
        let (count, period_ms) =
            sound.ok_or_else(|| format!("`{text}` is not a rate; write 100/s, 20/m, 1000/h or 5/10s"))?;
        Ok(Self { count, period_ms })
    }
}

impl std::fmt::Display for RatePerTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.period_ms {
            1_000 => write!(f, "{}/s", self.count),
            60_000 => write!(f, "{}/m", self.count),
            3_600_000 => write!(f, "{}/h", self.count),
            ms => write!(f, "{}/{}", self.count, Duration::from_ms(ms)),
        }
    }
}

impl<'de> Deserialize<'de> for RatePerTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for RatePerTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RatePerTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RatePerTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[1-9][0-9]*/([1-9][0-9]*)?(ms|s|m|h)$"})
    }
}

/// A further rate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlsoRate {
    /// The rate.
    pub rate: RatePerTime,
    /// Requests at once.
    #[serde(default)]
    pub burst: Option<u32>,
}

/// What a zone counts, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateTerms {
    /// All rates, with their bursts: one or more.
    pub rates: Vec<AlsoRate>,
    /// By what requests are told apart, as it was written.
    pub key: (String, u8),
    /// Keys that are remembered at most.
    pub keys: usize,
}

/// The counters of one zone, of the whole process.
#[derive(Debug)]
pub struct RateZone {
    terms: RateTerms,
    buckets: Vec<Bucket>,
    /// One for each bucket.
    tables: Vec<SharedTable>,
}

/// One rate. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// What one request takes.
    interval_ns: u64,
    /// How far ahead of the clock the bucket may be.
    tolerance_ns: u64,
    rate: RatePerTime,
    burst: u32,
}

/// What one request finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateFinding {
    /// It passes; so many more could, now.
    Passes(u64),
    /// It could pass in so many nanoseconds.
    In(u64),
}

impl Bucket {
    const NONE: Self =
        Self { interval_ns: u64::MAX, tolerance_ns: 0, rate: RatePerTime { count: 1, period_ms: u64::MAX }, burst: 1 };

    fn new(rate: RatePerTime, burst: Option<u32>) -> Self {
        let interval_ns = (rate.period_ms * 1_000_000 / u64::from(rate.count)).max(1);
        let burst = burst.unwrap_or(rate.count).max(1);
        Self { interval_ns, tolerance_ns: u64::from(burst - 1).saturating_mul(interval_ns), rate, burst }
    }

    /// Seconds until one more may come.
    #[must_use]
    pub const fn interval_s(&self) -> u64 {
        self.interval_ns.div_ceil(1_000_000_000)
    }

    /// How many in how many seconds, as policies are told.
    #[must_use]
    pub fn policy(&self) -> (u32, u64) {
        (self.rate.count.max(self.burst), self.rate.period_ms.div_ceil(1_000))
    }

    /// What a request finds whose bucket is full at `full_ns`.
    const fn finding(&self, full_ns: u64, now_ns: u64) -> RateFinding {
        let ahead = full_ns.saturating_sub(now_ns);
        if ahead > self.tolerance_ns {
            RateFinding::In(ahead - self.tolerance_ns)
        } else {
            RateFinding::Passes((self.tolerance_ns - ahead) / self.interval_ns)
        }
    }

    /// Takes one where it passes.
    fn take(&self, table: &SharedTable, key: &[u8], now_ns: u64) -> RateFinding {
        let Some(full) = table.number(key, Eviction::UpTo(now_ns)) else { return RateFinding::In(self.interval_ns) };
        let mut finding = RateFinding::In(0);
        let _ = full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_ns| {
            finding = self.finding(full_ns, now_ns);
            matches!(finding, RateFinding::Passes(_)).then(|| full_ns.max(now_ns).saturating_add(self.interval_ns))
        });
        finding
    }

    fn look(&self, table: &SharedTable, key: &[u8], now_ns: u64) -> RateFinding {
        let full = table.number(key, Eviction::UpTo(now_ns));
        full.map_or(RateFinding::In(self.interval_ns), |full| self.finding(full.load(Ordering::Relaxed), now_ns))
    }
}

impl RateZone {
    /// Counters that nothing was counted in.
    #[must_use]
    pub fn new(terms: RateTerms) -> Self {
        let buckets: Vec<_> = terms.rates.iter().map(|one| Bucket::new(one.rate, one.burst)).collect();
        let tables = buckets.iter().map(|_| SharedTable::new(terms.keys)).collect();
        Self { terms, buckets, tables }
    }

    /// True where it counts so.
    #[must_use]
    pub fn is_of(&self, terms: &RateTerms) -> bool {
        self.terms == *terms
    }

    /// What a request of this key finds, and by which rate: the one that lets it wait longest, or has least left. It is counted
    /// where it passes.
    #[must_use]
    pub fn take(&self, key: &[u8], now_ns: u64) -> (RateFinding, &Bucket) {
        let both = || self.buckets.iter().zip(&self.tables);
        // All must pass before one is charged.
        if self.buckets.len() > 1
            && let Some(refused) = both()
                .map(|(bucket, table)| (bucket.look(table, key, now_ns), bucket))
                .filter_map(|(finding, bucket)| match finding {
                    RateFinding::In(ns) => Some((ns, bucket)),
                    RateFinding::Passes(_) => None,
                })
                .max_by_key(|(ns, _)| *ns)
        {
            return (RateFinding::In(refused.0), refused.1);
        }
        let taken = both().map(|(bucket, table)| (bucket.take(table, key, now_ns), bucket));
        let least = |(finding, _): &(RateFinding, &Bucket)| match finding {
            RateFinding::In(ns) => (0, u64::MAX - ns),
            RateFinding::Passes(left) => (1, *left),
        };
        // There is one at least.
        taken.min_by_key(least).unwrap_or((RateFinding::In(u64::MAX), &Bucket::NONE))
    }

    /// Bytes of memory that the counters have taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(SharedTable::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(rate: &str, burst: Option<u32>, also: &[&str]) -> RateZone {
        let also = also.iter().map(|rate| AlsoRate { rate: rate.parse().unwrap(), burst: None });
        let rates = std::iter::once(AlsoRate { rate: rate.parse().unwrap(), burst }).chain(also).collect();
        RateZone::new(RateTerms { rates, key: ("client_ip".to_owned(), 64), keys: 1_024 })
    }

    /// How many of so many requests pass, one each `every_us`.
    fn passed(zone: &RateZone, key: &[u8], requests: u64, every_us: u64) -> usize {
        let at = |turn: u64| 1_000_000_000 + turn * every_us * 1_000;
        (0..requests).filter(|turn| matches!(zone.take(key, at(*turn)).0, RateFinding::Passes(_))).count()
    }

    #[test]
    fn a_rate_is_kept_exactly_behind_its_burst() {
        // Ten seconds of a thousand a second.
        assert_eq!(passed(&zone("100/s", Some(1), &[]), b"k", 10_000, 1_000), 1_000);
        assert_eq!(passed(&zone("100/s", Some(50), &[]), b"k", 10_000, 1_000), 1_049);
        assert_eq!(passed(&zone("100/s", None, &[]), b"k", 10_000, 1_000), 1_099);
        assert_eq!(passed(&zone("6/m", Some(1), &[]), b"k", 10_000, 1_000), 1, "one each ten seconds");
        assert_eq!(passed(&zone("7/s", Some(1), &[]), b"k", 10_000, 1_000), 70);
    }

    #[test]
    fn several_rates_must_all_hold_and_a_refusal_charges_none() {
        let both = zone("100/s", Some(1), &["20/m"]);
        assert_eq!(passed(&both, b"k", 10_000, 1_000), 23, "twenty at once, and one each three seconds");
        let (finding, bucket) = both.take(b"other", 1);
        assert_eq!((finding, bucket.burst), (RateFinding::Passes(0), 1));
    }

    #[test]
    fn keys_are_apart_and_a_refusal_says_how_long() {
        let zone = zone("10/s", Some(2), &[]);
        assert_eq!(zone.take(b"a", 5).0, RateFinding::Passes(1));
        assert_eq!(zone.take(b"a", 5).0, RateFinding::Passes(0));
        assert_eq!(zone.take(b"a", 5).0, RateFinding::In(100_000_000));
        assert_eq!(zone.take(b"b", 5).0, RateFinding::Passes(1));
    }

    #[test]
    fn workers_share_one_bucket() {
        let zone = zone("100/s", Some(1), &[]);
        let passed = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for worker in 0..4_u64 {
                let (zone, passed) = (&zone, &passed);
                scope.spawn(move || {
                    for turn in 0..25_000 {
                        let now_ns = 1_000_000_000 + turn * 400_000 + worker * 100_000;
                        let passes = matches!(zone.take(b"k", now_ns).0, RateFinding::Passes(_));
                        passed.fetch_add(usize::from(passes), Ordering::Relaxed);
                    }
                });
            }
        });
        let passed = passed.into_inner();
        // Threads that run ahead of the others in this simulated time waste turns, and none is let through twice.
        assert!((1..=1_000).contains(&passed), "{passed}");
    }

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, told) in [("100/s", "100/s"), ("20 / m", "20/m"), ("5/10s", "5/10s"), ("1000/h", "1000/h")] {
            assert_eq!(text.parse::<RatePerTime>().unwrap().to_string(), told);
        }
        for text in ["", "100", "0/s", "x/s", "1/0s", "1/y", "-1/s"] {
            assert!(text.parse::<RatePerTime>().is_err(), "{text}");
        }
    }
}
