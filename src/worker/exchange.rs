//! One request and its response, from the parsed head to the record. Read this first.
//!
//! `run` is the sentence: route → filter → pick an endpoint → connect → forward and respond. Whatever goes wrong
//! in it is a [`Failure`], and `settle` is the one place where a failure becomes an answer.

use std::pin::pin;
use std::rc::Rc;

use super::Worker;
use super::connect::obtain;
use super::forward::{Delivered, Forward, Progress};
use super::io::{Transmit as _, Transport, caught, receive};
use super::link::{Link, SendFault, send_all};
use super::live::{Live, request_hash};
use super::pool::{Endpoint, Upstream};
use super::serve::Session;
use super::timer::Patience;
use super::tunnel::{Carried, carry};
use crate::failure::{Failure, Phase};
use crate::filter::error::{Answer, put_failure, put_redirect};
use crate::filter::forwarded::{Hop, client_address, is_trusted, put_request_head};
use crate::filter::{Redirect, Verdict, apply};
use crate::limits::{
    BODY_BUFFER_BYTES, CLIENT_SEND_BYTES_PER_S_MIN, DRAIN_BYTES_MAX, HEAD_BUFFER_BYTES, SEND_GRACE_MS,
};
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::request::RequestHead;
use crate::record::Record;
use crate::snapshot::{Address, Host, Listener, Peer, Route, Service};
use crate::timeouts::{LINGER_MS, Pace, Timeout};
use crate::upstream::reuse::{UpstreamWord, idle_ms};

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come.
    KeepAlive,
    /// It closes.
    Close,
    /// It closes once the client has had time to read the answer.
    Linger,
}

/// How `run` came to its end where nothing failed.
enum Ending {
    /// The whole answer went out; true where the connection may stay open.
    Answered(bool),
    /// The connection was handed to another protocol and is over.
    Tunnelled,
}

/// Answers one request, whose head was parsed or refused, and records it.
pub(super) async fn exchange<T: Transport>(
    worker: &Rc<Worker<T>>,
    session: &mut Session<T>,
    head: &mut RequestHead,
    parsed: Result<(), Failure>,
) -> After {
    let live = Rc::clone(&session.live);
    let Some(listener) = live.snapshot.listener(session.listener) else { return After::Close };
    let client = client_address(head, session.peer.address, &listener.trusted);
    let mut record = Record::new(session.listener, client, worker.transport.now_us());
    record.request_id = u128::from(worker.transport.random()) << 64 | u128::from(worker.transport.random());
    let mut exchange = Exchange {
        worker,
        live: &live,
        listener,
        peer: session.peer,
        is_last: session.is_last,
        progress: Progress::default(),
        body: BodyDecoder::new(head.framing()),
        record,
    };
    let outcome = match parsed {
        Ok(()) => {
            let run = pin!(exchange.run(&mut session.link, head));
            caught(run).await.unwrap_or_else(|_| {
                worker.metrics.borrow_mut().counters.panics += 1;
                Err(Failure::Internal("exchange"))
            })
        }
        Err(failure) => Err(failure),
    };
    let after = exchange.settle(outcome, &mut session.link, head).await;
    exchange.finish(head);
    after
}

struct Exchange<'a, T: Transport> {
    worker: &'a Rc<Worker<T>>,
    live: &'a Live<T>,
    listener: &'a Listener,
    peer: Peer,
    is_last: bool,
    progress: Progress,
    /// The part of the request body that has not come yet.
    body: BodyDecoder,
    record: Record,
}

impl<'a, T: Transport> Exchange<'a, T> {
    async fn run(&mut self, client: &mut Link<T>, head: &mut RequestHead) -> Result<Ending, Failure> {
        self.progress.phase.set(Phase::Route);
        let live = self.live;
        let route_at = self.listener.router.find(head).ok_or(Failure::NoRoute)?;
        self.record.route = Some(route_at);
        let route = live.snapshot.routes.get(route_at).ok_or(Failure::Internal("route"))?;
        match apply(&route.filters, head).map_err(Failure::from)? {
            Verdict::Pass => {}
            Verdict::Redirect(redirect) => return self.redirect(client, head, redirect).await,
        }
        self.check_request(client, head)?;
        let service_at = route.service.ok_or(Failure::NoRoute)?;
        self.record.service = Some(service_at);
        let service = live.snapshot.services.get(service_at).ok_or(Failure::Internal("service"))?;
        let endpoint = self.pick(service_at, service, head)?;
        let _busy = Busy::new(endpoint);
        let total_at_ms = service.timeouts.total_ms.map(|ms| self.worker.transport.coarse_ms() + ms);
        let mut upstream = self.connect(client, endpoint, service, total_at_ms).await?;
        let delivered = self.forward(client, &mut upstream, head, route, (service, endpoint, total_at_ms)).await?;
        self.progress.phase.set(Phase::Body);
        match delivered {
            Delivered::Response { keep_alive, word } => {
                self.release(endpoint, upstream, service, word);
                Ok(Ending::Answered(keep_alive))
            }
            Delivered::Upgrade => self.tunnel(client, &mut upstream, service).await,
        }
    }

    /// What can be refused before an upstream hears of it.
    fn check_request(&self, client: &Link<T>, head: &RequestHead) -> Result<(), Failure> {
        if let (Framing::Length(length), Some(max)) = (head.framing(), self.listener.body_bytes_max)
            && length > max
        {
            return Err(Failure::ClientBodyTooLarge);
        }
        if head.upgrade().is_some() && !client.inbox.is_empty() {
            return Err(Failure::ClientBadRequest("bytes_before_upgrade"));
        }
        Ok(())
    }

    fn pick(&mut self, at: usize, service: &Service, head: &RequestHead) -> Result<&'a Rc<Endpoint<T>>, Failure> {
        let live = self.live.services.get(at).ok_or(Failure::Internal("service"))?;
        let hash = request_hash(service, head, self.listener, self.peer);
        let none = service.unresolved.unwrap_or(Failure::NoEndpoints);
        let picked = live.pick(service, self.worker.transport.random(), hash).ok_or(none)?;
        self.record.endpoint = Some(picked);
        live.endpoints.get(picked).ok_or(Failure::Internal("endpoint"))
    }

    async fn connect(
        &mut self,
        client: &Link<T>,
        endpoint: &Endpoint<T>,
        service: &Service,
        total_at_ms: Option<u64>,
    ) -> Result<Upstream<T>, Failure> {
        self.progress.phase.set(Phase::Connect);
        self.record.attempts += 1;
        let patience = Patience { timer: &client.timer, total_at_ms };
        let obtained = obtain(self.worker, endpoint, &patience, service.timeouts.connect_ms).await;
        self.record.times.connected_us = self.worker.transport.now_us();
        let (upstream, connection) = obtained.map_err(|(failure, errno)| {
            self.record.errno = errno;
            failure
        })?;
        self.record.connection = connection;
        Ok(upstream)
    }

    async fn forward(
        &mut self,
        client: &mut Link<T>,
        upstream: &mut Upstream<T>,
        head: &RequestHead,
        route: &Route,
        (service, endpoint, total_at_ms): (&Service, &Endpoint<T>, Option<u64>),
    ) -> Result<Delivered, Failure> {
        let mut out = self.worker.spares.buffer(BODY_BUFFER_BYTES);
        // By the snapshot's name: services with the same address share an endpoint, not its name.
        let name = self.record.endpoint.and_then(|at| service.endpoints.get(at)).map_or("", |endpoint| &endpoint.name);
        let hop = self.hop(service, endpoint, name);
        put_request_head(&mut out, head, &hop, &route.filters);
        let forward = Forward {
            worker: self.worker,
            listener: self.listener,
            service,
            filters: &route.filters,
            head,
            total_at_ms,
            is_last: self.is_last,
            is_reused: self.record.connection.is_reused,
            progress: &self.progress,
        };
        let delivered = forward.run(client, &mut upstream.link, &mut self.body, &mut out).await;
        self.worker.spares.put_buffer(out);
        delivered
    }

    fn hop<'h>(&self, service: &'h Service, endpoint: &Endpoint<T>, name: &'h str) -> Hop<'h> {
        Hop {
            peer: self.peer.address,
            is_trusted: is_trusted(&self.listener.trusted, self.peer.address),
            scheme: "http",
            port: self.listener.port,
            request_id: self.record.request_id,
            forwarded: self.listener.forwarded,
            via: self.listener.via,
            fallback_host: if matches!(endpoint.address, Address::Unix(_)) { b"localhost" } else { name.as_bytes() },
            host: match (&service.host, &endpoint.address) {
                (Host::Keep, _) => None,
                (Host::Name(name), _) => Some(name),
                (Host::Endpoint, Address::Tcp(_)) => Some(name.as_bytes()),
                (Host::Endpoint, Address::Unix(_)) => Some(b"localhost"),
            },
        }
    }

    /// Keeps the upstream connection if both sides can go on with it.
    fn release(&self, endpoint: &Rc<Endpoint<T>>, upstream: Upstream<T>, service: &Service, word: UpstreamWord) {
        if !upstream.link.inbox.is_empty() {
            // Bytes behind the response: whatever they are, they answer no request of ours.
            self.worker.metrics.borrow_mut().counters.idle_closed_unsolicited += 1;
            return;
        }
        let wear = upstream.wear(self.worker.transport.coarse_ms());
        if let Some(idle_ms) = idle_ms(&service.reuse, wear, word) {
            endpoint.check_in(self.worker, upstream, idle_ms, service.idle_connections_max);
        }
    }

    async fn tunnel(
        &mut self,
        client: &mut Link<T>,
        upstream: &mut Upstream<T>,
        service: &Service,
    ) -> Result<Ending, Failure> {
        self.progress.phase.set(Phase::Tunnel);
        let carried = Carried::default();
        let result = carry(client, &mut upstream.link, service.timeouts.tunnel_ms, &carried).await;
        self.progress.request_bytes.set(carried.up.get());
        self.progress.response_bytes.set(carried.down.get());
        result.map(|()| Ending::Tunnelled)
    }

    async fn redirect(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        redirect: &Redirect,
    ) -> Result<Ending, Failure> {
        let keep_alive = self.may_keep_alive(head);
        let mut out = self.worker.spares.buffer(HEAD_BUFFER_BYTES);
        put_redirect(&mut out, redirect, "http", &self.answer(head, keep_alive));
        self.progress.status.set(redirect.status);
        let sent = self.send(client, &mut out).await;
        self.worker.spares.put_buffer(out);
        sent.map(|()| Ending::Answered(keep_alive))
    }

    /// Turns the outcome into what becomes of the client's connection: the one place where a failure is answered.
    async fn settle(&mut self, outcome: Result<Ending, Failure>, client: &mut Link<T>, head: &RequestHead) -> After {
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
                self.progress.status.set(failure.row().status);
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
        if keep_alive && self.drain(client).await {
            After::KeepAlive
        } else if self.body.is_done() && self.record.failure.is_none() && client.inbox.is_empty() {
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
        send_all(&mut client.sender, out, &patience, timeout, &mut pace).await.map_err(|fault| match fault {
            SendFault::Io(..) => Failure::ClientClosed(Phase::Body),
            SendFault::Expired(failure) => failure,
        })
    }

    /// Whether the connection can go on after an answer of our own, given what is left of the request body.
    fn may_keep_alive(&self, head: &RequestHead) -> bool {
        let is_drainable = match &self.body {
            BodyDecoder::Done => true,
            // A client that waits for 100 may send the body or leave it out: nobody knows what comes next.
            BodyDecoder::Length(left) => *left <= DRAIN_BYTES_MAX && !head.expects_continue(),
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => false,
        };
        head.wants_keep_alive() && !self.is_last && is_drainable
    }

    /// Reads the rest of the request body and throws it away; false where it is too long or too slow.
    async fn drain(&mut self, client: &mut Link<T>) -> bool {
        client.timer.arm(LINGER_MS);
        let mut left = DRAIN_BYTES_MAX;
        let mut trailers = Vec::new();
        loop {
            while !client.inbox.is_empty() && !self.body.is_done() {
                let Ok(piece) = self.body.decode(&client.inbox, &mut trailers) else { return false };
                client.inbox.drain(..piece.consumed);
                left = left.saturating_sub(piece.consumed as u64);
            }
            if self.body.is_done() || left == 0 {
                return self.body.is_done();
            }
            let received = receive(&mut client.receiver, &mut client.inbox);
            if !matches!(client.timer.guard(received).await, Ok(Ok(bytes)) if bytes > 0) {
                return false;
            }
        }
    }

    /// Completes the record and hands it on.
    fn finish(mut self, head: &RequestHead) {
        let progress = &self.progress;
        let record = &mut self.record;
        record.phase = progress.phase.get();
        record.status = progress.status.get();
        record.request_bytes = progress.request_bytes.get();
        record.response_bytes = progress.response_bytes.get();
        record.is_response_started = progress.is_response_started.get();
        if progress.errno.get() != 0 {
            record.errno = progress.errno.get();
        }
        record.times.sent_us = progress.sent_us.get();
        record.times.first_byte_us = progress.first_byte_us.get();
        record.times.ended_us = self.worker.transport.now_us();
        self.worker.record(record, head, &self.live.snapshot);
    }
}

/// Counts the requests that an endpoint is busy with, whatever ends them.
struct Busy<T: Transport>(Rc<Endpoint<T>>);

impl<T: Transport> Busy<T> {
    fn new(endpoint: &Rc<Endpoint<T>>) -> Self {
        endpoint.busy.set(endpoint.busy.get() + 1);
        Self(Rc::clone(endpoint))
    }
}

impl<T: Transport> Drop for Busy<T> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}
