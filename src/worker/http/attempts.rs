//! Attempts that follow each other until one is answered, or the table says that there shall be no other.

use std::rc::Rc;

use super::attempt::{Destination, Terms};
use super::connect::Wish;
use super::exchange::Exchange;
use super::forward::Delivered;
use super::gate::Permit;
use super::io::Transport;
use super::link::Link;
use super::live::{NotPicked, ServiceState};
use super::pool::Upstream;
use crate::failure::Failure;
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::upstream::evidence::Evidence;
use crate::upstream::retry::{Again, Attempted, NoRetry, decide};

/// What was tried so far.
#[derive(Debug, Default)]
struct Tries {
    /// The free attempt after a stale reuse was used.
    was_stale: bool,
    /// A new connection ended without an answer before.
    was_closed: bool,
    /// An attempt before may have been executed.
    was_delivered: bool,
    /// Attempts beyond the first, less the free one.
    retries: u8,
}

/// Retries that the budget paid for; they are given back when the request is over.
#[derive(Debug)]
struct Paid {
    state: Rc<ServiceState>,
    retries: usize,
}

impl Drop for Paid {
    fn drop(&mut self) {
        self.state.budget.borrow_mut().give_back(self.retries);
    }
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// To the same endpoint.
    Same,
    /// To this endpoint; true where the budget pays.
    Other(usize, bool),
    /// To another one, once it has room.
    Queue,
}

/// What metrics say of a decision.
fn name_of(again: Result<Next, Option<NoRetry>>) -> &'static str {
    match again {
        Ok(Next::Same) => "same_endpoint",
        Ok(Next::Other(..) | Next::Queue) => "other_endpoint",
        Err(why) => why.map_or("", NoRetry::name),
    }
}

impl<T: Transport> Exchange<'_, T> {
    /// Attempts until one is answered, or the table says that there shall be no other.
    pub(super) async fn attempts(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        to: &Destination<'_, T>,
        mut permit: Permit<T>,
    ) -> Result<(Delivered, Upstream<T>, Permit<T>), Failure> {
        let is_idempotent = head.is_idempotent();
        let mut tries = Tries::default();
        let mut paid: Option<Paid> = None;
        loop {
            let terms = self.terms(head, to, &tries, is_idempotent);
            let failed = match self.attempt(client, head, to, &permit, terms).await {
                Ok((delivered, upstream)) => return Ok((delivered, upstream, permit)),
                Err(failed) => *failed,
            };
            if failed.failure.is_client_fault() {
                return Err(failed.failure);
            }
            if let Some(phase) = self.progress.client_left.get() {
                return Err(Failure::ClientClosed(phase));
            }
            self.record.failed.push(failed);
            let of = (failed.failure, failed.evidence, failed.connection.is_reused);
            let attempted = self.attempted(head, to, &tries, of, is_idempotent);
            let again = self.again(to, attempted);
            self.worker.metrics.borrow_mut().count_retry(to.service.label, name_of(again));
            let next = match again {
                Ok(next) => next,
                Err(why) => {
                    self.record.no_retry = why;
                    return Err(failed.failure);
                }
            };
            let is_delivered = failed.evidence != Evidence::None && !failed.evidence.is_proof();
            tries.was_delivered |= is_delivered;
            tries.was_closed |= is_delivered && !failed.connection.is_reused;
            if next == Next::Same {
                tries.was_stale = true;
                continue;
            }
            tries.retries += 1;
            if matches!(next, Next::Other(_, true)) {
                let state = || Paid { state: Rc::clone(&to.live.state), retries: 0 };
                paid.get_or_insert_with(state).retries += 1;
                to.live.state.budget.borrow_mut().take();
            }
            // Others may have the place meanwhile.
            drop(permit);
            let at = match next {
                Next::Queue => self.queue(client, to).await?,
                Next::Other(at, _) if self.progress.retry_after_s.get() > 0 => {
                    self.worker.transport.sleep(u64::from(self.progress.retry_after_s.take()) * 1_000).await;
                    self.pick(to).unwrap_or(at)
                }
                Next::Other(at, _) => at,
                Next::Same => return Err(Failure::Internal("attempts")),
            };
            permit = self.permit(to, at)?;
        }
    }

    /// What may be done in the next attempt.
    fn terms(&self, head: &RequestHead, to: &Destination<'_, T>, tries: &Tries, is_idempotent: bool) -> Terms {
        // What could not be sent again is as precious as what must not be.
        let is_held = match head.framing() {
            Framing::None => true,
            Framing::Length(length) => length <= to.service.retry.buffer_bytes as u64,
            Framing::Chunked | Framing::UntilClose => false,
        };
        let is_repeatable = is_idempotent && is_held && head.upgrade().is_none();
        let wish = match (self.record.failed.is_empty(), is_repeatable) {
            // A pooled one may be just as stale, and cost another attempt.
            (false, _) => Wish::Fresh,
            (true, true) => Wish::Repeatable,
            (true, false) => Wish::Once,
        };
        let of_status = (Failure::UpstreamStatus, Evidence::None, false);
        Terms {
            wish,
            may_discard_timeout: !tries.was_stale && head.upgrade().is_none(),
            may_discard_status: !to.service.retry.statuses.is_empty()
                && decide(&to.service.retry, &self.attempted(head, to, tries, of_status, is_idempotent)).is_ok(),
        }
    }

    fn attempted(
        &self,
        head: &RequestHead,
        to: &Destination<'_, T>,
        tries: &Tries,
        (failure, evidence, is_reused): (Failure, Evidence, bool),
        is_idempotent: bool,
    ) -> Attempted {
        Attempted {
            failure,
            evidence,
            is_reused,
            is_idempotent,
            has_client_bytes: self.progress.is_response_started.get() || self.progress.has_interim.get(),
            is_upgrade: head.upgrade().is_some(),
            is_body_held: self.held.borrow().is_whole(),
            was_stale: tries.was_stale,
            was_closed: tries.was_closed,
            was_delivered: tries.was_delivered,
            retries: tries.retries,
            is_late: to.total_at_ms.is_some_and(|at| at <= self.worker.transport.coarse_ms()),
        }
    }

    /// Where the next attempt goes.
    fn again(&self, to: &Destination<'_, T>, attempted: Attempted) -> Result<Next, Option<NoRetry>> {
        let (is_paid, or_same) = match decide(&to.service.retry, &attempted)? {
            Again::SameEndpoint => return Ok(Next::Same),
            Again::OtherEndpoint { is_paid, or_same } => (is_paid, or_same),
        };
        let at = match (self.pick(to), self.record.endpoint.filter(|_| or_same)) {
            (Ok(at), _) | (Err(_), Some(at)) => at,
            // Nothing was lost yet: it waits like one that just came.
            (Err(NotPicked::Busy), None) if !is_paid && to.service.limits.queue > 0 => return Ok(Next::Queue),
            (Err(_), None) => return Err(Some(NoRetry::NoOtherEndpoint)),
        };
        if is_paid && !to.live.state.has_budget(self.worker.transport.coarse_ms()) {
            return Err(Some(NoRetry::Budget));
        }
        Ok(Next::Other(at, is_paid))
    }
}
