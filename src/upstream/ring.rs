//! A hash ring of endpoints.

use super::candidates::Endpoints;
use crate::hash::hash_of;
use crate::limits::{HASH_POINTS_PER_WEIGHT, HASH_SUBSET_MAX};

/// Points on a circle of hashes: when an endpoint comes or goes, only its own share moves.
#[derive(Clone, Debug, Default)]
pub struct HashRing {
    points: Vec<(u64, usize)>,
    rules: HashRules,
}

/// Bounds on hashes that many requests have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashRules {
    /// Endpoints that one hash is spread over, up to [`HASH_SUBSET_MAX`]; 0 and 1 for one.
    pub subset: usize,
    /// Per cent of its share of the requests in flight above which an endpoint is passed over, from 101; `None` for none.
    pub load_percent: Option<u32>,
}

impl HashRing {
    /// A ring of endpoints, each with its name and weight.
    #[must_use]
    pub fn new<N: std::fmt::Display>(endpoints: impl IntoIterator<Item = (N, u16)>, rules: HashRules) -> Self {
        let mut points = Vec::new();
        for (at, (name, weight)) in endpoints.into_iter().enumerate() {
            for copy in 0..u32::from(weight) * HASH_POINTS_PER_WEIGHT {
                points.push((hash_of(format!("{name}#{copy}").as_bytes()), at));
            }
        }
        points.sort_unstable();
        Self { points, rules }
    }

    /// The endpoint for this hash. `total` is the sum of all shares; `random` chooses among those of a subset.
    pub(super) fn pick(&self, endpoints: &impl Endpoints, total: u64, (random, hash): (u64, u64)) -> Option<usize> {
        let takes = |at: usize| endpoints.share(at) > 0;
        let bound = self.rules.load_percent.map(|percent| LoadBound::new(endpoints, total, percent));
        let has_room = |at: usize| takes(at) && bound.as_ref().is_none_or(|bound| bound.has_room(endpoints, at));
        match self.rules.subset.min(HASH_SUBSET_MAX) {
            0 | 1 => self.find(hash, has_room).or_else(|| self.find(hash, takes)),
            size => {
                // What is not there is not looked for around the whole ring.
                let size = (0..endpoints.count()).filter(|at| has_room(*at)).take(size).count();
                let mut found = [0; HASH_SUBSET_MAX];
                let count = self.find_several(hash, &mut found[..size], has_room);
                let at = usize::try_from((u128::from(random) * count as u128) >> 64).unwrap_or_default();
                if count > 0 { Some(found[at]) } else { self.find(hash, takes) }
            }
        }
    }

    /// The endpoint that this hash belongs to, whether or not it takes requests; `None` where that may be one of several.
    #[must_use]
    pub fn owner(&self, hash: u64) -> Option<usize> {
        let is_one = self.rules.subset <= 1 && self.rules.load_percent.is_none();
        self.from(hash).next().filter(|_| is_one)
    }

    /// The endpoints in their order from the hash on, each as often as it has points.
    fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let at = self.points.partition_point(|(point, _)| *point < hash);
        let (before, behind) = self.points.split_at(at);
        behind.iter().chain(before).map(|(_, endpoint)| *endpoint)
    }

    /// The first endpoint from the hash on that takes requests.
    fn find(&self, hash: u64, takes: impl Fn(usize) -> bool) -> Option<usize> {
        self.from(hash).find(|endpoint| takes(*endpoint))
    }

    /// The first different endpoints from the hash on that take requests; how many there are.
    fn find_several(&self, hash: u64, found: &mut [usize], takes: impl Fn(usize) -> bool) -> usize {
        let mut count = 0;
        for endpoint in self.from(hash) {
            if count == found.len() {
                break;
            }
            if !found[..count].contains(&endpoint) && takes(endpoint) {
                found[count] = endpoint;
                count += 1;
            }
        }
        count
    }
}

/// How many requests an endpoint may be busy with, for its share of all of them (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing
/// with Bounded Loads, 2016).
struct LoadBound {
    /// Per cent of the requests in flight, this one among them.
    percents: u64,
    total: u64,
}

impl LoadBound {
    fn new(endpoints: &impl Endpoints, total: u64, percent: u32) -> Self {
        let busy: usize =
            (0..endpoints.count()).filter(|at| endpoints.share(*at) > 0).map(|at| endpoints.busy(at)).sum();
        Self { percents: (busy as u64 + 1).saturating_mul(u64::from(percent)), total }
    }

    fn has_room(&self, endpoints: &impl Endpoints, at: usize) -> bool {
        let share = u64::from(endpoints.share(at));
        let most = self.percents.saturating_mul(share).div_ceil(self.total.max(1).saturating_mul(100));
        (endpoints.busy(at) as u64) < most
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::Fixed;
    use super::*;

    #[test]
    fn a_ring_moves_only_the_share_of_the_endpoint_that_went() {
        let names = ["a", "b", "c", "d"];
        let whole = HashRing::new(names.map(|name| (name, 2)), HashRules::default());
        let without = HashRing::new(names[..3].iter().map(|name| (*name, 2)), HashRules::default());
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

    fn ring(rules: HashRules) -> HashRing {
        HashRing::new(["a", "b", "c", "d"].map(|name| (name, 1)), rules)
    }

    #[test]
    fn a_hash_that_all_requests_have_fills_no_endpoint_above_its_bound() {
        let ring = ring(HashRules { load_percent: Some(125), ..HashRules::default() });
        let mut endpoints = Fixed::new([(1, 0); 4]);
        for turn in 1..=400_u64 {
            let at = ring.pick(&endpoints, 4, (0, hash_of(b"one key"))).unwrap();
            endpoints.0[at].busy += 1;
            let most = (turn * 125).div_ceil(400);
            let busiest = endpoints.0.iter().map(|endpoint| endpoint.busy as u64).max().unwrap();
            assert!(busiest <= most, "{busiest} of {turn}");
        }
        // While they are idle it belongs to one of them.
        let idle = Fixed::new([(1, 0); 4]);
        let own = ring.pick(&idle, 4, (0, hash_of(b"one key")));
        assert!((0..100).all(|random| ring.pick(&idle, 4, (random, hash_of(b"one key"))) == own));
    }

    #[test]
    fn a_hash_is_spread_over_as_many_endpoints_as_are_asked_for() {
        let ring = ring(HashRules { subset: 2, ..HashRules::default() });
        let endpoints = Fixed::new([(1, 0); 4]);
        for key in 0..100_u32 {
            let hash = hash_of(&key.to_be_bytes());
            let mut counts = [0; 4];
            for turn in 0..200_u32 {
                counts[ring.pick(&endpoints, 4, (hash_of(&turn.to_be_bytes()), hash)).unwrap()] += 1;
            }
            assert_eq!(counts.iter().filter(|count| **count > 50).count(), 2, "{counts:?}");
            assert_eq!(counts.iter().filter(|count| **count == 0).count(), 2, "{counts:?}");
        }
        let one = Fixed::new([(0, 0), (1, 0), (0, 0), (0, 0)]);
        assert_eq!(ring.pick(&one, 1, (u64::MAX, 7)), Some(1), "where there are fewer, those");
    }
}
