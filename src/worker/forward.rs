//! Passes a request up while its response comes down: one task, two directions, back-pressure from end to end.
//!
//! Upload and download are futures polled together. The download decides when the exchange is over. The upload
//! never ends it well: it ends with a failure of the client's, and after the body it watches the client, whose
//! next bytes are the next request's and whose end means that nobody waits any more. That receive is the one the
//! next request needs anyway, so the watch costs no operation.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::Worker;
use super::admit::{Admission, Elsewhere};
use super::gate::Permit;
use super::held::{Held, RequestBody};
use super::io::Transport;
use super::link::Link;
use super::timer::Patience;
use super::upload::Source;
use crate::failure::{Failure, Phase};
use crate::filter::Filter;
use crate::limits::BODY_BUFFER_BYTES;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::{Listener, Service};
use crate::upstream::reuse::UpstreamWord;

/// How far an exchange is: written by both directions, read by both and by the record.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub phase: Cell<Phase>,
    pub upload: Cell<Upload>,
    pub status: Cell<u16>,
    pub is_response_started: Cell<bool>,
    /// True where the client takes the connection's end for the body's.
    pub ends_at_close: Cell<bool>,
    /// True while an interim response is on its way: nothing else may be sent unless it went whole.
    pub is_sending: Cell<bool>,
    /// True where the client sent more while its upgrade was awaited.
    pub has_early_bytes: Cell<bool>,
    /// The client got an interim response other than 100, which is a part of the upstream's answer.
    pub has_interim: Cell<bool>,
    /// Bytes have come from the upstream in this attempt.
    pub has_response_bytes: Cell<bool>,
    /// Where the client left, while the upstream finishes all the same.
    pub client_left: Cell<Option<Phase>>,
    /// Bytes sent to the upstream in this attempt, and received.
    pub sent_bytes: Cell<u64>,
    pub received_bytes: Cell<u64>,
    /// `Retry-After` of a response that is not passed on, in seconds.
    pub retry_after_s: Cell<u32>,
    /// The whole request body has come.
    pub is_body_received: Cell<bool>,
    pub request_bytes: Cell<u64>,
    pub response_bytes: Cell<u64>,
    pub sent_us: Cell<u64>,
    pub first_byte_us: Cell<u64>,
    pub errno: Cell<i32>,
    pub expectation: Cell<Expectation>,
}

impl Progress {
    /// Another attempt begins; what went on between the client and us stays.
    pub(super) fn begin_attempt(&self) {
        self.upload.set(Upload::Sending);
        self.has_response_bytes.set(false);
        self.sent_bytes.set(0);
        self.received_bytes.set(0);
        self.sent_us.set(0);
        self.first_byte_us.set(0);
        self.errno.set(0);
        self.status.set(0);
        self.response_bytes.set(0);
    }
}

/// How far the request is on its way up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upload {
    #[default]
    Sending,
    Sent,
    /// The upstream takes no more; it may still answer.
    Broken(Failure),
}

/// What became of `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Nobody has said anything.
    #[default]
    Open,
    /// The upstream is silent, so we shall say it.
    Due,
    /// The client was told, or did not wait.
    Met,
}

/// What came down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delivered {
    /// The whole response went to the client.
    Response {
        /// True where the client's connection stays open.
        keep_alive: bool,
        /// What the upstream said about its connection; it closes it where the request was not sent to its end.
        word: UpstreamWord,
    },
    /// The 101 went to the client.
    Upgrade,
}

/// Answers of the upstream that are not passed on, for there can be another attempt.
#[derive(Debug)]
pub(super) struct Discards<'a, T: Transport> {
    /// A 408 that answers an idle connection and not the request.
    pub idle_timeout: bool,
    /// The statuses that `retry.on_status` lists, where another attempt is allowed at all.
    pub elsewhere: Option<Elsewhere<'a, T>>,
}

/// One attempt to have a request answered by an upstream.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Forward<'a, T: Transport> {
    pub worker: &'a Rc<Worker<T>>,
    pub listener: &'a Listener,
    pub service: &'a Service,
    pub filters: &'a [Filter],
    pub head: &'a RequestHead,
    pub total_at_ms: Option<u64>,
    /// True where the client came by TLS.
    pub is_secure: bool,
    /// True for a request of gRPC, whose messages come when they come.
    pub is_grpc: bool,
    /// True where the client's connection closes after this.
    pub is_last: bool,
    /// True where the upstream connection came from the pool.
    pub is_reused: bool,
    /// True where it is one stream of a connection.
    pub is_stream: bool,
    /// How long it was idle there, in microseconds.
    pub idle_us: u64,
    /// Bytes sent over it before.
    pub sent_before: u64,
    /// What is held of the request body.
    pub held: &'a RefCell<Held>,
    /// Which answers are not passed on.
    pub discards: Discards<'a, T>,
    /// Where it goes.
    pub permit: &'a Permit<T>,
    /// What the circuit breaker shall know of the outcome.
    pub admission: &'a RefCell<Option<Admission>>,
    pub progress: &'a Progress,
}

impl<T: Transport> Forward<'_, T> {
    /// Gives an inbox room for what is left of a body; not where a receive is in flight, which has the buffer.
    pub(super) fn make_room(&self, inbox: &mut Vec<u8>, bytes_left: Option<u64>) {
        if inbox.capacity() > 0 {
            let bytes = bytes_left.map_or(BODY_BUFFER_BYTES, |left| usize::try_from(left).unwrap_or(usize::MAX));
            self.worker.spares.grow(inbox, bytes);
        }
    }

    /// [`Self::make_room`] for the next part of a body. The long buffers are for those who have filled a short one: what a
    /// peer says of a length costs it nothing.
    pub(super) fn make_room_for_body(&self, inbox: &mut Vec<u8>, bytes_left: Option<u64>, taken: u64) {
        let most = if taken < BODY_BUFFER_BYTES as u64 { BODY_BUFFER_BYTES as u64 } else { u64::MAX };
        self.make_room(inbox, bytes_left.map(|left| left.min(most)));
    }

    /// Runs both directions. `out` holds the encoded request head; `body` is what the client still has to send.
    pub(super) async fn run(
        &self,
        client: &mut Link<T>,
        upstream: &mut Link<T>,
        body: &mut RequestBody,
        out: &mut Vec<u8>,
    ) -> Result<Delivered, Failure> {
        let Link { receiver: client_receiver, sender: client_sender, inbox: client_inbox, timer: client_timer } =
            client;
        let Link { receiver, sender, inbox, timer } = upstream;
        let up = Patience { timer: client_timer, total_at_ms: self.total_at_ms };
        let down = Patience { timer, total_at_ms: self.total_at_ms };
        let mut source = Source { receiver: client_receiver, inbox: client_inbox, patience: up };
        let mut upload = pin!(self.upload(&mut source, sender, body, out));
        let mut download = pin!(self.download(receiver, inbox, &down, client_sender));
        poll_fn(|cx| {
            if let Poll::Ready(failure) = upload.as_mut().poll(cx) {
                return Poll::Ready(Err(failure));
            }
            download.as_mut().poll(cx)
        })
        .await
    }
}
