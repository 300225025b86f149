//! Where workers have slow things computed: a thread of its own, which never holds a worker, and a bound on what waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use crate::filter::passwords::verify;
use crate::limits::PASSWORDS_WAITING_MAX;
use crate::mailbox::Bells;

/// The way to that thread; without one everything is computed at once.
#[derive(Clone, Debug, Default)]
pub struct Desk(Option<SyncSender<Job>>);

/// A password to be verified.
#[derive(Debug)]
struct Job {
    hash: Arc<str>,
    password: Vec<u8>,
    outcome: Arc<Outcome>,
    worker: usize,
}

/// What comes of it: nothing yet, wrong or right.
#[derive(Debug, Default)]
pub struct Outcome(AtomicU8);

impl Outcome {
    /// Whether the password is right, once that is known.
    #[must_use]
    pub fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            known => Some(known == 2),
        }
    }

    fn put(&self, is_right: bool) {
        self.0.store(1 + u8::from(is_right), Ordering::Release);
    }
}

impl Desk {
    /// A desk with a thread, which ends with the last of those who have the desk. `bells` wake the workers that wait.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn start(bells: Bells) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(PASSWORDS_WAITING_MAX);
        Builder::new().name("passwords".to_owned()).spawn(move || work(&waiting, &bells))?;
        Ok(Self(Some(jobs)))
    }

    /// Has a password verified for a worker, whose bell rings when it is done; `None` where too many wait already.
    #[must_use]
    pub fn verify(&self, hash: Arc<str>, password: Vec<u8>, worker: usize) -> Option<Arc<Outcome>> {
        let outcome = Arc::new(Outcome::default());
        match &self.0 {
            Some(jobs) => jobs.try_send(Job { hash, password, outcome: Arc::clone(&outcome), worker }).ok()?,
            None => outcome.put(verify(&hash, &password)),
        }
        Some(outcome)
    }
}

fn work(waiting: &Receiver<Job>, bells: &Bells) {
    while let Ok(job) = waiting.recv() {
        // Nobody waits for one that was given up.
        if Arc::strong_count(&job.outcome) > 1 {
            // A bug in one must not end the thread for all: who cannot be verified does not get in.
            let verified = catch_unwind(AssertUnwindSafe(|| verify(&job.hash, &job.password)));
            job.outcome.put(verified.unwrap_or(false));
            bells.ring(job.worker);
        }
    }
}
