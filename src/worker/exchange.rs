//! One request and its response, from the parsed head to the record. Read this first.
//!
//! `run` is the sentence: route → filter → admit → attempt, again where that is safe → release. Whatever goes
//! wrong in it is a [`Failure`], and `settle` (in `settle.rs`) is the one place where a failure becomes an answer.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use super::Worker;
use super::admit::Admission;
use super::attempt::{Destination, Terms};
use super::connect::Wish;
use super::forward::{Delivered, Progress};
use super::gate::Permit;
use super::held::{Held, RequestBody};
use super::io::{Transport, caught};
use super::link::Link;
use super::live::{Live, LiveService, NotPicked, ServiceState, request_hash};
use super::pool::{Endpoint, Upstream};
use super::serve::Session;
use super::tunnel::{Carried, carry};
use crate::failure::{Failure, Phase, Resource};
use crate::filter::forwarded::client_address;
use crate::filter::{Verdict, apply};
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::request::RequestHead;
use crate::record::Record;
use crate::snapshot::{Listener, Peer, Service};
use crate::upstream::evidence::Evidence;
use crate::upstream::retry::{Again, Attempted, NoRetry, decide};
use crate::upstream::reuse::{UpstreamWord, idle_ms};

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come.
    KeepAlive,
    /// It closes.
    Close,
    /// It closes once the client has had time to read the answer.
    Linger,
}

/// How `run` came to its end where nothing failed.
pub(super) enum Ending {
    /// The whole answer went out; true where the connection may stay open.
    Answered(bool),
    /// The connection was handed to another protocol and is over.
    Tunnelled,
}

/// Answers one request, whose head was parsed or refused, and records it.
pub(super) async fn exchange<T: Transport>(
    worker: &Rc<Worker<T>>,
    session: &mut Session<T>,
    head: &mut RequestHead,
    parsed: Result<(), Failure>,
) -> After {
    let live = Rc::clone(&session.live);
    let Some(listener) = live.snapshot.listener(session.listener) else { return After::Close };
    let client = client_address(head, session.peer.address, &listener.trusted);
    let mut record = Record::new(session.listener, client, worker.transport.now_us());
    record.request_id = u128::from(worker.transport.random()) << 64 | u128::from(worker.transport.random());
    let mut exchange = Exchange {
        worker,
        live: &live,
        listener,
        peer: session.peer,
        is_last: session.is_last,
        progress: Progress::default(),
        body: RequestBody { decoder: BodyDecoder::new(head.framing()), trailers: Vec::new() },
        held: RefCell::default(),
        admission: RefCell::default(),
        record,
    };
    let outcome = match parsed {
        Ok(()) => {
            let run = pin!(exchange.run(&mut session.link, head));
            caught(run).await.unwrap_or_else(|_| {
                worker.metrics.borrow_mut().counters.panics += 1;
                Err(Failure::Internal("exchange"))
            })
        }
        Err(failure) => Err(failure),
    };
    exchange.held.borrow_mut().let_go(&worker.spares);
    let after = exchange.settle(outcome, &mut session.link, head).await;
    exchange.finish(head);
    after
}

pub(super) struct Exchange<'a, T: Transport> {
    pub(super) worker: &'a Rc<Worker<T>>,
    pub(super) live: &'a Live<T>,
    pub(super) listener: &'a Listener,
    pub(super) peer: Peer,
    pub(super) is_last: bool,
    pub(super) progress: Progress,
    pub(super) body: RequestBody,
    pub(super) held: RefCell<Held>,
    /// What the circuit breaker waits to hear.
    pub(super) admission: RefCell<Option<Admission>>,
    pub(super) record: Record,
}

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

impl<T: Transport> Exchange<'_, T> {
    async fn run(&mut self, client: &mut Link<T>, head: &mut RequestHead) -> Result<Ending, Failure> {
        self.progress.phase.set(Phase::Route);
        if self.worker.pressure.refuses(self.worker.transport.random()) {
            return Err(Failure::LocalResource(Resource::Worker));
        }
        let live = self.live;
        let route_at = self.listener.router.find(head).ok_or(Failure::NoRoute)?;
        self.record.route = Some(route_at);
        let route = live.snapshot.routes.get(route_at).ok_or(Failure::Internal("route"))?;
        match apply(&route.filters, head).map_err(Failure::from)? {
            Verdict::Pass => {}
            Verdict::Redirect(redirect) => return self.redirect(client, head, redirect).await,
        }
        self.check_request(client, head)?;
        let service_at = route.service.ok_or(Failure::NoRoute)?;
        self.record.service = Some(service_at);
        let service = live.snapshot.services.get(service_at).ok_or(Failure::Internal("service"))?;
        let total_at_ms = service.timeouts.total_ms.map(|ms| self.worker.transport.coarse_ms() + ms);
        let to = Destination { route, service_at, service, total_at_ms };
        let admission = self.ask_breaker(&to)?;
        self.admission.replace(admission);
        let permit = self.admit(client, head, &to).await?;
        let outcome = self.attempts(client, head, &to, permit).await;
        let outcome = outcome.inspect_err(|failure| self.note_failure(*failure));
        let (delivered, mut upstream, permit) = outcome?;
        self.progress.phase.set(Phase::Body);
        match delivered {
            Delivered::Response { keep_alive, word } => {
                self.release(&permit.endpoint, upstream, service, word);
                // Only now: whoever waits for room finds the connection in the pool.
                drop(permit);
                if let Some(phase) = self.progress.client_left.get() {
                    self.progress.status.set(499);
                    return Err(Failure::ClientClosed(phase));
                }
                Ok(Ending::Answered(keep_alive))
            }
            Delivered::Upgrade => self.tunnel(client, &mut upstream, service).await,
        }
    }

    /// What can be refused before an upstream hears of it.
    fn check_request(&self, client: &Link<T>, head: &RequestHead) -> Result<(), Failure> {
        if let (Framing::Length(length), Some(max)) = (head.framing(), self.listener.body_bytes_max)
            && length > max
        {
            return Err(Failure::ClientBodyTooLarge);
        }
        if head.upgrade().is_some() && !client.inbox.is_empty() {
            return Err(Failure::ClientBadRequest("bytes_before_upgrade"));
        }
        Ok(())
    }

    /// Attempts until one is answered, or the table says that there shall be no other.
    async fn attempts(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        to: &Destination<'_>,
        mut permit: Permit<T>,
    ) -> Result<(Delivered, Upstream<T>, Permit<T>), Failure> {
        let is_idempotent = head.is_idempotent();
        let live = self.live;
        let service = live.services.get(to.service_at).ok_or(Failure::Internal("service"))?;
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
            let again = self.again(head, to, attempted);
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
                let state = || Paid { state: Rc::clone(&service.state), retries: 0 };
                paid.get_or_insert_with(state).retries += 1;
                service.state.budget.borrow_mut().take();
            }
            // Others may have the place meanwhile.
            drop(permit);
            let hash = request_hash(to.service, head, self.listener, self.peer);
            let at = match next {
                Next::Queue => self.queue(client, service, to, hash).await?,
                Next::Other(at, _) if self.progress.retry_after_s.get() > 0 => {
                    self.worker.transport.sleep(u64::from(self.progress.retry_after_s.take()) * 1_000).await;
                    self.pick(service, to, hash).unwrap_or(at)
                }
                Next::Other(at, _) => at,
                Next::Same => return Err(Failure::Internal("attempts")),
            };
            permit = self.permit(service, at)?;
        }
    }

    /// What may be done in the next attempt.
    fn terms(&self, head: &RequestHead, to: &Destination<'_>, tries: &Tries, is_idempotent: bool) -> Terms {
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
        to: &Destination<'_>,
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
    fn again(&self, head: &RequestHead, to: &Destination<'_>, attempted: Attempted) -> Result<Next, Option<NoRetry>> {
        let service = self.live.services.get(to.service_at).ok_or(None)?;
        let rules = &to.service.retry;
        let (is_paid, or_same) = match decide(rules, &attempted)? {
            Again::SameEndpoint => return Ok(Next::Same),
            Again::OtherEndpoint { is_paid, or_same } => (is_paid, or_same),
        };
        let hash = request_hash(to.service, head, self.listener, self.peer);
        let at = match (self.pick(service, to, hash), self.record.endpoint.filter(|_| or_same)) {
            (Ok(at), _) | (Err(_), Some(at)) => at,
            // Nothing was lost yet: it waits like one that just came.
            (Err(NotPicked::Busy), None) if !is_paid && to.service.limits.queue > 0 => return Ok(Next::Queue),
            (Err(_), None) => return Err(Some(NoRetry::NoOtherEndpoint)),
        };
        if is_paid && !self.has_budget(service) {
            return Err(Some(NoRetry::Budget));
        }
        Ok(Next::Other(at, is_paid))
    }

    fn has_budget(&self, service: &LiveService<T>) -> bool {
        let in_flight = service.state.gate.in_flight();
        service.state.budget.borrow_mut().has_room(in_flight, self.worker.transport.coarse_ms())
    }

    /// Keeps the upstream connection if both sides can go on with it.
    fn release(&self, endpoint: &Rc<Endpoint<T>>, upstream: Upstream<T>, service: &Service, word: UpstreamWord) {
        if !upstream.link.inbox.is_empty() {
            // Bytes behind the response: whatever they are, they answer no request of ours.
            self.worker.metrics.borrow_mut().counters.idle_closed_unsolicited += 1;
            return;
        }
        let wear = upstream.wear(self.worker.transport.coarse_ms());
        if let Some(idle_ms) = idle_ms(&service.reuse, wear, word) {
            endpoint.check_in(self.worker, upstream, idle_ms, service.idle_connections_max);
        }
    }

    async fn tunnel(
        &mut self,
        client: &mut Link<T>,
        upstream: &mut Upstream<T>,
        service: &Service,
    ) -> Result<Ending, Failure> {
        self.progress.phase.set(Phase::Tunnel);
        let carried = Carried::default();
        let result = carry(client, &mut upstream.link, service.timeouts.tunnel_ms, &carried).await;
        self.progress.request_bytes.set(carried.up.get());
        self.progress.response_bytes.set(carried.down.get());
        result.map(|()| Ending::Tunnelled)
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
