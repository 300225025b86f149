//! An upstream connection that is one client's alone: NTLM and Negotiate authenticate the connection, so whoever else came over it
//! would be taken for that client. It stays with the client's connection and ends with it.

use std::rc::Rc;

use super::super::engine::{Receive as _, Transport};
use super::super::upstreams::admit::Destination;
use super::super::upstreams::endpoint::{EndpointPool, UpstreamConnection};
use super::super::upstreams::gate::Permit;
use super::super::upstreams::outcome;
use super::state::Exchange;
use crate::proto::h1::request::RequestHead;
use crate::upstream::attempts::{Attempts, ConnectionFacts, RequestKind, Reuse};
use crate::upstream::evidence::Peek;
use crate::upstream::reuse::UpstreamWord;

/// A connection that is bound to its client.
#[derive(Debug)]
pub(super) struct Bound<T: Transport> {
    endpoint: Rc<EndpointPool<T>>,
    upstream: UpstreamConnection<T>,
}

/// A place for the request at the endpoint of the client's own connection; `None` where it has none, or there is no room.
pub(super) fn permit<T: Transport>(exchange: &Exchange<'_, T>, to: &Destination<T>) -> Option<Permit<T>> {
    let at = to.position_of(&exchange.bound.borrow().as_ref()?.endpoint)?;
    to.permit(exchange.kit(), at)
}

/// The client's own connection, for the first attempt at its endpoint, where it is still open.
pub(super) fn take<T: Transport>(
    exchange: &Exchange<'_, T>,
    permit: &Permit<T>,
    attempts: &Attempts,
) -> Option<(UpstreamConnection<T>, ConnectionFacts)> {
    let mut bound = exchange.bound.borrow_mut();
    bound.as_ref().filter(|bound| attempts.tried().is_empty() && Rc::ptr_eq(&bound.endpoint, &permit.endpoint))?;
    let mut upstream = bound.take()?.upstream;
    let transport = &exchange.kit().transport;
    let is_over = transport.coarse_ms() >= upstream.idle_until_ms || upstream.link.receiver.peek() != Peek::Quiet;
    if is_over {
        upstream.end(exchange.kit());
        return None;
    }
    let facts = ConnectionFacts {
        is_reused: true,
        requests: upstream.requests,
        idle_us: upstream.idle_us(transport.now_us()),
        age_ms: transport.coarse_ms().saturating_sub(upstream.opened_ms),
        tls_us: 0,
    };
    upstream.requests += 1;
    Some((upstream, facts))
}

/// Which connection will do, and whether it must speak HTTP/1: one that is to be authenticated is no stream among others.
pub(super) fn reuse(head: &RequestHead, attempts: &Attempts, request: RequestKind) -> (Reuse, bool) {
    if head.binds_connection() { (Reuse::Alone, true) } else { (attempts.reuse(request), request.is_upgrade) }
}

/// Keeps the connection behind its answer: with its client where `binds`, or where it was his already, else for everybody.
pub(super) fn release<T: Transport>(
    exchange: &Exchange<'_, T>,
    to: &Destination<T>,
    permit: &Permit<T>,
    upstream: UpstreamConnection<T>,
    (word, binds): (UpstreamWord, bool),
) {
    let (kit, came) = (exchange.kit(), (word, exchange.account.received_bytes()));
    if !binds && !upstream.is_bound {
        outcome::release(kit, to, permit, upstream, came);
    } else if let Some((mut upstream, idle_ms)) = outcome::keep(kit, to, permit, upstream, came) {
        upstream.is_bound = true;
        upstream.idle_since_us = kit.transport.now_us();
        upstream.idle_until_ms = kit.transport.coarse_ms() + idle_ms;
        *exchange.bound.borrow_mut() = Some(Box::new(Bound { endpoint: Rc::clone(&permit.endpoint), upstream }));
    }
}
