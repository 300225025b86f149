//! The way up: sends the request, its body as the client brings it, then watches the client.

use std::future::{pending, poll_fn};
use std::task::Poll;

use super::ends::{Inlet, Outlet};
use super::forward::{Expectation, Forward, Upload};
use super::held::RequestBody;
use super::io::{Receive as _, Transport, receive};
use super::link::{SendFault, send_all};
use super::timer::Patience;
use crate::failure::{Failure, Phase};
use crate::limits::{CLIENT_BODY_BYTES_PER_S_MIN, JOINED_SEND_BYTES_MAX, RATE_GRACE_MS};
use crate::proto::grpc_web;
use crate::proto::h1::encode::{put_chunk, put_last_chunk};
use crate::proto::h1::framing::Framing;
use crate::timeouts::{EXPECT_CONTINUE_MS, Pace, Timeout};

/// A body of gRPC-web that should be text.
const NO_TEXT: Broken = Broken::Client(Failure::ClientBadRequest("grpc_web_text"));

impl<T: Transport> Forward<'_, T> {
    /// Sends the request, then watches the client. Ends only with a failure.
    pub(super) async fn upload(
        &self,
        source: &mut Source<'_, T>,
        sender: &mut Outlet<T>,
        body: &mut RequestBody,
        out: &mut Vec<u8>,
    ) -> Failure {
        self.progress.phase.set(Phase::Send);
        match self.send_request(source, sender, body, out).await {
            Ok(()) => {
                self.progress.sent_us.set(self.worker.transport.now_us());
                self.progress.upload.set(Upload::Sent);
                // While the answer is awaited, other requests use the buffer.
                self.worker.spares.put_buffer(std::mem::take(out));
                if self.progress.phase.get() == Phase::Send {
                    self.progress.phase.set(Phase::Wait);
                }
            }
            // The answer is on its way already: an upload that stalls must not cut it.
            Err(Broken::Client(failure @ (Failure::ClientBodyTimeout | Failure::UpstreamSendTimeout)))
                if self.progress.first_byte_us.get() > 0 =>
            {
                self.progress.upload.set(Upload::Broken(failure));
            }
            Err(Broken::Client(failure)) => return failure,
            // It may have answered before it stopped listening: the download finds out.
            Err(Broken::Upstream(failure)) => self.progress.upload.set(Upload::Broken(failure)),
        }
        source.patience.timer.disarm();
        // Bytes that are here already begin the next request; its sender is heard of when it is answered.
        if source.inbox.is_empty() {
            let received = receive(source.receiver, source.inbox).await;
            if matches!(received, Ok(bytes) if bytes > 0) {
                self.progress.has_early_bytes.set(true);
            } else if self.service.ignore_client_abort {
                self.progress.client_left.set(Some(self.progress.phase.get()));
            } else {
                return Failure::ClientClosed(self.progress.phase.get());
            }
        } else {
            self.progress.has_early_bytes.set(true);
        }
        pending().await
    }

    async fn send_request(
        &self,
        source: &mut Source<'_, T>,
        sender: &mut Outlet<T>,
        body: &mut RequestBody,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        self.take_request_body(source.inbox, body, out)?;
        if self.take_what_came(source, body) {
            self.take_request_body(source.inbox, body, out)?;
        }
        if body.decoder.is_done() {
            self.progress.expectation.set(Expectation::Met);
        }
        self.send_up(source, sender, out, true).await?;
        if body.decoder.is_done() {
            // The watch over the client, and the idle connection after it, need no more.
            self.worker.spares.shrink(source.inbox);
            return Ok(());
        }
        if self.head.expects_continue() {
            if self.progress.request_bytes.get() == 0 {
                self.await_continue(source).await?;
            } else {
                self.progress.expectation.set(Expectation::Met);
            }
        }
        let (mut pace, body_ms) = if self.is_grpc {
            (Pace::unbounded(), self.service.timeouts.tunnel_ms)
        } else {
            (Pace::new(RATE_GRACE_MS, CLIENT_BODY_BYTES_PER_S_MIN), self.listener.timeouts.body_ms)
        };
        while !body.decoder.is_done() {
            if source.inbox.is_empty() {
                self.make_room_for_body(source.inbox, body.decoder.bytes_left(), self.progress.request_bytes.get());
                let before_ms = source.patience.now_ms();
                let ms = pace.limit_ms(body_ms);
                let received = receive(source.receiver, source.inbox);
                let received = source.patience.wait(Timeout::ClientBody, ms, received).await.map_err(Broken::Client)?;
                let bytes = received.ok().filter(|bytes| *bytes > 0);
                let bytes = bytes.ok_or(Broken::Client(Failure::ClientClosed(self.progress.phase.get())))?;
                pace.advance(source.patience.now_ms().saturating_sub(before_ms), bytes);
            }
            self.take_request_body(source.inbox, body, out)?;
            self.send_up(source, sender, out, false).await?;
        }
        self.worker.spares.shrink(source.inbox);
        Ok(())
    }

    /// Takes the rest of a short body where it is here already: it goes with the head, which spares two operations. True
    /// where there were bytes.
    fn take_what_came(&self, source: &mut Source<'_, T>, body: &RequestBody) -> bool {
        let left = body.decoder.bytes_left().unwrap_or(JOINED_SEND_BYTES_MAX as u64);
        let is_short = (1..=JOINED_SEND_BYTES_MAX as u64).contains(&left);
        // A receive that is in flight has the buffer.
        if !is_short || self.head.expects_continue() || source.inbox.capacity() == 0 {
            return false;
        }
        self.make_room(source.inbox, Some(left));
        source.receiver.receive_at_once(source.inbox) > 0
    }

    /// Waits until the body comes, the client was told to send it, or the upstream was silent for too long.
    async fn await_continue(&self, source: &mut Source<'_, T>) -> Result<(), Broken> {
        let expectation = &self.progress.expectation;
        source.patience.timer.arm(EXPECT_CONTINUE_MS);
        let received = poll_fn(|cx| {
            if let Poll::Ready(received) = source.receiver.poll_receive(source.inbox, cx) {
                return Poll::Ready(Some(received));
            }
            match expectation.get() {
                Expectation::Met => Poll::Ready(None),
                Expectation::Open if source.patience.timer.poll_expired(cx) => {
                    expectation.set(Expectation::Due);
                    Poll::Ready(None)
                }
                Expectation::Open | Expectation::Due => Poll::Pending,
            }
        })
        .await;
        match received {
            None => {}
            Some(Ok(bytes)) if bytes > 0 => expectation.set(Expectation::Met),
            Some(_) => return Err(Broken::Client(Failure::ClientClosed(self.progress.phase.get()))),
        }
        // While the receive is in flight it has the buffer; what it brings must be waited for here.
        if source.inbox.capacity() == 0 {
            let ms = self.listener.timeouts.body_ms;
            let received = source.patience.wait(Timeout::ClientBody, ms, receive(source.receiver, source.inbox));
            match received.await.map_err(Broken::Client)? {
                Ok(bytes) if bytes > 0 => expectation.set(Expectation::Met),
                _ => return Err(Broken::Client(Failure::ClientClosed(self.progress.phase.get()))),
            }
        }
        Ok(())
    }

    /// Moves what `inbox` holds of the body to `out`, framed for the upstream.
    fn take_request_body(&self, inbox: &mut Vec<u8>, body: &mut RequestBody, out: &mut Vec<u8>) -> Result<(), Broken> {
        let RequestBody { decoder, trailers, text } = body;
        let is_chunked = self.head.framing() == Framing::Chunked;
        let is_text = self.head.grpc_web() == Some(grpc_web::Kind::Text);
        let was_done = decoder.is_done();
        let (mut taken, from) = (0, out.len());
        if out.is_empty() && !is_text && decoder.bytes_left().is_some_and(|left| inbox.len() as u64 <= left) {
            // Body and nothing else changes places, uncopied.
            let _ = decoder.decode(inbox, trailers);
            self.progress.request_bytes.set(self.progress.request_bytes.get() + inbox.len() as u64);
            std::mem::swap(inbox, out);
        }
        while taken < inbox.len() && !decoder.is_done() {
            let piece = decoder
                .decode(&inbox[taken..], trailers)
                .map_err(|fault| Broken::Client(Failure::ClientBadRequest(fault.rule())))?;
            let (decoded, mut data) = (&mut Vec::new(), &inbox[taken..][piece.data]);
            self.progress.request_bytes.set(self.progress.request_bytes.get() + data.len() as u64);
            if is_text {
                text.decode(data, decoded).map_err(|_| NO_TEXT)?;
                data = decoded;
            }
            match is_chunked {
                true if data.is_empty() => {}
                true => put_chunk(out, data),
                false => out.extend_from_slice(data),
            }
            taken += piece.consumed;
        }
        if is_text && decoder.is_done() && !text.is_whole() {
            return Err(NO_TEXT);
        }
        if self.listener.body_bytes_max.is_some_and(|max| self.progress.request_bytes.get() > max) {
            return Err(Broken::Client(Failure::ClientBodyTooLarge));
        }
        if is_chunked && decoder.is_done() && !was_done {
            put_last_chunk(out, trailers);
        }
        self.progress.is_body_received.set(decoder.is_done());
        self.held.borrow_mut().hold(&out[from..], self.service.retry.buffer_bytes, &self.worker.spares);
        inbox.drain(..taken);
        Ok(())
    }

    async fn send_up(
        &self,
        source: &Source<'_, T>,
        sender: &mut Outlet<T>,
        out: &mut Vec<u8>,
        is_first: bool,
    ) -> Result<(), Broken> {
        let timeout = (Timeout::UpstreamSend, self.service.timeouts.send_ms);
        // An upstream's slowness is bounded by its timeout alone.
        let mut pace = Pace::unbounded();
        let total = (&mut pace, &self.progress.sent_bytes);
        send_all(sender, out, &source.patience, timeout, total).await.map_err(|fault| match fault {
            SendFault::Expired(failure) => Broken::Client(failure),
            SendFault::Io(error, is_unsent) => {
                self.progress.errno.set(error.raw_os_error().unwrap_or(0));
                let is_stale = is_first && is_unsent && self.is_reused;
                let failure = if is_stale { Failure::StaleReuseUnsent } else { Failure::UpstreamResetDuringSend };
                Broken::Upstream(failure)
            }
        })
    }
}

/// Where the request body comes from.
pub(super) struct Source<'a, T: Transport> {
    pub receiver: &'a mut Inlet<T>,
    pub inbox: &'a mut Vec<u8>,
    pub patience: Patience<'a, T>,
}

/// How an upload ended before its time.
enum Broken {
    /// The exchange ends with this failure.
    Client(Failure),
    /// The upstream takes no more; the response decides.
    Upstream(Failure),
}
