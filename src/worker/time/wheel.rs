//! A hashed timer wheel: insert, move and remove in constant time. Pure; the tick is an argument.
//!
//! An entry is scheduled at or before its deadline. Moving a deadline later only writes a number: the entry is
//! looked at when its old slot comes and put off then. So a connection that is busy touches the wheel rarely.

use std::task::Waker;

/// Milliseconds of one tick.
pub const TICK_MS: u64 = 8;
/// Slots of the wheel: deadlines beyond `SLOTS` ticks (about 4 s) are put off when their slot comes.
const SLOTS: usize = 512;
const NEVER: u64 = u64::MAX;

/// An entry's place in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(usize);

#[cfg(test)]
impl Key {
    pub(crate) const fn of(place: usize) -> Self {
        Self(place)
    }
}

#[derive(Debug)]
struct Entry {
    /// The tick at which it expires; [`NEVER`] where it is not armed.
    deadline: u64,
    /// The tick at whose slot it waits; [`NEVER`] where it waits in none.
    scheduled: u64,
    /// Its position in that slot.
    position: usize,
    is_expired: bool,
    is_idle: bool,
    is_free: bool,
    waker: Option<Waker>,
}

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<usize>>,
    entries: Vec<Entry>,
    free: Vec<usize>,
    /// The last tick that was looked at.
    now: u64,
    scheduled: usize,
}

impl Wheel {
    /// An empty wheel that begins at this tick.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], entries: Vec::new(), free: Vec::new(), now, scheduled: 0 }
    }

    /// A new entry, not armed.
    pub fn insert(&mut self) -> Key {
        let entry = Entry {
            deadline: NEVER,
            scheduled: NEVER,
            position: 0,
            is_expired: false,
            is_idle: false,
            is_free: false,
            waker: None,
        };
        match self.free.pop() {
            Some(at) => {
                self.entries[at] = entry;
                Key(at)
            }
            None => {
                self.entries.push(entry);
                Key(self.entries.len() - 1)
            }
        }
    }

    /// Takes an entry out for good. The key must not be used again.
    pub fn remove(&mut self, key: Key) {
        self.unschedule(key.0);
        let entry = &mut self.entries[key.0];
        debug_assert!(!entry.is_free, "an entry is removed once");
        entry.is_free = true;
        entry.deadline = NEVER;
        entry.waker = None;
        self.free.push(key.0);
    }

    /// Sets the deadline; `is_idle` marks it for [`Self::hasten_idle`].
    pub fn arm(&mut self, key: Key, deadline: u64, is_idle: bool) {
        let entry = &mut self.entries[key.0];
        entry.deadline = deadline.max(self.now + 1);
        entry.is_expired = false;
        entry.is_idle = is_idle;
        // True of an entry in no slot too (`NEVER`). One in an earlier slot stays there: `settle` puts it off.
        if entry.scheduled > entry.deadline {
            let deadline = entry.deadline;
            self.unschedule(key.0);
            self.schedule(key.0, deadline);
        }
    }

    /// The deadline has come now; the waker to tell it.
    pub fn expire(&mut self, key: Key) -> Option<Waker> {
        self.unschedule(key.0);
        let entry = &mut self.entries[key.0];
        entry.is_expired = true;
        entry.deadline = NEVER;
        entry.waker.take()
    }

    /// Forgets the deadline.
    pub fn disarm(&mut self, key: Key) {
        let entry = &mut self.entries[key.0];
        entry.deadline = NEVER;
        entry.is_expired = false;
        entry.is_idle = false;
    }

    /// True where the deadline has come; else the waker is kept for when it does.
    pub fn poll(&mut self, key: Key, waker: &Waker) -> bool {
        let entry = &mut self.entries[key.0];
        if !entry.is_expired && !entry.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        entry.is_expired
    }

    /// Goes forward to this tick; the wakers of what expired go to `woken`.
    pub fn advance(&mut self, to: u64, woken: &mut Vec<Waker>) {
        // After a long sleep every slot is looked at once, not once for each tick slept.
        let from = self.now.max(to.saturating_sub(SLOTS as u64));
        self.now = self.now.max(to);
        for tick in from + 1..=to {
            let slot = slot_of(tick);
            let mut position = 0;
            while let Some(at) = self.slots[slot].get(position).copied() {
                if self.entries[at].scheduled > to {
                    // Put off into this same slot, for the next turn.
                    position += 1;
                    continue;
                }
                self.unschedule(at);
                self.settle(at, to, woken);
            }
        }
    }

    /// The next tick at which something may have to be done.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        if self.scheduled == 0 {
            return None;
        }
        (self.now + 1..=self.now + SLOTS as u64).find(|tick| !self.slots[slot_of(*tick)].is_empty())
    }

    /// Moves the deadlines of idle entries forward, to between `after` and twice `after` ticks from now; earlier ones stay.
    /// They are spread so that a drain does not end all connections at once.
    pub fn hasten_idle(&mut self, after: u64) {
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let spread = after + (at as u64 * 7_919) % (after + 1);
            let latest = self.now + spread.max(1);
            if entry.is_idle && !entry.is_free && entry.deadline > latest && !entry.is_expired {
                self.arm(Key(at), latest, true);
            }
        }
    }

    /// An entry that left its slot: expired, put off, or not armed.
    fn settle(&mut self, at: usize, now: u64, woken: &mut Vec<Waker>) {
        let entry = &mut self.entries[at];
        if entry.deadline <= now {
            entry.is_expired = true;
            entry.deadline = NEVER;
            woken.extend(entry.waker.take());
        } else if entry.deadline != NEVER {
            let deadline = entry.deadline;
            self.schedule(at, deadline);
        }
    }

    fn schedule(&mut self, at: usize, deadline: u64) {
        let tick = deadline.min(self.now + SLOTS as u64 - 1);
        let slot = &mut self.slots[slot_of(tick)];
        let entry = &mut self.entries[at];
        debug_assert_eq!(entry.scheduled, NEVER, "an entry waits in one slot");
        entry.scheduled = tick;
        entry.position = slot.len();
        slot.push(at);
        self.scheduled += 1;
    }

    fn unschedule(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        if entry.scheduled == NEVER {
            return;
        }
        let (slot, position) = (slot_of(entry.scheduled), entry.position);
        entry.scheduled = NEVER;
        self.slots[slot].swap_remove(position);
        self.scheduled -= 1;
        if let Some(moved) = self.slots[slot].get(position) {
            self.entries[*moved].position = position;
        }
    }
}

/// The low bits: a mask, for the number of slots is a power of two.
#[expect(clippy::cast_possible_truncation, reason = "the mask leaves 9 bits")]
const fn slot_of(tick: u64) -> usize {
    const _: () = assert!(SLOTS.is_power_of_two());
    (tick & (SLOTS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_expired(wheel: &mut Wheel, key: Key) -> bool {
        wheel.poll(key, Waker::noop())
    }

    #[test]
    fn a_deadline_expires_at_its_tick_and_not_before() {
        for after in [1, 2, 511, 512, 513, 5_000] {
            let mut wheel = Wheel::new(100);
            let key = wheel.insert();
            wheel.arm(key, 100 + after, false);
            let mut tick = 100;
            let mut woken = Vec::new();
            while !is_expired(&mut wheel, key) {
                tick = wheel.next_due().unwrap();
                wheel.advance(tick, &mut woken);
            }
            assert_eq!(tick, 100 + after);
            assert_eq!(woken.len(), 1);
            assert_eq!(wheel.next_due(), None);
        }
    }

    #[test]
    fn moving_a_deadline_later_touches_no_slot() {
        let mut wheel = Wheel::new(0);
        let key = wheel.insert();
        wheel.arm(key, 10, false);
        wheel.arm(key, 400, false);
        assert_eq!(wheel.next_due(), Some(10));
        wheel.advance(399, &mut Vec::new());
        assert!(!is_expired(&mut wheel, key));
        wheel.advance(400, &mut Vec::new());
        assert!(is_expired(&mut wheel, key));
    }

    #[test]
    fn idle_entries_are_hastened_and_busy_ones_are_not() {
        let mut wheel = Wheel::new(0);
        let idle: Vec<_> = (0..50).map(|_| wheel.insert()).collect();
        let busy = wheel.insert();
        idle.iter().for_each(|key| wheel.arm(*key, 9_000, true));
        wheel.arm(busy, 9_000, false);
        wheel.hasten_idle(100);
        wheel.advance(99, &mut Vec::new());
        assert!(idle.iter().all(|key| !is_expired(&mut wheel, *key)));
        wheel.advance(200, &mut Vec::new());
        assert!(idle.iter().all(|key| is_expired(&mut wheel, *key)));
        assert!(!is_expired(&mut wheel, busy));
    }

    /// Against a plain list of deadlines, with seeds.
    #[test]
    fn the_wheel_agrees_with_a_list() {
        for seed in 1..200_u64 {
            let mut random = seed;
            let mut next = |below: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % below
            };
            let mut wheel = Wheel::new(7);
            let mut now = 7;
            let mut model: Vec<(Key, Option<u64>)> = Vec::new();
            for _ in 0..300 {
                match next(5) {
                    0 => model.push((wheel.insert(), None)),
                    1 | 2 if !model.is_empty() => {
                        let at = usize::try_from(next(model.len() as u64)).unwrap();
                        let range = if next(2) == 0 { 20 } else { 3_000 };
                        let deadline = now + 1 + next(range);
                        wheel.arm(model[at].0, deadline, false);
                        model[at].1 = Some(deadline);
                    }
                    3 if !model.is_empty() => {
                        let at = usize::try_from(next(model.len() as u64)).unwrap();
                        if next(2) == 0 {
                            wheel.disarm(model[at].0);
                            model[at].1 = None;
                        } else {
                            wheel.remove(model.swap_remove(at).0);
                        }
                    }
                    _ => {
                        let range = if next(4) == 0 { 1_500 } else { 40 };
                        now += next(range);
                        wheel.advance(now, &mut Vec::new());
                    }
                }
                for (key, deadline) in &model {
                    let expected = deadline.is_some_and(|deadline| deadline <= now);
                    assert_eq!(is_expired(&mut wheel, *key), expected, "seed {seed}");
                }
            }
        }
    }
}
