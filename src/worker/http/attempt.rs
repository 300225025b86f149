//! One attempt to have a request answered by one endpoint, and the attempts that follow it.

use super::super::engine::Transport;
use super::super::time::timer::Deadline;
use super::super::upstreams::admit::Destination;
use super::super::upstreams::connect::{NotConnected, connect};
use super::super::upstreams::endpoint::UpstreamConnection;
use super::super::upstreams::gate::Permit;
use super::super::upstreams::outcome::{self, Exchanged};
use super::super::upstreams::service::{LiveService, NotPicked};
use super::super::wire::link::Link;
use super::body::BodyFraming;
use super::duplex;
use super::progress::UploadState;
use super::state::{ClientWatch, Exchange};
use super::transfer::{Delivered, Discards, Transfer};
use crate::config::services::HostRule;
use crate::encode::hop::UpstreamHost;
use crate::encode::request::{h2_request, put_request_head};
use crate::encode::wire::Wire;
use crate::failure::{Failure, Phase};
use crate::limits::{ADDED_FIELDS_BYTES, BODY_BUFFER_BYTES};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::Address;
use crate::timeouts::Timeout;
use crate::upstream::attempts::{Attempts, FailedAttempt, Next, Options, RequestKind, Standpoint};
use crate::upstream::evidence::{Evidence, State};
use crate::upstream::retry::NoRetry;

/// An exchange that was answered, with what it went over.
pub(super) struct Answered<T: Transport> {
    pub delivered: Delivered,
    pub upstream: UpstreamConnection<T>,
    pub permit: Permit<T>,
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

/// What the service of an exchange has for another attempt.
struct ServiceOptions<'a, T: Transport> {
    exchange: &'a Exchange<'a, T>,
    to: &'a Destination<T>,
}

impl<T: Transport> Options for ServiceOptions<'_, T> {
    fn pick(&mut self, tried: &[usize]) -> Result<usize, bool> {
        self.to.pick(self.exchange.kit(), tried).map_err(|why| why == NotPicked::Busy)
    }

    fn has_queue(&self) -> bool {
        self.to.snapshot().spec.limits.queue > 0
    }

    fn has_budget(&self) -> bool {
        self.to.service.has_budget(self.exchange.kit().transport.coarse_ms())
    }
}

/// Attempts until one is answered, or the table says that there shall be no other.
///
/// # Errors
/// The failure of the last one.
pub(super) async fn attempts<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    to: &Destination<T>,
    mut permit: Permit<T>,
) -> Result<Answered<T>, Failure> {
    let rules = &to.snapshot().spec.retry;
    let request = request_kind(head, rules.buffer.bytes());
    let mut attempts = Attempts::default();
    let mut paid = Paid { service: &to.service, retries: 0 };
    loop {
        let failed = match attempt(exchange, client, head, (to, &permit), (&attempts, request)).await {
            Ok((delivered, upstream)) => return Ok(Answered { delivered, upstream, permit }),
            Err(failed) => *failed,
        };
        if failed.failure.handling().closes_client {
            return Err(failed.failure);
        }
        if let Some(phase) = exchange.progress.client_left.get() {
            return Err(Failure::ClientClosed(phase));
        }
        exchange.account.note_failed(failed);
        let standpoint = standpoint(exchange, to);
        let mut options = ServiceOptions { exchange, to };
        let next = attempts.next(rules, (request, standpoint), &failed, &mut options);
        let name = next.map_or_else(|why| why.map_or("", NoRetry::name), Next::name);
        exchange.kit().metrics.borrow_mut().count_retry(to.snapshot().label, name);
        let next = match next {
            Ok(next) => next,
            Err(why) => {
                exchange.account.note_no_retry(why);
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
            permit = Box::pin(another(exchange, client, to, &attempts, next)).await?;
        }
    }
}

/// A place for the next attempt at another endpoint.
async fn another<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    to: &Destination<T>,
    attempts: &Attempts,
    next: Next,
) -> Result<Permit<T>, Failure> {
    let kit = exchange.kit();
    if let Next::Other(at, _) = next {
        let wait_s = exchange.progress.retry_after_s.take();
        let at = if wait_s > 0 {
            kit.pause(Timeout::RetryAfter, Some(u64::from(wait_s) * 1_000)).await;
            to.pick(kit, attempts.tried()).unwrap_or(at)
        } else {
            at
        };
        if let Some(permit) = to.permit(kit, at) {
            return Ok(permit);
        }
    }
    exchange.account.enter(Phase::Queue);
    let Link { receiver, inbox, timer, .. } = client;
    let deadline = Deadline { timer, total_at_ms: to.total_at_ms };
    to.queue(kit, attempts.tried(), &mut ClientWatch { receiver, inbox }, &deadline).await
}

fn request_kind(head: &RequestHead, buffer_bytes: u64) -> RequestKind {
    RequestKind {
        is_idempotent: head.is_idempotent(),
        is_upgrade: head.upgrade().is_some(),
        is_holdable: match head.framing() {
            Framing::None => true,
            Framing::Length(length) => length <= buffer_bytes,
            Framing::Chunked | Framing::UntilClose => false,
        },
    }
}

fn standpoint<T: Transport>(exchange: &Exchange<'_, T>, to: &Destination<T>) -> Standpoint {
    Standpoint {
        has_client_bytes: exchange.account.is_response_started() || exchange.progress.has_interim.get(),
        is_body_held: exchange.held.borrow().is_whole(),
        is_late: to.total_at_ms.is_some_and(|at| at <= exchange.kit().transport.coarse_ms()),
    }
}

/// Sends the request to the endpoint of the permit and passes the response on.
///
/// # Errors
/// The attempt as it is recorded.
async fn attempt<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    (to, permit): (&Destination<T>, &Permit<T>),
    (attempts, request): (&Attempts, RequestKind),
) -> Result<(Delivered, UpstreamConnection<T>), Box<FailedAttempt>> {
    let kit = exchange.kit();
    let began_us = exchange.account.begin_attempt(permit.at, || kit.transport.now_us());
    exchange.progress.begin_attempt();
    exchange.account.enter(Phase::Connect);
    let deadline = Deadline { timer: &client.timer, total_at_ms: to.total_at_ms };
    let reuse = (attempts.reuse(request), request.is_upgrade);
    let connected = connect(kit, to, permit, &deadline, reuse).await;
    exchange.account.note_connected(kit.transport.now_us());
    let mut upstream = match connected {
        Ok((upstream, facts)) => {
            exchange.account.note_connection(facts);
            upstream
        }
        Err(NotConnected { failure, errno }) => {
            exchange.account.note_errno(errno);
            let failed = failed(exchange, permit, failure, began_us);
            outcome::fails_to_connect(kit, to, permit, &failed);
            return Err(Box::new(failed));
        }
    };
    let outcome = transfer(exchange, client, &mut upstream, head, (to, permit), (attempts, request)).await;
    upstream.sent_bytes += exchange.account.sent_bytes().get();
    match outcome {
        Ok(delivered) => {
            outcome::answers_with_error(kit, to, permit, exchange.account.status());
            Ok((delivered, upstream))
        }
        Err(failure) => {
            let mut failed = failed(exchange, permit, failure, began_us);
            let exchanged = Exchanged {
                is_unsent: exchange.progress.upload.get() == UploadState::Broken(Failure::StaleReuseUnsent),
                has_response_bytes: exchange.progress.has_response_bytes.get(),
                status: exchange.account.status(),
            };
            outcome::fails(kit, to, permit, &upstream, (&mut failed, exchanged)).await;
            Err(Box::new(failed))
        }
    }
}

/// The attempt as it is recorded.
fn failed<T: Transport>(
    exchange: &Exchange<'_, T>,
    permit: &Permit<T>,
    failure: Failure,
    began_us: u64,
) -> FailedAttempt {
    FailedAttempt {
        endpoint: permit.at,
        failure,
        evidence: Evidence::None,
        state: State::Unknown,
        acked_bytes: None,
        connection: exchange.account.connection(),
        errno: exchange.account.errno(),
        sent_bytes: exchange.account.sent_bytes().get(),
        took_us: exchange.kit().transport.now_us().saturating_sub(began_us),
    }
}

#[expect(clippy::await_holding_refcell_ref, reason = "nobody else asks for the body while it is sent")]
async fn transfer<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    upstream: &mut UpstreamConnection<T>,
    head: &RequestHead,
    (to, permit): (&Destination<T>, &Permit<T>),
    (attempts, request): (&Attempts, RequestKind),
) -> Result<Delivered, Failure> {
    let kit = exchange.kit();
    let rest = match head.framing() {
        Framing::None => 0,
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Framing::Chunked | Framing::UntilClose => BODY_BUFFER_BYTES,
    };
    let length = (head.bytes().len() + ADDED_FIELDS_BYTES).saturating_add(rest);
    let mut out = kit.buffers.buffer(length.min(BODY_BUFFER_BYTES));
    let encoded = put_request(exchange, &mut upstream.link, head, (to, permit), &mut out);
    let standpoint = standpoint(exchange, to);
    let may_discard_status = attempts.may_discard_status(&to.snapshot().spec.retry, request, standpoint);
    let transfer = Transfer {
        worker: exchange.worker,
        listener: exchange.listener,
        edits: exchange.edits(),
        head,
        to,
        permit,
        admission: &exchange.admission,
        connection: exchange.account.connection(),
        is_stream: upstream.link.is_stream(),
        sent_before: upstream.sent_bytes,
        is_secure: exchange.is_secure(),
        is_grpc: exchange.is_grpc.get(),
        is_last: exchange.is_last,
        held: &exchange.held,
        discards: Discards {
            idle_timeout: attempts.may_discard_timeout(request),
            elsewhere: may_discard_status.then(|| attempts.tried()),
        },
        progress: &exchange.progress,
        account: &exchange.account,
    };
    let delivered = match encoded {
        Ok(()) => {
            let mut body = exchange.body.borrow_mut();
            duplex::run(&transfer, client, &mut upstream.link, &mut body, &mut out).await
        }
        Err(failure) => Err(failure),
    };
    exchange.worker.kit.buffers.put_buffer(out);
    delivered
}

/// Encodes the head, and what is held of the body.
fn put_request<T: Transport>(
    exchange: &Exchange<'_, T>,
    upstream: &mut Link<T>,
    head: &RequestHead,
    (to, permit): (&Destination<T>, &Permit<T>),
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (hop, edits) = (exchange.hop(), &exchange.edits().request);
    let name = to.members.name_of(permit.at).as_bytes();
    let is_unix = matches!(permit.endpoint.address, Address::Unix(_));
    let endpoint = if is_unix { b"localhost" } else { name };
    let host = UpstreamHost {
        set: match &to.snapshot().spec.host {
            HostRule::Keep => None,
            HostRule::Endpoint => Some(endpoint),
            HostRule::Name(name) => Some(name.as_bytes()),
        },
        fallback: endpoint,
    };
    let wire = upstream.sender.wire();
    match wire {
        Wire::Http1 => put_request_head(out, head, &hop, &host, edits),
        Wire::H2 => {
            let scheme = if to.snapshot().tls.is_some() { "https" } else { "http" };
            let request = h2_request(head, &hop, &host, edits, scheme);
            let request = request.map_err(|fault| Failure::ClientBadRequest(fault.0))?;
            let is_last = matches!(head.framing(), Framing::None | Framing::Length(0));
            upstream.sender.put_head(request, is_last);
        }
    }
    let held = exchange.held.borrow();
    if !held.bytes().is_empty() {
        BodyFraming::of(wire, head.framing()).put(out, held.bytes());
    }
    Ok(())
}
