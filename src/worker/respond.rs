//! Brings a response down: interim heads, the final head, the body, each framed for the client.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::ends::{Inlet, Outlet, fault_of};
use super::forward::{Delivered, Expectation, Forward, Upload};
use super::io::{Receive as _, Transport, receive};
use super::link::{SendFault, send_all};
use super::response_body::Body;
use super::timer::Patience;
use crate::failure::{Failure, Phase};
use crate::filter::response::{Delivery, put_interim_head, put_response_head};
use crate::limits::{
    ADDED_FIELDS_BYTES, BODY_BUFFER_BYTES, CLIENT_SEND_BYTES_PER_S_MIN, DRAIN_BYTES_MAX, HEAD_BYTES_MAX,
    INTERIM_RESPONSES_MAX, JOINED_SEND_BYTES_MAX, SEND_GRACE_MS,
};
use crate::proto::h1::Version;
use crate::proto::h1::fault::ResponseFault;
use crate::proto::h1::field::{Known, list_elements};
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::response::ResponseHead;
use crate::proto::h1::scan::HeadScan;
use crate::proto::h2::is_grpc;
use crate::timeouts::{Pace, Timeout};
use crate::upstream::reuse::UpstreamWord;

/// A final head that was encoded for the client.
struct Final {
    framing: Framing,
    delivery: Delivery,
    word: UpstreamWord,
    is_upgrade: bool,
}

/// What a head in the inbox was.
enum Head {
    Interim,
    Final(Final),
}

/// What waiting for a head brought.
enum News {
    Received(io::Result<usize>),
    /// The client shall be told to go on.
    SayContinue,
}

impl<T: Transport> Forward<'_, T> {
    /// Brings the response to the client.
    pub(super) async fn download(
        &self,
        receiver: &mut Inlet<T>,
        inbox: &mut Vec<u8>,
        patience: &Patience<'_, T>,
        client: &mut Outlet<T>,
    ) -> Result<Delivered, Failure> {
        // Nothing is held while the answer is awaited.
        let mut out = Vec::new();
        let mut pace = Pace::new(SEND_GRACE_MS, CLIENT_SEND_BYTES_PER_S_MIN);
        let mut down = Down { client, patience, pace: &mut pace };
        let delivered = self.bring(receiver, inbox, &mut down, &mut out).await;
        self.worker.spares.put_buffer(out);
        delivered
    }

    async fn bring(
        &self,
        receiver: &mut Inlet<T>,
        inbox: &mut Vec<u8>,
        down: &mut Down<'_, T>,
        out: &mut Vec<u8>,
    ) -> Result<Delivered, Failure> {
        let head = self.receive_final_head(receiver, inbox, down, out).await?;
        self.progress.ends_at_close.set(head.delivery.framing == Framing::UntilClose);
        if head.is_upgrade {
            self.begin_response();
            self.send_down(down, out).await?;
            return Ok(Delivered::Upgrade);
        }
        let mut body = Body {
            decoder: BodyDecoder::new(head.framing),
            is_chunked: head.delivery.framing == Framing::Chunked,
            trailers: Vec::new(),
            web: head.delivery.grpc_web,
        };
        // The rest of a short body that is here already goes with the head. An error that is met here is told by the next
        // receive as an end, which is no proper one for a body of known length.
        let is_short = |left: &u64| (inbox.len() as u64 + 1..=JOINED_SEND_BYTES_MAX as u64).contains(left);
        if let Some(left) = body.decoder.bytes_left().filter(is_short) {
            self.make_room(inbox, Some(left));
            let bytes = receiver.receive_at_once(inbox);
            self.note_received(bytes);
        }
        loop {
            // What comes with the head and is broken can still be answered in the upstream's place.
            self.take_body(inbox, &mut body, out)?;
            if !out.is_empty() {
                self.begin_response();
                self.send_down(down, out).await?;
            }
            if body.decoder.is_done() {
                break;
            }
            self.make_room_for_body(inbox, body.decoder.bytes_left(), self.progress.received_bytes.get());
            let received = receive(receiver, inbox);
            let timeouts = &self.service.timeouts;
            let ms = if self.is_grpc { timeouts.tunnel_ms } else { timeouts.body_ms };
            match down.patience.wait(Timeout::UpstreamBody, ms, received).await? {
                Ok(0) if body.decoder.ends_at_close() => body.end(out),
                Ok(0) => return Err(Failure::UpstreamTruncated),
                Ok(bytes) => self.note_received(bytes),
                Err(error) => {
                    self.progress.errno.set(error.raw_os_error().unwrap_or(0));
                    return Err(Failure::UpstreamTruncated);
                }
            }
        }
        let is_sent = self.progress.upload.get() == Upload::Sent;
        let word = UpstreamWord { keeps_alive: head.word.keeps_alive && is_sent, ..head.word };
        Ok(Delivered::Response { keep_alive: head.delivery.keep_alive, word })
    }

    /// From here on there is no other answer, and no other attempt.
    fn begin_response(&self) {
        if !self.progress.is_response_started.replace(true) {
            self.held.borrow_mut().let_go(&self.worker.spares);
        }
    }

    fn note_received(&self, bytes: usize) {
        self.progress.has_response_bytes.set(true);
        self.progress.received_bytes.set(self.progress.received_bytes.get() + bytes as u64);
    }

    /// Receives heads until the final one, which is then encoded in `out`; passes interim ones on.
    async fn receive_final_head(
        &self,
        receiver: &mut Inlet<T>,
        inbox: &mut Vec<u8>,
        down: &mut Down<'_, T>,
        out: &mut Vec<u8>,
    ) -> Result<Final, Failure> {
        let mut scan = HeadScan::default();
        let mut interim = 0;
        let mut is_timed = false;
        loop {
            let found = scan.advance(inbox).map_err(|_| ResponseFault::BareLineFeed)?;
            if found.unwrap_or(inbox.len()) > HEAD_BYTES_MAX {
                return Err(ResponseFault::HeadTooLarge.into());
            }
            if let Some(length) = found {
                self.check_unsolicited(receiver, &inbox[..length]).await?;
                // A full buffer may be the beginning of more.
                let is_full = inbox.len() == inbox.capacity();
                let bytes = if is_full { BODY_BUFFER_BYTES } else { inbox.len() + ADDED_FIELDS_BYTES };
                self.worker.spares.fit(out, bytes.min(BODY_BUFFER_BYTES));
                let head = self.read_head(&inbox[..length], out)?;
                inbox.drain(..length);
                scan = HeadScan::default();
                match head {
                    Head::Final(head) => return Ok(head),
                    Head::Interim if interim == INTERIM_RESPONSES_MAX => {
                        return Err(ResponseFault::TooManyInterim.into());
                    }
                    Head::Interim => interim += 1,
                }
                self.send_down(down, out).await?;
                is_timed = false;
                continue;
            }
            match self.wait_for_head(receiver, inbox, down.patience, &mut is_timed).await? {
                News::SayContinue => {
                    self.progress.expectation.set(Expectation::Met);
                    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    self.send_down(down, out).await?;
                    is_timed = false;
                }
                News::Received(Ok(bytes)) if bytes > 0 => self.note_received(bytes),
                News::Received(result) => return Err(self.closed_before_head(&result, inbox)),
            }
        }
    }

    /// The upstream's time begins when the request is sent, or can be sent no further.
    async fn wait_for_head(
        &self,
        receiver: &mut Inlet<T>,
        inbox: &mut Vec<u8>,
        patience: &Patience<'_, T>,
        is_timed: &mut bool,
    ) -> Result<News, Failure> {
        if !*is_timed {
            patience.arm(None);
        }
        poll_fn(|cx| {
            if self.progress.expectation.get() == Expectation::Due {
                return Poll::Ready(Ok(News::SayContinue));
            }
            if let Poll::Ready(received) = receiver.poll_receive(inbox, cx) {
                return Poll::Ready(Ok(News::Received(received)));
            }
            if !*is_timed && self.progress.upload.get() != Upload::Sending {
                patience.arm(self.service.timeouts.header_ms);
                *is_timed = true;
            }
            if patience.timer.poll_expired(cx) {
                return Poll::Ready(Err(patience.failure(Timeout::UpstreamHeader)));
            }
            Poll::Pending
        })
        .await
    }

    fn closed_before_head(&self, result: &io::Result<usize>, inbox: &[u8]) -> Failure {
        if let Err(error) = result {
            self.progress.errno.set(error.raw_os_error().unwrap_or(0));
            if let Some(failure) = fault_of(error) {
                return failure;
            }
        }
        match self.progress.upload.get() {
            _ if !inbox.is_empty() => Failure::UpstreamBadHeader("head_truncated"),
            Upload::Broken(failure) => failure,
            Upload::Sending | Upload::Sent => Failure::UpstreamClosedNoResponse,
        }
    }

    /// Parses a complete head and writes what the client gets of it to `out`.
    fn read_head(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Head, Failure> {
        let mut head = self.worker.response_head.borrow_mut();
        head.parse(bytes, self.head.method() == b"HEAD")?;
        if head.is_interim() {
            self.put_interim(&head, bytes, out);
            return Ok(Head::Interim);
        }
        let is_upgrade = head.status() == 101;
        let asked = self.head.upgrade();
        let answered = head.known(Known::Upgrade, bytes);
        if is_upgrade && !asked.zip(answered).is_some_and(|(asked, answered)| is_one_of(answered, asked)) {
            return Err(ResponseFault::UpgradeNotAsked.into());
        }
        // Its client would take any success for the other protocol's beginning (RFC 8441 §5).
        if self.head.is_h2() && asked.is_some() && (200..300).contains(&head.status()) {
            return Err(Failure::UpstreamBadHeader("upgrade_ignored"));
        }
        if is_upgrade && self.progress.has_early_bytes.get() {
            return Err(Failure::ClientBadRequest("bytes_before_upgrade"));
        }
        self.progress.status.set(head.status());
        if self.is_tried_elsewhere(&head, bytes) {
            return Err(Failure::UpstreamStatus);
        }
        self.progress.first_byte_us.set(self.worker.transport.now_us());
        self.note_answer(head.status());
        self.progress.phase.set(Phase::Body);
        let delivery = self.delivery(&head, bytes);
        put_response_head(out, &head, bytes, &delivery, self.filters);
        let word = UpstreamWord {
            keeps_alive: head.keeps_alive(),
            idle_s_max: head.idle_s_max(),
            requests_max: head.requests_max(),
        };
        Ok(Head::Final(Final { framing: head.framing(), delivery, word, is_upgrade }))
    }

    /// 100 goes to a client that waits for it, other interim responses to every client of HTTP/1.1.
    fn put_interim(&self, head: &ResponseHead, bytes: &[u8], out: &mut Vec<u8>) {
        let passes = if head.status() == 100 {
            self.head.expects_continue() && self.progress.expectation.replace(Expectation::Met) != Expectation::Met
        } else {
            self.head.version() == Version::Http11
        };
        if passes {
            self.progress.has_interim.set(self.progress.has_interim.get() || head.status() != 100);
            put_interim_head(out, head, bytes);
        }
    }

    /// How the response goes to this client: the one place where keep-alive is decided.
    fn delivery(&self, head: &ResponseHead, bytes: &[u8]) -> Delivery {
        let is_modern = self.head.version() == Version::Http11;
        // An answer that is none of gRPC goes to a client of gRPC-web as it is.
        let content_type = head.known(Known::ContentType, bytes).unwrap_or_default();
        let grpc_web = self.head.grpc_web().filter(|_| is_grpc(content_type));
        let framing = match head.framing() {
            // It becomes longer.
            Framing::Length(1..) if grpc_web.is_some() && is_modern => Framing::Chunked,
            Framing::Length(1..) if grpc_web.is_some() => Framing::UntilClose,
            Framing::Chunked | Framing::UntilClose if is_modern => Framing::Chunked,
            Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
            other => other,
        };
        // A client that still waits for 100 may send the body or leave it out: nobody knows what comes next.
        let is_ambiguous = self.head.expects_continue() && self.progress.expectation.get() != Expectation::Met;
        // An early answer: what is left of the body is thrown away within a bound, beyond which the connection ends.
        let is_read = self.progress.is_body_received.get()
            || matches!(self.head.framing(), Framing::Length(length)
                if length.saturating_sub(self.progress.request_bytes.get()) <= DRAIN_BYTES_MAX);
        let keep_alive =
            self.head.wants_keep_alive() && !self.is_last && framing != Framing::UntilClose && !is_ambiguous && is_read;
        Delivery {
            framing,
            keep_alive,
            says_keep_alive: keep_alive && !is_modern,
            passes_length: self.head.method() == b"HEAD" || head.status() == 304,
            is_secure: self.is_secure,
            grpc_web,
        }
    }

    /// Moves what `inbox` holds of the body to `out`. A whole buffer of plain body changes places, uncopied.
    fn take_body(&self, inbox: &mut Vec<u8>, body: &mut Body, out: &mut Vec<u8>) -> Result<(), Failure> {
        let was_done = body.decoder.is_done();
        if out.is_empty() && !body.is_chunked && body.web.is_none() && body.is_plain_to(inbox.len()) {
            let length = inbox.len();
            body.decoder.decode(inbox, &mut body.trailers).map_err(|fault| Failure::UpstreamBadBody(fault.rule()))?;
            std::mem::swap(inbox, out);
            self.progress.response_bytes.set(self.progress.response_bytes.get() + length as u64);
            return Ok(());
        }
        let mut taken = 0;
        while taken < inbox.len() && !body.decoder.is_done() {
            let piece = body
                .decoder
                .decode(&inbox[taken..], &mut body.trailers)
                .map_err(|fault| Failure::UpstreamBadBody(fault.rule()))?;
            let data = &inbox[taken..][piece.data];
            self.progress.response_bytes.set(self.progress.response_bytes.get() + data.len() as u64);
            body.put(out, data);
            taken += piece.consumed;
        }
        if body.decoder.is_done() && !was_done {
            body.end(out);
        }
        inbox.drain(..taken);
        Ok(())
    }

    async fn send_down(&self, down: &mut Down<'_, T>, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.progress.client_left.get().is_some() {
            out.clear();
            return Ok(());
        }
        let timeout = (Timeout::ClientSend, self.listener.timeouts.send_ms);
        self.progress.is_sending.set(true);
        let sent = send_all(down.client, out, down.patience, timeout, (&mut *down.pace, &Cell::default())).await;
        self.progress.is_sending.set(sent.is_err());
        match sent {
            Ok(()) => Ok(()),
            Err(SendFault::Io(..)) if self.service.ignore_client_abort => {
                self.progress.client_left.set(Some(self.progress.phase.get()));
                out.clear();
                Ok(())
            }
            Err(SendFault::Io(..)) => Err(Failure::ClientClosed(self.progress.phase.get())),
            Err(SendFault::Expired(failure)) => Err(failure),
        }
    }
}

/// The way to the client.
struct Down<'a, T: Transport> {
    client: &'a mut Outlet<T>,
    patience: &'a Patience<'a, T>,
    pace: &'a mut Pace,
}

/// True where the protocol is one that was offered, in the order of preference that `Upgrade` lists.
fn is_one_of(answered: &[u8], offered: &[u8]) -> bool {
    list_elements(offered).any(|protocol| protocol.eq_ignore_ascii_case(answered))
}
