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
use crate::proto::h1::request::RequestHead;
use crate::upstream::attempts::{Attempts, ConnectionFacts, RequestKind, Reuse};
use crate::upstream::reuse::UpstreamWord;

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
    let is_first = attempts.tried().is_empty();
    let mut bound = exchange.bound.borrow_mut();
    bound.as_ref().filter(|bound| is_first && Rc::ptr_eq(&bound.endpoint, &permit.endpoint))?;
    bound.take()?.take(exchange.kit())
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
    } else if let Some((upstream, idle_ms)) = outcome::keep(kit, to, permit, upstream, came) {
        *exchange.bound.borrow_mut() = Some(Box::new(BoundConnection::new(kit, permit, upstream, idle_ms)));
    }
}
