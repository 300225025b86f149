//! Lets a request in: circuit breaker, limits, queue, and the choice of an endpoint.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::attempt::Destination;
use super::exchange::Exchange;
use super::gate::{Permit, Ticket};
use super::io::{Receive as _, Transport};
use super::link::Link;
use super::live::{Choice, LiveService, NotPicked, ServiceState};
use super::timer::Patience;
use crate::failure::{Failure, Phase};
use crate::record::Attempt;
use crate::snapshot::Service;
use crate::timeouts::Timeout;
use crate::upstream::breaker::{BreakerRules, Pass};

/// A request that the circuit breaker let pass; it is counted once its outcome is known.
#[derive(Debug)]
pub(super) struct Admission {
    service: Arc<str>,
    state: Rc<ServiceState>,
    rules: BreakerRules,
    pass: Pass,
    began_ms: u64,
    is_counted: bool,
}

impl Admission {
    /// Counts it: the response head came, or the request failed.
    pub(super) fn count(&mut self, is_error: bool, now_ms: u64) {
        if self.is_counted {
            return;
        }
        self.is_counted = true;
        let took_ms = now_ms.saturating_sub(self.began_ms);
        let was_open = self.state.breaker.borrow().is_open();
        let is_opened = self.state.breaker.borrow_mut().counts(&self.rules, self.pass, (is_error, took_ms), now_ms);
        if is_opened {
            tracing::warn!(service = %self.service, "the circuit breaker opened: too many failures, or too slow");
        } else if was_open && !self.state.breaker.borrow().is_open() {
            tracing::info!(service = %self.service, "the circuit breaker closed");
        }
    }
}

/// Whether an answer may be thrown away, for there is room for another attempt elsewhere.
#[derive(Debug)]
pub(super) struct Elsewhere<'a, T: Transport> {
    /// The service.
    pub service: &'a Service,
    /// Its state.
    pub live: &'a LiveService<T>,
    /// Requests in flight to one endpoint at most.
    pub busy_max: Option<usize>,
    /// Attempts that failed before.
    pub tried: &'a [Attempt],
    /// Where the present attempt goes.
    pub here: Option<usize>,
}

impl<T: Transport> Elsewhere<'_, T> {
    /// Asked and acted upon without a wait between, so that the answer still holds.
    pub(super) fn has_room(&self, now_ms: u64) -> bool {
        let choice = Choice { busy_max: self.busy_max, tried: self.tried, now_ms, random: 0, hash: 0 };
        self.live.has_other(self.service, &choice, self.here) && self.live.state.has_budget(now_ms)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_counted && self.pass == Pass::Trial {
            // Any time that is over lets the next one try.
            self.state.breaker.borrow_mut().drops_trial(0);
        }
    }
}

impl<T: Transport> Exchange<'_, T> {
    /// Asks the circuit breaker, where the service has one.
    pub(super) fn ask_breaker(&self, to: &Destination<'_, T>) -> Result<Option<Admission>, Failure> {
        let Some(rules) = to.service.breaker else { return Ok(None) };
        let state = Rc::clone(&to.live.state);
        let began_ms = self.worker.transport.coarse_ms();
        let pass = state.breaker.borrow_mut().admits(began_ms).ok_or(Failure::CircuitOpen)?;
        let service = Arc::clone(&to.service.name);
        Ok(Some(Admission { service, state, rules, pass, began_ms, is_counted: false }))
    }

    /// Tells the circuit breaker of a request that ended without an answer. One that ended for its client's sake, or
    /// for this host's, says nothing.
    pub(super) fn note_failure(&self, failure: Failure) {
        if failure.is_upstream_fault() || failure == Failure::RouteTimeout {
            let now_ms = self.worker.transport.coarse_ms();
            self.admission.borrow_mut().iter_mut().for_each(|admission| admission.count(true, now_ms));
        }
    }

    /// Waits until the service has room, and picks an endpoint.
    pub(super) async fn admit(&mut self, client: &mut Link<T>, to: &Destination<'_, T>) -> Result<Permit<T>, Failure> {
        let limit = self.live.snapshot.part_of(to.service.limits.in_flight);
        let mut picked = Err(NotPicked::Busy);
        if to.live.state.gate.is_clear(limit) {
            picked = self.pick(to);
        }
        let picked = match picked {
            Err(NotPicked::Busy) => self.queue(client, to).await?,
            Err(NotPicked::None(failure)) => return Err(failure),
            Ok(at) => at,
        };
        self.record.times.admitted_us = self.worker.transport.now_us();
        self.permit(to, picked)
    }

    /// Takes the endpoint.
    pub(super) fn permit(&mut self, to: &Destination<'_, T>, at: usize) -> Result<Permit<T>, Failure> {
        self.record.endpoint = Some(at);
        let endpoint = to.live.endpoints.get(at).ok_or(Failure::Internal("endpoint"))?;
        Ok(Permit::new(&to.live.state, endpoint, self.worker.transport.coarse_ms()))
    }

    /// An endpoint that this exchange has not tried.
    pub(super) fn pick(&self, to: &Destination<'_, T>) -> Result<usize, NotPicked> {
        let choice = Choice {
            busy_max: self.live.snapshot.part_of(to.service.limits.endpoint_in_flight),
            tried: &self.record.failed,
            now_ms: self.worker.transport.coarse_ms(),
            random: self.worker.transport.random(),
            hash: to.hash,
        };
        to.live.pick(to.service, &choice)
    }

    /// Waits in the queue; the endpoint that has room. The client is watched meanwhile.
    pub(super) async fn queue(&mut self, client: &mut Link<T>, to: &Destination<'_, T>) -> Result<usize, Failure> {
        self.progress.phase.set(Phase::Queue);
        let limits = &to.service.limits;
        let room = self.live.snapshot.part_of(limits.queue).ok_or(Failure::InflightLimit)?;
        if to.live.state.gate.waiting() >= room {
            return Err(Failure::QueueFull);
        }
        let ticket = Ticket::new(&to.live.state);
        let Link { receiver, inbox, timer, .. } = client;
        let patience = Patience { timer, total_at_ms: to.total_at_ms };
        patience.arm(limits.queue_wait_ms);
        let limit = self.live.snapshot.part_of(limits.in_flight);
        poll_fn(|cx: &mut Context<'_>| {
            // First, so that room is not given to a client that has left. Bytes that are here already belong to the body
            // or the next request.
            if inbox.is_empty()
                && let Poll::Ready(received) = receiver.poll_receive(inbox, cx)
                && !matches!(received, Ok(bytes) if bytes > 0)
            {
                return Poll::Ready(Err(Failure::ClientClosed(Phase::Queue)));
            }
            if to.live.state.gate.is_turn_of(&ticket.place, limit, cx) {
                match self.pick(to) {
                    Ok(at) => return Poll::Ready(Ok(at)),
                    Err(NotPicked::Busy) => {}
                    Err(NotPicked::None(failure)) => return Poll::Ready(Err(failure)),
                }
            }
            if patience.timer.poll_expired(cx) {
                return Poll::Ready(Err(patience.failure(Timeout::Queue)));
            }
            Poll::Pending
        })
        .await
    }
}
