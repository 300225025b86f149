//! Passwords that one worker has verified: slow ones elsewhere, and those that were right are remembered for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Poll;

use super::engine::Transport;
use super::kit::Kit;
use super::remembered::{Print, Remembered};
use crate::desk::{Desk, Outcome};
use crate::limits::{PASSWORD_WAITERS_MAX, PASSWORDS_KNOWN_MAX, PASSWORDS_KNOWN_MS, PASSWORDS_WAITING_MAX};
use crate::timeouts::Timeout;

/// The passwords of one worker.
#[derive(Debug)]
pub(super) struct Passwords {
    desk: Desk,
    /// Those that were right lately, by hash and password.
    known: Remembered<()>,
    /// Those that are being verified, by the same: whoever shows one of them as well waits for the same outcome.
    asked: RefCell<HashMap<Print, Weak<Outcome>>>,
}

impl Passwords {
    /// None is known.
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, known: Remembered::new(PASSWORDS_KNOWN_MAX), asked: RefCell::default() }
    }

    /// Whether the hash is of the password; `None` where nobody has time to compute it.
    pub(super) async fn verify<T: Transport>(
        &self,
        kit: &Rc<Kit<T>>,
        hash: Arc<str>,
        password: Vec<u8>,
    ) -> Option<bool> {
        let print = self.known.print(&[hash.as_bytes(), &password]);
        let now_ms = kit.transport.coarse_ms();
        if self.known.get(&print, now_ms).is_some() {
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
            self.known.put(print, (), kit.transport.coarse_ms(), PASSWORDS_KNOWN_MS);
        }
        Some(is_right)
    }

    /// Notes that a password is being verified.
    fn ask(&self, print: Print, outcome: Arc<Outcome>) -> Arc<Outcome> {
        let mut asked = self.asked.borrow_mut();
        if asked.len() > PASSWORDS_WAITING_MAX {
            // What everybody has given up.
            asked.retain(|_, outcome| outcome.strong_count() > 0);
        }
        asked.insert(print, Arc::downgrade(&outcome));
        outcome
    }
}
