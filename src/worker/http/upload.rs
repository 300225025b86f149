//! The way up: sends the request, its body as the client brings it, then watches the client.

use std::future::{pending, poll_fn};
use std::task::Poll;

use super::super::engine::{Receive as _, Transport, receive};
use super::super::time::timer::Deadline;
use super::super::wire::ends::{Inlet, Outlet};
use super::super::wire::fault::fault_of;
use super::super::wire::send::{SendFault, SendTerms, send_all};
use super::body::BodyFraming;
use super::held::RequestBody;
use super::progress::{Expectation, UploadState};
use super::state::has_finished;
use super::throttle::Throttle;
use super::transfer::Transfer;
use crate::encode::trailers::retain;
use crate::failure::{Failure, Phase};
use crate::filter::transform::NotPassed;
use crate::limits::JOINED_SEND_BYTES_MAX;
use crate::proto::h1::framing::Framing;
use crate::timeouts::{Pace, Timeout};

/// Where the request body comes from.
pub(super) struct BodySource<'a, T: Transport> {
    pub receiver: &'a mut Inlet<T>,
    pub inbox: &'a mut Vec<u8>,
    pub deadline: Deadline<'a, T>,
}

/// How an upload ended before its time.
enum Broken {
    /// The exchange ends with this failure.
    Client(Failure),
    /// The upstream takes no more; the response decides.
    Upstream(Failure),
}

impl From<NotPassed> for Broken {
    fn from(fault: NotPassed) -> Self {
        Self::Client(match fault {
            NotPassed::NotText => Failure::ClientBadRequest("grpc_web_text"),
            NotPassed::NotEncoded | NotPassed::NotDecoded => Failure::Internal("transform"),
        })
    }
}

/// Sends the request, then watches the client. Ends only with a failure. `out` holds what was encoded of it already.
pub(super) async fn upload<T: Transport>(
    transfer: &Transfer<'_, T>,
    source: &mut BodySource<'_, T>,
    sender: &mut Outlet<T>,
    body: &mut RequestBody,
    out: &mut Vec<u8>,
) -> Failure {
    let framing = transfer.body_length.get().map_or(transfer.head.framing(), Framing::Length);
    let framing = BodyFraming::towards(transfer.gateway, sender.wire(), framing);
    let throttle = Throttle::of(transfer.request_rates(), out.len(), &source.deadline);
    Upload { transfer, body, out, framing, has_ended: false, throttle }.run(source, sender).await
}

/// A request on its way up.
struct Upload<'a, T: Transport> {
    transfer: &'a Transfer<'a, T>,
    body: &'a mut RequestBody,
    out: &'a mut Vec<u8>,
    framing: BodyFraming,
    /// True once the end of the body was written.
    has_ended: bool,
    /// Where the body goes no faster than it may.
    throttle: Option<Box<Throttle>>,
}

impl<T: Transport> Upload<'_, T> {
    /// Sends the request, then watches the client. Ends only with a failure.
    async fn run(&mut self, source: &mut BodySource<'_, T>, sender: &mut Outlet<T>) -> Failure {
        let Transfer { account, progress, .. } = *self.transfer;
        account.enter(Phase::Send);
        match self.send_request(source, sender).await {
            Ok(()) => {
                let kit = self.transfer.kit();
                account.note_sent(kit.transport.now_us());
                progress.upload.set(UploadState::Sent);
                // While the answer is awaited, other requests use the buffer.
                kit.buffers.put_buffer(std::mem::take(self.out));
                if account.phase() == Phase::Send {
                    account.enter(Phase::Wait);
                }
            }
            // The answer is on its way already: an upload that stalls must not cut it.
            Err(Broken::Client(failure @ (Failure::ClientBodyTimeout | Failure::UpstreamSendTimeout)))
                if account.has_first_byte() =>
            {
                progress.upload.set(UploadState::Broken(failure));
            }
            Err(Broken::Client(failure)) => return failure,
            // It may have answered before it stopped listening: the download finds out.
            Err(Broken::Upstream(failure)) => progress.upload.set(UploadState::Broken(failure)),
        }
        source.deadline.timer.disarm();
        // Bytes that are here already begin the next request, so nothing is received now: that the client has left shows
        // when it is answered.
        if progress.has_client_finished.get() {
            // It has said all that it had to say.
        } else if source.inbox.is_empty() {
            let received = receive(source.receiver, source.inbox).await;
            if matches!(received, Ok(bytes) if bytes > 0) {
                progress.has_early_bytes.set(true);
            } else if has_finished(&received, self.transfer.listener.spec.half_close) {
                progress.has_client_finished.set(true);
            } else if self.transfer.spec().ignore_client_abort {
                progress.client_left.set(Some(account.phase()));
            } else {
                return Failure::ClientClosed(account.phase());
            }
        } else {
            progress.has_early_bytes.set(true);
        }
        pending().await
    }

    async fn send_request(&mut self, source: &mut BodySource<'_, T>, sender: &mut Outlet<T>) -> Result<(), Broken> {
        let transfer = self.transfer;
        let Transfer { account, progress, head, .. } = *transfer;
        self.take_body(source.inbox)?;
        if self.take_what_came(source) {
            self.take_body(source.inbox)?;
        }
        if self.body.decoder.is_done() {
            progress.expectation.set(Expectation::Met);
        }
        self.send_up(source, sender, true).await?;
        if self.body.decoder.is_done() {
            // The watch over the client, and the idle connection after it, need no more.
            transfer.kit().buffers.shrink(source.inbox);
            return Ok(());
        }
        if head.expects_continue() {
            if account.request_bytes() == 0 {
                self.await_continue(source).await?;
            } else {
                progress.expectation.set(Expectation::Met);
            }
        }
        let (mut pace, body_ms) = if transfer.is_open_ended {
            (Pace::unbounded(), transfer.to.timeouts().tunnel.limit_ms())
        } else {
            (transfer.listener.spec.body_pace(), transfer.listener.spec.timeouts.body.limit_ms())
        };
        while !self.body.decoder.is_done() {
            if source.inbox.is_empty() {
                transfer.make_room_for_body(source.inbox, self.body.decoder.bytes_left(), account.request_bytes());
                let before_ms = source.deadline.now_ms();
                let received = receive(source.receiver, source.inbox);
                let received =
                    source.deadline.wait(Timeout::ClientBody, body_ms, received).await.map_err(Broken::Client)?;
                let bytes = match received {
                    Ok(bytes) if bytes > 0 => bytes,
                    Ok(_) => return Err(Broken::Client(Failure::ClientClosed(account.phase()))),
                    // A stream may end by a fault of the client's, which is told by its name.
                    Err(error) => {
                        let failure = fault_of(&error).unwrap_or(Failure::ClientClosed(account.phase()));
                        return Err(Broken::Client(failure));
                    }
                };
                if !pace.advance(source.deadline.now_ms().saturating_sub(before_ms), bytes) {
                    return Err(Broken::Client(Failure::ClientBodyTimeout));
                }
            }
            self.take_body(source.inbox)?;
            self.send_up(source, sender, false).await?;
        }
        transfer.kit().buffers.shrink(source.inbox);
        Ok(())
    }

    /// Takes the rest of a short body where it is here already: it goes with the head, which spares two operations. True
    /// where there were bytes.
    fn take_what_came(&self, source: &mut BodySource<'_, T>) -> bool {
        let left = self.body.decoder.bytes_left().unwrap_or(JOINED_SEND_BYTES_MAX as u64);
        let is_short = (1..=JOINED_SEND_BYTES_MAX as u64).contains(&left);
        // A receive that is in flight has the buffer.
        if !is_short || self.transfer.head.expects_continue() || source.inbox.capacity() == 0 {
            return false;
        }
        self.transfer.make_room(source.inbox, Some(left));
        source.receiver.receive_at_once(source.inbox) > 0
    }

    /// Waits until the body comes, the client was told to send it, or the upstream was silent for too long.
    async fn await_continue(&self, source: &mut BodySource<'_, T>) -> Result<(), Broken> {
        let expectation = &self.transfer.progress.expectation;
        let gone = || Broken::Client(Failure::ClientClosed(self.transfer.account.phase()));
        // An application server never says it.
        let wait_ms = if self.transfer.gateway.is_some() { 0 } else { Timeout::ExpectContinue.row().ms };
        source.deadline.timer.arm(Timeout::ExpectContinue, Some(wait_ms));
        let received = poll_fn(|cx| {
            if let Poll::Ready(received) = source.receiver.poll_receive(source.inbox, cx) {
                return Poll::Ready(Some(received));
            }
            match expectation.get() {
                Expectation::Met => Poll::Ready(None),
                Expectation::Open if source.deadline.timer.poll_expired(cx).is_some() => {
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
            Some(_) => return Err(gone()),
        }
        // The receive that was begun above is still in flight and has the buffer: its bytes are waited for here.
        if source.inbox.capacity() == 0 {
            let ms = self.transfer.listener.spec.timeouts.body.limit_ms();
            let received = source.deadline.wait(Timeout::ClientBody, ms, receive(source.receiver, source.inbox));
            match received.await.map_err(Broken::Client)? {
                Ok(bytes) if bytes > 0 => expectation.set(Expectation::Met),
                Ok(_) | Err(_) => return Err(gone()),
            }
        }
        Ok(())
    }

    /// Moves what `inbox` holds of the body to `out`, framed for the upstream.
    fn take_body(&mut self, inbox: &mut Vec<u8>) -> Result<(), Broken> {
        let Self { transfer, body, out, framing, .. } = self;
        let RequestBody { decoder, trailers, transform } = &mut **body;
        let account = transfer.account;
        let hold = |data: &[u8]| {
            transfer.held.borrow_mut().hold(data, transfer.hold_max(), transfer.held_store());
        };
        let put = |out: &mut Vec<u8>, data: &[u8]| {
            framing.put(out, data);
            hold(data);
        };
        let (mut taken, was_done) = (0, decoder.is_done());
        let is_bare = transform.is_none() && framing.is_bare();
        if out.is_empty() && is_bare && decoder.bytes_left().is_some_and(|left| inbox.len() as u64 <= left) {
            // The inbox holds body and nothing else: the buffers are swapped, not copied.
            let _ = decoder.decode(inbox, trailers);
            account.add_request_bytes(inbox.len());
            hold(inbox);
            std::mem::swap(inbox, out);
        }
        while taken < inbox.len() && !decoder.is_done() {
            let piece = decoder
                .decode(&inbox[taken..], trailers)
                .map_err(|fault| Broken::Client(Failure::ClientBadRequest(fault.rule())))?;
            let data = &inbox[taken..][piece.data];
            account.add_request_bytes(data.len());
            transform.pass(data, |data| put(out, data))?;
            taken += piece.consumed;
        }
        if decoder.is_done() && !was_done {
            retain(trailers, |name| !transfer.edits.request.removes(name));
            transform.finish(trailers, |data| put(out, data))?;
        }
        if transfer.body_max.is_some_and(|max| account.request_bytes() > max) {
            return Err(Broken::Client(Failure::ClientBodyTooLarge));
        }
        transfer.progress.is_body_received.set(decoder.is_done());
        inbox.drain(..taken);
        Ok(())
    }

    /// Sends what `out` holds, in parts where it may go no faster, and the end of the body where it has come.
    async fn send_up(
        &mut self,
        source: &BodySource<'_, T>,
        sender: &mut Outlet<T>,
        mut is_first: bool,
    ) -> Result<(), Broken> {
        if let Some(mut throttle) = self.throttle.take() {
            let all = std::mem::take(self.out);
            let mut gone = 0;
            while gone < all.len() {
                let part = throttle.wait(all.len() - gone, &source.deadline).await.map_err(Broken::Client)?;
                self.out.extend_from_slice(&all[gone..gone + part]);
                gone += part;
                self.send_out(source, sender, is_first).await?;
                is_first = false;
            }
            self.transfer.kit().buffers.put_buffer(all);
            self.throttle = Some(throttle);
        }
        let Self { body, out, framing, has_ended, .. } = self;
        if body.decoder.is_done() && !*has_ended {
            *has_ended = true;
            framing.end(out, sender, &body.trailers);
        }
        self.send_out(source, sender, is_first).await
    }

    /// Sends all that `out` holds.
    async fn send_out(
        &mut self,
        source: &BodySource<'_, T>,
        sender: &mut Outlet<T>,
        is_first: bool,
    ) -> Result<(), Broken> {
        let Self { transfer, out, .. } = self;
        transfer.account.note_sending(transfer.kit().transport.now_us());
        // An upstream's slowness is bounded by its timeout alone.
        let mut pace = Pace::unbounded();
        let terms = SendTerms {
            timeout: (Timeout::UpstreamSend, transfer.to.timeouts().send.limit_ms()),
            pace: &mut pace,
            total: transfer.account.sent_bytes(),
        };
        send_all(sender, out, &source.deadline, terms).await.map_err(|fault| match fault {
            SendFault::Expired(failure) => Broken::Client(failure),
            SendFault::Io(error, is_unsent) => {
                transfer.account.note_errno(error.raw_os_error().unwrap_or(0));
                let is_stale = is_first && is_unsent && transfer.connection.is_reused;
                let failure = if is_stale { Failure::StaleReuseUnsent } else { Failure::UpstreamResetDuringSend };
                Broken::Upstream(failure)
            }
        })
    }
}
