//! Attempts that follow each other until one is answered, or the table of failures says that there shall be no other.

use std::rc::Rc;

use super::super::engine::Transport;
use super::super::kit::Kit;
use super::admit::Destination;
use super::gate::Permit;
use super::service::{LiveService, NotPicked};
use crate::failure::Failure;
use crate::upstream::attempts::{Attempts, FailedAttempt, Next, Options, RequestKind, Standpoint};
use crate::upstream::retry::NoRetry;

/// Whoever has a request to be answered.
pub(crate) trait Asker<T: Transport> {
    /// What an attempt brings.
    type Answer;

    /// What is known of the request beforehand.
    fn kind(&self) -> RequestKind;

    /// How things stand now.
    fn standpoint(&self) -> Standpoint;

    /// Sends the request to the endpoint of the permit, for the answer.
    ///
    /// # Errors
    /// The attempt as it is recorded, with what evidence there is.
    async fn attempt(&mut self, permit: &Permit<T>, attempts: &Attempts) -> Result<Self::Answer, Box<FailedAttempt>>;

    /// A place for another attempt, once there is room.
    ///
    /// # Errors
    /// Why nobody waits any longer.
    async fn queue(&mut self, tried: &[usize]) -> Result<Permit<T>, Failure>;

    /// Waits so many milliseconds before another attempt.
    ///
    /// # Errors
    /// Why nobody waits any longer.
    async fn pause(&mut self, ms: u64) -> Result<(), Failure>;

    /// Why there shall be no other attempt, whatever the table says: nobody waits for the answer any more.
    fn has_left(&self) -> Option<Failure> {
        None
    }

    /// An attempt failed.
    fn note_failed(&mut self, _failed: FailedAttempt) {}

    /// There is no other attempt; `None` where the failure is not one that could be retried.
    fn note_no_retry(&mut self, _why: Option<NoRetry>) {}

    /// `Retry-After` of an answer that was discarded, in seconds; 0 for none.
    fn retry_after_s(&mut self) -> u32 {
        0
    }
}

/// Retries that the budget paid for; they are given back when the request is over.
struct Paid<'a, T: Transport> {
    service: &'a LiveService<T>,
    retries: usize,
}

impl<T: Transport> Drop for Paid<'_, T> {
    fn drop(&mut self) {
        if self.retries > 0 {
            self.service.budget.borrow_mut().give_back(self.retries);
        }
    }
}

/// What the service has for another attempt.
struct ServiceOptions<'a, T: Transport> {
    kit: &'a Kit<T>,
    to: &'a Destination<T>,
}

impl<T: Transport> Options for ServiceOptions<'_, T> {
    fn pick(&mut self, tried: &[usize]) -> Result<usize, bool> {
        self.to.pick(self.kit, tried).map_err(|why| why == NotPicked::Busy)
    }

    fn has_queue(&self) -> bool {
        self.to.snapshot().spec.limits.queue > 0
    }

    fn has_budget(&self) -> bool {
        self.to.service.has_budget(self.kit.transport.coarse_ms())
    }
}

/// Attempts until one is answered. The permit of the answer is with it: its endpoint has the request until it is dropped.
///
/// # Errors
/// The failure of the last one.
pub(crate) async fn attempts<T: Transport, A: Asker<T>>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    asker: &mut A,
    mut permit: Permit<T>,
) -> Result<(A::Answer, Permit<T>), Failure> {
    let rules = to.retry();
    let kind = asker.kind();
    let mut attempts = Attempts::default();
    let mut paid = Paid { service: &to.service, retries: 0 };
    loop {
        let failed = match asker.attempt(&permit, &attempts).await {
            Ok(answer) => return Ok((answer, permit)),
            Err(failed) => *failed,
        };
        if failed.failure.handling().closes_client {
            return Err(failed.failure);
        }
        if let Some(failure) = asker.has_left() {
            return Err(failure);
        }
        asker.note_failed(failed);
        let next = attempts.next(rules, (kind, asker.standpoint()), &failed, &mut ServiceOptions { kit, to });
        let name = next.map_or_else(|why| why.map_or("", NoRetry::name), Next::name);
        kit.metrics.borrow_mut().count_retry(to.snapshot().label, name);
        let next = match next {
            Ok(next) => next,
            Err(why) => {
                asker.note_no_retry(why);
                return Err(failed.failure);
            }
        };
        if matches!(next, Next::Other(_, true)) {
            paid.retries += 1;
            to.service.budget.borrow_mut().take();
        }
        if next != Next::Same {
            // Others may have the place meanwhile.
            drop(permit);
            // Boxed, for it is rare and large.
            permit = Box::pin(another(kit, to, asker, &attempts, next)).await?;
        }
    }
}

/// A place for the next attempt at another endpoint.
async fn another<T: Transport, A: Asker<T>>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    asker: &mut A,
    attempts: &Attempts,
    next: Next,
) -> Result<Permit<T>, Failure> {
    if let Next::Other(at, _) = next {
        let wait_s = asker.retry_after_s();
        let at = if wait_s > 0 {
            asker.pause(u64::from(wait_s) * 1_000).await?;
            // The endpoint may be gone meanwhile, or full.
            match to.pick(kit, attempts.tried()) {
                Ok(at) => Some(at),
                Err(NotPicked::Busy) => None,
                Err(NotPicked::None(failure)) => return Err(failure),
            }
        } else {
            Some(at)
        };
        if let Some(permit) = at.and_then(|at| to.permit(kit, at)) {
            return Ok(permit);
        }
    }
    asker.queue(attempts.tried()).await
}
