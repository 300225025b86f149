//! One service as one worker knows it: what outlives a publication, and the endpoints that it has now.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::super::engine::Transport;
use super::endpoint::EndpointPool;
use super::gate::Gate;
use crate::failure::Failure;
use crate::snapshot::Service;
use crate::upstream::balance::Balance;
use crate::upstream::breaker::Breaker;
use crate::upstream::candidates::Endpoints;
use crate::upstream::ejection::{Standing, slow_start};
use crate::upstream::gate::Limits;
use crate::upstream::pick::Picker;
use crate::upstream::retry::Budget;

/// A service, whatever its endpoints are. It lives as long as the configuration has a service of its name.
#[derive(Debug)]
pub(crate) struct LiveService<T: Transport> {
    /// How many requests are in flight, and which wait.
    pub gate: Rc<Gate>,
    /// Bounds the retries.
    pub budget: RefCell<Budget>,
    /// Whether requests are refused; `None` while nobody asks for a breaker.
    pub breaker: RefCell<Option<Box<Breaker>>>,
    members: RefCell<Rc<Members<T>>>,
}

/// A service as it is now, with its endpoints.
#[derive(Debug)]
pub(crate) struct Members<T: Transport> {
    /// What the snapshot has of it.
    pub service: Arc<Service>,
    /// By the endpoint's position in the service.
    pub endpoints: Vec<Rc<EndpointPool<T>>>,
    picker: RefCell<Picker>,
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPicked {
    /// Every endpoint that could be picked has as many requests as `limits.endpoint_in_flight` allows.
    Busy,
    /// There is none.
    None(Failure),
}

impl<T: Transport> LiveService<T> {
    /// A service of which nothing is known yet.
    #[must_use]
    pub(crate) fn new(service: &Arc<Service>, worker: usize, random: u64) -> Rc<Self> {
        Rc::new(Self {
            gate: Gate::new(Arc::clone(&service.counts), worker),
            budget: RefCell::default(),
            breaker: RefCell::default(),
            members: RefCell::new(Members::new(service, None, random)),
        })
    }

    /// Goes on with what was published now. Requests that have begun keep what they began with. An endpoint that is as it
    /// was keeps its connections and what is known of it; one that is gone closes its idle connections.
    pub(crate) fn update(&self, service: &Arc<Service>, random: u64) {
        let before = self.members();
        if Arc::ptr_eq(&before.service, service) {
            return;
        }
        if service.spec.circuit_breaker != before.service.spec.circuit_breaker {
            // What was counted by other rules says nothing.
            *self.breaker.borrow_mut() = None;
        }
        let members = Members::new(service, Some(&before), random);
        let replaced = self.members.replace(members);
        // Outside of the borrow: endpoints that are gone close their connections here.
        drop((before, replaced));
        // The limits may leave room now where there was none.
        self.gate.wake_first();
    }

    /// The limits as they are now.
    pub(super) fn limits(&self) -> Limits {
        self.members.borrow().service.spec.limits
    }

    /// The service as it is now.
    #[must_use]
    pub(crate) fn members(&self) -> Rc<Members<T>> {
        Rc::clone(&self.members.borrow())
    }

    /// True where the budget lets another retry through.
    pub(crate) fn has_budget(&self, now_ms: u64) -> bool {
        self.budget.borrow_mut().has_room(self.gate.in_flight(), now_ms)
    }
}

impl<T: Transport> Members<T> {
    fn new(service: &Arc<Service>, before: Option<&Self>, random: u64) -> Rc<Self> {
        let mut known = HashMap::new();
        if let Some(before) = before {
            let tls = before.service.tls.as_ref().map(Arc::as_ptr);
            let saved = before.picker.borrow();
            let endpoints = before.endpoints.iter().enumerate();
            known.extend(endpoints.map(|(at, pool)| ((&pool.address, tls), (pool, saved.saved(at)))));
        }
        let tls = service.tls.as_ref().map(Arc::as_ptr);
        let (mut endpoints, mut saved) = (Vec::with_capacity(service.endpoints.len()), Vec::new());
        for endpoint in &service.endpoints {
            // A pool is kept only where TLS is the same: its connections were made with it. An address that is listed twice
            // is one endpoint.
            let twin = endpoints.iter().find(|other: &&Rc<EndpointPool<T>>| other.address == endpoint.address);
            let pool = match (twin, known.get(&(&endpoint.address, tls))) {
                (Some(pool), _) => Rc::clone(pool),
                (None, Some((pool, _))) => Rc::clone(pool),
                (None, None) => EndpointPool::new(endpoint.address.clone(), Arc::clone(&endpoint.state)),
            };
            endpoints.push(pool);
            saved.push(known.get(&(&endpoint.address, tls)).and_then(|(_, saved)| *saved));
        }
        let picker = RefCell::new(picker(service, saved, random));
        Rc::new(Self { service: Arc::clone(service), endpoints, picker })
    }
}

fn picker(service: &Service, saved: Vec<Option<i64>>, random: u64) -> Picker {
    if let Some(ring) = &service.ring {
        return Picker::Hash(Arc::clone(ring));
    }
    match &service.spec.balance {
        Balance::RoundRobin => Picker::round_robin(saved, random),
        Balance::LeastRequests => Picker::LeastRequests,
        Balance::LeastLatency => Picker::LeastLatency,
        Balance::Random => Picker::Random,
        Balance::Hash(_) => Picker::Hash(Arc::default()),
    }
}

/// For which request an endpoint is picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// The position of the one that the client belongs to. Its weight does not count: one of 0 keeps those who are there already.
    pub own: Option<usize>,
    /// Positions of endpoints that were tried: they are not picked again.
    pub tried: &'a [usize],
    /// The coarse clock.
    pub now_ms: u64,
    /// A random number.
    pub random: u64,
    /// The request's hash.
    pub hash: u64,
}

impl<T: Transport> Members<T> {
    /// The position of the endpoint for this request. Where all are down, they are used all the same, unless the
    /// service says otherwise.
    ///
    /// # Errors
    /// [`NotPicked`].
    pub(crate) fn pick(&self, choice: &Choice<'_>) -> Result<usize, NotPicked> {
        let mut view = self.view(choice);
        let pick = |view: &View<'_, T>| {
            let picked = self.picker.borrow_mut().pick(view, choice.random, choice.hash);
            picked.filter(|at| *at < self.endpoints.len())
        };
        // A backup is nobody's own.
        view.tier = EndpointTier::First;
        if let Some(own) = choice.own.filter(|own| view.share_of(*own, 1) > 0) {
            return Ok(own);
        }
        let has_zone = self.service.spec.zone.is_some();
        for tier in [EndpointTier::First, EndpointTier::Backup] {
            view = View { tier, ignores_busy: false, is_near_alone: has_zone, ..view };
            if has_zone && let Some(at) = pick(&view) {
                return Ok(at);
            }
            view.is_near_alone = false;
            if let Some(at) = pick(&view) {
                return Ok(at);
            }
            // Would one do if it were not busy? Then it pays to wait.
            view.ignores_busy = true;
            if (0..view.count()).any(|at| view.share(at) > 0) {
                return Err(NotPicked::Busy);
            }
        }
        view.tier = EndpointTier::Any;
        // All that were not tried are down. To fail open is better than to refuse everything for a health check that is
        // wrong.
        view.ignores_health = true;
        if (0..view.count()).all(|at| view.share(at) == 0) {
            return Err(NotPicked::None(self.service.unresolved.unwrap_or(Failure::NoEndpoints)));
        }
        if !self.fails_open() {
            return Err(NotPicked::None(Failure::AllUnhealthy));
        }
        view.ignores_busy = false;
        pick(&view).ok_or(NotPicked::Busy)
    }

    fn fails_open(&self) -> bool {
        self.service.spec.health.as_ref().is_none_or(|health| health.fail_open)
    }

    /// True where [`Self::pick`] would find one, without taking anybody's turn.
    pub(crate) fn has_other(&self, choice: &Choice<'_>, than: Option<usize>) -> bool {
        // As `pick` looks: a backup counts where none of the others would do, busy or not.
        let others = |tier, ignores_busy| {
            let view = View { tier, ignores_busy, ..self.view(choice) };
            (0..view.count()).any(|at| Some(at) != than && view.share(at) > 0)
        };
        others(EndpointTier::First, false) || !others(EndpointTier::First, true) && others(EndpointTier::Backup, false)
    }

    /// True where this endpoint could be picked.
    pub(crate) fn has(&self, choice: &Choice<'_>, at: usize) -> bool {
        self.view(choice).share(at) > 0
    }

    const fn view<'a>(&'a self, choice: &'a Choice<'a>) -> View<'a, T> {
        View {
            members: self,
            choice,
            tier: EndpointTier::Any,
            is_near_alone: false,
            ignores_health: false,
            ignores_busy: false,
        }
    }

    /// Endpoints that are left out now.
    pub(crate) fn out_count(&self, now_ms: u64) -> usize {
        let is_out =
            |endpoint: &&Rc<EndpointPool<T>>| !matches!(endpoint.passive.borrow().standing(now_ms), Standing::In(_));
        self.endpoints.iter().filter(is_out).count()
    }

    /// An endpoint as it was written: not as it was resolved.
    #[must_use]
    pub(crate) fn name_of(&self, at: usize) -> &str {
        self.service.endpoints.get(at).map_or("", |endpoint| &endpoint.name)
    }
}

/// Which endpoints are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndpointTier {
    First,
    Backup,
    Any,
}

struct View<'a, T: Transport> {
    members: &'a Members<T>,
    choice: &'a Choice<'a>,
    tier: EndpointTier,
    /// Those of the zone that the service prefers.
    is_near_alone: bool,
    ignores_health: bool,
    ignores_busy: bool,
}

impl<T: Transport> Endpoints for View<'_, T> {
    fn count(&self) -> usize {
        self.members.endpoints.len()
    }

    fn share(&self, at: usize) -> u32 {
        self.share_of(at, self.members.service.endpoints.get(at).map_or(0, |named| u32::from(named.weight)))
    }

    fn busy(&self, at: usize) -> usize {
        self.members.endpoints.get(at).map_or(0, |endpoint| endpoint.busy.get())
    }

    fn latency_us(&self, at: usize) -> f64 {
        self.members.endpoints.get(at).map_or(0.0, |endpoint| endpoint.latency.get().us(self.choice.now_ms))
    }
}

impl<T: Transport> View<'_, T> {
    /// The share of an endpoint that has this weight; 0 where it takes no request now.
    fn share_of(&self, at: usize, weight: u32) -> u32 {
        let Members { service, endpoints, .. } = self.members;
        let Some((named, endpoint)) = service.endpoints.get(at).zip(endpoints.get(at)) else { return 0 };
        let is_elsewhere = match self.tier {
            EndpointTier::First => named.is_backup,
            EndpointTier::Backup => !named.is_backup,
            EndpointTier::Any => false,
        } || self.is_near_alone && named.is_far;
        let busy_max = service.spec.limits.endpoint_in_flight;
        let is_full = !self.ignores_busy && busy_max > 0 && named.state.in_flight.load() >= busy_max;
        if is_full || is_elsewhere || self.choice.tried.contains(&at) {
            return 0;
        }
        if self.ignores_health {
            // The whole share, in the unit of `slow_start`.
            return weight * 64;
        }
        let back_ms = match endpoint.passive.borrow().standing(self.choice.now_ms) {
            Standing::Out(_) => return 0,
            Standing::Due | Standing::In(_) if named.state.is_down() => return 0,
            Standing::Due => None,
            Standing::In(back_ms) => back_ms,
        };
        let since_ms = back_ms.max(named.state.up_since_ms());
        let slow_start_ms = service.spec.health.as_ref().map_or(0, |health| health.slow_start.ms());
        weight * slow_start(since_ms, self.choice.now_ms, slow_start_ms)
    }
}
