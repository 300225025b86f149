//! Passwords that one worker has verified: slow ones elsewhere, and those that were right are remembered for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Poll;

use aws_lc_rs::hmac;

use super::engine::Transport;
use super::kit::Kit;
use crate::desk::{Desk, Outcome};
use crate::limits::{PASSWORD_WAITERS_MAX, PASSWORDS_KNOWN_MAX, PASSWORDS_KNOWN_MS, PASSWORDS_WAITING_MAX};
use crate::timeouts::Timeout;

/// What is remembered of a password, and until when, in milliseconds.
type KnownPasswords = HashMap<[u8; 32], u64>;

/// The passwords of one worker.
#[derive(Debug)]
pub(super) struct Passwords {
    desk: Desk,
    /// Those that were right lately, by a hash of hash and password under a key that nobody else has.
    known: RefCell<KnownPasswords>,
    /// Those that are being verified, by the same: whoever shows one of them as well waits for the same outcome.
    asked: RefCell<HashMap<[u8; 32], Weak<Outcome>>>,
    key: hmac::Key,
}

impl Passwords {
    /// None is known.
    pub(super) fn new(desk: Desk) -> Self {
        let mut key = [0; 32];
        for part in key.as_chunks_mut::<8>().0 {
            *part = fastrand::u64(..).to_be_bytes();
        }
        // Better than that where the system gives it, which it does.
        let _ = aws_lc_rs::rand::fill(&mut key);
        Self {
            desk,
            known: RefCell::default(),
            asked: RefCell::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// Whether the hash is of the password; `None` where nobody has time to compute it.
    pub(super) async fn verify<T: Transport>(
        &self,
        kit: &Rc<Kit<T>>,
        hash: Arc<str>,
        password: Vec<u8>,
    ) -> Option<bool> {
        let print = self.print(&hash, &password);
        let now_ms = kit.transport.coarse_ms();
        if self.known.borrow().get(&print).is_some_and(|until_ms| *until_ms > now_ms) {
            return Some(true);
        }
        let asked = self.asked.borrow().get(&print).and_then(Weak::upgrade);
        let outcome = match asked {
            // Each of them is woken whenever one is done.
            Some(outcome) if Arc::strong_count(&outcome) > PASSWORD_WAITERS_MAX => return None,
            Some(outcome) => outcome,
            None => self.ask(print, self.desk.verify(hash, password, kit.worker)?),
        };
        let timer = kit.timer();
        timer.arm_row(Timeout::Password);
        let done = pin!(poll_fn(|cx| match outcome.get() {
            Some(is_right) => Poll::Ready(is_right),
            None => {
                kit.await_bell(cx.waker());
                // It may have rung just before.
                outcome.get().map_or(Poll::Pending, Poll::Ready)
            }
        }));
        let is_right = timer.guard(done).await.ok()?;
        self.asked.borrow_mut().remove(&print);
        if is_right {
            self.remember(print, kit.transport.coarse_ms());
        }
        Some(is_right)
    }

    /// Notes that a password is being verified.
    fn ask(&self, print: [u8; 32], outcome: Arc<Outcome>) -> Arc<Outcome> {
        let mut asked = self.asked.borrow_mut();
        if asked.len() > PASSWORDS_WAITING_MAX {
            // What everybody has given up.
            asked.retain(|_, outcome| outcome.strong_count() > 0);
        }
        asked.insert(print, Arc::downgrade(&outcome));
        outcome
    }

    fn print(&self, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps the two apart.
        context.update(&(hash.len() as u64).to_be_bytes());
        context.update(hash.as_bytes());
        context.update(password);
        let mut print = [0; 32];
        print.copy_from_slice(context.sign().as_ref());
        print
    }

    fn remember(&self, print: [u8; 32], now_ms: u64) {
        let mut known = self.known.borrow_mut();
        if known.len() >= PASSWORDS_KNOWN_MAX {
            known.retain(|_, until_ms| *until_ms > now_ms);
            if known.len() >= PASSWORDS_KNOWN_MAX {
                known.clear();
            }
        }
        known.insert(print, now_ms + PASSWORDS_KNOWN_MS);
    }
}
