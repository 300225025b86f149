//! One request and its response, from the parsed head to the record. Read this first.
//!
//! `run` reads as the whole story: way (route, filters, target) → admit → attempt, again where that is safe → release. Whatever goes
//! wrong in it is a [`Failure`], and `settle` is the one place where a failure becomes an answer.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::super::engine::{Transport, caught};
use super::super::host::Worker;
use super::super::kit::Kit;
use super::super::live::{ListenerRef, LiveRoute};
use super::super::upstreams::admit::Destination;
use super::super::upstreams::attempts::attempts;
use super::super::upstreams::gate::Permit;
use super::super::wire::early::{Until, wait_for_handshake};
use super::super::wire::link::Link;
use super::super::wire::tls::early::Early;
use super::super::wire::tunnel::{TunnelBytes, carry};
use super::account::Account;
use super::attempt::{Answered, Passing, queue};
use super::bound;
use super::buffered::{find_length, read_whole};
use super::copies;
use super::held::{HeldStore, RequestBody};
use super::progress::Progress;
use super::session::Session;
use super::settle;
use super::state::{After, Ending, Exchange};
use super::transfer::Delivered;
use super::way::{Passage, find_way};
use crate::config::listeners::RequestIds;
use crate::encode::grpc;
use crate::encode::hop::{Asked, Hop, HopFields, client_address};
use crate::failure::{Failure, Phase, Resource};
use crate::filter::Chain;
use crate::filter::template::Values;
use crate::filter::transform::Transform;
use crate::limits::{DEADLINE_SLACK_MS, HEADS_BYTES_MAX};
use crate::proto::gateway::script::{ScriptFault, ScriptRules};
use crate::proto::h1::chunked::BodyOf;
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::percent::percent_decoded;
use crate::proto::h1::request::RequestHead;
use crate::proto::h2::frame::ErrorCode;
use crate::snapshot::Listener;
use crate::timeouts::{Timeout, UpstreamTimeouts};
use crate::tls::Facts;
use crate::units::addresses::is_in;

/// Answers one request, whose head was parsed or refused, and records it.
pub(super) async fn exchange<T: Transport>(
    worker: &Rc<Worker<T>>,
    session: &mut Session<T>,
    head: &mut RequestHead,
    parsed: Result<(), Failure>,
) -> After {
    // It has spoken.
    session.silence = None;
    let Session { link: client, peer, slot, is_last, tls, early, bound, .. } = session;
    let listener: ListenerRef = slot.listener();
    let kit = &worker.kit;
    let heads = HeadBytes::of(kit, head);
    let request_id = kit.random_u128();
    let hop = hop((peer.address, tls.as_deref()), &listener, head, request_id);
    let facts = (hop.client, tls.clone());
    let exchange = Exchange {
        worker,
        listener: &listener,
        is_last: *is_last,
        early: early.as_deref().filter(|early| !early.is_over()),
        is_grpc: Cell::new(grpc::speaks_grpc(head)),
        progress: Progress::default(),
        body: RefCell::new(RequestBody {
            decoder: BodyDecoder::new(BodyOf::Request, head.framing()),
            trailers: Vec::new(),
            transform: Transform::None,
        }),
        held: RefCell::default(),
        body_length: Cell::default(),
        bound: RefCell::new(bound.take()),
        admission: RefCell::default(),
        route: OnceCell::new(),
        service: OnceCell::new(),
        script: OnceCell::new(),
        filtered: OnceCell::new(),
        copies: RefCell::default(),
        client_port: peer.port,
        account: Account::new(slot.label, facts, request_id, kit.transport.now_us()),
        is_early: Cell::new(false),
        hop,
    };
    let outcome = match parsed {
        Ok(()) => {
            let route = || slot.find(head, &worker.live);
            let found = if heads.are_too_many() {
                Err(Failure::LocalResource(Resource::Memory))
            } else if worker.pressure.refuses(kit.transport.random()) {
                Err(Failure::LocalResource(Resource::Worker))
            } else {
                route().ok_or(Failure::NoRoute)
            };
            let run = pin!(run(&exchange, found, client, head));
            caught(run).await.unwrap_or_else(|_| {
                kit.metrics.borrow_mut().counters.panics += 1;
                Err(Failure::Internal("exchange"))
            })
        }
        Err(failure) => Err(failure),
    };
    let store = HeldStore { account: &worker.held_bytes, buffers: &kit.buffers };
    copies::send(worker, &exchange.copies, (&exchange.held, exchange.body.borrow().decoder.is_done()));
    exchange.held.borrow_mut().let_go(store);
    let after = settle::settle(&exchange, outcome, client, head).await;
    *bound = exchange.bound.take();
    finish(exchange, head);
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
    let is_trusted = is_in(&spec.trusted_proxies, peer);
    let spoken = Asked { scheme: if tls.is_some() { "https" } else { "http" }, port: listener.port };
    Hop {
        peer,
        client: client_address(head, peer, &spec.trusted_proxies),
        is_trusted,
        asked: Asked::of(head, spoken, is_trusted),
        scheme: spoken.scheme,
        client_certificate: tls.and_then(|facts| facts.client.as_deref()),
        is_early: false,
        request_id,
        keeps_id: is_trusted || spec.request_ids == RequestIds::Any,
        writes: HopFields { forwarded: spec.forwarded, via: spec.via },
    }
}

async fn run<T: Transport>(
    exchange: &Exchange<'_, T>,
    found: Result<Rc<LiveRoute<T>>, Failure>,
    client: &mut Link<T>,
    head: &mut RequestHead,
) -> Result<Ending, Failure> {
    exchange.account.enter(Phase::Route);
    let target = match find_way(exchange, found, client, head).await? {
        Passage::Target(at) => at,
        Passage::Answer(answer) => return settle::answer(exchange, client, head, &answer).await,
    };
    if head.grpc_web().is_some() {
        exchange.is_grpc.set(grpc::speaks_grpc(head));
        if exchange.body_length.get().is_some() {
            // A filter of the listener has read it as it came.
            return Err(Failure::Internal("grpc_web_behind_body"));
        }
        begin_body(exchange, head);
    }
    if let Some(early) = exchange.early {
        Box::pin(await_handshake(exchange, client, head, early)).await?;
    }
    check_request(exchange, client, head)?;
    let gateway = exchange.gateway(target);
    if let Some(rules) = gateway.as_ref().and_then(|service| service.gateway.as_ref()?.script.as_ref()) {
        find_script(exchange, rules, head)?;
    }
    let buffer_max = exchange.buffer_max().filter(|_| !head.framing().is_empty());
    match (exchange.body_length.get(), buffer_max) {
        // A filter has read it already.
        (Some(length), Some(max)) if length > max => return Err(Failure::ClientBodyTooLarge),
        (None, Some(max)) => Box::pin(read_whole(exchange, client, head, max)).await?,
        (None, None) if head.framing() == Framing::Chunked && gateway.is_some() => {
            Box::pin(find_length(exchange, client, head)).await?;
        }
        (Some(_), _) | (None, None) => {}
    }
    copies::take(exchange, head);
    let to = destination(exchange, target, head)?;
    *exchange.admission.borrow_mut() = to.ask_breaker(exchange.kit())?;
    let permit = admit(exchange, client, &to).await?;
    let mut passing = Passing { exchange, client: &mut *client, head, to: &to };
    let outcome = attempts(exchange.kit(), &to, &mut passing, permit).await;
    let (Answered { delivered, mut upstream }, permit) = outcome
        .map_err(|failure| in_time(exchange, &to, failure))
        .inspect_err(|failure| note_failure(exchange, *failure))?;
    exchange.account.enter(Phase::Body);
    match delivered {
        Delivered::Response { keep_alive, word, binds } => {
            bound::release(exchange, &to, &permit, upstream, (word, binds));
            // After the release, so that the request that gets this place finds the connection in the pool.
            drop(permit);
            if let Some(phase) = exchange.progress.client_left.get().filter(|_| exchange.progress.is_cut.get()) {
                exchange.account.put_status(499);
                return Err(Failure::ClientClosed(phase));
            }
            Ok(Ending::Answered(keep_alive))
        }
        Delivered::Replaced { word, binds, kept } => {
            bound::release(exchange, &to, &permit, upstream, (word, binds));
            drop(permit);
            Box::pin(settle::answer_with_page(exchange, client, head, &kept)).await
        }
        // Boxed, like all that is rare and large: a task takes the memory of the largest future that it awaits in place.
        Delivered::Upgrade => {
            let ended = Box::pin(tunnel(exchange, client, &mut upstream.link, to.timeouts())).await;
            upstream.end(exchange.kit());
            ended
        }
    }
}

/// Chooses what is done with the request body, once filters have seen the head.
fn begin_body<T: Transport>(exchange: &Exchange<'_, T>, head: &RequestHead) {
    exchange.body.borrow_mut().transform = Transform::of_request(head.grpc_web());
}

/// The bytes of a request's head, which the worker holds until the request is over: it may have to be sent again, and is recorded.
struct HeadBytes<'a, T: Transport> {
    kit: &'a Kit<T>,
    bytes: usize,
}

impl<'a, T: Transport> HeadBytes<'a, T> {
    fn of(kit: &'a Kit<T>, head: &RequestHead) -> Self {
        let bytes = head.bytes().len();
        kit.heads_bytes.set(kit.heads_bytes.get() + bytes);
        Self { kit, bytes }
    }

    const fn are_too_many(&self) -> bool {
        self.kit.heads_bytes.get() > HEADS_BYTES_MAX
    }
}

impl<T: Transport> Drop for HeadBytes<'_, T> {
    fn drop(&mut self) {
        self.kit.heads_bytes.set(self.kit.heads_bytes.get() - self.bytes);
    }
}

/// Early data may be a replay by somebody who recorded it, so a request that is not safe waits for the end of the handshake
/// (RFC 8470 §3). A safe one goes on, and its upstream is told by `Early-Data`.
async fn await_handshake<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    early: &Early,
) -> Result<(), Failure> {
    if head.is_safe() {
        exchange.is_early.set(true);
        exchange.account.note_early();
        return Ok(());
    }
    let early_ms = exchange.listener.spec.timeouts.early_ms();
    client.timer.arm(Timeout::EarlyHandshake, Some(early_ms));
    match wait_for_handshake(early, client, Until::Over).await {
        Ok(result) => result.map_err(|_| Failure::ClientClosed(Phase::Head)),
        Err(_) => Err(Failure::ClientHeaderTimeout),
    }
}

/// What can be refused before an upstream hears of it.
fn check_request<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &Link<T>,
    head: &RequestHead,
) -> Result<(), Failure> {
    if let (Framing::Length(length), Some(max)) = (head.framing(), exchange.body_max())
        && length > max
    {
        return Err(Failure::ClientBodyTooLarge);
    }
    if head.demands_upgrade() && !client.inbox.is_empty() {
        return Err(Failure::ClientBadRequest("bytes_before_upgrade"));
    }
    Ok(())
}

/// Finds the script that the request names, before a server hears of it.
fn find_script<T: Transport>(
    exchange: &Exchange<'_, T>,
    rules: &ScriptRules,
    head: &RequestHead,
) -> Result<(), Failure> {
    let exists = |file: &[u8]| Path::new(OsStr::from_bytes(file)).is_file();
    let script = rules.find(&percent_decoded(head.path()), exists).map_err(|fault| match fault {
        ScriptFault::None => Failure::NoScript,
        ScriptFault::Unsafe => Failure::ClientBadRequest("script_path"),
    })?;
    let _ = exchange.script.set(Box::new(script));
    Ok(())
}

/// Where the request goes, in all its attempts.
fn destination<T: Transport>(
    exchange: &Exchange<'_, T>,
    target: usize,
    head: &RequestHead,
) -> Result<Destination<T>, Failure> {
    let route = exchange.route.get().ok_or(Failure::Internal("route"))?;
    let service = route.services.get(target).and_then(Option::as_ref).ok_or(Failure::NoRoute)?;
    let members = service.members();
    let patience = route.patience(target, &members.service);
    let spec = &members.service.spec;
    let tie = exchange.tie(&members.service, head);
    let by_key = || {
        members.service.hash_key.as_ref().map(|key| {
            let context = exchange.context(&Chain::NONE);
            key.hash(&Values { edits: Some(&exchange.edits().request), ..Values::of(head, &context) })
        })
    };
    let hash = tie.hash().or_else(by_key).unwrap_or_default();
    let deadline_ms = if exchange.is_grpc.get() { grpc::timeout_ms(head) } else { None };
    let timeouts = patience.as_ref().map_or(&spec.timeouts, |own| &own.timeouts);
    let total_ms = timeouts.total.limit_ms().into_iter().chain(deadline_ms).min();
    let total_at_ms = total_ms.map(|ms| exchange.kit().transport.coarse_ms() + ms);
    let to = Destination { patience, tie, ..Destination::new(service, hash, total_at_ms) };
    exchange.account.note_service(to.snapshot().label);
    let _ = exchange.service.set(Arc::clone(to.snapshot()));
    Ok(to)
}

/// Waits until the service has room for the request. The client is watched meanwhile.
async fn admit<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    to: &Destination<T>,
) -> Result<Permit<T>, Failure> {
    let permit = match bound::permit(exchange, to).map(Ok).or_else(|| to.admit_at_once(exchange.kit())) {
        Some(admitted) => admitted?,
        None => Box::pin(queue(exchange, client, to, &[])).await?,
    };
    exchange.account.note_admitted(permit.at, exchange.kit().transport.now_us());
    Ok(permit)
}

/// A server of gRPC whose deadline for the call is over cancels it, which may reach us just before our own timer: the deadline
/// is what it is, and not a failure that invites another attempt.
fn in_time<T: Transport>(exchange: &Exchange<'_, T>, to: &Destination<T>, failure: Failure) -> Failure {
    let is_cancelled = exchange.is_grpc.get() && failure == Failure::H2Reset(ErrorCode::Cancel.name());
    let soon_ms = exchange.kit().transport.coarse_ms() + DEADLINE_SLACK_MS;
    if is_cancelled && to.total_at_ms.is_some_and(|at_ms| at_ms <= soon_ms) { Failure::RouteTimeout } else { failure }
}

/// Tells the circuit breaker of a request that ended without an answer.
fn note_failure<T: Transport>(exchange: &Exchange<'_, T>, failure: Failure) {
    let now_ms = exchange.kit().transport.coarse_ms();
    if let Some(admission) = exchange.admission.borrow_mut().as_mut() {
        let took_ms = exchange.account.waited_us(exchange.kit().transport.now_us()) / 1_000;
        admission.count_failure(failure, (exchange.account.phase(), took_ms), now_ms);
    }
}

async fn tunnel<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    upstream: &mut Link<T>,
    timeouts: &UpstreamTimeouts,
) -> Result<Ending, Failure> {
    exchange.account.enter(Phase::Tunnel);
    let carried = TunnelBytes::default();
    let result = carry(client, upstream, (timeouts, &exchange.kit().buffers), &carried).await;
    exchange.account.note_carried(carried.up.get(), carried.down.get());
    result.map(|()| Ending::Tunnelled)
}

/// Completes the record and hands it on.
fn finish<T: Transport>(exchange: Exchange<'_, T>, head: &RequestHead) {
    let record = exchange.account.into_record(exchange.worker.kit.transport.now_us());
    let route = exchange.route.get().map(|route| &*route.route);
    exchange.worker.record(&record, head, (route, exchange.service.get().map(|service| &**service)));
}
