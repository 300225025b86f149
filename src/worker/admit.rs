//! Lets a request in: circuit breaker, limits, queue, and the choice of an endpoint.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::attempt::Destination;
use super::exchange::Exchange;
use super::gate::{Permit, Ticket};
use super::io::{Receive as _, Transport};
use super::link::Link;
use super::live::{Choice, LiveService, NotPicked, ServiceState, request_hash};
use super::timer::Patience;
use crate::failure::{Failure, Phase};
use crate::proto::h1::request::RequestHead;
use crate::timeouts::Timeout;
use crate::upstream::breaker::{BreakerRules, Pass};

/// A request that the circuit breaker let pass; it is counted when it is over.
#[derive(Debug)]
pub(super) struct Admission {
    state: Rc<ServiceState>,
    pass: Pass,
    is_counted: bool,
}

impl Admission {
    /// Counts it: whether it failed, and how long its response head took, in milliseconds.
    pub(super) fn count(&mut self, rules: &BreakerRules, outcome: (bool, u64), now_ms: u64) {
        self.is_counted = true;
        if self.state.breaker.borrow_mut().counts(rules, self.pass, outcome, now_ms) {
            tracing::warn!("a circuit breaker opened");
        }
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
    pub(super) fn ask_breaker(&self, to: &Destination<'_>) -> Result<Option<Admission>, Failure> {
        if to.service.breaker.is_none() {
            return Ok(None);
        }
        let state = &self.service(to)?.state;
        let pass = state.breaker.borrow_mut().admits(self.worker.transport.coarse_ms()).ok_or(Failure::CircuitOpen)?;
        Ok(Some(Admission { state: Rc::clone(state), pass, is_counted: false }))
    }

    /// The state of the service.
    pub(super) fn service(&self, to: &Destination<'_>) -> Result<&LiveService<T>, Failure> {
        self.live.services.get(to.service_at).ok_or(Failure::Internal("service"))
    }

    /// Waits until the service has room, and picks an endpoint.
    pub(super) async fn admit(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        to: &Destination<'_>,
    ) -> Result<Permit<T>, Failure> {
        let hash = request_hash(to.service, head, self.listener, self.peer);
        let live = self.live;
        let service = live.services.get(to.service_at).ok_or(Failure::Internal("service"))?;
        let limit = live.snapshot.part_of(to.service.limits.in_flight);
        let mut picked = Err(NotPicked::Busy);
        if service.state.gate.is_clear(limit) {
            picked = self.pick(service, to, hash);
        }
        let picked = match picked {
            Err(NotPicked::Busy) => self.queue(client, service, to, hash).await?,
            Err(NotPicked::None(failure)) => return Err(failure),
            Ok(at) => at,
        };
        self.record.times.admitted_us = self.worker.transport.now_us();
        self.permit(service, picked)
    }

    /// Takes the endpoint.
    pub(super) fn permit(&mut self, service: &LiveService<T>, at: usize) -> Result<Permit<T>, Failure> {
        self.record.endpoint = Some(at);
        let endpoint = service.endpoints.get(at).ok_or(Failure::Internal("endpoint"))?;
        Ok(Permit::new(&service.state, endpoint, self.worker.transport.coarse_ms()))
    }

    /// An endpoint that this exchange has not tried.
    pub(super) fn pick(&self, service: &LiveService<T>, to: &Destination<'_>, hash: u64) -> Result<usize, NotPicked> {
        service.pick(to.service, &self.choice(to, hash))
    }

    /// For which request an endpoint is picked.
    pub(super) fn choice(&self, to: &Destination<'_>, hash: u64) -> Choice<'_> {
        Choice {
            busy_max: self.live.snapshot.part_of(to.service.limits.endpoint_in_flight),
            tried: &self.record.failed,
            now_ms: self.worker.transport.coarse_ms(),
            random: self.worker.transport.random(),
            hash,
        }
    }

    /// Waits in the queue; the endpoint that has room. The client is watched meanwhile.
    async fn queue(
        &mut self,
        client: &mut Link<T>,
        service: &LiveService<T>,
        to: &Destination<'_>,
        hash: u64,
    ) -> Result<usize, Failure> {
        self.progress.phase.set(Phase::Queue);
        let limits = &to.service.limits;
        let room = self.live.snapshot.part_of(limits.queue).ok_or(Failure::InflightLimit)?;
        if service.state.gate.waiting() >= room {
            return Err(Failure::QueueFull);
        }
        let ticket = Ticket::new(&service.state);
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
            if service.state.gate.is_turn_of(&ticket.place, limit, cx) {
                match self.pick(service, to, hash) {
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
