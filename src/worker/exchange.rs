//! One request and its response, from the parsed head to the record. Read this first.
//!
//! `run` is the sentence: route → filter → admit → attempt, again where that is safe → release. Whatever goes
//! wrong in it is a [`Failure`], and `settle` (in `settle.rs`) is the one place where a failure becomes an answer.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use super::Worker;
use super::admit::Admission;
use super::attempt::Destination;
use super::forward::{Delivered, Progress};
use super::held::{Held, RequestBody};
use super::io::{Transport, caught};
use super::link::Link;
use super::live::{Live, request_hash};
use super::pool::{Endpoint, Upstream};
use super::serve::Session;
use super::tls::early::{Early, Until};
use super::tunnel::{Carried, carry};
use crate::failure::{Failure, Phase, Resource};
use crate::filter::forwarded::client_address;
use crate::filter::{Verdict, apply, grpc};
use crate::limits::BODY_BUFFER_BYTES;
use crate::proto::grpc_web::TextDecoder;
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::request::RequestHead;
use crate::record::Record;
use crate::snapshot::{Listener, Peer, Service};
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
    /// It goes on in HTTP/2.
    Http2,
}

/// How `run` came to its end where nothing failed.
pub(super) enum Ending {
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
    record.tls.clone_from(&session.tls);
    let early = session.early.as_deref().filter(|early| !early.is_over());
    record.request_id = u128::from(worker.transport.random()) << 64 | u128::from(worker.transport.random());
    let mut exchange = Exchange {
        worker,
        live: &live,
        listener,
        peer: session.peer,
        is_last: session.is_last,
        early,
        progress: Progress::default(),
        body: RequestBody {
            decoder: BodyDecoder::new(head.framing()),
            trailers: Vec::new(),
            text: TextDecoder::default(),
        },
        held: RefCell::default(),
        admission: RefCell::default(),
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
    exchange.held.borrow_mut().let_go(&worker.spares);
    let after = exchange.settle(outcome, &mut session.link, head).await;
    exchange.finish(head);
    after
}

pub(super) struct Exchange<'a, T: Transport> {
    pub(super) worker: &'a Rc<Worker<T>>,
    pub(super) live: &'a Live<T>,
    pub(super) listener: &'a Listener,
    pub(super) peer: Peer,
    pub(super) is_last: bool,
    /// The rest of the handshake, where the request came before it.
    pub(super) early: Option<&'a Early>,
    pub(super) progress: Progress,
    pub(super) body: RequestBody,
    pub(super) held: RefCell<Held>,
    /// What the circuit breaker waits to hear.
    pub(super) admission: RefCell<Option<Admission>>,
    pub(super) record: Record,
}

impl<T: Transport> Exchange<'_, T> {
    async fn run(&mut self, client: &mut Link<T>, head: &mut RequestHead) -> Result<Ending, Failure> {
        self.progress.phase.set(Phase::Route);
        if self.worker.pressure.refuses(self.worker.transport.random()) {
            return Err(Failure::LocalResource(Resource::Worker));
        }
        let live = self.live;
        let route_at = self.listener.router.find(head).ok_or(Failure::NoRoute)?;
        self.record.route = Some(route_at);
        let route = live.snapshot.routes.get(route_at).ok_or(Failure::Internal("route"))?;
        self.check_name(head)?;
        match apply(&route.filters, head).map_err(Failure::from)? {
            Verdict::Pass => {}
            Verdict::Redirect(redirect) => return self.redirect(client, head, redirect).await,
        }
        if let Some(early) = self.early {
            Box::pin(self.await_handshake(client, head, early)).await?;
        }
        self.check_request(client, head)?;
        let service_at = route.service.ok_or(Failure::NoRoute)?;
        self.record.service = Some(service_at);
        let service = live.snapshot.services.get(service_at).ok_or(Failure::Internal("service"))?;
        let is_grpc = grpc::is_grpc(head);
        let deadline_ms = if is_grpc { grpc::timeout_ms(head) } else { None };
        let total_ms = service.timeouts.total_ms.into_iter().chain(deadline_ms).min();
        let total_at_ms = total_ms.map(|ms| self.worker.transport.coarse_ms() + ms);
        let state = live.services.get(service_at).ok_or(Failure::Internal("service"))?;
        let hash = request_hash(service, head, self.listener, self.peer);
        let to = Destination { route, service, live: state, hash, is_grpc, total_at_ms };
        let admission = self.ask_breaker(&to)?;
        self.admission.replace(admission);
        let permit = self.admit(client, &to).await?;
        let outcome = self.attempts(client, head, &to, permit).await;
        let outcome = outcome.inspect_err(|failure| self.note_failure(*failure));
        let (delivered, mut upstream, permit) = outcome?;
        self.progress.phase.set(Phase::Body);
        match delivered {
            Delivered::Response { keep_alive, word } => {
                self.release(&permit.endpoint, upstream, service, word);
                // Only now: whoever waits for room finds the connection in the pool.
                drop(permit);
                if let Some(phase) = self.progress.client_left.get() {
                    self.progress.status.set(499);
                    return Err(Failure::ClientClosed(phase));
                }
                Ok(Ending::Answered(keep_alive))
            }
            // Boxed, as all that is rare and large: the task of a connection has room for the most that it awaits at once.
            Delivered::Upgrade => Box::pin(self.tunnel(client, &mut upstream, service)).await,
        }
    }

    /// The scheme that the client used.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.record.tls.is_some() { "https" } else { "http" }
    }

    /// A client that met what one name asked for must not have what another name, or the same one since a reload, asks
    /// something else for.
    fn check_name(&self, head: &RequestHead) -> Result<(), Failure> {
        let Some(tls) = &self.listener.tls else { return Ok(()) };
        // A connection without TLS from before the listener had it is one for nothing any more.
        let facts = self.record.tls.as_ref().ok_or(Failure::Misdirected)?;
        let meant = tls.policy(std::str::from_utf8(head.host()).ok()).map(|policy| policy.print);
        if meant == Some(facts.policy) { Ok(()) } else { Err(Failure::Misdirected) }
    }

    /// A request that changes something is not to be had twice from whoever recorded it: it waits for the handshake's end
    /// (RFC 8470 §3). What is safe goes on, and its upstream is told.
    async fn await_handshake(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        early: &Early,
    ) -> Result<(), Failure> {
        if head.is_safe() {
            self.record.is_early = true;
            return Ok(());
        }
        client.timer.arm(self.listener.timeouts.early_ms());
        match early.wait(client, Until::Over).await {
            Ok(result) => result.map_err(|_| Failure::ClientClosed(Phase::Head)),
            Err(_) => Err(Failure::ClientHeaderTimeout),
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

    /// Keeps the upstream connection if both sides can go on with it.
    fn release(&self, endpoint: &Rc<Endpoint<T>>, mut upstream: Upstream<T>, service: &Service, word: UpstreamWord) {
        if upstream.link.receiver.is_stream() {
            return;
        }
        if !upstream.link.inbox.is_empty() {
            // Bytes behind the response: whatever they are, they answer no request of ours.
            self.worker.metrics.borrow_mut().counters.idle_closed_unsolicited += 1;
            endpoint.habit.borrow_mut().speaks_unasked();
            return;
        }
        let wear = upstream.wear(self.worker.transport.coarse_ms());
        if let Some(idle_ms) = idle_ms(&service.reuse, wear, word) {
            // The next response is most likely like this one.
            let bytes = usize::try_from(self.progress.received_bytes.get()).unwrap_or(usize::MAX);
            self.worker.spares.fit(&mut upstream.link.inbox, bytes.min(BODY_BUFFER_BYTES));
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
        let result = carry(client, &mut upstream.link, &service.timeouts, &carried).await;
        self.progress.request_bytes.set(carried.up.get());
        self.progress.response_bytes.set(carried.down.get());
        result.map(|()| Ending::Tunnelled)
    }
}
