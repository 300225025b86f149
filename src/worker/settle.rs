//! Ends an exchange: the one place where a failure becomes an answer, what becomes of the connection, the record.

use std::cell::Cell;

use super::exchange::{After, Ending, Exchange};
use super::io::{Transmit as _, Transport, receive};
use super::link::{Link, SendFault, send_all};
use super::timer::Patience;
use super::tls::early::Early;
use crate::failure::{Failure, Phase};
use crate::filter::error::{Answer, put_failure, put_redirect};
use crate::filter::{Redirect, grpc};
use crate::limits::{CLIENT_SEND_BYTES_PER_S_MIN, DRAIN_BYTES_MAX, HEAD_BUFFER_BYTES, SEND_GRACE_MS};
use crate::proto::h1::framing::BodyDecoder;
use crate::proto::h1::request::RequestHead;
use crate::timeouts::{LINGER_MS, Pace, Timeout};

impl<T: Transport> Exchange<'_, T> {
    pub(super) async fn redirect(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        redirect: &Redirect,
    ) -> Result<Ending, Failure> {
        let keep_alive = self.may_keep_alive(head);
        let mut out = self.worker.spares.buffer(HEAD_BUFFER_BYTES);
        put_redirect(&mut out, redirect, self.scheme(), &self.answer(head, keep_alive));
        self.progress.status.set(redirect.status);
        let sent = self.send(client, &mut out).await;
        self.worker.spares.put_buffer(out);
        sent.map(|()| Ending::Answered(keep_alive))
    }

    /// Turns the outcome into what becomes of the client's connection: the one place where a failure is answered.
    pub(super) async fn settle(
        &mut self,
        outcome: Result<Ending, Failure>,
        client: &mut Link<T>,
        head: &RequestHead,
    ) -> After {
        let keep_alive = match outcome {
            Ok(Ending::Tunnelled) => return After::Close,
            Ok(Ending::Answered(keep_alive)) => keep_alive,
            Err(failure) => {
                self.record.failure = Some(failure);
                if self.progress.is_response_started.get() {
                    // The client must not take what it has for the whole. A length or chunks tell it; where only
                    // the connection's end would, that end is a reset, which may cost bytes it has not read yet.
                    if self.progress.ends_at_close.get() {
                        client.sender.reset();
                    }
                    return After::Close;
                }
                let is_grpc = grpc::is_grpc(head) && !failure.is_silent();
                self.progress.status.set(if is_grpc { 200 } else { failure.row().status });
                if failure.is_silent() || self.progress.is_sending.get() {
                    return After::Close;
                }
                // After a bug nobody knows how far the body was read.
                let is_ours = matches!(failure, Failure::Internal(_));
                let keep_alive = self.may_keep_alive(head) && !failure.is_client_fault() && !is_ours;
                if self.send_failure(client, head, failure, keep_alive).await.is_err() {
                    return After::Close;
                }
                keep_alive
            }
        };
        // The end of the handshake is still on its way: a closed socket would answer it by a reset.
        let is_settled = self.early.is_none_or(Early::is_over);
        if keep_alive && self.drain(client).await {
            After::KeepAlive
        } else if is_settled && self.body.decoder.is_done() && self.record.failure.is_none() && client.inbox.is_empty()
        {
            After::Close
        } else {
            After::Linger
        }
    }

    async fn send_failure(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        failure: Failure,
        keep_alive: bool,
    ) -> Result<(), Failure> {
        let mut out = self.worker.spares.buffer(HEAD_BUFFER_BYTES);
        put_failure(&mut out, failure, &self.answer(head, keep_alive));
        let sent = self.send(client, &mut out).await;
        self.worker.spares.put_buffer(out);
        sent
    }

    fn answer<'h>(&self, head: &'h RequestHead, keep_alive: bool) -> Answer<'h> {
        Answer { head, proxy_status: self.listener.proxy_status, keep_alive, now: self.worker.transport.wall() }
    }

    async fn send(&self, client: &mut Link<T>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let patience = Patience { timer: &client.timer, total_at_ms: None };
        let timeout = (Timeout::ClientSend, self.listener.timeouts.send_ms);
        let mut pace = Pace::new(SEND_GRACE_MS, CLIENT_SEND_BYTES_PER_S_MIN);
        match send_all(&mut client.sender, out, &patience, timeout, (&mut pace, &Cell::default())).await {
            Ok(()) => Ok(()),
            Err(SendFault::Io(..)) => Err(Failure::ClientClosed(Phase::Body)),
            Err(SendFault::Expired(failure)) => Err(failure),
        }
    }

    /// Whether the connection can go on after an answer of our own, given what is left of the request body.
    fn may_keep_alive(&self, head: &RequestHead) -> bool {
        let is_drainable = match &self.body.decoder {
            BodyDecoder::Done => true,
            // A client that waits for 100 may send the body or leave it out: nobody knows what comes next.
            BodyDecoder::Length(left) => *left <= DRAIN_BYTES_MAX && !head.expects_continue(),
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => false,
        };
        head.wants_keep_alive() && !self.is_last && is_drainable
    }

    /// Reads the rest of the request body and throws it away; false where it is too long or too slow.
    async fn drain(&mut self, client: &mut Link<T>) -> bool {
        if client.receiver.is_client_stream() {
            return true;
        }
        client.timer.arm(LINGER_MS);
        let mut left = DRAIN_BYTES_MAX;
        let mut trailers = Vec::new();
        loop {
            while !client.inbox.is_empty() && !self.body.decoder.is_done() {
                let Ok(piece) = self.body.decoder.decode(&client.inbox, &mut trailers) else { return false };
                client.inbox.drain(..piece.consumed);
                left = left.saturating_sub(piece.consumed as u64);
            }
            if self.body.decoder.is_done() || left == 0 {
                return self.body.decoder.is_done();
            }
            let received = receive(&mut client.receiver, &mut client.inbox);
            if !matches!(client.timer.guard(received).await, Ok(Ok(bytes)) if bytes > 0) {
                return false;
            }
        }
    }

    /// Completes the record and hands it on.
    pub(super) fn finish(mut self, head: &RequestHead) {
        let progress = &self.progress;
        let record = &mut self.record;
        record.phase = progress.phase.get();
        record.status = progress.status.get();
        record.request_bytes = progress.request_bytes.get();
        record.response_bytes = progress.response_bytes.get();
        record.is_response_started = progress.is_response_started.get();
        record.errno = progress.errno.get();
        record.sent_bytes = progress.sent_bytes.get();
        record.received_bytes = progress.received_bytes.get();
        record.times.sent_us = progress.sent_us.get();
        record.times.first_byte_us = progress.first_byte_us.get();
        record.times.ended_us = self.worker.transport.now_us();
        self.worker.record(record, head, &self.live.snapshot);
    }
}
