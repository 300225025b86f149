//! When a circuit breaker opens, as an expression: `NetworkErrorRatio() > 0.3 || LatencyAtQuantileMS(50.0) > 200` (Traefik 1.7, oxy's
//! `cbreaker`).

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::predicate::{Comparator, Comparison, Constant, Predicate};

/// Ratios in one expression at most.
pub const RATIOS_MAX: usize = 4;

/// An expression over `NetworkErrorRatio()`, the share of 502 and 504, `ResponseCodeRatio(from, to, from, to)`, the share of the statuses of the
/// first range among those of the second, ends not among them, and `LatencyAtQuantileMS(quantile)`, with a quantile above 0 and below 100.
#[derive(Clone, Debug, PartialEq)]
pub struct TripExpression {
    text: String,
    rule: TripRule,
    ratios: Vec<StatusRatio>,
}

#[derive(Clone, Debug, PartialEq)]
enum TripRule {
    Any(Vec<Self>),
    All(Vec<Self>),
    /// The ratio at this position.
    Ratio(usize, Comparator, f64),
    /// A quantile, 0 to 1, in milliseconds.
    Latency(f64, Comparator, f64),
}

/// Some statuses among others.
#[derive(Clone, Debug, PartialEq)]
enum StatusRatio {
    Network,
    Between(Range<u16>, Range<u16>),
}

/// What a window has seen.
pub trait Seen {
    /// How many of the statuses of a ratio there were, and among how many.
    fn ratio(&self, at: usize) -> (u32, u32);
    /// A quantile of the latency in milliseconds.
    fn latency_ms(&self, quantile: f64) -> f64;
}

impl TripExpression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ratios = Vec::new();
        let rule = rule(&Predicate::parse(text)?, &mut ratios)?;
        if ratios.len() > RATIOS_MAX {
            return Err(format!("it has {} ratios, and at most {RATIOS_MAX} are counted", ratios.len()));
        }
        Ok(Self { text: text.to_owned(), rule, ratios })
    }

    /// Counts an answer of this status for each ratio.
    pub fn count(&self, status: u16, counts: &mut [(u32, u32); RATIOS_MAX]) {
        for (ratio, (found, among)) in self.ratios.iter().zip(counts) {
            let (is_found, is_among) = match ratio {
                StatusRatio::Network => (matches!(status, 502 | 504), true),
                StatusRatio::Between(of, all) => (of.contains(&status), all.contains(&status)),
            };
            *found += u32::from(is_found);
            *among += u32::from(is_among);
        }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, seen: &impl Seen) -> bool {
        self.rule.holds(seen)
    }
}

impl TripRule {
    fn holds(&self, seen: &impl Seen) -> bool {
        match self {
            Self::Any(rules) => rules.iter().any(|rule| rule.holds(seen)),
            Self::All(rules) => rules.iter().all(|rule| rule.holds(seen)),
            Self::Ratio(at, comparator, than) => {
                let (found, among) = seen.ratio(*at);
                let share = if among == 0 { 0.0 } else { f64::from(found) / f64::from(among) };
                comparator.holds(share, *than)
            }
            Self::Latency(quantile, comparator, than) => comparator.holds(seen.latency_ms(*quantile), *than),
        }
    }
}

fn rule(predicate: &Predicate, ratios: &mut Vec<StatusRatio>) -> Result<TripRule, String> {
    Ok(match predicate {
        Predicate::Any(parts) => TripRule::Any(parts.iter().map(|part| rule(part, ratios)).collect::<Result<_, _>>()?),
        Predicate::All(parts) => TripRule::All(parts.iter().map(|part| rule(part, ratios)).collect::<Result<_, _>>()?),
        Predicate::Holds(comparison) => compared(comparison, ratios)?,
    })
}

fn compared(comparison: &Comparison, ratios: &mut Vec<StatusRatio>) -> Result<TripRule, String> {
    let Comparison { function, arguments, with } = comparison;
    let Some((comparator, Constant::Number(than))) = with else {
        return Err(format!("`{function}` is compared with a number"));
    };
    let (comparator, than) = (*comparator, *than);
    let mut ratio = |ratio| {
        ratios.push(ratio);
        TripRule::Ratio(ratios.len() - 1, comparator, than)
    };
    match (function.as_str(), &arguments[..]) {
        ("NetworkErrorRatio", []) => Ok(ratio(StatusRatio::Network)),
        ("ResponseCodeRatio", [a, b, c, d]) => {
            let [a, b, c, d] = [status(*a)?, status(*b)?, status(*c)?, status(*d)?];
            Ok(ratio(StatusRatio::Between(a..b, c..d)))
        }
        ("LatencyAtQuantileMS", [quantile]) if *quantile > 0.0 && *quantile < 100.0 => {
            Ok(TripRule::Latency(quantile / 100.0, comparator, than))
        }
        _ => Err(format!(
            "`{function}` with {} numbers is none of NetworkErrorRatio(), ResponseCodeRatio(500, 600, 0, 600) and \
             LatencyAtQuantileMS(50.0)",
            arguments.len()
        )),
    }
}

/// A status, or the end of a range of them.
fn status(number: f64) -> Result<u16, String> {
    let found = (0..=1_000).find(|status| f64::from(*status).total_cmp(&number).is_eq());
    found.ok_or_else(|| format!("{number} is no status"))
}

impl<'de> Deserialize<'de> for TripExpression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for TripExpression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for TripExpression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TripExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["NetworkErrorRatio() > 0.3 || LatencyAtQuantileMS(50.0) > 200"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Window([(u32, u32); RATIOS_MAX]);

    impl Seen for Window {
        fn ratio(&self, at: usize) -> (u32, u32) {
            self.0[at]
        }

        fn latency_ms(&self, quantile: f64) -> f64 {
            quantile * 100.0
        }
    }

    #[test]
    fn shares_and_quantiles_are_compared() {
        for (text, statuses, expected) in [
            ("NetworkErrorRatio() > 0.3", &[200, 502, 504][..], true),
            ("NetworkErrorRatio() > 0.3", &[200, 200, 200, 502], false),
            ("NetworkErrorRatio() >= 1", &[502], true),
            ("ResponseCodeRatio(500, 600, 0, 600) > 0.4", &[200, 503], true),
            ("ResponseCodeRatio(500, 600, 200, 300) > 2.5", &[200, 500, 503, 599], true),
            ("ResponseCodeRatio(500, 600, 0, 600) > 0.4", &[600, 600], false),
            ("LatencyAtQuantileMS(50.0) > 49 && NetworkErrorRatio() == 0", &[200], true),
            ("LatencyAtQuantileMS(50.0) > 50 || NetworkErrorRatio() == 0", &[502], false),
        ] {
            let expression = TripExpression::parse(text).unwrap();
            let mut counts = [(0, 0); RATIOS_MAX];
            statuses.iter().for_each(|status| expression.count(*status, &mut counts));
            assert_eq!(expression.holds(&Window(counts)), expected, "{text} {statuses:?}");
        }
    }

    #[test]
    fn what_is_no_such_expression_is_told() {
        for (text, expected) in [
            ("NetworkErrorRatio()", "is compared with a number"),
            ("NetworkErrorRatio() > \"x\"", "is compared with a number"),
            ("Attempts() > 1", "is none of"),
            ("LatencyAtQuantileMS(100) > 1", "is none of"),
            ("ResponseCodeRatio(500, 600) > 1", "with 2 numbers is none of"),
            ("ResponseCodeRatio(0.5, 600, 0, 600) > 1", "0.5 is no status"),
            ("NetworkErrorRatio() >", "a number is expected"),
        ] {
            let told = TripExpression::parse(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
        let many = ["NetworkErrorRatio() > 0.5"; RATIOS_MAX + 1].join(" || ");
        assert!(TripExpression::parse(&many).unwrap_err().contains("at most"));
    }
}
