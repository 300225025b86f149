//! One attempt to have a client's request answered by one endpoint.

use super::super::engine::Transport;
use super::super::time::timer::Deadline;
use super::super::upstreams::admit::Destination;
use super::super::upstreams::attempts::Asker;
use super::super::upstreams::connect::{NotConnected, connect};
use super::super::upstreams::endpoint::UpstreamConnection;
use super::super::upstreams::gate::Permit;
use super::super::upstreams::outcome::{self, Exchanged};
use super::super::wire::link::Link;
use super::body::BodyFraming;
use super::bound;
use super::duplex;
use super::progress::UploadState;
use super::state::{ClientWatch, Exchange};
use super::transfer::{Delivered, Discards, Transfer};
use crate::encode::gateway::put_gateway_head;
use crate::encode::gateway::variables::{GatewayFault, GatewayRequest};
use crate::encode::hop::{Hop, UpstreamTarget};
use crate::encode::request::{h2_request, put_request_head};
use crate::encode::wire::Wire;
use crate::failure::{Failure, Phase};
use crate::filter::Chain;
use crate::filter::edits::FieldEdits;
use crate::filter::template::Values;
use crate::limits::{ADDED_FIELDS_BYTES, BODY_BUFFER_BYTES};
use crate::proto::gateway::Gateway;
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::ServiceGateway;
use crate::upstream::attempts::{Attempts, FailedAttempt, RequestKind, Standpoint};
use crate::upstream::retry::NoRetry;

/// What an attempt delivered, and the upstream connection that it used.
pub(super) struct Answered<T: Transport> {
    pub delivered: Delivered,
    pub upstream: UpstreamConnection<T>,
}

/// A client's request on its way to a service.
pub(super) struct Passing<'a, T: Transport> {
    pub exchange: &'a Exchange<'a, T>,
    pub client: &'a mut Link<T>,
    pub head: &'a RequestHead,
    pub to: &'a Destination<T>,
}

impl<T: Transport> Asker<T> for Passing<'_, T> {
    type Answer = Answered<T>;

    fn kind(&self) -> RequestKind {
        // One that is held already can be sent again, however long it is.
        let is_held = self.exchange.body_length.get().is_some();
        request_kind(self.head, if is_held { u64::MAX } else { self.to.retry().buffer.bytes() }, is_held)
    }

    fn standpoint(&self) -> Standpoint {
        standpoint(self.exchange, self.to)
    }

    async fn attempt(&mut self, permit: &Permit<T>, attempts: &Attempts) -> Result<Answered<T>, Box<FailedAttempt>> {
        let kind = self.kind();
        attempt(self.exchange, self.client, self.head, (self.to, permit), (attempts, kind)).await
    }

    async fn queue(&mut self, tried: &[usize]) -> Result<Permit<T>, Failure> {
        queue(self.exchange, self.client, self.to, tried).await
    }

    async fn pause(&mut self, ms: u64) -> Result<(), Failure> {
        let Link { receiver, inbox, timer, .. } = &mut *self.client;
        let deadline = Deadline { timer, total_at_ms: self.to.total_at_ms };
        let (half_close, progress) = (self.exchange.listener.spec.half_close, &self.exchange.progress);
        self.to.pause(ms, &mut ClientWatch { receiver, inbox, half_close, progress }, &deadline).await
    }

    fn has_left(&self) -> Option<Failure> {
        self.exchange.progress.client_left.get().map(Failure::ClientClosed)
    }

    fn note_failed(&mut self, failed: FailedAttempt) {
        self.exchange.account.note_failed(failed);
    }

    fn note_no_retry(&mut self, why: Option<NoRetry>) {
        self.exchange.account.note_no_retry(why);
    }

    fn retry_after_s(&mut self) -> u32 {
        self.exchange.progress.retry_after_s.take()
    }
}

/// Waits in the service's queue. The client is watched meanwhile.
pub(super) async fn queue<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    to: &Destination<T>,
    tried: &[usize],
) -> Result<Permit<T>, Failure> {
    exchange.account.enter(Phase::Queue);
    let Link { receiver, inbox, timer, .. } = client;
    let deadline = Deadline { timer, total_at_ms: to.total_at_ms };
    let (half_close, progress) = (exchange.listener.spec.half_close, &exchange.progress);
    to.queue(exchange.kit(), tried, &mut ClientWatch { receiver, inbox, half_close, progress }, &deadline).await
}

fn request_kind(head: &RequestHead, buffer_bytes: u64, is_held: bool) -> RequestKind {
    RequestKind {
        is_idempotent: head.is_idempotent(),
        is_upgrade: head.demands_upgrade(),
        is_holdable: match head.framing() {
            Framing::None => true,
            Framing::Length(length) => length <= buffer_bytes,
            Framing::Chunked | Framing::UntilClose => is_held,
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
) -> Result<Answered<T>, Box<FailedAttempt>> {
    let kit = exchange.kit();
    let began_us = exchange.account.begin_attempt(permit.at, || kit.transport.now_us());
    exchange.progress.begin_attempt();
    exchange.account.enter(Phase::Connect);
    let deadline = Deadline { timer: &client.timer, total_at_ms: to.total_at_ms };
    let connected = match bound::take(exchange, permit, attempts) {
        Some(own) => Ok(own),
        None => {
            connect(kit, to, permit, &deadline, bound::reuse(head, attempts, request, to.snapshot().spec.protocol))
                .await
        }
    };
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
    log_told(exchange, to, &upstream.link.receiver.take_told());
    match outcome {
        Ok(delivered) => {
            outcome::answers_with_error(kit, to, permit, exchange.account.status());
            Ok(Answered { delivered, upstream })
        }
        Err(failure) => {
            let mut failed = failed(exchange, permit, failure, began_us);
            let exchanged = Exchanged {
                is_unsent: exchange.progress.upload.get() == UploadState::Broken(Failure::StaleReuseUnsent),
                has_response_bytes: exchange.progress.has_response_bytes.get(),
                status: exchange.account.status(),
            };
            outcome::fails(kit, to, permit, &upstream, (&mut failed, exchanged)).await;
            upstream.end(kit);
            Err(Box::new(failed))
        }
    }
}

/// Logs what the program behind a FastCGI server said of itself, line by line.
fn log_told<T: Transport>(exchange: &Exchange<'_, T>, to: &Destination<T>, told: &[u8]) {
    if told.is_empty() {
        return;
    }
    let route = exchange.route.get().map_or("", |route| &*route.route.name);
    let (service, request_id) = (&*to.snapshot().name, format!("{:032x}", exchange.hop.request_id));
    for line in told.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        tracing::warn!(
            service,
            route,
            request_id,
            line = &*line,
            "a program behind a FastCGI server wrote to its standard error"
        );
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
        connection: exchange.account.connection(),
        errno: exchange.account.errno(),
        sent_bytes: exchange.account.sent_bytes().get(),
        took_us: exchange.kit().transport.now_us().saturating_sub(began_us),
        ..FailedAttempt::new(permit.at, failure)
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
    let offers = may_offer(head, client, upstream);
    put_request(exchange, upstream, (head, offers), (to, permit), &mut out)?;
    let standpoint = standpoint(exchange, to);
    let may_discard_status = attempts.may_discard_status(to.retry(), request, standpoint);
    let transfer = Transfer {
        worker: exchange.worker,
        listener: exchange.listener,
        edits: exchange.edits(),
        chains: exchange.chains(),
        body_max: exchange.body_max(),
        body_length: &exchange.body_length,
        head,
        to,
        permit,
        admission: &exchange.admission,
        connection: exchange.account.connection(),
        gateway: upstream.gateway,
        is_stream: upstream.link.is_stream(),
        sent_before: upstream.sent_bytes,
        is_secure: exchange.hop.asked.is_secure(),
        is_grpc: exchange.is_grpc.get(),
        is_open_ended: exchange.is_grpc.get() && upstream.link.is_stream(),
        offers,
        is_last: exchange.is_last,
        held: &exchange.held,
        copies: &exchange.copies,
        discards: Discards {
            idle_timeout: attempts.may_discard_timeout(request),
            elsewhere: may_discard_status.then(|| attempts.tried()),
        },
        progress: &exchange.progress,
        account: &exchange.account,
    };
    let mut body = exchange.body.borrow_mut();
    let delivered = duplex::run(&transfer, client, &mut upstream.link, &mut body, &mut out).await;
    exchange.worker.kit.buffers.put_buffer(out);
    delivered
}

/// Encodes the head, and what is held of the body.
fn put_request<T: Transport>(
    exchange: &Exchange<'_, T>,
    upstream: &mut UpstreamConnection<T>,
    (head, offers): (&RequestHead, bool),
    (to, permit): (&Destination<T>, &Permit<T>),
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (hop, edits) = (exchange.hop(), &exchange.edits().request);
    let target = UpstreamTarget { length: exchange.body_length.get(), ..to.target(permit) };
    let wire = upstream.link.sender.wire();
    match (&to.snapshot().gateway, wire) {
        (Some(service), _) => put_variables(exchange, (service, upstream.gateway), (head, &hop, &target, edits), out)?,
        (None, Wire::Http1) => put_request_head(out, head, &hop, &target, edits, offers),
        (None, Wire::H2) => {
            let scheme = if to.snapshot().tls.is_some() { "https" } else { "http" };
            let request = h2_request(head, &hop, &target, edits, scheme);
            let is_last = head.framing().is_empty();
            upstream.link.sender.put_head(request, is_last);
        }
    }
    let held = exchange.held.borrow();
    if !held.bytes().is_empty() {
        BodyFraming::towards(upstream.gateway, wire, target.framing_of(head)).put(out, held.bytes());
    }
    Ok(())
}

/// Encodes the variables of an application server.
fn put_variables<T: Transport>(
    exchange: &Exchange<'_, T>,
    (service, spoken): (&ServiceGateway, Option<Gateway>),
    (head, hop, target, edits): (&RequestHead, &Hop<'_>, &UpstreamTarget<'_>, &FieldEdits),
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let context = exchange.context(&Chain::NONE);
    let values = Values { edits: Some(edits), ..Values::of(head, &context) };
    let params = service.params_of(&values);
    let (client_port, script) = (exchange.client_port, exchange.script.get().map(|script| &**script));
    let request = GatewayRequest { head, hop, target, edits, client_port, params: &params, script };
    put_gateway_head(out, spoken.unwrap_or(service.gateway), &request).map_err(|fault| match fault {
        GatewayFault::TooLarge => Failure::UpstreamHeadLimit,
        GatewayFault::Nul => Failure::ClientBadRequest("nul"),
    })
}

/// Whether the client's offer of another protocol goes with the request. Neither HTTP/2 nor application servers have such offers; and
/// where the next request is here already, the connection is needed for its answer.
fn may_offer<T: Transport>(head: &RequestHead, client: &Link<T>, upstream: &UpstreamConnection<T>) -> bool {
    upstream.link.sender.wire() == Wire::Http1
        && upstream.gateway.is_none()
        && head.upgrade().is_some()
        && (!head.framing().is_empty() || client.inbox.is_empty())
}
