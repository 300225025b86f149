//! Picks one endpoint of a service.

use crate::limits::HASH_POINTS_PER_WEIGHT;

/// How endpoints are chosen, with the state of one worker.
#[derive(Debug)]
pub enum Picker {
    /// In turn, smoothly by weight: nginx's algorithm, which spreads a heavy endpoint's turns out.
    RoundRobin {
        /// What each endpoint has saved up.
        current: Vec<i64>,
    },
    /// The less busy of two taken at random by weight.
    LeastRequests,
    /// At random by weight.
    Random,
    /// By a hash of the request.
    Hash(HashRing),
}

/// What a picker must know of the endpoints, in their order.
pub trait Endpoints {
    /// How many there are.
    fn count(&self) -> usize;
    /// The share of one among the others; 0 where it takes no request now.
    fn share(&self, at: usize) -> u32;
    /// Requests of this worker that it is busy with.
    fn busy(&self, at: usize) -> usize;
}

impl Picker {
    /// A round robin over so many endpoints.
    #[must_use]
    pub fn round_robin(count: usize) -> Self {
        Self::RoundRobin { current: vec![0; count] }
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
            Self::RoundRobin { current } => round_robin(current, endpoints, total),
            Self::Random => by_weight(endpoints, total, random),
            Self::LeastRequests => {
                let first = by_weight(endpoints, total, random)?;
                let second = by_weight(endpoints, total, random.rotate_left(32))?;
                // Busy in proportion to the share: a / wa < b / wb.
                let load =
                    |one: usize, other: usize| (endpoints.busy(one) as u64 + 1) * u64::from(endpoints.share(other));
                Some(if load(second, first) < load(first, second) { second } else { first })
            }
            Self::Hash(ring) => ring.find(hash, |at| endpoints.share(at) > 0),
        }
    }
}

fn round_robin(current: &mut [i64], endpoints: &impl Endpoints, total: u64) -> Option<usize> {
    let mut best: Option<usize> = None;
    for at in 0..current.len() {
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

fn by_weight(endpoints: &impl Endpoints, total: u64, random: u64) -> Option<usize> {
    let mut left = u64::try_from((u128::from(random) * u128::from(total)) >> 64).unwrap_or_default();
    for at in 0..endpoints.count() {
        let weight = u64::from(endpoints.share(at));
        if left < weight {
            return Some(at);
        }
        left -= weight;
    }
    None
}

/// Points on a circle of hashes: when an endpoint comes or goes, only its own share moves.
#[derive(Clone, Debug, Default)]
pub struct HashRing {
    points: Vec<(u64, usize)>,
}

impl HashRing {
    /// A ring of endpoints, each with its name and weight.
    #[must_use]
    pub fn new<N: std::fmt::Display>(endpoints: impl IntoIterator<Item = (N, u16)>) -> Self {
        let mut points = Vec::new();
        for (at, (name, weight)) in endpoints.into_iter().enumerate() {
            for copy in 0..u32::from(weight) * HASH_POINTS_PER_WEIGHT {
                points.push((hash_of(format!("{name}#{copy}").as_bytes()), at));
            }
        }
        points.sort_unstable();
        Self { points }
    }

    /// The first endpoint from the hash on that takes requests.
    fn find(&self, hash: u64, takes: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.points.partition_point(|(point, _)| *point < hash);
        let (before, behind) = self.points.split_at(at);
        behind.iter().chain(before).map(|(_, endpoint)| *endpoint).find(|endpoint| takes(*endpoint))
    }
}

/// FNV-1a with a final mix: the same on every worker, host and version, so that all agree on an endpoint.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<(u32, usize)>);

    impl Endpoints for Fixed {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn share(&self, at: usize) -> u32 {
            self.0[at].0
        }
        fn busy(&self, at: usize) -> usize {
            self.0[at].1
        }
    }

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
        let endpoints = Fixed(vec![(5, 0), (1, 0), (1, 0), (0, 0)]);
        let mut picker = Picker::round_robin(4);
        let order: Vec<_> = (0..7).map(|_| picker.pick(&endpoints, 0, 0).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(counts(&mut picker, &endpoints, 700), [500, 100, 100, 0]);
    }

    #[test]
    fn random_follows_the_weights() {
        let counts = counts(&mut Picker::Random, &Fixed(vec![(3, 0), (1, 0), (0, 0)]), 10_000);
        assert!((7_200..7_800).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn least_requests_avoids_the_busy_one() {
        let counts = counts(&mut Picker::LeastRequests, &Fixed(vec![(1, 100), (1, 0)]), 10_000);
        // Only where both draws fall on the busy one is it taken.
        assert!((2_000..3_000).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_ring_moves_only_the_share_of_the_endpoint_that_went() {
        let names = ["a", "b", "c", "d"];
        let whole = HashRing::new(names.map(|name| (name, 2)));
        let without = HashRing::new(names[..3].iter().map(|name| (*name, 2)));
        let mut moved = 0;
        for key in 0..10_000_u32 {
            let hash = hash_of(&key.to_be_bytes());
            let before = whole.find(hash, |_| true).unwrap();
            let after = without.find(hash, |_| true).unwrap();
            moved += usize::from(before != after);
            assert!(before == after || before == 3, "only keys of d may move");
            assert_eq!(whole.find(hash, |at| at != 3).unwrap(), after, "one that is left out moves as one that went");
        }
        assert!((1_500..3_500).contains(&moved), "{moved}");
    }

    #[test]
    fn nothing_is_picked_where_every_weight_is_0() {
        let none = Fixed(vec![(0, 0)]);
        assert_eq!(Picker::round_robin(1).pick(&none, 0, 0), None);
        assert_eq!(Picker::Hash(HashRing::default()).pick(&Fixed(vec![]), 0, 0), None);
    }
}
