//! One request and its response, from the parsed head to the record. Read this first.
//!
//! `run` is the sentence: route → filter → admit → attempt, again where that is safe → release. Whatever goes
//! wrong in it is a [`Failure`], and `settle` is the one place where a failure becomes an answer.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::engine::{Receive as _, Transport, caught};
use super::super::host::Worker;
use super::super::kit::Kit;
use super::super::live::{ListenerRef, LiveRoute};
use super::super::time::timer::Deadline;
use super::super::upstreams::admit::{Admission, Destination};
use super::super::upstreams::gate::Permit;
use super::super::upstreams::outcome;
use super::super::upstreams::watch::Watch;
use super::super::wire::early::{Until, wait_for_handshake};
use super::super::wire::ends::Inlet;
use super::super::wire::link::Link;
use super::super::wire::tls::early::Early;
use super::account::Account;
use super::attempt::{Answered, attempts};
use super::held::{Held, HeldStore, RequestBody};
use super::progress::Progress;
use super::session::Session;
use super::settle;
use super::transfer::Delivered;
use super::tunnel::{TunnelBytes, carry};
use crate::encode::grpc;
use crate::encode::hop::{Hop, client_address, is_trusted};
use crate::failure::{Failure, Phase, Resource};
use crate::filter;
use crate::filter::context::Verdict;
use crate::filter::edits::Edits;
use crate::filter::transform::Transform;
use crate::proto::h1::field::Known;
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::request::RequestHead;
use crate::snapshot::{Listener, Service};
use crate::timeouts::Timeout;
use crate::tls::Facts;
use crate::upstream::pick::{Balance, hash_of};

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
    let Session { link: client, peer, slot, is_last, tls, early, .. } = session;
    let listener: ListenerRef = slot.listener();
    let kit = &worker.kit;
    let request_id = u128::from(kit.transport.random()) << 64 | u128::from(kit.transport.random());
    let hop = hop((peer.address, tls.as_deref()), &listener, head, request_id);
    let facts = (hop.client, tls.clone());
    let exchange = Exchange {
        worker,
        listener: &listener,
        is_last: *is_last,
        early: early.as_deref().filter(|early| !early.is_over()),
        is_grpc: Cell::new(grpc::is_grpc(head)),
        progress: Progress::default(),
        body: RefCell::new(RequestBody {
            decoder: BodyDecoder::new(head.framing()),
            trailers: Vec::new(),
            transform: Transform::None,
        }),
        held: RefCell::default(),
        admission: RefCell::default(),
        route: OnceCell::new(),
        service: OnceCell::new(),
        account: Account::new(slot.label, facts, request_id, kit.transport.now_us()),
        is_early: Cell::new(false),
        hop,
    };
    let outcome = match parsed {
        Ok(()) => {
            let route = || slot.find(head, &worker.live);
            let found = if worker.pressure.refuses(kit.transport.random()) {
                Err(Failure::LocalResource(Resource::Worker))
            } else {
                route().ok_or(Failure::NoRoute)
            };
            let run = pin!(exchange.run(found, client, head));
            caught(run).await.unwrap_or_else(|_| {
                kit.metrics.borrow_mut().counters.panics += 1;
                Err(Failure::Internal("exchange"))
            })
        }
        Err(failure) => Err(failure),
    };
    let store = HeldStore { account: &worker.held_bytes, buffers: &kit.buffers };
    exchange.held.borrow_mut().let_go(store);
    let after = settle::settle(&exchange, outcome, client, head).await;
    exchange.finish(head);
    after
}

/// What is known of the request beside its head.
fn hop<'a>(
    (peer, tls): (IpAddr, Option<&'a Facts>),
    listener: &Listener,
    head: &RequestHead,
    request_id: u128,
) -> Hop<'a> {
    let spec = &listener.spec;
    Hop {
        peer,
        client: client_address(head, peer, &spec.trusted_proxies),
        is_trusted: is_trusted(&spec.trusted_proxies, peer),
        scheme: if tls.is_some() { "https" } else { "http" },
        client_certificate: tls.and_then(|facts| facts.client.as_deref()),
        is_early: false,
        port: listener.port,
        request_id,
        forwarded: spec.forwarded,
        via: spec.via,
    }
}

/// One request. What changes in it is written in turns of one task.
#[derive(Debug)]
pub(super) struct Exchange<'a, T: Transport> {
    pub worker: &'a Rc<Worker<T>>,
    pub listener: &'a Listener,
    hop: Hop<'a>,
    pub is_last: bool,
    /// The rest of the handshake, where the request came before it.
    pub early: Option<&'a Early>,
    /// It is sent on before that is over.
    is_early: Cell<bool>,
    /// True for a request of gRPC, once filters have seen it.
    pub is_grpc: Cell<bool>,
    pub progress: Progress,
    pub body: RefCell<RequestBody>,
    pub held: RefCell<Held>,
    /// What the circuit breaker waits to hear.
    pub admission: RefCell<Option<Admission<T>>>,
    route: OnceCell<Rc<LiveRoute<T>>>,
    service: OnceCell<Arc<Service>>,
    pub account: Account,
}

impl<T: Transport> Exchange<'_, T> {
    async fn run(
        &self,
        found: Result<Rc<LiveRoute<T>>, Failure>,
        client: &mut Link<T>,
        head: &mut RequestHead,
    ) -> Result<Ending, Failure> {
        self.account.enter(Phase::Route);
        let found = found?;
        let route = self.route.get_or_init(|| found);
        self.account.note_route(route.route.label);
        self.check_name(head)?;
        let context =
            filter::context::Context { client: self.hop.client, scheme: self.hop.scheme, tls: self.account.tls() };
        let chain = &route.route.chain;
        match chain.on_request(head, &context) {
            Verdict::Pass => {}
            Verdict::Fail(failure) => return Err(failure),
            Verdict::Answer(answer) => return settle::answer(self, client, head, &answer).await,
        }
        if chain.bridges_grpc() {
            self.is_grpc.set(grpc::is_grpc(head));
            self.begin_body(head);
        }
        if let Some(early) = self.early {
            Box::pin(self.await_handshake(client, head, early)).await?;
        }
        self.check_request(client, head)?;
        let to = self.destination(route, head)?;
        *self.admission.borrow_mut() = to.ask_breaker(self.kit())?;
        let permit = self.admit(client, &to).await?;
        let outcome = attempts(self, client, head, &to, permit).await;
        let Answered { delivered, mut upstream, permit } =
            outcome.inspect_err(|failure| self.note_failure(*failure))?;
        self.account.enter(Phase::Body);
        match delivered {
            Delivered::Response { keep_alive, word } => {
                let received = (word, self.account.received_bytes());
                outcome::release(self.kit(), &to, &permit, upstream, received);
                // Only now: whoever waits for room finds the connection in the pool.
                drop(permit);
                if let Some(phase) = self.progress.client_left.get() {
                    self.account.put_status(499);
                    return Err(Failure::ClientClosed(phase));
                }
                Ok(Ending::Answered(keep_alive))
            }
            // Boxed, as all that is rare and large: the task of a connection has room for the most that it awaits at once.
            Delivered::Upgrade => Box::pin(self.tunnel(client, &mut upstream.link, to.snapshot())).await,
        }
    }

    /// The tools of the worker.
    pub(super) fn kit(&self) -> &Rc<Kit<T>> {
        &self.worker.kit
    }

    /// What this hop knows of the request.
    pub(super) fn hop(&self) -> Hop<'_> {
        Hop { is_early: self.is_early.get(), ..self.hop }
    }

    /// True where the client came by TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.account.tls().is_some()
    }

    /// What the route changes in fields; nothing where there is none.
    pub(super) fn edits(&self) -> &Edits {
        const NONE: &Edits = &Edits::NONE;
        self.route.get().map_or(NONE, |route| &route.route.chain.edits)
    }

    /// The body as filters have left it.
    fn begin_body(&self, head: &RequestHead) {
        self.body.borrow_mut().transform = Transform::of_request(head.grpc_web());
    }

    /// A client that met what one name asked for must not have what another name, or the same one since a reload, asks
    /// something else for.
    fn check_name(&self, head: &RequestHead) -> Result<(), Failure> {
        let Some(tls) = &self.listener.tls else { return Ok(()) };
        // A connection without TLS from before the listener had it is one for nothing any more.
        let facts = self.account.tls().ok_or(Failure::Misdirected)?;
        let meant = tls.policy(std::str::from_utf8(head.host()).ok()).map(|policy| policy.print);
        if meant == Some(facts.policy) { Ok(()) } else { Err(Failure::Misdirected) }
    }

    /// A request that changes something is not to be had twice from whoever recorded it: it waits for the handshake's end
    /// (RFC 8470 §3). What is safe goes on, and its upstream is told.
    async fn await_handshake(&self, client: &mut Link<T>, head: &RequestHead, early: &Early) -> Result<(), Failure> {
        if head.is_safe() {
            self.is_early.set(true);
            self.account.note_early();
            return Ok(());
        }
        let early_ms = self.listener.spec.timeouts.early_ms();
        client.timer.arm(Timeout::EarlyHandshake, Some(early_ms));
        match wait_for_handshake(early, client, Until::Over).await {
            Ok(result) => result.map_err(|_| Failure::ClientClosed(Phase::Head)),
            Err(_) => Err(Failure::ClientHeaderTimeout),
        }
    }

    /// What can be refused before an upstream hears of it.
    fn check_request(&self, client: &Link<T>, head: &RequestHead) -> Result<(), Failure> {
        if let (Framing::Length(length), Some(max)) = (head.framing(), self.listener.spec.body_max.limit_bytes())
            && length > max
        {
            return Err(Failure::ClientBodyTooLarge);
        }
        if head.upgrade().is_some() && !client.inbox.is_empty() {
            return Err(Failure::ClientBadRequest("bytes_before_upgrade"));
        }
        Ok(())
    }

    /// Where the request goes, in all its attempts.
    fn destination(&self, route: &LiveRoute<T>, head: &RequestHead) -> Result<Destination<T>, Failure> {
        let service = route.service.as_ref().ok_or(Failure::NoRoute)?;
        let members = service.members();
        let spec = &members.service.spec;
        let hash = request_hash(&spec.balance, head, self.hop.client);
        let deadline_ms = if self.is_grpc.get() { grpc::timeout_ms(head) } else { None };
        let total_ms = spec.timeouts.total.limit_ms().into_iter().chain(deadline_ms).min();
        let total_at_ms = total_ms.map(|ms| self.kit().transport.coarse_ms() + ms);
        let to = Destination::new(service, hash, total_at_ms);
        self.account.note_service(to.snapshot().label);
        let _ = self.service.set(Arc::clone(to.snapshot()));
        Ok(to)
    }

    /// Waits until the service has room for the request. The client is watched meanwhile.
    async fn admit(&self, client: &mut Link<T>, to: &Destination<T>) -> Result<Permit<T>, Failure> {
        let permit = match to.admit_at_once(self.kit()) {
            Some(admitted) => admitted?,
            None => {
                self.account.enter(Phase::Queue);
                let Link { receiver, inbox, timer, .. } = client;
                let deadline = Deadline { timer, total_at_ms: to.total_at_ms };
                let mut watch = ClientWatch { receiver, inbox };
                Box::pin(to.queue(self.kit(), &[], &mut watch, &deadline)).await?
            }
        };
        self.account.note_admitted(permit.at, self.kit().transport.now_us());
        Ok(permit)
    }

    /// Tells the circuit breaker of a request that ended without an answer.
    fn note_failure(&self, failure: Failure) {
        let now_ms = self.kit().transport.coarse_ms();
        if let Some(admission) = self.admission.borrow_mut().as_mut() {
            admission.count_failure(failure, now_ms);
        }
    }

    async fn tunnel(&self, client: &mut Link<T>, upstream: &mut Link<T>, service: &Service) -> Result<Ending, Failure> {
        self.account.enter(Phase::Tunnel);
        let carried = TunnelBytes::default();
        let result = carry(client, upstream, &service.spec.timeouts, &carried).await;
        self.account.note_carried(carried.up.get(), carried.down.get());
        result.map(|()| Ending::Tunnelled)
    }

    /// Completes the record and hands it on.
    fn finish(self, head: &RequestHead) {
        let record = self.account.into_record(self.worker.kit.transport.now_us());
        let route = self.route.get().map(|route| &*route.route);
        self.worker.record(&record, head, (route, self.service.get().map(|service| &**service)));
    }
}

/// A client who waits for room: who has left need not be given it.
pub(super) struct ClientWatch<'a, T: Transport> {
    pub receiver: &'a mut Inlet<T>,
    pub inbox: &'a mut Vec<u8>,
}

impl<T: Transport> Watch for ClientWatch<'_, T> {
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        // Bytes that are here already belong to the body or the next request.
        if self.inbox.is_empty()
            && let Poll::Ready(received) = self.receiver.poll_receive(self.inbox, cx)
            && !matches!(received, Ok(bytes) if bytes > 0)
        {
            return Poll::Ready(Failure::ClientClosed(Phase::Queue));
        }
        Poll::Pending
    }
}

/// The hash that keeps a client with an endpoint; 0 where the balance does not hash.
fn request_hash(balance: &Balance, head: &RequestHead, client: IpAddr) -> u64 {
    let by_address = || match client {
        IpAddr::V4(address) => hash_of(&address.octets()),
        IpAddr::V6(address) => hash_of(&address.octets()),
    };
    match balance {
        Balance::HashClientIp => by_address(),
        Balance::HashHeader(name) => head.value(name.as_bytes()).map_or_else(by_address, hash_of),
        Balance::HashCookie(name) => cookie(head, name.as_bytes()).map_or_else(by_address, hash_of),
        Balance::RoundRobin | Balance::LeastRequests | Balance::Random => 0,
    }
}

/// The value of a cookie (RFC 6265 §5.4).
fn cookie<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let fields = head.fields().filter(|(field, ..)| field.known == Known::Cookie);
    let mut pairs = fields.flat_map(|(_, _, value)| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::request::Underscores;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut head = RequestHead::default();
        let text = "GET / HTTP/1.1\r\nHost: a\r\nCookie: xid=1; id=22\r\nCookie: sid=3\r\n\r\n";
        head.parse(text.as_bytes().to_vec(), Underscores::Drop).unwrap();
        assert_eq!(cookie(&head, b"id"), Some(&b"22"[..]));
        assert_eq!(cookie(&head, b"sid"), Some(&b"3"[..]));
        assert_eq!(cookie(&head, b"d"), None);
    }
}
