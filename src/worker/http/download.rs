//! The way down: brings a response to the client, interim heads, the final head, the body, each framed for the client.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::super::engine::{Receive as _, Transport, receive};
use super::super::time::timer::Deadline;
use super::super::wire::ends::{Inlet, Outlet};
use super::super::wire::send::{SendFault, SendTerms, send_all};
use super::answer_head::{AnswerHead, FilteredHead, FinalHead, HeadKind};
use super::body::{BodyFraming, ResponseBody};
use super::copies;
use super::discard::discard;
use super::judge;
use super::progress::{Expectation, UploadState};
use super::throttle::Throttle;
use super::transfer::{Delivered, Transfer};
use super::underway::Underway;
use crate::encode::response::{Persistence, h2_continue, is_removed};
use crate::encode::trailers::retain;
use crate::encode::wire::Wire;
use crate::failure::{Failure, Resource};
use crate::filter::encoder::Recoding;
use crate::filter::transform::Transform;
use crate::limits::{ADDED_FIELDS_BYTES, BODY_BUFFER_BYTES, HEAD_BYTES_MAX, INTERIM_BYTES_MAX, JOINED_SEND_BYTES_MAX};
use crate::proto::h1::chunked::BodyOf;
use crate::proto::h1::fault::ResponseFault;
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::scan::HeadScan;
use crate::timeouts::{Pace, Timeout};
use crate::upstream::reuse::UpstreamWord;

/// What waiting for a head brought.
enum HeadEvent {
    Received(io::Result<usize>),
    /// The client shall be told to go on.
    SayContinue,
}

/// Brings the response to the client.
pub(super) async fn download<T: Transport>(
    transfer: &Transfer<'_, T>,
    receiver: &mut Inlet<T>,
    inbox: &mut Vec<u8>,
    deadline: &Deadline<'_, T>,
    client: &mut Outlet<T>,
) -> Result<Delivered, Failure> {
    let pace = transfer.listener.spec.send_pace();
    // No buffer is held while the answer is awaited.
    let mut download = Download { transfer, client, deadline, pace, throttle: None, out: Vec::new() };
    let delivered = download.run(receiver, inbox).await;
    transfer.kit().buffers.put_buffer(download.out);
    delivered
}

/// A response on its way down.
struct Download<'a, T: Transport> {
    transfer: &'a Transfer<'a, T>,
    client: &'a mut Outlet<T>,
    deadline: &'a Deadline<'a, T>,
    pace: Pace,
    /// Where the body goes no faster than it may.
    throttle: Option<Box<Throttle>>,
    /// Encoded for the client and not sent.
    out: Vec<u8>,
}

impl<T: Transport> Download<'_, T> {
    async fn run(&mut self, receiver: &mut Inlet<T>, inbox: &mut Vec<u8>) -> Result<Delivered, Failure> {
        let transfer = self.transfer;
        let Transfer { progress, .. } = *transfer;
        let mut head = self.receive_final_head(receiver, inbox).await?;
        let recoding = match head.filtered.take().map(|filtered| *filtered) {
            None => None,
            Some(FilteredHead::Recoded(recoding)) => Some(recoding),
            Some(FilteredHead::Replaced(kept)) => {
                let is_whole = discard(transfer, self.deadline, (receiver, inbox), head.framing).await;
                return Ok(Delivered::Replaced { word: self.word(&head, is_whole), binds: head.binds, kept });
            }
        };
        progress.ends_at_close.set(head.terms.framing == Framing::UntilClose);
        if head.is_upgrade {
            if let Err(failure) = judge::await_sent(transfer, self.deadline).await {
                self.throw_away();
                return Err(failure);
            }
            self.pass_on().await?;
            return Ok(Delivered::Upgrade);
        }
        let mut body = self.body_of(&head, recoding)?;
        let is_recoded = body.transform.recodes();
        let _compressing = is_recoded.then(|| Underway::begin(&transfer.worker.compressions, usize::MAX));
        // The rest of a short body that is here already is sent with the head. An error that is met here shows as an end at
        // the next receive, and a body of known length that ends early is refused.
        let is_short = |left: &u64| (inbox.len() as u64 + 1..=JOINED_SEND_BYTES_MAX as u64).contains(left);
        if let Some(left) = body.decoder.bytes_left().filter(is_short) {
            transfer.make_room(inbox, Some(left));
            self.transfer.note_received(receiver.receive_at_once(inbox));
        }
        self.throttle = Throttle::of(transfer.rates(), self.out.len(), self.deadline);
        let mut has_ended = body.decoder.is_done();
        let mut is_acknowledged = false;
        loop {
            // Where a part that came with the head is broken, nothing was sent yet: we can still answer.
            self.take_body(inbox, &mut body)?;
            if body.decoder.ends_at_close() && receiver.is_over() {
                self.finish_body(&mut body)?;
            }
            if body.decoder.is_done() && !has_ended {
                has_ended = true;
                if self.throttle.is_some() {
                    // First the parts, so that the end goes behind the last of them.
                    self.pass_on().await?;
                }
                body.framing.end(&mut self.out, self.client, &body.trailers);
            }
            if !self.out.is_empty() || self.client.has_pending() {
                self.pass_on().await?;
            }
            if body.decoder.is_done() {
                break;
            }
            if !is_acknowledged {
                // An upstream that sends the body apart from its head may wait for that.
                receiver.acknowledge();
                is_acknowledged = true;
            }
            self.receive_body(receiver, inbox, &mut body).await?;
        }
        let keep_alive = head.terms.persistence != Persistence::Close;
        let mut word = self.word(&head, true);
        if transfer.leaves_open() {
            word.keeps_alive = receiver.take_end(inbox);
        }
        Ok(Delivered::Response { keep_alive, word, binds: head.binds })
    }

    /// Receives the next part of the body, or finds its end.
    async fn receive_body(
        &mut self,
        receiver: &mut Inlet<T>,
        inbox: &mut Vec<u8>,
        body: &mut ResponseBody,
    ) -> Result<(), Failure> {
        let Transfer { account, to, is_open_ended, .. } = *self.transfer;
        self.transfer.make_room_for_body(inbox, body.decoder.bytes_left(), account.received_bytes());
        let received = receive(receiver, inbox);
        let ms = if is_open_ended { to.timeouts().tunnel } else { to.timeouts().body }.limit_ms();
        match self.deadline.wait(Timeout::UpstreamBody, ms, received).await? {
            Ok(0) if body.decoder.ends_at_close() => self.finish_body(body),
            Ok(0) => Err(Failure::UpstreamTruncated),
            Ok(bytes) => {
                self.transfer.note_received(bytes);
                Ok(())
            }
            Err(error) if body.decoder.ends_at_close() && judge::is_allowed_end(self.transfer.spec(), &error) => {
                self.finish_body(body)
            }
            Err(error) => {
                account.note_errno(error.raw_os_error().unwrap_or(0));
                Err(judge::ended_in_body(&error))
            }
        }
    }

    /// The body behind a head, and what is done with it.
    fn body_of(&self, head: &FinalHead, recoding: Option<Recoding>) -> Result<ResponseBody, Failure> {
        let transform = Transform::of_response(head.terms.grpc_web, recoding.filter(|_| !head.framing.is_empty()));
        Ok(ResponseBody {
            decoder: BodyDecoder::new(BodyOf::Response, head.framing),
            framing: BodyFraming::of(self.client.wire(), head.terms.framing),
            transform: transform.map_err(|_| Failure::LocalResource(Resource::Memory))?,
            trailers: Vec::new(),
        })
    }

    /// What holds of the upstream's connection. It cannot be kept where the request was not sent to its end, or the answer not read.
    fn word(&self, head: &FinalHead, is_whole: bool) -> UpstreamWord {
        let transfer = self.transfer;
        let is_sent = transfer.progress.upload.get() == UploadState::Sent;
        let is_read = !transfer.head.has_unusual_body() || transfer.spec().keep_alive.unusual_bodies;
        UpstreamWord { keeps_alive: head.word.keeps_alive && is_sent && is_read && is_whole, ..head.word }
    }

    /// From here on there is no other answer, and no other attempt.
    fn begin_response(&self) {
        if self.transfer.account.begin_response() {
            let Transfer { worker, copies, held, progress, .. } = *self.transfer;
            copies::send(worker, copies, (held, progress.is_body_received.get()));
            held.borrow_mut().let_go(self.transfer.held_store());
        }
    }

    /// Receives heads until the final one, which is then encoded; passes interim ones on.
    async fn receive_final_head(&mut self, receiver: &mut Inlet<T>, inbox: &mut Vec<u8>) -> Result<FinalHead, Failure> {
        let transfer = self.transfer;
        let leniency = transfer.spec().leniency();
        let mut scan = HeadScan::of_response(leniency);
        let mut interim_bytes = 0;
        let mut is_timed = false;
        loop {
            if !transfer.connection.is_reused && !leniency.is_cgi() {
                judge::check_first_bytes(inbox)?;
            }
            let found = scan.advance(inbox).map_err(|_| ResponseFault::BareLineFeed)?;
            if found.unwrap_or(inbox.len()) > HEAD_BYTES_MAX {
                return Err(ResponseFault::HeadTooLarge.into());
            }
            if let Some(length) = found {
                judge::check_unsolicited(transfer, receiver, &inbox[..length]).await?;
                // A full buffer may be the beginning of more.
                let is_full = inbox.len() == inbox.capacity();
                let bytes = if is_full { BODY_BUFFER_BYTES } else { inbox.len() + ADDED_FIELDS_BYTES };
                transfer.kit().buffers.fit(&mut self.out, bytes.min(BODY_BUFFER_BYTES));
                let head = AnswerHead { transfer, client: self.client, out: &mut self.out }.read(&inbox[..length])?;
                inbox.drain(..length);
                scan = HeadScan::of_response(leniency);
                match head {
                    HeadKind::Final(head) => return Ok(head),
                    HeadKind::Interim => interim_bytes += length,
                }
                if interim_bytes > INTERIM_BYTES_MAX {
                    return Err(ResponseFault::TooManyInterim.into());
                }
                self.send_down().await?;
                is_timed = false;
                continue;
            }
            match self.wait_for_head(receiver, inbox, &mut is_timed).await? {
                HeadEvent::SayContinue => {
                    transfer.progress.expectation.set(Expectation::Met);
                    match self.client.wire() {
                        Wire::Http1 => self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
                        Wire::H2 => self.client.put_head(h2_continue(), false),
                    }
                    self.send_down().await?;
                    is_timed = false;
                }
                HeadEvent::Received(Ok(bytes)) if bytes > 0 => self.transfer.note_received(bytes),
                HeadEvent::Received(result) => return Err(judge::closed_before_head(transfer, &result, inbox)),
            }
        }
    }

    /// The upstream's time begins when the request is sent, or can be sent no further.
    async fn wait_for_head(
        &self,
        receiver: &mut Inlet<T>,
        inbox: &mut Vec<u8>,
        is_timed: &mut bool,
    ) -> Result<HeadEvent, Failure> {
        let Transfer { progress, .. } = *self.transfer;
        let header_ms = self.transfer.to.timeouts().header.limit_ms();
        if !*is_timed {
            self.deadline.arm(Timeout::UpstreamHeader, None);
        }
        poll_fn(|cx| {
            if progress.expectation.get() == Expectation::Due {
                return Poll::Ready(Ok(HeadEvent::SayContinue));
            }
            if let Poll::Ready(received) = receiver.poll_receive(inbox, cx) {
                return Poll::Ready(Ok(HeadEvent::Received(received)));
            }
            if !*is_timed && progress.upload.get() != UploadState::Sending {
                self.deadline.arm(Timeout::UpstreamHeader, header_ms);
                *is_timed = true;
            }
            match self.deadline.poll_failure(cx) {
                Some(failure) => Poll::Ready(Err(failure)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Moves what `inbox` holds of the body to `out`. Buffers are swapped, not copied, where all of it is plain body.
    fn take_body(&mut self, inbox: &mut Vec<u8>, body: &mut ResponseBody) -> Result<(), Failure> {
        let account = self.transfer.account;
        let was_done = body.decoder.is_done();
        if self.out.is_empty() && body.is_plain_to(inbox.len()) {
            let length = inbox.len();
            body.decoder.decode(inbox, &mut body.trailers).map_err(|fault| Failure::UpstreamBadBody(fault.rule()))?;
            std::mem::swap(inbox, &mut self.out);
            account.add_response_bytes(length);
            return Ok(());
        }
        let ResponseBody { decoder, framing, transform, trailers } = body;
        let mut taken = 0;
        while taken < inbox.len() && !decoder.is_done() {
            let piece =
                decoder.decode(&inbox[taken..], trailers).map_err(|fault| Failure::UpstreamBadBody(fault.rule()))?;
            let data = &inbox[taken..][piece.data];
            let passed = transform.pass(data, |data| {
                account.add_response_bytes(data.len());
                framing.put(&mut self.out, data);
            });
            passed.map_err(judge::not_passed)?;
            taken += piece.consumed;
        }
        inbox.drain(..taken);
        if !decoder.is_done() {
            // Whoever waits for this part must not wait for the next one.
            let paused = transform.pause(|data| {
                account.add_response_bytes(data.len());
                framing.put(&mut self.out, data);
            });
            paused.map_err(judge::not_passed)?;
        }
        if body.decoder.is_done() && !was_done { self.finish_body(body) } else { Ok(()) }
    }

    /// The body is over, by its framing or by its connection's end.
    fn finish_body(&mut self, body: &mut ResponseBody) -> Result<(), Failure> {
        body.decoder = BodyDecoder::Done;
        let ResponseBody { framing, transform, trailers, .. } = body;
        self.transfer.note_trailers(trailers);
        let edits = self.transfer.edits.of_response(self.transfer.is_secure, 200);
        // A digest of the bytes that the upstream sent is none of those that are compressed.
        let is_digest = |name: &[u8]| {
            let digests: [&[u8]; 3] = [b"content-digest", b"repr-digest", b"digest"];
            transform.recodes() && digests.iter().any(|own| own.eq_ignore_ascii_case(name))
        };
        retain(trailers, |name| !is_removed(edits, name) && !is_digest(name));
        let account = self.transfer.account;
        let finished = transform.finish(trailers, |data| {
            account.add_response_bytes(data.len());
            framing.put(&mut self.out, data);
        });
        finished.map_err(judge::not_passed)
    }

    fn throw_away(&mut self) {
        self.transfer.progress.is_cut.set(true);
        self.out.clear();
        self.client.forget_pending();
    }

    /// Sends what is encoded of the final answer, in parts where it may go no faster.
    async fn pass_on(&mut self) -> Result<(), Failure> {
        self.begin_response();
        // Nobody waits for what is thrown away.
        if self.transfer.progress.client_left.get().is_some() {
            self.throttle = None;
        }
        let Some(mut throttle) = self.throttle.take() else { return self.send_down().await };
        let all = std::mem::take(&mut self.out);
        let mut gone = 0;
        let sent = loop {
            let part = throttle.wait(all.len() - gone, self.deadline).await?;
            self.out.extend_from_slice(&all[gone..gone + part]);
            gone += part;
            let sent = self.send_down().await;
            if sent.is_err() || gone == all.len() {
                break sent;
            }
        };
        self.throttle = Some(throttle);
        self.transfer.kit().buffers.put_buffer(all);
        sent
    }

    async fn send_down(&mut self) -> Result<(), Failure> {
        let transfer = self.transfer;
        let Transfer { account, progress, .. } = *transfer;
        if progress.client_left.get().is_some() {
            self.throw_away();
            return Ok(());
        }
        let terms = SendTerms {
            timeout: (Timeout::ClientSend, transfer.listener.spec.timeouts.send.limit_ms()),
            pace: &mut self.pace,
            total: &Cell::default(),
        };
        progress.is_sending.set(true);
        let sent = send_all(self.client, &mut self.out, self.deadline, terms).await;
        progress.is_sending.set(sent.is_err());
        match sent {
            Ok(()) => Ok(()),
            Err(SendFault::Io(..)) if transfer.spec().ignore_client_abort => {
                progress.client_left.set(Some(account.phase()));
                self.throw_away();
                Ok(())
            }
            Err(SendFault::Io(..)) => Err(Failure::ClientClosed(account.phase())),
            Err(SendFault::Expired(failure)) => Err(failure),
        }
    }
}
