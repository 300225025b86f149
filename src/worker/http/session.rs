//! A client connection across its requests: what outlives each of them.

use std::rc::Rc;

use super::super::engine::Transport;
use super::super::kit::Kit;
use super::super::live::ListenerSlot;
use super::super::silent::Silence;
use super::super::upstreams::bound::BoundConnection;
use super::super::wire::link::Link;
use super::super::wire::tls::early::Early;
use crate::snapshot::Peer;
use crate::timeouts::ClientTimeouts;
use crate::tls::Facts;

/// A connection, or one stream of it.
#[derive(Debug)]
pub(super) struct Session<T: Transport> {
    /// It has brought no request yet. Before the connection, whose timer it names.
    pub silence: Option<Silence>,
    /// The connection.
    pub link: Link<T>,
    /// Its other end.
    pub peer: Peer,
    /// The listener that it came in at.
    pub slot: Rc<ListenerSlot<T>>,
    /// Requests so far.
    pub requests: u32,
    /// True where the present request is the last: the listener is gone, the worker drains, or there were enough.
    pub is_last: bool,
    /// What the handshake came to, where there was one.
    pub tls: Option<Rc<Facts>>,
    /// The rest of the handshake, where requests came before it.
    pub early: Option<Rc<Early>>,
    /// The upstream connection that was authenticated as this client's.
    pub bound: Option<Box<BoundConnection<T>>>,
}

impl<T: Transport> Session<T> {
    /// A connection that has brought no request yet.
    pub(super) fn new(kit: &Kit<T>, link: Link<T>, peer: Peer, slot: Rc<ListenerSlot<T>>) -> Self {
        let silence = Some(kit.begin_silence(&link.timer));
        Self { silence, link, peer, slot, requests: 0, is_last: false, tls: None, early: None, bound: None }
    }

    /// Another request begins.
    pub(super) fn begin_request(&mut self, is_draining: bool) {
        self.requests += 1;
        let max = self.slot.listener().spec.requests_per_connection;
        self.is_last = self.slot.is_gone() || is_draining || self.requests >= max;
    }

    /// How long the client is waited for, as the listener says now.
    pub(super) fn timeouts(&self) -> ClientTimeouts {
        self.slot.listener().spec.timeouts
    }
}
