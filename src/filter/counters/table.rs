//! A bounded table of numbers by key, which all workers share: without locks, and without an allocation once it is warm.
//!
//! A key has a set of eight slots in which it may stand. Where all are taken, the one whose number says least gives way: so a flood
//! of keys costs the table's bound of memory and no more.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots in which one key may stand.
const WAYS: usize = 8;
/// Sets that are allocated together: 1 KiB.
const SETS_PER_BLOCK: usize = 8;

/// One key and its number. A tag of 0 is an empty slot.
#[derive(Debug, Default)]
struct Slot {
    tag: AtomicU64,
    number: AtomicU64,
}

type Block = [[Slot; WAYS]; SETS_PER_BLOCK];

/// Numbers by key. What a request does to one is atomic; where two keys contend for a slot at the same moment one request may be
/// counted for the other.
#[derive(Debug)]
pub struct SharedTable {
    /// Allocated as keys come.
    blocks: Box<[OnceLock<Box<Block>>]>,
    /// Secret, so that nobody can choose keys that share a set.
    seed: RandomState,
}

/// What becomes of the slots of a set where a new key needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// A number up to this says nothing any more; where all say more, the smallest one goes.
    UpTo(u64),
    /// Only a number of 0 may go.
    IfZero,
}

impl SharedTable {
    /// A table of at least so many keys, which takes 16 bytes for each at most.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let blocks = keys.div_ceil(WAYS * SETS_PER_BLOCK).max(1);
        Self { blocks: std::iter::repeat_with(OnceLock::new).take(blocks).collect(), seed: RandomState::new() }
    }

    /// Bytes that it has taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.iter().filter(|block| block.get().is_some()).count() * size_of::<Block>()
    }

    /// The number of a key; a key that has none gets 0. `None` where there is no slot for it.
    #[must_use]
    pub fn number(&self, key: &[u8], eviction: Eviction) -> Option<&AtomicU64> {
        self.place_of(key, eviction).and_then(|place| self.at(place))
    }

    /// The number in a place that [`Self::place_of`] gave, whosever it is by now.
    #[must_use]
    pub fn at(&self, [set, way]: [usize; 2]) -> Option<&AtomicU64> {
        let block = self.blocks.get(set / SETS_PER_BLOCK)?.get()?;
        Some(&block[set % SETS_PER_BLOCK].get(way)?.number)
    }

    /// Where the number of a key is, as [`Self::number`].
    #[must_use]
    pub fn place_of(&self, key: &[u8], eviction: Eviction) -> Option<[usize; 2]> {
        let hash = self.seed.hash_one(key);
        // The tag is never 0, and the set is chosen by other bits.
        let tag = hash | 1;
        let sets = self.blocks.len() * SETS_PER_BLOCK;
        let at = usize::try_from((u128::from(hash.rotate_left(32)) * sets as u128) >> 64).unwrap_or(0);
        let block = self.blocks.get(at / SETS_PER_BLOCK)?.get_or_init(Box::default);
        let set = &block[at % SETS_PER_BLOCK];
        // A bounded number of rounds: another worker may have taken the slot that was chosen.
        for _ in 0..WAYS {
            if let Some(way) = set.iter().position(|slot| slot.tag.load(Ordering::Acquire) == tag) {
                return Some([at, way]);
            }
            let way = victim(set, eviction)?;
            let slot = &set[way];
            let before = slot.tag.load(Ordering::Acquire);
            if slot.tag.compare_exchange(before, tag, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                if eviction != Eviction::IfZero {
                    slot.number.store(0, Ordering::Release);
                }
                return Some([at, way]);
            }
        }
        None
    }
}

/// The slot that gives way.
fn victim(set: &[Slot; WAYS], eviction: Eviction) -> Option<usize> {
    let number = |way: &usize| set[*way].number.load(Ordering::Relaxed);
    if let Some(empty) = set.iter().position(|slot| slot.tag.load(Ordering::Relaxed) == 0) {
        return Some(empty);
    }
    let least = (0..WAYS).min_by_key(number)?;
    match eviction {
        Eviction::UpTo(_) => Some(least),
        Eviction::IfZero => Some(least).filter(|way| number(way) == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_number_and_a_flood_stays_within_the_bound() {
        let table = SharedTable::new(1_024);
        assert_eq!(table.bytes(), 0, "nothing is taken in advance");
        table.number(b"kept", Eviction::UpTo(0)).unwrap().store(u64::MAX, Ordering::Relaxed);
        for key in 0..100_000_u32 {
            table.number(&key.to_be_bytes(), Eviction::UpTo(0)).unwrap().store(u64::from(key) + 1, Ordering::Relaxed);
        }
        assert_eq!(table.bytes(), 1_024 * 16);
        let kept = table.number(b"kept", Eviction::UpTo(0)).unwrap();
        assert_eq!(kept.load(Ordering::Relaxed), u64::MAX, "the one whose number says least goes first");
    }

    #[test]
    fn what_is_in_use_never_gives_way() {
        let table = SharedTable::new(1);
        let taken = (0..10_000_u32).filter(|key| {
            let number = table.number(&key.to_be_bytes(), Eviction::IfZero);
            number.is_some_and(|number| number.fetch_add(1, Ordering::Relaxed) == 0)
        });
        assert_eq!(taken.count(), WAYS * SETS_PER_BLOCK, "there are so many slots");
    }

    #[test]
    fn workers_that_count_together_lose_nothing() {
        let table = SharedTable::new(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for turn in 0..10_000_u32 {
                        let number = table.number(&(turn % 8).to_be_bytes(), Eviction::IfZero);
                        number.map(|number| number.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
        let sum: u64 = (0..8_u32)
            .map(|key| table.number(&key.to_be_bytes(), Eviction::IfZero).unwrap().load(Ordering::Relaxed))
            .sum();
        assert_eq!(sum, 40_000);
    }
}
