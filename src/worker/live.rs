//! A snapshot with the state that one worker keeps for it: whose turn it is, what is known of endpoints, the pools.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::gate::Gate;
use super::io::Transport;
use super::pool::Endpoint;
use crate::failure::Failure;
use crate::filter::forwarded::client_address;
use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;
use crate::record::Attempt;
use crate::snapshot::{Balance, HashKey, Listener, Peer, Service, Snapshot};
use crate::upstream::breaker::Breaker;
use crate::upstream::ejection::{Standing, slow_start};
use crate::upstream::pick::{Endpoints, Picker, hash_of};
use crate::upstream::retry::Budget;

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
    /// What outlives a snapshot.
    pub state: Rc<ServiceState>,
    picker: RefCell<Picker>,
}

/// What outlives a snapshot as long as the next one has a service of the same name.
#[derive(Debug, Default)]
pub(super) struct ServiceState {
    /// How many requests are in flight, and which wait.
    pub gate: Gate,
    /// What it costs to try again.
    pub budget: RefCell<Budget>,
    /// Whether requests are refused.
    pub breaker: RefCell<Breaker>,
}

impl ServiceState {
    /// True where the budget lets another retry through.
    pub(super) fn has_budget(&self, now_ms: u64) -> bool {
        self.budget.borrow_mut().has_room(self.gate.in_flight(), now_ms)
    }
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPicked {
    /// All that could be are as busy as they may.
    Busy,
    /// There is none.
    None(Failure),
}

impl<T: Transport> Live<T> {
    /// A snapshot; services and endpoints that the one before had too keep what is known of them, and connections.
    #[must_use]
    pub(super) fn new(snapshot: Arc<Snapshot>, before: Option<&Self>) -> Rc<Self> {
        let mut endpoints = HashMap::new();
        let mut states = HashMap::new();
        if let Some(live) = before {
            for (service, known) in live.snapshot.services.iter().zip(&live.services) {
                states.insert(service.label, Rc::clone(&known.state));
                let of_service = known.endpoints.iter();
                let tls = service.tls.as_ref().map(Arc::as_ptr);
                endpoints
                    .extend(of_service.map(|known| ((service.label, known.address.clone(), tls), Rc::clone(known))));
            }
        }
        let services = snapshot.services.iter().map(|service| {
            let endpoints = service.endpoints.iter().map(|endpoint| {
                let fresh = || Endpoint::new(endpoint.address.clone(), Arc::clone(&endpoint.checked));
                // A connection that was made on other terms is none of these.
                let key = (service.label, endpoint.address.clone(), service.tls.as_ref().map(Arc::as_ptr));
                Rc::clone(endpoints.entry(key).or_insert_with(fresh))
            });
            let endpoints = endpoints.collect();
            let state = states.get(&service.label).map(Rc::clone).unwrap_or_default();
            LiveService { endpoints, state, picker: RefCell::new(picker(service)) }
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

/// For which request an endpoint is picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// Requests in flight to one endpoint at most.
    pub busy_max: Option<usize>,
    /// Attempts that failed; their endpoints are not picked again.
    pub tried: &'a [Attempt],
    /// The coarse clock.
    pub now_ms: u64,
    /// A random number.
    pub random: u64,
    /// The request's hash.
    pub hash: u64,
}

impl<T: Transport> LiveService<T> {
    /// The position of the endpoint for this request. Where all are down, they are used all the same, unless the
    /// service says otherwise.
    ///
    /// # Errors
    /// [`NotPicked`].
    pub(super) fn pick(&self, service: &Service, choice: &Choice<'_>) -> Result<usize, NotPicked> {
        let mut view = View { service, endpoints: &self.endpoints, choice, ignores_health: false, ignores_busy: false };
        let pick = |view: &View<'_, T>| {
            let picked = self.picker.borrow_mut().pick(view, choice.random, choice.hash);
            picked.filter(|at| *at < self.endpoints.len())
        };
        if let Some(at) = pick(&view) {
            return Ok(at);
        }
        view.ignores_busy = true;
        if (0..view.count()).any(|at| view.share(at) > 0) {
            return Err(NotPicked::Busy);
        }
        view.ignores_health = true;
        if (0..view.count()).all(|at| view.share(at) == 0) {
            return Err(NotPicked::None(service.unresolved.unwrap_or(Failure::NoEndpoints)));
        }
        if !service.fail_open {
            return Err(NotPicked::None(Failure::AllUnhealthy));
        }
        view.ignores_busy = false;
        pick(&view).ok_or(NotPicked::Busy)
    }

    /// True where [`Self::pick`] would find one, without taking anybody's turn.
    pub(super) fn has_other(&self, service: &Service, choice: &Choice<'_>, than: Option<usize>) -> bool {
        let view = View { service, endpoints: &self.endpoints, choice, ignores_health: false, ignores_busy: false };
        (0..view.count()).any(|at| Some(at) != than && view.share(at) > 0)
    }

    /// Endpoints that are left out now.
    pub(super) fn out_count(&self, now_ms: u64) -> usize {
        let is_out =
            |endpoint: &Rc<Endpoint<T>>| !matches!(endpoint.ejection.borrow().standing(now_ms), Standing::In(_));
        self.endpoints.iter().filter(|endpoint| is_out(endpoint)).count()
    }
}

struct View<'a, T: Transport> {
    service: &'a Service,
    endpoints: &'a [Rc<Endpoint<T>>],
    choice: &'a Choice<'a>,
    ignores_health: bool,
    ignores_busy: bool,
}

impl<T: Transport> Endpoints for View<'_, T> {
    fn count(&self) -> usize {
        self.endpoints.len()
    }

    fn share(&self, at: usize) -> u32 {
        let Some((named, endpoint)) = self.service.endpoints.get(at).zip(self.endpoints.get(at)) else { return 0 };
        let is_full = !self.ignores_busy && self.choice.busy_max.is_some_and(|max| endpoint.busy.get() >= max);
        if is_full || self.choice.tried.iter().any(|attempt| attempt.endpoint == Some(at)) {
            return 0;
        }
        let weight = u32::from(named.weight);
        if self.ignores_health {
            return weight * 64;
        }
        let back_ms = match endpoint.ejection.borrow().standing(self.choice.now_ms) {
            Standing::Out(_) => return 0,
            _ if named.checked.is_down() => return 0,
            Standing::Due => None,
            Standing::In(back_ms) => back_ms,
        };
        let since_ms = back_ms.max(named.checked.up_since_ms());
        weight * slow_start(since_ms, self.choice.now_ms, self.service.slow_start_ms)
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
