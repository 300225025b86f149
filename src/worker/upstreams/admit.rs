//! Lets a request in: circuit breaker, limits, queue, and the choice of an endpoint.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::engine::Transport;
use super::super::kit::Kit;
use super::super::time::timer::Deadline;
use super::endpoint::EndpointPool;
use super::gate::{Permit, Ticket};
use super::service::{Choice, LiveService, Members, NotPicked};
use super::watch::Watch;
use crate::config::services::HostRule;
use crate::encode::hop::{UpstreamTarget, without_default_port};
use crate::failure::row::Fault;
use crate::failure::{Failure, Phase};
use crate::snapshot::{Address, Service};
use crate::timeouts::{Timeout, UpstreamTimeouts};
use crate::upstream::breaker::{BreakerOutcome, Pass};
use crate::upstream::ejection::Standing;
use crate::upstream::retry::Retry;
use crate::upstream::ring::HashRing;
use crate::upstream::sticky::Tie;

/// Where one request goes, in all its attempts.
#[derive(Debug)]
pub(crate) struct Destination<T: Transport> {
    /// The service.
    pub service: Rc<LiveService<T>>,
    /// Its endpoints, as they were when the request began.
    pub members: Rc<Members<T>>,
    /// The request's hash, for balances that go by one.
    pub hash: u64,
    /// When the whole must be over, in milliseconds of the coarse clock.
    pub total_at_ms: Option<u64>,
    /// What holds in place of the service's own timeouts and retries.
    pub patience: Option<Rc<Patience>>,
    /// What ties the request to an endpoint.
    pub tie: Tie,
}

/// Timeouts and retries of one request.
#[derive(Debug)]
pub(crate) struct Patience {
    /// How long upstreams are waited for.
    pub timeouts: UpstreamTimeouts,
    /// When a failed attempt is followed by another.
    pub retry: Retry,
}

/// A request that the circuit breaker let pass; it is counted once its outcome is known.
#[derive(Debug)]
pub(crate) struct Admission<T: Transport> {
    service: Rc<LiveService<T>>,
    snapshot: Arc<Service>,
    pass: Pass,
    is_counted: bool,
}

impl<T: Transport> Admission<T> {
    /// Tells the breaker the outcome, once: the response head came, after so many milliseconds of the upstream's, or the request
    /// failed.
    pub(crate) fn count(&mut self, outcome: BreakerOutcome, now_ms: u64) {
        let Some(rules) = self.snapshot.spec.circuit_breaker.as_ref().filter(|_| !self.is_counted) else { return };
        self.is_counted = true;
        let mut breaker = self.service.breaker.borrow_mut();
        let Some(breaker) = breaker.as_mut() else { return };
        let was_open = breaker.is_open();
        let is_opened = breaker.counts(rules, self.pass, outcome, now_ms);
        if is_opened {
            tracing::warn!(service = %self.snapshot.name, "the circuit breaker opened: too many failures, or too slow");
        } else if was_open && !breaker.is_open() {
            tracing::info!(service = %self.snapshot.name, "the circuit breaker closed");
        }
    }

    /// Counts a failure of the upstream, which took so many milliseconds of it, and that the time for the route was over while it was
    /// waited for. Other failures of this proxy, and those of the client, say nothing about the service.
    pub(crate) fn count_failure(&mut self, failure: Failure, (phase, took_ms): (Phase, u64), now_ms: u64) {
        let was_waited_for = matches!(phase, Phase::Connect | Phase::Wait | Phase::Body);
        if failure.handling().fault == Fault::Upstream || failure == Failure::RouteTimeout && was_waited_for {
            self.count(BreakerOutcome { status: failure.row().status, is_error: true, took_ms }, now_ms);
        }
    }
}

impl<T: Transport> Drop for Admission<T> {
    fn drop(&mut self) {
        if !self.is_counted
            && self.pass == Pass::Trial
            && let Some(breaker) = self.service.breaker.borrow_mut().as_mut()
        {
            // The next request may be the trial at once.
            breaker.drops_trial(0);
        }
    }
}

impl<T: Transport> Destination<T> {
    /// A destination in this service as it is now. `hash` is the request's; the whole must be over at `total_at_ms`.
    #[must_use]
    pub(crate) fn new(service: &Rc<LiveService<T>>, hash: u64, total_at_ms: Option<u64>) -> Self {
        Self {
            service: Rc::clone(service),
            members: service.members(),
            hash,
            total_at_ms,
            patience: None,
            tie: Tie::None,
        }
    }

    /// How long its upstreams are waited for.
    pub(crate) fn timeouts(&self) -> &UpstreamTimeouts {
        self.patience.as_ref().map_or(&self.snapshot().spec.timeouts, |own| &own.timeouts)
    }

    /// When a failed attempt is followed by another.
    pub(crate) fn retry(&self) -> &Retry {
        self.patience.as_ref().map_or(&self.snapshot().spec.retry, |own| &own.retry)
    }

    /// The service, as it was when the request began.
    pub(crate) fn snapshot(&self) -> &Arc<Service> {
        &self.members.service
    }

    /// What the endpoint of the permit is told of the target.
    pub(crate) fn target(&self, permit: &Permit<T>) -> UpstreamTarget<'_> {
        let service = self.snapshot();
        let named = without_default_port(self.members.name_of(permit.at), service.tls.is_some()).as_bytes();
        let endpoint = if matches!(permit.endpoint.address, Address::Unix(_)) { b"localhost" } else { named };
        UpstreamTarget {
            host: match &service.spec.host {
                HostRule::Keep => None,
                HostRule::Endpoint => Some(endpoint),
                HostRule::Name(name) => Some(name.as_bytes()),
            },
            fallback: endpoint,
            path: service.spec.path,
            length: None,
        }
    }

    /// Asks the circuit breaker, where the service has one.
    ///
    /// # Errors
    /// [`Failure::CircuitOpen`].
    pub(crate) fn ask_breaker(&self, kit: &Kit<T>) -> Result<Option<Admission<T>>, Failure> {
        if self.snapshot().spec.circuit_breaker.is_none() {
            return Ok(None);
        }
        let pass = self.service.breaker.borrow_mut().get_or_insert_default().admits(kit.transport.coarse_ms());
        let (service, snapshot) = (Rc::clone(&self.service), Arc::clone(self.snapshot()));
        let pass = pass.ok_or(Failure::CircuitOpen)?;
        Ok(Some(Admission { service, snapshot, pass, is_counted: false }))
    }

    /// The permit where there is room now; `None` where the request has to wait: [`Self::queue`].
    pub(crate) fn admit_at_once(&self, kit: &Rc<Kit<T>>) -> Option<Result<Permit<T>, Failure>> {
        if !self.service.gate.is_clear(&self.service.limits()) {
            return None;
        }
        match self.pick(kit, &[]) {
            Ok(at) => self.permit(kit, at).map(Ok),
            Err(NotPicked::Busy) => None,
            Err(NotPicked::None(failure)) => Some(Err(failure)),
        }
    }

    /// A permit for this endpoint, where it is one that could be picked now and nobody waits.
    pub(crate) fn permit_for(&self, kit: &Rc<Kit<T>>, endpoint: &Rc<EndpointPool<T>>) -> Option<Permit<T>> {
        let at = self.members.endpoints.iter().position(|own| Rc::ptr_eq(own, endpoint))?;
        let choice = Choice { own: None, tried: &[], now_ms: kit.transport.coarse_ms(), random: 0, hash: 0 };
        let is_fit = self.service.gate.is_clear(&self.service.limits()) && self.members.has(&choice, at);
        is_fit.then(|| self.permit(kit, at)).flatten()
    }

    /// A permit for the endpoint at this position; `None` where there is no room any more.
    pub(crate) fn permit(&self, kit: &Rc<Kit<T>>, at: usize) -> Option<Permit<T>> {
        let endpoint = self.members.endpoints.get(at)?;
        Permit::new(&self.service.gate, kit, endpoint, at, &self.service.limits())
    }

    /// An endpoint that was not tried.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn pick(&self, kit: &Kit<T>, tried: &[usize]) -> Result<usize, NotPicked> {
        let (now_ms, random) = (kit.transport.coarse_ms(), kit.transport.random());
        self.members.pick(&Choice { own: self.tie.endpoint(), tried, now_ms, random, hash: self.hash })
    }

    /// The field that tells the client where it belongs, now that the endpoint at this position answers it; `None` where it knows, or
    /// belongs nowhere. `is_first` is false after an attempt that failed, `is_secure` true where the client came by TLS.
    pub(crate) fn sticky_line(
        &self,
        kit: &Kit<T>,
        (at, is_first): (usize, bool),
        is_secure: bool,
    ) -> Option<(&str, String)> {
        let service = self.snapshot();
        let (sticky, tokens) = service.sticky()?;
        // Whoever is with a backup goes back once one of the others takes requests.
        if service.endpoints.get(at).is_none_or(|endpoint| endpoint.is_backup) {
            return None;
        }
        // An owner that is only busy, or elsewhere, keeps its client.
        let owner = |ring: &HashRing| self.tie.hash().and_then(|hash| ring.owner(hash));
        let has_failed = |ring: &HashRing| !is_first || owner(ring).is_some_and(|owner| self.is_out(owner, kit));
        let ring = service.ring.as_deref().filter(|ring| sticky.change_on_failure && has_failed(ring));
        let moved = ring.and_then(|ring| sticky.moved(&self.tie, ring, at));
        sticky.line(tokens, moved.as_ref().unwrap_or(&self.tie), at, is_secure)
    }

    /// True where the endpoint at this position failed its check, or its last requests.
    fn is_out(&self, at: usize, kit: &Kit<T>) -> bool {
        let now_ms = kit.transport.coarse_ms();
        let is_out = |pool: &Rc<EndpointPool<T>>| {
            pool.state.is_down() || !matches!(pool.passive.borrow().standing(now_ms), Standing::In(_))
        };
        self.members.endpoints.get(at).is_some_and(is_out)
    }

    /// True where there is an endpoint that was not tried, with room, and the budget pays for another attempt. Another worker
    /// may take that room before the attempt begins: it is a fair guess, not a promise.
    pub(crate) fn has_elsewhere(&self, kit: &Kit<T>, tried: &[usize], here: usize) -> bool {
        let now_ms = kit.transport.coarse_ms();
        let choice = Choice { own: None, tried, now_ms, random: 0, hash: 0 };
        self.members.has_other(&choice, Some(here)) && self.service.has_budget(now_ms)
    }

    /// Waits before another attempt, as an answer that was thrown away asked for.
    ///
    /// # Errors
    /// Whoever waits has left.
    pub(crate) async fn pause(
        &self,
        ms: u64,
        watch: &mut impl Watch,
        deadline: &Deadline<'_, T>,
    ) -> Result<(), Failure> {
        deadline.timer.arm(Timeout::RetryAfter, Some(ms));
        poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(failure) = watch.poll_left(cx) {
                return Poll::Ready(Err(failure));
            }
            deadline.timer.poll_expired(cx).map_or(Poll::Pending, |_| Poll::Ready(Ok(())))
        })
        .await
    }

    /// Waits in the queue; a permit for the endpoint that has room.
    ///
    /// # Errors
    /// Why the request waits no longer.
    pub(crate) async fn queue(
        &self,
        kit: &Rc<Kit<T>>,
        tried: &[usize],
        watch: &mut impl Watch,
        deadline: &Deadline<'_, T>,
    ) -> Result<Permit<T>, Failure> {
        let limits = self.service.limits();
        if limits.queue == 0 {
            return Err(Failure::InflightLimit);
        }
        let ticket = Ticket::new(&self.service.gate, kit, &limits).ok_or(Failure::QueueFull)?;
        deadline.arm(Timeout::Queue, limits.queue_wait.limit_ms());
        poll_fn(|cx: &mut Context<'_>| {
            // First, so that room is not given to somebody who has left.
            if let Poll::Ready(failure) = watch.poll_left(cx) {
                return Poll::Ready(Err(failure));
            }
            // Limits may change while it waits.
            while ticket.is_turn(&self.service.limits(), cx) {
                match self.pick(kit, tried) {
                    // Where another worker took the place meanwhile, this looks again.
                    Ok(at) => {
                        if let Some(permit) = self.permit(kit, at) {
                            return Poll::Ready(Ok(permit));
                        }
                    }
                    Err(NotPicked::Busy) => break,
                    Err(NotPicked::None(failure)) => return Poll::Ready(Err(failure)),
                }
            }
            match deadline.poll_failure(cx) {
                Some(failure) => Poll::Ready(Err(failure)),
                None => Poll::Pending,
            }
        })
        .await
    }
}
