//! One attempt to have a request answered by an upstream, as both of its directions know it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::engine::Transport;
use super::super::host::Worker;
use super::super::kit::Kit;
use super::super::upstreams::admit::{Admission, Destination};
use super::super::upstreams::gate::Permit;
use super::account::Account;
use super::held::{Copies, Held, HeldStore};
use super::progress::{Progress, UploadState};
use crate::config::services::ServiceSpec;
use crate::encode::grpc;
use crate::encode::response::{EditsOfResponse, UpstreamResponse};
use crate::filter::Chain;
use crate::filter::bandwidth_limit::ByteRate;
use crate::filter::edits::{Edits, FieldEdits};
use crate::filter::encoder::Recoding;
use crate::limits::{BODY_BUFFER_BYTES, COMPRESSIONS_MAX};
use crate::proto::gateway::Gateway;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::Listener;
use crate::upstream::attempts::ConnectionFacts;
use crate::upstream::reuse::UpstreamWord;

/// What came down.
#[derive(Debug)]
pub(super) enum Delivered {
    /// The whole response went to the client.
    Response {
        /// True where the client's connection stays open.
        keep_alive: bool,
        /// What the upstream said about its connection. It cannot be kept where the request was not sent to its end.
        word: UpstreamWord,
        /// True where its connection is authenticated as this client's.
        binds: bool,
    },
    /// The answer was read as far as was worth it and not passed on, for a page goes in its place.
    Replaced {
        /// As of a response.
        word: UpstreamWord,
        /// As of a response.
        binds: bool,
        /// Fields of it that the client gets all the same.
        kept: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// The 101 went to the client.
    Upgrade,
}

/// Answers of the upstream that are not passed on, for there can be another attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discards<'a> {
    /// A 408 that answers an idle connection and not the request.
    pub idle_timeout: bool,
    /// The statuses that `retry.on_status` lists, where another attempt is allowed at all; the endpoints that were tried.
    pub elsewhere: Option<&'a [usize]>,
}

/// One attempt to have a request answered by an upstream, as both directions know it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Transfer<'a, T: Transport> {
    pub worker: &'a Rc<Worker<T>>,
    pub listener: &'a Listener,
    pub edits: &'a Edits,
    /// Of its listener, its route and its target, where one of them asks about answers.
    pub chains: Option<[&'a Chain; 3]>,
    pub head: &'a RequestHead,
    /// The length of the request body, once all of it is held and the head does not say it.
    pub body_length: &'a Cell<Option<u64>>,
    /// The largest request body, in bytes.
    pub body_max: Option<u64>,
    /// Where it goes.
    pub to: &'a Destination<T>,
    pub permit: &'a Permit<T>,
    /// What the circuit breaker shall know of the outcome.
    pub admission: &'a RefCell<Option<Admission<T>>>,
    /// The upstream connection, as it was found.
    pub connection: ConnectionFacts,
    /// What is spoken there in the place of HTTP.
    pub gateway: Option<Gateway>,
    /// True where it is one stream of a connection.
    pub is_stream: bool,
    /// Bytes sent over it before.
    pub sent_before: u64,
    /// True where the client came by TLS.
    pub is_secure: bool,
    /// True for a call of gRPC.
    pub is_grpc: bool,
    /// True for a call of gRPC over HTTP/2 on both sides: its streams may pause for long, so no pace and only the tunnel's timeout
    /// hold for its body. What is allowed follows from what is spoken, and not from a field of the client's alone.
    pub is_open_ended: bool,
    /// True where the client's offer of another protocol went with the request.
    pub offers: bool,
    /// True where the client's connection closes after this.
    pub is_last: bool,
    /// What is held of the request body.
    pub held: &'a RefCell<Held>,
    /// Copies of the request that wait to be sent.
    pub copies: &'a RefCell<Option<Box<Copies>>>,
    /// Which answers are not passed on.
    pub discards: Discards<'a>,
    pub progress: &'a Progress,
    pub account: &'a Account,
}

impl<T: Transport> Transfer<'_, T> {
    pub(super) fn kit(&self) -> &Kit<T> {
        &self.worker.kit
    }

    /// What filters change in this answer for what it says, and how its coding changes.
    pub(super) fn edits_of(&self, response: UpstreamResponse<'_>) -> (Option<FieldEdits>, Option<Recoding>) {
        let mut edits: Option<FieldEdits> = None;
        let recoding = self.chains.and_then(|chains| self.note_edits(chains, response, &mut edits));
        if let Some((name, value)) =
            self.to.sticky_line(self.kit(), (self.permit.at, self.account.is_first_attempt()), self.is_secure)
        {
            edits.get_or_insert_default().add(name.as_bytes(), value.into_bytes());
        }
        (edits, recoding)
    }

    fn note_edits(
        &self,
        chains: [&Chain; 3],
        UpstreamResponse { head, bytes }: UpstreamResponse<'_>,
        edits: &mut Option<FieldEdits>,
    ) -> Option<Recoding> {
        chains.iter().for_each(|chain| chain.on_response(head, bytes, edits));
        // The one that is nearest to the upstream.
        let compress = chains.iter().rev().find_map(|chain| chain.compress());
        compress.and_then(|compress| {
            let edits = edits.get_or_insert_default();
            let has_room = self.worker.compressions.get() < COMPRESSIONS_MAX;
            compress.on_response(self.head, (head, bytes), edits, has_room)
        })
    }

    /// True where a server that tells the end of its answer leaves its connection open, and the request was sent to its end.
    pub(super) fn leaves_open(&self) -> bool {
        self.gateway == Some(Gateway::FastCgi(true)) && self.progress.upload.get() == UploadState::Sent
    }

    /// Bytes have come from the upstream.
    pub(super) fn note_received(&self, bytes: usize) {
        self.progress.has_response_bytes.set(true);
        self.account.add_received_bytes(bytes);
    }

    /// How fast the answer goes; as fast as its client takes it where there is none.
    pub(super) fn rates(&self) -> Vec<ByteRate> {
        self.rates_of(|chain| &chain.rates)
    }

    /// How fast the request goes, as [`Self::rates`].
    pub(super) fn request_rates(&self) -> Vec<ByteRate> {
        self.rates_of(|chain| &chain.request_rates)
    }

    fn rates_of(&self, rates: impl Fn(&Chain) -> &[ByteRate]) -> Vec<ByteRate> {
        self.chains.into_iter().flatten().flat_map(|chain| rates(chain).iter().copied()).collect()
    }

    /// True where a page goes in the place of an answer of this status.
    pub(super) fn is_replaced(&self, status: u16) -> bool {
        let has_page = |chains: [&Chain; 3]| chains.iter().any(|chain| chain.pages_for(status, None).is_some());
        status >= 400 && !self.is_grpc && self.chains.is_some_and(has_page)
    }

    /// All that changes in an answer of this status.
    pub(super) fn edits_with<'e>(&'e self, status: u16, own: Option<&'e FieldEdits>) -> EditsOfResponse<'e> {
        let [every, secure, good, _] = self.edits.of_response(self.is_secure, status);
        [every, secure, good, own]
    }

    /// Notes how the final head says that it went.
    pub(super) fn note_status(&self, UpstreamResponse { head, bytes }: UpstreamResponse<'_>) {
        self.account.put_status(head.status());
        if self.is_grpc && head.framing().is_empty() {
            // Of an answer that is a head alone; else it comes in trailers.
            self.account.note_grpc_status(head.value(b"grpc-status", bytes).and_then(grpc::status));
        }
    }

    /// Notes how trailers say that it went.
    pub(super) fn note_trailers(&self, trailers: &[u8]) {
        if self.is_grpc {
            self.account.note_grpc_status(grpc::status_in(trailers));
        }
    }

    /// Bytes of the request body that are held at most: to be sent again, or for a copy.
    pub(super) fn hold_max(&self) -> u64 {
        let for_copies = self.copies.borrow().as_ref().map_or(0, |copies| copies.body_max());
        self.to.retry().buffer.bytes().max(for_copies)
    }

    pub(super) fn spec(&self) -> &ServiceSpec {
        &self.to.snapshot().spec
    }

    pub(super) fn held_store(&self) -> HeldStore<'_> {
        HeldStore { account: &self.worker.held_bytes, buffers: &self.worker.kit.buffers }
    }

    /// Gives an inbox room for what is left of a body; not where a receive is in flight, which has the buffer.
    pub(super) fn make_room(&self, inbox: &mut Vec<u8>, bytes_left: Option<u64>) {
        if inbox.capacity() > 0 {
            let bytes = bytes_left.map_or(BODY_BUFFER_BYTES, |left| usize::try_from(left).unwrap_or(usize::MAX));
            self.kit().buffers.grow(inbox, bytes);
        }
    }

    /// [`Self::make_room`] for the next part of a body. A long buffer is given only once a short one was filled: a
    /// `Content-Length` costs its sender nothing, so it must not buy memory here.
    pub(super) fn make_room_for_body(&self, inbox: &mut Vec<u8>, bytes_left: Option<u64>, taken: u64) {
        let most = if taken < BODY_BUFFER_BYTES as u64 { BODY_BUFFER_BYTES as u64 } else { u64::MAX };
        self.make_room(inbox, bytes_left.map(|left| left.min(most)));
    }
}
