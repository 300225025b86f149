//! What the record of an exchange says, gathered while it goes on: the one writer of [`Record`].

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use crate::failure::{Failure, Phase};
use crate::record::{Record, Times};
use crate::snapshot::Label;
use crate::tls::Facts;
use crate::upstream::attempts::{ConnectionFacts, FailedAttempt};
use crate::upstream::retry::NoRetry;

/// The account of one exchange. Both directions write to it; they run in one task, so cells do.
#[derive(Debug)]
pub(super) struct Account {
    listener: Label,
    client: IpAddr,
    request_id: u128,
    tls: Option<Rc<Facts>>,
    is_early: Cell<bool>,
    route: Cell<Label>,
    service: Cell<Label>,
    endpoint: Cell<Option<usize>>,
    phase: Cell<Phase>,
    status: Cell<u16>,
    grpc_status: Cell<Option<u8>>,
    failure: Cell<Option<Failure>>,
    attempts: Cell<u8>,
    failed: RefCell<Vec<FailedAttempt>>,
    no_retry: Cell<Option<NoRetry>>,
    connection: Cell<ConnectionFacts>,
    request_bytes: Cell<u64>,
    response_bytes: Cell<u64>,
    sent_bytes: Cell<u64>,
    received_bytes: Cell<u64>,
    is_response_started: Cell<bool>,
    errno: Cell<i32>,
    times: Cell<Times>,
    /// When the last send to the upstream began, in microseconds.
    sending_us: Cell<u64>,
}

impl Account {
    /// Of an exchange that begins at `now_us`.
    pub(super) fn new(
        listener: Label,
        (client, tls): (IpAddr, Option<Rc<Facts>>),
        request_id: u128,
        now_us: u64,
    ) -> Self {
        Self {
            listener,
            client,
            request_id,
            tls,
            is_early: Cell::default(),
            route: Cell::default(),
            service: Cell::default(),
            endpoint: Cell::default(),
            phase: Cell::default(),
            status: Cell::default(),
            grpc_status: Cell::default(),
            failure: Cell::default(),
            attempts: Cell::default(),
            failed: RefCell::default(),
            no_retry: Cell::default(),
            connection: Cell::default(),
            request_bytes: Cell::default(),
            response_bytes: Cell::default(),
            sent_bytes: Cell::default(),
            received_bytes: Cell::default(),
            is_response_started: Cell::default(),
            errno: Cell::default(),
            times: Cell::new(Times { started_us: now_us, ..Times::default() }),
            sending_us: Cell::default(),
        }
    }

    /// What the TLS handshake came to, where there was one.
    pub(super) fn tls(&self) -> Option<&Facts> {
        self.tls.as_deref()
    }

    /// The exchange enters this phase.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// How far it has come.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// It goes on before the handshake is over.
    pub(super) fn note_early(&self) {
        self.is_early.set(true);
    }

    /// Its route was found.
    pub(super) fn note_route(&self, route: Label) {
        self.route.set(route);
    }

    /// It goes to this service.
    pub(super) fn note_service(&self, service: Label) {
        self.service.set(service);
    }

    /// There is room for it at this endpoint.
    pub(super) fn note_admitted(&self, endpoint: usize, now_us: u64) {
        self.endpoint.set(Some(endpoint));
        self.times.update(|times| Times { admitted_us: now_us, ..times });
    }

    /// True until an attempt has failed.
    pub(super) const fn is_first_attempt(&self) -> bool {
        self.attempts.get() <= 1
    }

    /// Begins another attempt, at this endpoint, and returns when, in microseconds. What concerns the client stays; what
    /// concerns the upstream is reset.
    pub(super) fn begin_attempt(&self, endpoint: usize, now_us: impl FnOnce() -> u64) -> u64 {
        // The first one begins with the admission.
        let is_first = self.attempts.get() == 0;
        let began_us = if is_first { self.times.get().admitted_us } else { now_us() };
        self.endpoint.set(Some(endpoint));
        self.attempts.set(self.attempts.get() + 1);
        self.connection.take();
        self.sent_bytes.set(0);
        self.received_bytes.set(0);
        self.response_bytes.set(0);
        self.errno.set(0);
        self.status.set(0);
        self.grpc_status.set(None);
        self.times.update(|times| Times { attempted_us: began_us, sent_us: 0, first_byte_us: 0, ..times });
        began_us
    }

    /// The attempt to connect is over, with or without a connection.
    pub(super) fn note_connected(&self, now_us: u64) {
        self.times.update(|times| Times { connected_us: now_us, ..times });
    }

    /// A connection is at hand.
    pub(super) fn note_connection(&self, facts: ConnectionFacts) {
        self.connection.set(facts);
    }

    /// The upstream connection of the present attempt.
    pub(super) fn connection(&self) -> ConnectionFacts {
        self.connection.get()
    }

    /// An attempt failed.
    pub(super) fn note_failed(&self, failed: FailedAttempt) {
        self.failed.borrow_mut().push(failed);
    }

    /// Why there is no other attempt.
    pub(super) fn note_no_retry(&self, why: Option<NoRetry>) {
        self.no_retry.set(why);
    }

    /// Bytes of request body came from the client.
    pub(super) fn add_request_bytes(&self, bytes: usize) {
        self.request_bytes.set(self.request_bytes.get() + bytes as u64);
    }

    /// Bytes of request body so far.
    pub(super) fn request_bytes(&self) -> u64 {
        self.request_bytes.get()
    }

    /// A part of the request is being sent.
    pub(super) fn note_sending(&self, now_us: u64) {
        self.sending_us.set(now_us);
    }

    /// The request was sent.
    pub(super) fn note_sent(&self, now_us: u64) {
        self.times.update(|times| Times { sent_us: now_us, ..times });
    }

    /// How long the upstream has had this attempt's request, in microseconds: since it was sent, or since there was a connection.
    pub(super) fn waited_us(&self, now_us: u64) -> u64 {
        let times = self.times.get();
        now_us.saturating_sub(times.sent_us.max(times.connected_us))
    }

    /// Counts what is sent to the upstream in this attempt.
    pub(super) const fn sent_bytes(&self) -> &Cell<u64> {
        &self.sent_bytes
    }

    /// Bytes came from the upstream.
    pub(super) fn add_received_bytes(&self, bytes: usize) {
        self.received_bytes.set(self.received_bytes.get() + bytes as u64);
    }

    /// Bytes that came from the upstream in this attempt.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.get()
    }

    /// Bytes of response body for the client.
    pub(super) fn add_response_bytes(&self, bytes: usize) {
        self.response_bytes.set(self.response_bytes.get() + bytes as u64);
    }

    /// A tunnel carried so many bytes up and down.
    pub(super) fn note_carried(&self, up: u64, down: u64) {
        self.request_bytes.set(up);
        self.response_bytes.set(down);
    }

    /// The final head of the upstream is here and is passed on.
    pub(super) fn note_first_byte(&self, now_us: u64) {
        self.times.update(|times| {
            // A send whose end is seen in the same turn as the answer ended before it, and most likely at once.
            let sent_us = if times.sent_us == now_us { self.sending_us.get() } else { times.sent_us };
            Times { sent_us, first_byte_us: now_us, ..times }
        });
    }

    /// True once the final head of the upstream is here.
    pub(super) fn has_first_byte(&self) -> bool {
        self.times.get().first_byte_us > 0
    }

    /// What the client gets, or what the upstream answered.
    pub(super) fn put_status(&self, status: u16) {
        self.status.set(status);
    }

    /// How a call of gRPC ended, where that was said.
    pub(super) fn note_grpc_status(&self, status: Option<u8>) {
        if status.is_some() {
            self.grpc_status.set(status);
        }
    }

    /// The status so far, 0 for none.
    pub(super) fn status(&self) -> u16 {
        self.status.get()
    }

    /// A byte of the final response may have left; true the first time.
    pub(super) fn begin_response(&self) -> bool {
        !self.is_response_started.replace(true)
    }

    /// True where a byte of the final response may have left: no other answer can follow.
    pub(super) fn is_response_started(&self) -> bool {
        self.is_response_started.get()
    }

    /// The operating system's error behind a failure.
    pub(super) fn note_errno(&self, errno: i32) {
        self.errno.set(errno);
    }

    /// The last such error, 0 for none.
    pub(super) fn errno(&self) -> i32 {
        self.errno.get()
    }

    /// The exchange failed.
    pub(super) fn note_failure(&self, failure: Failure) {
        self.failure.set(Some(failure));
    }

    /// True where it failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// The record of an exchange that is over at `now_us`.
    pub(super) fn into_record(self, now_us: u64) -> Record {
        let times = self.times.get();
        Record {
            route: self.route.get(),
            service: self.service.get(),
            endpoint: self.endpoint.get(),
            status: self.status.get(),
            grpc_status: self.grpc_status.get(),
            failure: self.failure.get(),
            phase: self.phase.get(),
            attempts: self.attempts.get(),
            failed: self.failed.into_inner(),
            no_retry: self.no_retry.get(),
            connection: self.connection.get(),
            request_bytes: self.request_bytes.get(),
            response_bytes: self.response_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            received_bytes: self.received_bytes.get(),
            is_response_started: self.is_response_started.get(),
            errno: self.errno.get(),
            request_id: self.request_id,
            tls: self.tls,
            is_early: self.is_early.get(),
            times: Times { ended_us: now_us, ..times },
            ..Record::new(self.listener, self.client, times.started_us)
        }
    }
}
