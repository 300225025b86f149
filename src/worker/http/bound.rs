//! What becomes of an upstream connection that was authenticated as its client's: it stays with the client's connection, and ends with
//! it.

use std::rc::Rc;

use super::super::engine::Transport;
use super::super::upstreams::admit::Destination;
use super::super::upstreams::bound::BoundConnection;
use super::super::upstreams::endpoint::UpstreamConnection;
use super::super::upstreams::gate::Permit;
use super::super::upstreams::outcome;
use super::state::Exchange;
use crate::config::services::Protocol;
use crate::proto::h1::request::RequestHead;
use crate::upstream::attempts::{Attempts, ConnectionFacts, RequestKind, Reuse};
use crate::upstream::reuse::UpstreamWord;

/// A place for the request at the endpoint of the client's own connection; `None` where it has none, or there is no room.
pub(super) fn permit<T: Transport>(exchange: &Exchange<'_, T>, to: &Destination<T>) -> Option<Permit<T>> {
    let endpoint = exchange.bound.borrow().as_ref()?.endpoint_for(exchange.hop.client)?;
    to.permit_for(exchange.kit(), &endpoint)
}

/// The client's own connection, for the first attempt at its endpoint, where it is still open.
pub(super) fn take<T: Transport>(
    exchange: &Exchange<'_, T>,
    permit: &Permit<T>,
    attempts: &Attempts,
) -> Option<(UpstreamConnection<T>, ConnectionFacts)> {
    let is_first = attempts.tried().is_empty();
    let mut bound = exchange.bound.borrow_mut();
    let endpoint = bound.as_ref()?.endpoint_for(exchange.hop.client)?;
    if !is_first || !Rc::ptr_eq(&endpoint, &permit.endpoint) {
        return None;
    }
    bound.take()?.take(exchange.kit())
}

/// Which connection will do, and whether it must speak HTTP/1: one that is to be authenticated is no stream among others, and HTTP/1
/// where the service has the choice.
pub(super) fn reuse(
    head: &RequestHead,
    attempts: &Attempts,
    request: RequestKind,
    protocol: Protocol,
) -> (Reuse, bool) {
    if head.binds_connection() {
        (Reuse::Alone, request.is_upgrade || protocol != Protocol::H2)
    } else {
        (attempts.reuse(request), request.is_upgrade)
    }
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
    // An application server authenticates nobody by his connection.
    if upstream.gateway.is_some() || (!binds && !upstream.is_bound) {
        outcome::release(kit, to, permit, upstream, came);
    } else if let Some((upstream, idle_ms)) = outcome::keep(kit, to, permit, upstream, came) {
        let client = exchange.hop.client;
        if exchange.hop.is_trusted && client == exchange.hop.peer {
            // A proxy that does not say whose request it is may have anybody's next.
            return upstream.end(kit);
        }
        *exchange.bound.borrow_mut() = Some(Box::new(BoundConnection::new(kit, permit, (upstream, client), idle_ms)));
    }
}
