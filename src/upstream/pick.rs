//! Picks one endpoint of a service.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::HASH_POINTS_PER_WEIGHT;
use crate::proto::h1::parameters::cookie;
use crate::proto::h1::request::RequestHead;

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, smoothly by weight.
    #[default]
    RoundRobin,
    /// The less busy of two taken at random.
    LeastRequests,
    /// At random, by weight.
    Random,
    /// By the client's address, on a hash ring.
    HashClientIp,
    /// By the value of a field, on a hash ring; without it by the client's address.
    HashHeader(String),
    /// By the value of a cookie, on a hash ring; without it by the client's address.
    HashCookie(String),
}

impl Balance {
    /// True where it looks an endpoint up by a hash.
    #[must_use]
    pub const fn hashes(&self) -> bool {
        match self {
            Self::HashClientIp | Self::HashHeader(_) | Self::HashCookie(_) => true,
            Self::RoundRobin | Self::LeastRequests | Self::Random => false,
        }
    }

    /// The hash that keeps a client with an endpoint; 0 where the balance does not hash.
    #[must_use]
    pub fn hash(&self, head: &RequestHead, client: IpAddr) -> u64 {
        let by_address = || match client {
            IpAddr::V4(address) => hash_of(&address.octets()),
            IpAddr::V6(address) => hash_of(&address.octets()),
        };
        match self {
            Self::HashClientIp => by_address(),
            Self::HashHeader(name) => head.value(name.as_bytes()).map_or_else(by_address, |value| hash_of(&value)),
            Self::HashCookie(name) => cookie(head, name.as_bytes()).map_or_else(by_address, hash_of),
            Self::RoundRobin | Self::LeastRequests | Self::Random => 0,
        }
    }
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "round_robin" => Ok(Self::RoundRobin),
            "least_requests" => Ok(Self::LeastRequests),
            "random" => Ok(Self::Random),
            "hash:client_ip" => Ok(Self::HashClientIp),
            _ => match (text.strip_prefix("hash:header:"), text.strip_prefix("hash:cookie:")) {
                (Some(name), _) if !name.is_empty() => Ok(Self::HashHeader(name.to_owned())),
                (_, Some(name)) if !name.is_empty() => Ok(Self::HashCookie(name.to_owned())),
                _ => Err(format!(
                    "`{text}` is not a balance; write round_robin, least_requests, random, hash:client_ip, \
                     hash:header:NAME or hash:cookie:NAME"
                )),
            },
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round_robin"),
            Self::LeastRequests => f.write_str("least_requests"),
            Self::Random => f.write_str("random"),
            Self::HashClientIp => f.write_str("hash:client_ip"),
            Self::HashHeader(name) => write!(f, "hash:header:{name}"),
            Self::HashCookie(name) => write!(f, "hash:cookie:{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string",
            "pattern": "^(round_robin|least_requests|random|hash:client_ip|hash:header:.+|hash:cookie:.+)$"})
    }
}

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
    /// At random by weight.
    Random,
    /// By a hash of the request.
    Hash(Arc<HashRing>),
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
            Self::LeastRequests | Self::Random | Self::Hash(_) => None,
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
        let mut picker = Picker::round_robin(vec![None; 4], 0);
        let order: Vec<_> = (0..7).map(|_| picker.pick(&endpoints, 0, 0).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(counts(&mut picker, &endpoints, 700), [500, 100, 100, 0]);
    }

    #[test]
    fn round_robin_begins_anywhere_and_goes_on_where_it_was() {
        let endpoints = Fixed(vec![(1, 0); 4]);
        let order = |picker: &mut Picker| (0..5).map(|_| picker.pick(&endpoints, 0, 0).unwrap()).collect::<Vec<_>>();
        let mut picker = Picker::round_robin(vec![None; 4], 6);
        assert_eq!(order(&mut picker), [2, 3, 0, 1, 2]);
        let saved = (0..4).map(|at| picker.saved(at)).collect();
        assert_eq!(order(&mut Picker::round_robin(saved, 2)), [3, 0, 1, 2, 3]);
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
        assert_eq!(Picker::round_robin(vec![None], 0).pick(&none, 0, 0), None);
        assert_eq!(Picker::Hash(Arc::default()).pick(&Fixed(vec![]), 0, 0), None);
    }
}
