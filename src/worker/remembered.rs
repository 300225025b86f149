//! What a worker remembers for a while: so many things, by a keyed hash of what they are known by.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use aws_lc_rs::hmac;

use crate::units::hidden::Hidden;

/// The keyed hash of what something is known by. Nobody who sees memory learns a password from it.
pub(super) type Print = [u8; 32];

/// Things that are remembered.
#[derive(Debug)]
pub(super) struct Remembered<V> {
    /// Each with when it is forgotten, in milliseconds of the coarse clock.
    things: RefCell<HashMap<Print, (V, u64)>>,
    max: usize,
    key: hmac::Key,
}

impl<V: Clone> Remembered<V> {
    /// Nothing, and so many at most.
    pub(super) fn new(max: usize) -> Self {
        Self { things: RefCell::default(), max, key: hmac::Key::new(hmac::HMAC_SHA256, &Hidden::random().0) }
    }

    /// The print of what is known by these parts.
    pub(super) fn print(&self, parts: &[&[u8]]) -> Print {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // The length keeps them apart.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.sign().as_ref());
        print
    }

    /// What is remembered of it now.
    pub(super) fn get(&self, print: &Print, now_ms: u64) -> Option<V> {
        let things = self.things.borrow();
        things.get(print).filter(|(_, until_ms)| *until_ms > now_ms).map(|(thing, _)| thing.clone())
    }

    /// Remembers something for so long. Where there is no room, all that is remembered gives way.
    pub(super) fn put(&self, print: Print, thing: V, now_ms: u64, for_ms: u64) {
        let mut things = self.things.borrow_mut();
        if things.len() >= self.max {
            things.retain(|_, (_, until_ms)| *until_ms > now_ms);
            if things.len() >= self.max {
                things.clear();
            }
        }
        things.insert(print, (thing, now_ms.saturating_add(for_ms)));
    }
}

/// What is being asked just now, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Asking(RefCell<HashMap<Print, Vec<Waker>>>);

/// One that is being asked; whoever waits goes on when this is dropped.
#[derive(Debug)]
pub(super) struct AskedNow<'a> {
    asking: &'a Asking,
    print: Print,
}

impl Asking {
    /// Notes that it is being asked; `None` where it is already.
    pub(super) fn begin(&self, print: Print) -> Option<AskedNow<'_>> {
        let mut asking = self.0.borrow_mut();
        if asking.contains_key(&print) {
            return None;
        }
        asking.insert(print, Vec::new());
        Some(AskedNow { asking: self, print })
    }

    /// Waits until it is asked no more.
    pub(super) async fn wait(&self, print: Print) {
        poll_fn(|cx| match self.0.borrow_mut().get_mut(&print) {
            Some(waiting) => {
                waiting.push(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }
}

impl Drop for AskedNow<'_> {
    fn drop(&mut self) {
        let waiting = self.asking.0.borrow_mut().remove(&self.print);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_forgotten_in_time_and_where_there_is_no_room() {
        let remembered = Remembered::new(3);
        let print = |text: &str| remembered.print(&[text.as_bytes()]);
        remembered.put(print("a"), 1, 0, 10);
        assert_eq!((remembered.get(&print("a"), 9), remembered.get(&print("a"), 10)), (Some(1), None));
        remembered.put(print("b"), 2, 0, 100);
        remembered.put(print("c"), 3, 0, 100);
        remembered.put(print("d"), 4, 50, 100);
        assert_eq!(remembered.get(&print("b"), 60), Some(2), "what had come to its end gave way");
        remembered.put(print("e"), 5, 60, 100);
        assert_eq!((remembered.get(&print("b"), 60), remembered.get(&print("e"), 60)), (None, Some(5)));
        assert_ne!(remembered.print(&[b"ab", b"c"]), remembered.print(&[b"a", b"bc"]));
    }
}
