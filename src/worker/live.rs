//! A snapshot with the state that one worker keeps for it: whose turn it is, and the pools.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::io::Transport;
use super::pool::Endpoint;
use crate::filter::forwarded::client_address;
use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::{Balance, HashKey, Listener, Peer, Service, Snapshot};
use crate::upstream::pick::{Endpoints, Picker, hash_of};

/// What requests that begin now run with.
#[derive(Debug)]
pub(super) struct Live<T: Transport> {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// By the service's position in the snapshot.
    pub services: Vec<LiveService<T>>,
}

/// The state of one service.
#[derive(Debug)]
pub(super) struct LiveService<T: Transport> {
    /// By the endpoint's position in the service.
    pub endpoints: Vec<Rc<Endpoint<T>>>,
    picker: RefCell<Picker>,
}

impl<T: Transport> Live<T> {
    /// A snapshot; endpoints that the one before had too keep their connections.
    #[must_use]
    pub(super) fn new(snapshot: Arc<Snapshot>, before: Option<&Self>) -> Rc<Self> {
        let mut known: HashMap<_, _> = before
            .iter()
            .flat_map(|live| &live.services)
            .flat_map(|service| &service.endpoints)
            .map(|endpoint| (endpoint.address.clone(), Rc::clone(endpoint)))
            .collect();
        let services = snapshot.services.iter().map(|service| {
            let endpoints = service.endpoints.iter().map(|endpoint| {
                let fresh = || Endpoint::new(endpoint.address.clone());
                Rc::clone(known.entry(endpoint.address.clone()).or_insert_with(fresh))
            });
            LiveService { endpoints: endpoints.collect(), picker: RefCell::new(picker(service)) }
        });
        Rc::new(Self { services: services.collect(), snapshot: Arc::clone(&snapshot) })
    }
}

fn picker(service: &Service) -> Picker {
    match &service.balance {
        Balance::RoundRobin => Picker::round_robin(service.endpoints.len()),
        Balance::LeastRequests => Picker::LeastRequests,
        Balance::Random => Picker::Random,
        Balance::Hash(_, ring) => Picker::Hash(ring.clone()),
    }
}

impl<T: Transport> LiveService<T> {
    /// The position of the endpoint for this request, `None` where there is none.
    pub(super) fn pick(&self, service: &Service, random: u64, hash: u64) -> Option<usize> {
        let view = View { service, endpoints: &self.endpoints };
        self.picker.borrow_mut().pick(&view, random, hash).filter(|at| *at < self.endpoints.len())
    }
}

struct View<'a, T: Transport> {
    service: &'a Service,
    endpoints: &'a [Rc<Endpoint<T>>],
}

impl<T: Transport> Endpoints for View<'_, T> {
    fn count(&self) -> usize {
        self.endpoints.len()
    }

    fn weight(&self, at: usize) -> u16 {
        self.service.endpoints.get(at).map_or(0, |endpoint| endpoint.weight)
    }

    fn busy(&self, at: usize) -> usize {
        self.endpoints.get(at).map_or(0, |endpoint| endpoint.busy.get())
    }
}

/// The hash that keeps a client with an endpoint; 0 where the balance does not hash.
#[must_use]
pub(super) fn request_hash(service: &Service, head: &RequestHead, listener: &Listener, peer: Peer) -> u64 {
    let by_address = || match client_address(head, peer.address, &listener.trusted) {
        std::net::IpAddr::V4(address) => hash_of(&address.octets()),
        std::net::IpAddr::V6(address) => hash_of(&address.octets()),
    };
    match &service.balance {
        Balance::Hash(HashKey::ClientIp, _) => by_address(),
        Balance::Hash(HashKey::Header(name), _) => head.value(name).map_or_else(by_address, hash_of),
        Balance::Hash(HashKey::Cookie(name), _) => cookie(head, name).map_or_else(by_address, hash_of),
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
