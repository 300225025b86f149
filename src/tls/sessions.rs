//! Sessions that are remembered, so that each is gone on from once: what early data needs (RFC 8446 §8.1), and what a listener may have in the
//! place of tickets.
//!
//! Of our own, because the one of rustls looks for a session that is taken among all that it has, under one lock.

#![expect(
    clippy::disallowed_types,
    reason = "what is taken once must be taken from all workers: a lock for a handshake, none for a request"
)]

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::server::StoresServerSessions;

/// Parts, each with a lock of its own.
const SHARDS: usize = 16;

/// A bounded number of sessions, the oldest of which go first. All workers share it.
#[derive(Debug)]
pub struct Sessions {
    shards: [Mutex<Shard>; SHARDS],
    /// Of each shard.
    max: usize,
    /// How long each is good, in milliseconds.
    time_ms: u64,
    /// Milliseconds of a clock that only goes on.
    now_ms: fn() -> u64,
}

#[derive(Debug, Default)]
struct Shard {
    /// Each with the time until which it is good.
    values: HashMap<Vec<u8>, (u64, Vec<u8>)>,
    /// The oldest first; some of them may be taken.
    order: VecDeque<Vec<u8>>,
}

impl Sessions {
    /// For at least `max` sessions, each good for some time by a clock of milliseconds.
    #[must_use]
    pub fn new(max: usize, time: Duration, now_ms: fn() -> u64) -> Self {
        Self {
            shards: Default::default(),
            max: max.div_ceil(SHARDS),
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            now_ms,
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        // Whoever panicked left a map that is whole.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let until_ms = (self.now_ms)().saturating_add(self.time_ms);
        let mut shard = self.shard(&key);
        if shard.values.insert(key.clone(), (until_ms, value)).is_none() {
            shard.order.push_back(key);
        }
        while shard.values.len() > self.max || shard.order.len() > 2 * self.max {
            let Some(oldest) = shard.order.pop_front() else { break };
            shard.values.remove(&oldest);
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard(key);
        let (until_ms, value) = shard.values.get(key)?;
        ((self.now_ms)() < *until_ms).then(|| value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (until_ms, value) = self.shard(key).values.remove(key)?;
        ((self.now_ms)() < until_ms).then_some(value)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_session_is_taken_once() {
        let sessions = Sessions::new(100, DAY, || 0);
        assert!(sessions.put(b"a".to_vec(), b"1".to_vec()));
        assert_eq!(sessions.get(b"a"), Some(b"1".to_vec()));
        assert_eq!(sessions.take(b"a"), Some(b"1".to_vec()));
        assert_eq!(sessions.take(b"a"), None);
        let over = Sessions::new(100, Duration::ZERO, || 0);
        over.put(b"a".to_vec(), b"1".to_vec());
        assert_eq!((over.get(b"a"), over.take(b"a")), (None, None));
    }

    #[test]
    fn the_oldest_go_first_and_what_was_taken_is_forgotten() {
        let sessions = Sessions::new(160, DAY, || 0);
        let key = |number: u32| number.to_be_bytes().to_vec();
        for number in 0..10_000 {
            sessions.put(key(number), vec![0]);
            if number % 2 == 0 {
                assert!(sessions.take(&key(number)).is_some());
            }
        }
        let held: usize = sessions.shards.iter().map(|shard| shard.lock().unwrap().values.len()).sum();
        let ordered: usize = sessions.shards.iter().map(|shard| shard.lock().unwrap().order.len()).sum();
        assert!((100..=160).contains(&held) && ordered <= 320, "{held} {ordered}");
        assert!(sessions.get(&key(9_999)).is_some());
        assert!(sessions.get(&key(1)).is_none());
    }
}
