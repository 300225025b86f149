//! Which target of a route does a request get? Rules about the request first, then chance by weight.

use super::condition::ValueTest;
use crate::proto::h1::parameters::cookie;
use crate::proto::h1::request::RequestHead;

/// What a rule looks at, by its name.
#[derive(Clone, Debug)]
pub enum CanaryBy {
    /// A field, in lower case.
    Header(Box<[u8]>),
    /// A cookie.
    Cookie(Box<[u8]>),
}

/// Requests that pass the test get the target, whatever its weight.
#[derive(Clone, Debug)]
pub struct CanaryTest {
    /// What is looked at.
    pub by: CanaryBy,
    /// What it must be.
    pub test: ValueTest,
    /// The position of the target.
    pub target: usize,
}

/// How the target of a request is chosen.
#[derive(Clone, Debug, Default)]
pub struct TargetChoice {
    rules: Vec<CanaryTest>,
    weights: Vec<u32>,
    total: u64,
}

impl TargetChoice {
    /// By these rules, the first that fits, else by weight.
    #[must_use]
    pub fn new(rules: Vec<CanaryTest>, weights: Vec<u32>) -> Self {
        let total = weights.iter().copied().map(u64::from).sum();
        Self { rules, weights, total }
    }

    /// True where all requests get the first.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.rules.is_empty() && (self.weights.is_empty() || self.weights.len() == 1 && self.total > 0)
    }

    /// The position of the target; `None` where all weights are 0. `random` is uniform over `u64`.
    #[must_use]
    pub fn choose(&self, head: &RequestHead, random: u64) -> Option<usize> {
        self.by_rule(head).or_else(|| self.by_weight(random))
    }

    /// True where the target at this position gets a share.
    #[must_use]
    pub fn takes(&self, at: usize) -> bool {
        self.weights.get(at).is_some_and(|weight| *weight > 0)
    }

    /// The position of the target that a rule says.
    #[must_use]
    pub fn by_rule(&self, head: &RequestHead) -> Option<usize> {
        let fits = |rule: &&CanaryTest| match &rule.by {
            CanaryBy::Header(name) => head.value(name).is_some_and(|value| rule.test.passes(&value)),
            CanaryBy::Cookie(name) => cookie(head, name).is_some_and(|value| rule.test.passes(value)),
        };
        self.rules.iter().find(fits).map(|rule| rule.target)
    }

    /// The position of a target by weight; `None` where all weights are 0. `random` is uniform over `u64`.
    #[must_use]
    pub fn by_weight(&self, random: u64) -> Option<usize> {
        let mut left = u64::try_from((u128::from(random) * u128::from(self.total)) >> 64).unwrap_or(0);
        self.weights.iter().position(|weight| {
            let is_it = left < u64::from(*weight);
            left = left.saturating_sub(u64::from(*weight));
            is_it
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    fn head(fields: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes(), HeadRules::default()).unwrap();
        head
    }

    #[test]
    fn weights_hold_and_rules_go_before_them() {
        let equal = |text: &str| ValueTest::Equal(text.as_bytes().into());
        let rules = vec![
            CanaryTest { by: CanaryBy::Header(b"x-canary"[..].into()), test: equal("always"), target: 1 },
            CanaryTest { by: CanaryBy::Header(b"x-canary"[..].into()), test: equal("never"), target: 0 },
            CanaryTest { by: CanaryBy::Cookie(b"c"[..].into()), test: equal("always"), target: 1 },
        ];
        let choice = TargetChoice::new(rules, vec![95, 5, 0]);
        let mut counts = [0_u32; 3];
        for turn in 0..10_000_u64 {
            counts[choice.choose(&head(""), turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap()] += 1;
        }
        assert!(counts[0].abs_diff(9_500) < 100 && counts[2] == 0, "{counts:?}");
        assert_eq!(choice.choose(&head("X-Canary: always\r\n"), 0), Some(1));
        assert_eq!(choice.choose(&head("X-Canary: never\r\nCookie: c=always\r\n"), u64::MAX), Some(0));
        assert_eq!(choice.choose(&head("X-Canary: maybe\r\nCookie: c=always\r\n"), 0), Some(1));
        assert_eq!(TargetChoice::new(Vec::new(), vec![0, 0]).choose(&head(""), 7), None);
        assert!(
            TargetChoice::new(Vec::new(), vec![1]).is_single() && !TargetChoice::new(Vec::new(), vec![0]).is_single()
        );
    }
}
