//! A request of our own through a service: its limits, timeouts, retries and evidence hold, the answer is kept in memory.

use std::cell::Cell;
use std::rc::Rc;

use super::super::engine::{Transport, receive};
use super::super::host::Worker;
use super::super::kit::Kit;
use super::super::reply::Reply;
use super::super::time::timer::{Deadline, Timer};
use super::super::upstreams::admit::{Admission, Destination};
use super::super::upstreams::attempts::{Asker, attempts};
use super::super::upstreams::connect::{NotConnected, connect};
use super::super::upstreams::endpoint::UpstreamConnection;
use super::super::upstreams::gate::Permit;
use super::super::upstreams::outcome::{self, AnswerFacts, Exchanged};
use super::super::upstreams::watch::Nobody;
use super::super::wire::fault::fault_of;
use super::super::wire::send::{SendFault, SendTerms, send_all};
use super::judge;
use crate::encode::response::UpstreamResponse;
use crate::encode::subrequest::Subrequest;
use crate::encode::wire::Wire;
use crate::failure::{Failure, Phase};
use crate::limits::{ADDED_FIELDS_BYTES, BODY_BUFFER_BYTES, HEAD_BYTES_MAX, INTERIM_BYTES_MAX};
use crate::proto::h1::chunked::BodyOf;
use crate::proto::h1::fault::ResponseFault;
use crate::proto::h1::framing::BodyDecoder;
use crate::proto::h1::scan::HeadScan;
use crate::snapshot::Label;
use crate::timeouts::{Pace, Timeout};
use crate::upstream::attempts::{Attempts, ConnectionFacts, FailedAttempt, RequestKind, Standpoint};
use crate::upstream::reuse::UpstreamWord;

/// Asks an endpoint of the service. `body_max` bounds what is kept of the answer's body, in bytes.
///
/// # Errors
/// What went wrong in the last attempt; [`Failure::NoRoute`] where the worker knows no service of this label,
/// [`Failure::Internal`] for a request that is not [`Subrequest::is_valid`].
pub async fn ask<T: Transport>(
    worker: &Rc<Worker<T>>,
    service: Label,
    request: &Subrequest,
    body_max: usize,
) -> Result<Reply, Failure> {
    let kit = &worker.kit;
    if !request.is_valid() {
        return Err(Failure::Internal("subrequest"));
    }
    let service = worker.live.service(service).ok_or(Failure::NoRoute)?;
    let total_ms = service.members().service.spec.timeouts.total.limit_ms();
    let to = Destination::new(&service, kit.transport.random(), total_ms.map(|ms| kit.transport.coarse_ms() + ms));
    let admission = to.ask_breaker(kit)?;
    let mut own = OwnRequest {
        kit,
        to: &to,
        request,
        body_max,
        timer: kit.timer(),
        admission,
        wait_s: 0,
        sent_us: kit.transport.now_us(),
    };
    let permit = match to.admit_at_once(kit) {
        Some(admitted) => admitted?,
        None => own.queue(&[]).await?,
    };
    match attempts(kit, &to, &mut own, permit).await {
        Ok((reply, _)) => Ok(reply),
        Err(failure) => {
            let waited_ms = own.waited_us() / 1_000;
            if let Some(admission) = &mut own.admission {
                admission.count_failure(failure, (Phase::Wait, waited_ms), kit.transport.coarse_ms());
            }
            Err(failure)
        }
    }
}

/// A request of our own in all its attempts.
struct OwnRequest<'a, T: Transport> {
    kit: &'a Rc<Kit<T>>,
    to: &'a Destination<T>,
    request: &'a Subrequest,
    body_max: usize,
    timer: Timer<T>,
    admission: Option<Admission<T>>,
    /// What an answer that was thrown away asks to wait, in seconds.
    wait_s: u32,
    /// When the latest attempt was sent.
    sent_us: u64,
}

/// How far one attempt came.
#[derive(Debug, Default)]
struct Course {
    connection: ConnectionFacts,
    sent_bytes: Cell<u64>,
    received_bytes: u64,
    errno: i32,
    status: u16,
}

impl<T: Transport> Asker<T> for OwnRequest<'_, T> {
    type Answer = Reply;

    fn kind(&self) -> RequestKind {
        // It is all in memory.
        RequestKind { is_idempotent: self.request.is_idempotent(), is_upgrade: false, is_holdable: true }
    }

    fn standpoint(&self) -> Standpoint {
        let is_late = self.to.total_at_ms.is_some_and(|at| at <= self.kit.transport.coarse_ms());
        Standpoint { has_client_bytes: false, is_body_held: true, is_late }
    }

    async fn attempt(&mut self, permit: &Permit<T>, attempts: &Attempts) -> Result<Reply, Box<FailedAttempt>> {
        let (kit, to) = (self.kit, self.to);
        let began_us = kit.transport.now_us();
        let failed = |failure: Failure, course: &Course| FailedAttempt {
            connection: course.connection,
            errno: course.errno,
            sent_bytes: course.sent_bytes.get(),
            took_us: kit.transport.now_us().saturating_sub(began_us),
            ..FailedAttempt::new(permit.at, failure)
        };
        let deadline = Deadline { timer: &self.timer, total_at_ms: to.total_at_ms };
        let connected = connect(kit, to, permit, &deadline, (attempts.reuse(self.kind()), false)).await;
        let (mut upstream, connection) = match connected {
            Ok(connected) => connected,
            Err(NotConnected { failure, errno }) => {
                let failed = failed(failure, &Course { errno, ..Course::default() });
                outcome::fails_to_connect(kit, to, permit, &failed);
                return Err(Box::new(failed));
            }
        };
        let mut course = Course { connection, ..Course::default() };
        let exchanged = self.exchange(&mut upstream, (permit, attempts), &mut course).await;
        upstream.sent_bytes += course.sent_bytes.get();
        match exchanged {
            Ok((reply, word)) => {
                outcome::answers_with_error(kit, to, permit, course.status);
                match word {
                    Some(word) => outcome::release(kit, to, permit, upstream, (word, course.received_bytes)),
                    None => upstream.end(kit),
                }
                Ok(reply)
            }
            Err(failure) => {
                let mut failed = failed(failure, &course);
                let exchanged = Exchanged {
                    is_unsent: failure == Failure::StaleReuseUnsent,
                    has_response_bytes: course.received_bytes > 0,
                    status: course.status,
                };
                outcome::fails(kit, to, permit, &upstream, (&mut failed, exchanged)).await;
                upstream.end(kit);
                Err(Box::new(failed))
            }
        }
    }

    async fn queue(&mut self, tried: &[usize]) -> Result<Permit<T>, Failure> {
        let deadline = Deadline { timer: &self.timer, total_at_ms: self.to.total_at_ms };
        self.to.queue(self.kit, tried, &mut Nobody, &deadline).await
    }

    async fn pause(&mut self, ms: u64) -> Result<(), Failure> {
        let deadline = Deadline { timer: &self.timer, total_at_ms: self.to.total_at_ms };
        self.to.pause(ms, &mut Nobody, &deadline).await
    }

    fn retry_after_s(&mut self) -> u32 {
        std::mem::take(&mut self.wait_s)
    }
}

impl<T: Transport> OwnRequest<'_, T> {
    /// How long the upstream has had the latest attempt, in microseconds.
    fn waited_us(&self) -> u64 {
        self.kit.transport.now_us().saturating_sub(self.sent_us)
    }

    /// Sends the request and receives the answer, with what the upstream said about its connection; `None` where that
    /// cannot be kept.
    async fn exchange(
        &mut self,
        upstream: &mut UpstreamConnection<T>,
        (permit, attempts): (&Permit<T>, &Attempts),
        course: &mut Course,
    ) -> Result<(Reply, Option<UpstreamWord>), Failure> {
        let sent = self.send(upstream, permit, course).await;
        self.sent_us = self.kit.transport.now_us();
        let received = match sent {
            // The upstream may have answered before it stopped reading the request.
            Ok(()) | Err(Failure::UpstreamResetDuringSend) => {
                self.receive_head(upstream, (permit, attempts), course).await
            }
            Err(failure) => return Err(failure),
        };
        let (mut reply, decoder) = match (received, sent) {
            (Err(Failure::UpstreamClosedNoResponse), Err(failure)) | (Err(failure), _) => return Err(failure),
            (Ok(received), _) => received,
        };
        let (is_stream, took_us) = (upstream.link.is_stream(), self.waited_us());
        let answer = AnswerFacts { is_stream, status: course.status, took_us };
        outcome::succeeds(self.kit, self.to, permit, &course.connection, answer, self.admission.as_mut());
        reply.is_whole = self.receive_body(upstream, decoder, &mut reply.body, course).await?;
        let word = UpstreamWord {
            keeps_alive: reply.head.keeps_alive(),
            idle_s_max: reply.head.idle_s_max(),
            requests_max: reply.head.requests_max(),
        };
        // A connection with an unread rest of a body cannot be kept.
        let is_read = !self.request.has_unusual_body() || self.to.snapshot().spec.keep_alive.unusual_bodies;
        let goes_on = reply.is_whole && sent.is_ok() && is_read;
        Ok((reply, goes_on.then_some(word)))
    }

    async fn send(
        &self,
        upstream: &mut UpstreamConnection<T>,
        permit: &Permit<T>,
        course: &mut Course,
    ) -> Result<(), Failure> {
        let Self { kit, to, request, .. } = *self;
        let target = to.target(permit);
        let mut out = kit.buffers.buffer(BODY_BUFFER_BYTES);
        let sender = &mut upstream.link.sender;
        match sender.wire() {
            Wire::Http1 => request.put_head(&mut out, &target),
            Wire::H2 => {
                let scheme = if to.snapshot().tls.is_some() { "https" } else { "http" };
                let head = request.h2_head(&target, scheme);
                sender.put_head(head, request.body.is_empty());
                if !request.body.is_empty() {
                    sender.put_end(None);
                }
            }
        }
        out.extend_from_slice(&request.body);
        let deadline = Deadline { timer: &self.timer, total_at_ms: to.total_at_ms };
        let terms = SendTerms {
            timeout: (Timeout::UpstreamSend, to.timeouts().send.limit_ms()),
            pace: &mut Pace::unbounded(),
            total: &course.sent_bytes,
        };
        let sent = send_all(sender, &mut out, &deadline, terms).await;
        kit.buffers.put_buffer(out);
        sent.map_err(|fault| match fault {
            SendFault::Expired(failure) => failure,
            SendFault::Io(error, is_unsent) => {
                course.errno = error.raw_os_error().unwrap_or(0);
                let is_stale = is_unsent && course.connection.is_reused;
                if is_stale { Failure::StaleReuseUnsent } else { Failure::UpstreamResetDuringSend }
            }
        })
    }

    /// Receives heads until the final one.
    async fn receive_head(
        &mut self,
        upstream: &mut UpstreamConnection<T>,
        (permit, attempts): (&Permit<T>, &Attempts),
        course: &mut Course,
    ) -> Result<(Reply, BodyDecoder), Failure> {
        let leniency = self.to.snapshot().spec.leniency();
        let scan_head = || HeadScan::of_response(leniency);
        let (mut scan, mut interim_bytes, mut reply) = (scan_head(), 0, Reply::default());
        let deadline = Deadline { timer: &self.timer, total_at_ms: self.to.total_at_ms };
        let header_ms = self.to.timeouts().header.limit_ms();
        loop {
            let link = &mut upstream.link;
            let found = scan.advance(&link.inbox).map_err(|_| ResponseFault::BareLineFeed)?;
            if found.unwrap_or(link.inbox.len()) > HEAD_BYTES_MAX {
                return Err(ResponseFault::HeadTooLarge.into());
            }
            if let Some(length) = found {
                reply.head_bytes.clear();
                reply.head_bytes.extend(link.inbox.drain(..length));
                reply.head.parse(&reply.head_bytes, self.request.method == b"HEAD", leniency)?;
                scan = scan_head();
                if !reply.head.is_interim() {
                    break;
                }
                interim_bytes += length;
                if interim_bytes > INTERIM_BYTES_MAX {
                    return Err(ResponseFault::TooManyInterim.into());
                }
                continue;
            }
            if link.inbox.capacity() > 0 {
                self.kit.buffers.grow(&mut link.inbox, ADDED_FIELDS_BYTES);
            }
            let received = receive(&mut link.receiver, &mut link.inbox);
            match deadline.wait(Timeout::UpstreamHeader, header_ms, received).await? {
                Ok(bytes) if bytes > 0 => course.received_bytes += bytes as u64,
                Ok(_) if link.inbox.is_empty() => return Err(Failure::UpstreamClosedNoResponse),
                Ok(_) => return Err(Failure::UpstreamBadHeader("head_truncated")),
                Err(error) => {
                    course.errno = error.raw_os_error().unwrap_or(0);
                    return Err(fault_of(&error).unwrap_or(Failure::UpstreamClosedNoResponse));
                }
            }
        }
        course.status = reply.head.status();
        if course.status == 101 {
            return Err(ResponseFault::UpgradeNotAsked.into());
        }
        let is_reused = course.connection.is_reused && !upstream.link.is_stream();
        if is_reused && outcome::is_unasked(permit, &upstream.link.receiver, upstream.sent_bytes, self.waited_us()) {
            return Err(Failure::UpstreamUnsolicited);
        }
        if is_reused && course.status == 408 && self.is_for_an_idle_connection(upstream, attempts).await {
            return Err(Failure::UpstreamUnsolicited);
        }
        self.check_status(&reply, permit, attempts)?;
        let decoder = BodyDecoder::new(BodyOf::Response, reply.head.framing());
        Ok((reply, decoder))
    }

    /// True for a 408 that answers an idle connection and not the request, which the upstream did not take.
    async fn is_for_an_idle_connection(&self, upstream: &UpstreamConnection<T>, attempts: &Attempts) -> bool {
        let (receiver, sent_before) = (&upstream.link.receiver, upstream.sent_bytes);
        attempts.may_discard_timeout(self.kind())
            && outcome::is_unread(self.kit, receiver, sent_before, self.request.is_idempotent()).await
    }

    /// Throws the answer away where the service asks for another attempt at such a status, and there can be one.
    fn check_status(&mut self, reply: &Reply, permit: &Permit<T>, attempts: &Attempts) -> Result<(), Failure> {
        let (kit, to) = (self.kit, self.to);
        let rules = to.retry();
        if !rules.on_status.contains(&reply.head.status())
            || !attempts.may_discard_status(rules, self.kind(), self.standpoint())
            || !to.has_elsewhere(kit, attempts.tried(), permit.at)
        {
            return Ok(());
        }
        let response = UpstreamResponse { head: &reply.head, bytes: &reply.head_bytes };
        let now_ms = kit.transport.coarse_ms();
        let Some(wait_s) = judge::wait_s(response, rules, to.total_at_ms, now_ms) else { return Ok(()) };
        self.wait_s = wait_s;
        Err(Failure::UpstreamStatus)
    }

    /// Receives the body as far as it is asked for; true where that was all of it.
    async fn receive_body(
        &self,
        upstream: &mut UpstreamConnection<T>,
        mut decoder: BodyDecoder,
        body: &mut Vec<u8>,
        course: &mut Course,
    ) -> Result<bool, Failure> {
        let deadline = Deadline { timer: &self.timer, total_at_ms: self.to.total_at_ms };
        let body_ms = self.to.timeouts().body.limit_ms();
        let (link, mut trailers) = (&mut upstream.link, Vec::new());
        loop {
            let mut taken = 0;
            while taken < link.inbox.len() && !decoder.is_done() {
                let piece = decoder.decode(&link.inbox[taken..], &mut trailers);
                let piece = piece.map_err(|fault| Failure::UpstreamBadBody(fault.rule()))?;
                body.extend_from_slice(&link.inbox[taken..][piece.data]);
                taken += piece.consumed;
                if body.len() > self.body_max {
                    body.truncate(self.body_max);
                    return Ok(false);
                }
            }
            link.inbox.drain(..taken);
            if decoder.is_done() {
                return Ok(true);
            }
            let received = receive(&mut link.receiver, &mut link.inbox);
            match deadline.wait(Timeout::UpstreamBody, body_ms, received).await? {
                Ok(0) if decoder.ends_at_close() => return Ok(true),
                Ok(0) => return Err(Failure::UpstreamTruncated),
                Ok(bytes) => course.received_bytes += bytes as u64,
                Err(error) if decoder.ends_at_close() && judge::is_allowed_end(&self.to.snapshot().spec, &error) => {
                    return Ok(true);
                }
                Err(error) => {
                    course.errno = error.raw_os_error().unwrap_or(0);
                    return Err(Failure::UpstreamTruncated);
                }
            }
        }
    }
}
