//! Picks one endpoint of a service.

use std::sync::Arc;

use super::candidates::Endpoints;
use super::ring::HashRing;

/// How endpoints are chosen, with the state of one worker.
#[derive(Debug)]
pub enum Picker {
    /// In turn, smoothly by weight: nginx's algorithm, which spreads a heavy endpoint's turns out.
    RoundRobin {
        /// What each endpoint has saved up.
        current: Vec<i64>,
        /// Where the search begins, which decides between equals.
        start: usize,
    },
    /// The less busy of two taken at random by weight.
    LeastRequests,
    /// Of two taken at random by weight the one that is expected to answer sooner.
    LeastLatency,
    /// At random by weight.
    Random,
    /// By a hash of the request.
    Hash(Arc<HashRing>),
}

impl Picker {
    /// A round robin over so many endpoints that begins at one of them: workers that all began at the first would send it
    /// their first requests all at once. `saved` has what the endpoints saved up before, where they were there before.
    #[must_use]
    pub fn round_robin(saved: Vec<Option<i64>>, random: u64) -> Self {
        let start = usize::try_from(random % (saved.len() as u64).max(1)).unwrap_or(0);
        Self::RoundRobin { current: saved.into_iter().map(Option::unwrap_or_default).collect(), start }
    }

    /// What the endpoint at this position has saved up, for the picker that follows this one.
    #[must_use]
    pub fn saved(&self, at: usize) -> Option<i64> {
        match self {
            Self::RoundRobin { current, .. } => current.get(at).copied(),
            Self::LeastRequests | Self::LeastLatency | Self::Random | Self::Hash(_) => None,
        }
    }

    /// The position of the endpoint to take, `None` where all shares are 0.
    ///
    /// `random` is uniform over `u64`; `hash` is the request's, for the ring.
    pub fn pick(&mut self, endpoints: &impl Endpoints, random: u64, hash: u64) -> Option<usize> {
        let total: u64 = (0..endpoints.count()).map(|at| u64::from(endpoints.share(at))).sum();
        if total == 0 {
            return None;
        }
        match self {
            Self::RoundRobin { current, start } => round_robin(current, *start, endpoints, total),
            Self::Random => by_weight(endpoints, (total, None), random),
            Self::LeastRequests => {
                let [first, second] = two_by_weight(endpoints, total, random)?;
                // Busy in proportion to the share: a / wa < b / wb.
                let load =
                    |one: usize, other: usize| (endpoints.busy(one) as u64 + 1) * u64::from(endpoints.share(other));
                Some(if load(second, first) < load(first, second) { second } else { first })
            }
            Self::LeastLatency => {
                let [first, second] = two_by_weight(endpoints, total, random)?;
                Some(if expected_us(endpoints, second) < expected_us(endpoints, first) { second } else { first })
            }
            Self::Hash(ring) => ring.pick(endpoints, total, (random, hash)),
        }
    }
}

fn round_robin(current: &mut [i64], start: usize, endpoints: &impl Endpoints, total: u64) -> Option<usize> {
    let mut best: Option<usize> = None;
    for at in (start..current.len()).chain(0..start) {
        current[at] += i64::from(endpoints.share(at));
        if endpoints.share(at) > 0 && best.is_none_or(|best| current[at] > current[best]) {
            best = Some(at);
        }
    }
    if let Some(best) = best {
        current[best] -= i64::try_from(total).unwrap_or(i64::MAX);
    }
    best
}

/// When a request to this endpoint would be answered. One of which nothing is known gets a request, and no second one before it has
/// answered the first, if another can take it.
fn expected_us(endpoints: &impl Endpoints, at: usize) -> f64 {
    const UNKNOWN_US: f64 = 60_000_000.0;
    let busy = u32::try_from(endpoints.busy(at)).unwrap_or(u32::MAX);
    let known_us = endpoints.latency_us(at);
    let each_us = if known_us <= 0.0 && busy > 0 { UNKNOWN_US } else { known_us };
    each_us * (f64::from(busy) + 1.0)
}

/// Two different ones; one twice where there is one.
fn two_by_weight(endpoints: &impl Endpoints, total: u64, random: u64) -> Option<[usize; 2]> {
    let first = by_weight(endpoints, (total, None), random)?;
    // Another thread may have changed the share since they were added up.
    let others = total.saturating_sub(u64::from(endpoints.share(first)));
    let second = if others == 0 { None } else { by_weight(endpoints, (others, Some(first)), random.rotate_left(32)) };
    Some([first, second.unwrap_or(first)])
}

/// One at random by weight, where `total` is the weight of all but the one that is left out.
fn by_weight(endpoints: &impl Endpoints, (total, left_out): (u64, Option<usize>), random: u64) -> Option<usize> {
    let mut left = u64::try_from((u128::from(random) * u128::from(total)) >> 64).unwrap_or_default();
    for at in (0..endpoints.count()).filter(|at| Some(*at) != left_out) {
        let weight = u64::from(endpoints.share(at));
        if left < weight {
            return Some(at);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::Fixed;
    use super::*;
    use crate::hash::hash_of;

    fn counts(picker: &mut Picker, endpoints: &Fixed, turns: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints.0.len()];
        let mut random = 1_u64;
        for turn in 0..turns {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            counts[picker.pick(endpoints, hash_of(&random.to_be_bytes()), hash_of(&turn.to_be_bytes())).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact_and_smooth() {
        let endpoints = Fixed::new([(5, 0), (1, 0), (1, 0), (0, 0)]);
        let mut picker = Picker::round_robin(vec![None; 4], 0);
        let order: Vec<_> = (0..7).map(|_| picker.pick(&endpoints, 0, 0).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(counts(&mut picker, &endpoints, 700), [500, 100, 100, 0]);
    }

    #[test]
    fn round_robin_begins_anywhere_and_goes_on_where_it_was() {
        let endpoints = Fixed::new([(1, 0); 4]);
        let order = |picker: &mut Picker| (0..5).map(|_| picker.pick(&endpoints, 0, 0).unwrap()).collect::<Vec<_>>();
        let mut picker = Picker::round_robin(vec![None; 4], 6);
        assert_eq!(order(&mut picker), [2, 3, 0, 1, 2]);
        let saved = (0..4).map(|at| picker.saved(at)).collect();
        assert_eq!(order(&mut Picker::round_robin(saved, 2)), [3, 0, 1, 2, 3]);
    }

    #[test]
    fn random_follows_the_weights() {
        let counts = counts(&mut Picker::Random, &Fixed::new([(3, 0), (1, 0), (0, 0)]), 10_000);
        assert!((7_200..7_800).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn least_requests_avoids_the_busy_one() {
        let counts = counts(&mut Picker::LeastRequests, &Fixed::new([(1, 100), (1, 0)]), 10_000);
        assert_eq!(counts[0], 0, "of two different ones it is never the better one");
    }

    #[test]
    fn least_latency_goes_where_answers_come_soonest_and_tries_what_it_does_not_know() {
        let mut endpoints = Fixed::new([(1, 0), (1, 0)]);
        (endpoints.0[0].latency_us, endpoints.0[1].latency_us) = (1_000.0, 3_000.0);
        let shares = counts(&mut Picker::LeastLatency, &endpoints, 10_000);
        assert_eq!(shares[1], 0, "{shares:?}");
        endpoints.0[0].busy = 5;
        let shares = counts(&mut Picker::LeastLatency, &endpoints, 10_000);
        assert_eq!(shares[0], 0, "six wait there: {shares:?}");
        endpoints.0[1].latency_us = 0.0;
        let shares = counts(&mut Picker::LeastLatency, &endpoints, 10_000);
        assert_eq!(shares[0], 0, "it is tried: {shares:?}");
        endpoints.0[1].busy = 1;
        let shares = counts(&mut Picker::LeastLatency, &endpoints, 10_000);
        assert_eq!(shares[1], 0, "and no second time before it has answered: {shares:?}");
        let alone = Fixed::new([(0, 0), (1, 9)]);
        assert_eq!(counts(&mut Picker::LeastLatency, &alone, 10), [0, 10]);
        let three = counts(&mut Picker::LeastRequests, &Fixed::new([(2, 0), (1, 0), (1, 100)]), 10_000);
        assert!(three[2] == 0 && three[0] > three[1], "{three:?}");
    }

    #[test]
    fn nothing_is_picked_where_every_weight_is_0() {
        let none = Fixed::new([(0, 0)]);
        assert_eq!(Picker::round_robin(vec![None], 0).pick(&none, 0, 0), None);
        assert_eq!(Picker::Hash(Arc::default()).pick(&Fixed::new([]), 0, 0), None);
    }
}
