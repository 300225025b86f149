//! Draws conclusions from how a request ended: about its connection, its endpoint and its service, and from evidence
//! whether it may be sent again.

use std::rc::Rc;

use super::super::engine::{Receive as _, Transport};
use super::super::kit::Kit;
use super::super::wire::ends::Inlet;
use super::admit::{Admission, Destination};
use super::endpoint::UpstreamConnection;
use super::gate::Permit;
use super::revive;
use crate::failure::Failure;
use crate::failure::row::{Blame, EvidenceSource};
use crate::limits::BODY_BUFFER_BYTES;
use crate::timeouts::Timeout;
use crate::upstream::attempts::{ConnectionFacts, FailedAttempt};
use crate::upstream::balance::Balance;
use crate::upstream::breaker::BreakerOutcome;
use crate::upstream::evidence::{Delivery, End, Evidence, Finding, SYN_BYTES, examine};
use crate::upstream::latency::Latency;
use crate::upstream::reuse::{UpstreamWord, idle_ms};
use crate::upstream::trouble::concerns;

/// How far a request came over its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchanged {
    /// Nothing of it could be sent.
    pub is_unsent: bool,
    /// Bytes have come back.
    pub has_response_bytes: bool,
    /// The status that came, 0 for none.
    pub status: u16,
}

/// What an answer tells beside its contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerFacts {
    /// It came over a connection of many streams.
    pub is_stream: bool,
    /// Its status.
    pub status: u16,
    /// How long the upstream took until it began, in microseconds.
    pub took_us: u64,
}

/// The upstream has answered: what that says of the endpoint and the service need not wait for the body.
pub(crate) fn succeeds<T: Transport>(
    kit: &Kit<T>,
    to: &Destination<T>,
    permit: &Permit<T>,
    facts: &ConnectionFacts,
    AnswerFacts { is_stream, status, took_us }: AnswerFacts,
    admission: Option<&mut Admission<T>>,
) {
    let now_ms = kit.transport.coarse_ms();
    let endpoint = &permit.endpoint;
    endpoint.state.troubles.note_success();
    to.snapshot().counts.troubles.note_success();
    if facts.is_reused && !is_stream {
        let mut habit = endpoint.habit.borrow_mut();
        habit.succeeds();
        // Where the connection was not looked at, this is what tells that it was still open.
        habit.survives(facts.idle_us, kit.transport.now_us());
    }
    if status < 500 || !to.snapshot().spec.ejection.server_errors {
        endpoint.passive.borrow_mut().succeeds(permit.is_trial, now_ms);
    }
    if let Some(admission) = admission {
        admission.count(BreakerOutcome { status, is_error: status >= 500, took_ms: took_us / 1_000 }, now_ms);
    }
    note_latency(to, permit, |latency| {
        if status < 500 { latency.observe(took_us, now_ms) } else { latency.observe_failure(took_us, now_ms) }
    });
}

/// Notes how long an endpoint took, where the balance asks.
fn note_latency<T: Transport>(to: &Destination<T>, permit: &Permit<T>, note: impl FnOnce(&mut Latency)) {
    if to.snapshot().spec.balance == Balance::LeastLatency {
        let mut latency = permit.endpoint.latency.get();
        note(&mut latency);
        permit.endpoint.latency.set(latency);
    }
}

/// Counts a 5xx of the upstream against its endpoint, where the service says so.
pub(crate) fn answers_with_error<T: Transport>(kit: &Rc<Kit<T>>, to: &Destination<T>, permit: &Permit<T>, status: u16) {
    if status >= 500 && to.snapshot().spec.ejection.server_errors {
        revive::note_failure(kit, &to.members, &permit.endpoint, Failure::UpstreamStatus, permit.began_ms);
    }
}

/// No connection came about: counts against the endpoint what is its fault.
pub(crate) fn fails_to_connect<T: Transport>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    permit: &Permit<T>,
    failed: &FailedAttempt,
) {
    note_attempt(kit, to, permit, failed, 0);
}

/// The request failed: finds the evidence, which may give the failure another name, and counts against connection and
/// endpoint what is their fault.
pub(crate) async fn fails<T: Transport>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    permit: &Permit<T>,
    upstream: &UpstreamConnection<T>,
    (failed, exchanged): (&mut FailedAttempt, Exchanged),
) {
    find_evidence(kit, upstream, failed, exchanged).await;
    note_connection(kit, permit, upstream, failed);
    note_attempt(kit, to, permit, failed, exchanged.status);
}

/// Asks the kernel what became of a request that got no byte of response.
async fn find_evidence<T: Transport>(
    kit: &Kit<T>,
    upstream: &UpstreamConnection<T>,
    failed: &mut FailedAttempt,
    exchanged: Exchanged,
) {
    let is_unasked = failed.failure == Failure::UpstreamUnsolicited;
    let end = match failed.failure.handling().evidence {
        EvidenceSource::None => return,
        EvidenceSource::Unsent => End::Unsent,
        EvidenceSource::Proof => {
            failed.evidence = Evidence::Proven;
            return;
        }
        // After the handshake: the request may have been read.
        EvidenceSource::Delivered => {
            failed.evidence = Evidence::Delivered;
            return;
        }
        // Where the peer's FIN came first, the kernel reports the reset that follows it as EPIPE. After any other error,
        // ETIMEDOUT among them, no orderly end of the peer is known.
        EvidenceSource::Kernel => match failed.errno {
            _ if exchanged.is_unsent => End::Unsent,
            0 | libc::EPIPE => End::Eof,
            _ => End::Reset,
        },
    };
    if exchanged.has_response_bytes && !is_unasked {
        // It had begun to answer.
        failed.evidence = Evidence::Delivered;
        return;
    }
    // What this attempt sent was added already.
    let sent_before = upstream.sent_bytes - failed.sent_bytes;
    let (evidence, delivery) = Box::pin(examine_end(kit, &upstream.link.receiver, end, sent_before)).await;
    failed.evidence = evidence;
    if let Some(delivery) = delivery {
        failed.state = delivery.state;
        failed.acked_bytes = Some(delivery.acked_bytes);
    }
    let is_plain = failed.failure == Failure::UpstreamClosedNoResponse;
    if failed.connection.is_reused && (is_plain || evidence.is_proof()) && !is_unasked {
        failed.failure = evidence.failure();
    }
}

/// True for a 408 that answers an idle connection: nothing shows that the upstream has read a byte of the request, or it may be sent
/// again in any case.
pub(crate) async fn is_unread<T: Transport>(
    kit: &Kit<T>,
    receiver: &Inlet<T>,
    sent_before: u64,
    is_idempotent: bool,
) -> bool {
    let (evidence, _) = Box::pin(examine_end(kit, receiver, End::Eof, sent_before)).await;
    evidence.is_proof() || is_idempotent
}

/// Judges the end of a connection that brought no response; waits a moment for a reset that may be on its way.
async fn examine_end<T: Transport>(
    kit: &Kit<T>,
    receiver: &Inlet<T>,
    end: End,
    sent_before: u64,
) -> (Evidence, Option<Delivery>) {
    let began_us = kit.transport.now_us();
    loop {
        let delivery = receiver.delivery();
        match examine(end, sent_before, delivery) {
            Finding::Evidence(evidence) => return (evidence, delivery),
            Finding::AskAgain(wait_us) if kit.transport.now_us().saturating_sub(began_us) < wait_us => {
                kit.pause(Timeout::Evidence, None).await;
            }
            Finding::AskAgain(_) => return (Evidence::Delivered, delivery),
        }
    }
}

/// What the end of a connection says of the endpoint's habit.
fn note_connection<T: Transport>(
    kit: &Kit<T>,
    permit: &Permit<T>,
    upstream: &UpstreamConnection<T>,
    failed: &FailedAttempt,
) {
    let endpoint = &permit.endpoint;
    if upstream.link.is_stream() {
        // A connection of many streams ends by its own rules.
        if matches!(failed.failure, Failure::UpstreamHeaderTimeout | Failure::UpstreamSendTimeout) {
            upstream.link.receiver.distrust();
        }
        return;
    }
    if failed.failure == Failure::UpstreamUnsolicited {
        endpoint.habit.borrow_mut().speaks_unasked();
    }
    if failed.evidence != Evidence::None && failed.connection.is_reused {
        endpoint.note_failed_reuse(kit, upstream, failed.connection.idle_us);
    } else if failed.evidence != Evidence::None {
        endpoint.habit.borrow_mut().fails_fresh();
    } else if upstream.is_trial {
        endpoint.habit.borrow_mut().drops_trial();
    }
}

/// Counts against the endpoint what is the endpoint's fault. A failure of a reused connection is none, for an
/// endpoint may close what it likes; neither is one of the client, the request or this host.
fn note_attempt<T: Transport>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    permit: &Permit<T>,
    failed: &FailedAttempt,
    status: u16,
) {
    let handling = failed.failure.handling();
    if handling.closes_client {
        return;
    }
    kit.metrics.borrow_mut().count_failed(to.snapshot().label, failed.failure.row().cause);
    if concerns(failed.failure, failed.evidence.is_proof()) {
        permit.endpoint.state.troubles.note_failure(failed.failure, kit.transport.coarse_ms());
    }
    let is_fault = match handling.ejection {
        Blame::None => false,
        Blame::Connection | Blame::Endpoint => true,
        Blame::NewConnection => !failed.connection.is_reused,
        Blame::ServerError => status >= 500 && to.snapshot().spec.ejection.server_errors,
    };
    if is_fault {
        let now_ms = kit.transport.coarse_ms();
        note_latency(to, permit, |latency| latency.observe_failure(failed.took_us, now_ms));
        revive::note_failure(kit, &to.members, &permit.endpoint, failed.failure, permit.began_ms);
    }
}

/// Keeps the connection if both sides can go on with it. `received_bytes` came over it for this request.
pub(crate) fn release<T: Transport>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    permit: &Permit<T>,
    upstream: UpstreamConnection<T>,
    came: (UpstreamWord, u64),
) {
    let per_worker = to.snapshot().spec.keep_alive.per_worker;
    if let Some((upstream, idle_ms)) = keep(kit, to, permit, upstream, came) {
        permit.endpoint.check_in(kit, upstream, idle_ms, per_worker);
    }
}

/// The connection, and how many milliseconds it may be idle, if both sides can go on with it.
pub(crate) fn keep<T: Transport>(
    kit: &Kit<T>,
    to: &Destination<T>,
    permit: &Permit<T>,
    mut upstream: UpstreamConnection<T>,
    (word, received_bytes): (UpstreamWord, u64),
) -> Option<(UpstreamConnection<T>, u64)> {
    if upstream.link.is_stream() {
        upstream.end(kit);
        return None;
    }
    if !upstream.link.inbox.is_empty() {
        // Bytes behind the response: whatever they are, they answer no request of ours.
        kit.metrics.borrow_mut().counters.idle_closed_unsolicited += 1;
        permit.endpoint.habit.borrow_mut().speaks_unasked();
        upstream.end(kit);
        return None;
    }
    let wear = upstream.wear(kit.transport.coarse_ms());
    let Some(idle_ms) = idle_ms(&to.snapshot().spec.keep_alive, wear, word) else {
        upstream.end(kit);
        return None;
    };
    // The next response is most likely like this one.
    let bytes = usize::try_from(received_bytes).unwrap_or(usize::MAX);
    kit.buffers.fit(&mut upstream.link.inbox, bytes.min(BODY_BUFFER_BYTES));
    Some((upstream, idle_ms))
}

/// True where an answer on a reused connection cannot be one to the request that was sent over it `took_us` ago: it came sooner than
/// any of late, and the peer has acknowledged no byte of that request. The segment of a genuine answer acknowledges some.
pub(crate) fn is_unasked<T: Transport>(
    permit: &Permit<T>,
    receiver: &Inlet<T>,
    sent_before: u64,
    took_us: u64,
) -> bool {
    let mut habit = permit.endpoint.habit.borrow_mut();
    if !habit.is_too_soon(took_us) {
        return false;
    }
    let is_unread = receiver.delivery().is_some_and(|delivery| delivery.acked_bytes <= sent_before + SYN_BYTES);
    if !is_unread {
        habit.answers_in(took_us);
    }
    is_unread
}
