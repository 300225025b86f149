//! What requests that begin now run with: the parts of the latest snapshot, each in a slot that outlives publications.
//!
//! A connection keeps its listener's slot, an exchange the route and the service that it uses. Nothing keeps a snapshot, so
//! a thousand publications leave one in memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::engine::Transport;
use super::kit::Kit;
use super::upstreams::admit::Patience;
use super::upstreams::service::LiveService;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::{Entrance, Label, Listener, ProcessSettings, Route, RouteTable, RouteTarget, Service, Snapshot};

/// Labels are numbers that the control plane gives out, so nobody outside can choose keys that collide under a fixed hash.
type ByLabel<V> = HashMap<Label, V, FixedState>;

/// The latest snapshot, as one worker has it.
#[derive(Debug)]
pub(super) struct Live<T: Transport> {
    kit: Rc<Kit<T>>,
    /// The generation of the latest snapshot.
    pub generation: Cell<u64>,
    process: RefCell<Arc<ProcessSettings>>,
    listeners: RefCell<ByLabel<Rc<ListenerSlot<T>>>>,
    services: RefCell<ByLabel<ServiceSlot<T>>>,
}

/// A service in one worker. Of thousands most have no request in any one worker: what a worker knows of a service and its endpoints
/// begins with the first request of a route that leads there.
#[derive(Debug)]
enum ServiceSlot<T: Transport> {
    /// No request took a route to it yet.
    Unused(Arc<Service>),
    /// One did.
    InUse(Rc<LiveService<T>>),
}

/// The slot of a listener: a publication replaces what is in it, not the slot.
#[derive(Debug)]
pub(super) struct ListenerSlot<T: Transport> {
    /// Its label.
    pub label: Label,
    listener: RefCell<ListenerRef>,
    table: RefCell<Rc<LiveTable<T>>>,
    is_gone: Cell<bool>,
}

/// A listener without its routes. The outer `Rc` is this worker's own: cloning it touches no counter that workers share.
pub(super) type ListenerRef = Rc<Arc<Listener>>;

/// A table of routes with what this worker looked up for them.
#[derive(Debug)]
struct LiveTable<T: Transport> {
    table: Arc<RouteTable>,
    /// By position; filled as requests come.
    routes: RefCell<Vec<Option<Rc<LiveRoute<T>>>>>,
}

/// A route and its service.
#[derive(Debug)]
pub(super) struct LiveRoute<T: Transport> {
    /// What the snapshot has of it.
    pub route: Arc<Route>,
    /// By the target's position; `None` where a filter of its own answers.
    pub services: Vec<Option<Rc<LiveService<T>>>>,
    /// Its patience over that of each service.
    patience: RefCell<Vec<Option<KnownPatience>>>,
}

/// A service as it was, and the patience of a route with it.
type KnownPatience = (Arc<Service>, Rc<Patience>);

impl<T: Transport> LiveRoute<T> {
    fn new(route: Arc<Route>, live: &Live<T>) -> Self {
        let of_target = |target: &RouteTarget| live.service(target.service?);
        let services: Vec<_> = route.targets.iter().map(of_target).collect();
        Self { patience: RefCell::new(vec![None; services.len()]), route, services }
    }

    /// What holds in place of the service's own timeouts and retries; `None` where the route says nothing.
    pub(super) fn patience(&self, target: usize, service: &Arc<Service>) -> Option<Rc<Patience>> {
        let own = self.route.patience.as_ref()?;
        let mut known = self.patience.borrow_mut();
        let known = known.get_mut(target)?;
        if let Some((of, patience)) = known
            && Arc::ptr_eq(of, service)
        {
            return Some(Rc::clone(patience));
        }
        let retry = own.retry.clone().unwrap_or_else(|| service.spec.retry.clone());
        let patience = Rc::new(Patience { timeouts: own.timeouts.over(&service.spec.timeouts), retry });
        *known = Some((Arc::clone(service), Rc::clone(&patience)));
        Some(patience)
    }
}

impl<T: Transport> Live<T> {
    /// Nothing yet.
    pub(super) fn new(kit: &Rc<Kit<T>>) -> Self {
        Self {
            kit: Rc::clone(kit),
            generation: Cell::new(0),
            process: RefCell::default(),
            listeners: RefCell::default(),
            services: RefCell::default(),
        }
    }

    /// Requests that begin from now on run with this snapshot. What it has in common with the one before stays as it is.
    pub(super) fn publish(&self, snapshot: &Snapshot) {
        self.generation.set(snapshot.generation);
        if !Arc::ptr_eq(&self.process.borrow(), &snapshot.process) {
            *self.process.borrow_mut() = Arc::clone(&snapshot.process);
        }
        // Services first: tables look them up.
        let mut before = self.services.take();
        let now = snapshot.services.iter().map(|service| {
            let slot = before.remove(&service.label);
            (service.label, self.updated(slot, service))
        });
        let now = now.collect();
        *self.services.borrow_mut() = now;
        drop(before);
        let before = self.listeners.take();
        let now = snapshot.listeners.iter().map(|entrance| {
            let slot = before.get(&entrance.listener.label).cloned();
            let slot = slot.unwrap_or_else(|| Rc::new(ListenerSlot::new(entrance)));
            slot.update(entrance);
            (slot.label, slot)
        });
        let now: ByLabel<_> = now.collect();
        before.iter().filter(|(label, _)| !now.contains_key(label)).for_each(|(_, slot)| slot.is_gone.set(true));
        *self.listeners.borrow_mut() = now;
    }

    /// [`Self::publish`] where nothing but this service changed.
    pub(super) fn publish_service(&self, service: &Arc<Service>, generation: u64) {
        self.generation.set(generation);
        let slot = self.services.borrow_mut().remove(&service.label);
        let slot = self.updated(slot, service);
        self.services.borrow_mut().insert(service.label, slot);
    }

    fn updated(&self, slot: Option<ServiceSlot<T>>, service: &Arc<Service>) -> ServiceSlot<T> {
        match slot {
            Some(ServiceSlot::InUse(live)) => {
                live.update(service, self.kit.transport.random());
                ServiceSlot::InUse(live)
            }
            Some(ServiceSlot::Unused(_)) | None => ServiceSlot::Unused(Arc::clone(service)),
        }
    }

    /// The listener of this label, unless it is gone.
    pub(super) fn listener(&self, label: Label) -> Option<Rc<ListenerSlot<T>>> {
        self.listeners.borrow().get(&label).cloned()
    }

    /// What holds for the whole process.
    pub(super) fn process(&self) -> std::cell::Ref<'_, Arc<ProcessSettings>> {
        self.process.borrow()
    }

    /// The service of this label, unless it is gone.
    pub(super) fn service(&self, label: Label) -> Option<Rc<LiveService<T>>> {
        let mut services = self.services.borrow_mut();
        let slot = services.get_mut(&label)?;
        match slot {
            ServiceSlot::InUse(live) => Some(Rc::clone(live)),
            ServiceSlot::Unused(service) => {
                let live = LiveService::new(service, self.kit.worker, self.kit.transport.random());
                *slot = ServiceSlot::InUse(Rc::clone(&live));
                Some(live)
            }
        }
    }

    /// The services to whose routes requests came.
    pub(super) fn services_in_use(&self) -> Vec<Rc<LiveService<T>>> {
        let in_use = |slot: &ServiceSlot<T>| match slot {
            ServiceSlot::InUse(live) => Some(Rc::clone(live)),
            ServiceSlot::Unused(_) => None,
        };
        self.services.borrow().values().filter_map(in_use).collect()
    }
}

impl<T: Transport> ListenerSlot<T> {
    fn new(entrance: &Entrance) -> Self {
        Self {
            label: entrance.listener.label,
            listener: RefCell::new(Rc::new(Arc::clone(&entrance.listener))),
            table: RefCell::new(LiveTable::new(&entrance.table)),
            is_gone: Cell::new(false),
        }
    }

    fn update(&self, entrance: &Entrance) {
        if !Arc::ptr_eq(&self.listener.borrow(), &entrance.listener) {
            *self.listener.borrow_mut() = Rc::new(Arc::clone(&entrance.listener));
        }
        if !Arc::ptr_eq(&self.table.borrow().table, &entrance.table) {
            *self.table.borrow_mut() = LiveTable::new(&entrance.table);
        }
    }

    /// The listener as it is now, or was when it went.
    pub(super) fn listener(&self) -> ListenerRef {
        Rc::clone(&self.listener.borrow())
    }

    /// True where no further request is taken.
    pub(super) const fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// The route of this request.
    pub(super) fn find(&self, head: &RequestHead, live: &Live<T>) -> Option<Rc<LiveRoute<T>>> {
        let table = self.table.borrow();
        let at = table.table.router.find(head)?;
        if let Some(known) = table.routes.borrow().get(at)? {
            return Some(Rc::clone(known));
        }
        let route = Arc::clone(table.table.routes.get(at)?);
        let found = Rc::new(LiveRoute::new(route, live));
        if let Some(slot) = table.routes.borrow_mut().get_mut(at) {
            *slot = Some(Rc::clone(&found));
        }
        Some(found)
    }
}

impl<T: Transport> LiveTable<T> {
    fn new(table: &Arc<RouteTable>) -> Rc<Self> {
        let routes = std::iter::repeat_with(|| None).take(table.routes.len()).collect();
        Rc::new(Self { table: Arc::clone(table), routes: RefCell::new(routes) })
    }
}
