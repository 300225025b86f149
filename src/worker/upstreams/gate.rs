//! Bounds the requests in flight to a service and keeps the rest waiting: within one worker in the order they came.
//!
//! Limits hold for the whole process. Whoever makes room wakes the one that has waited for the longest, in any worker. Until
//! that worker's loop has its turn, the first of another worker may take the place if it looks just then; nobody new goes
//! before those who wait.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use super::super::engine::Transport;
use super::super::kit::Kit;
use super::super::queue::{Queue, QueuePlace};
use super::endpoint::EndpointPool;
use crate::upstream::gate::{Limits, ServiceCounts, SharedCount};
use crate::upstream::health::EndpointState;

/// The gate of one service in one worker.
#[derive(Debug)]
pub(crate) struct Gate {
    /// What all workers count together.
    counts: Arc<ServiceCounts>,
    worker: usize,
    in_flight: Cell<usize>,
    waiting: Rc<Queue>,
}

impl Gate {
    pub(super) fn new(counts: Arc<ServiceCounts>, worker: usize) -> Rc<Self> {
        Rc::new(Self { counts, worker, in_flight: Cell::new(0), waiting: Rc::default() })
    }

    /// Requests in flight in this worker.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Requests that wait in this worker.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.count()
    }

    /// True where a request that just came need not wait for others.
    pub(super) fn is_clear(&self, limits: &Limits) -> bool {
        (limits.queue == 0 || self.counts.waiting.load() == 0) && self.has_room(limits)
    }

    fn has_room(&self, limits: &Limits) -> bool {
        limits.in_flight == 0 || self.counts.in_flight.load() < limits.in_flight
    }

    /// Wakes whoever is first in this worker.
    pub(super) fn wake_first(&self) {
        self.waiting.wake_first();
    }

    /// There is room: wakes whoever has waited for the longest. Room at one endpoint may be of no use to that one, which has
    /// tried it before, so it is told to the first of every worker.
    fn pass_on<T: Transport>(&self, kit: &Kit<T>, is_at_endpoint: bool) {
        if self.counts.waiting.load() == 0 {
            return;
        }
        let wake = |worker| if worker == self.worker { self.wake_first() } else { kit.bells.ring(worker) };
        if is_at_endpoint {
            self.counts.all_waiting().for_each(wake);
        } else {
            self.counts.next().into_iter().for_each(wake);
        }
    }

    fn note_first(&self) {
        self.counts.note_first(self.worker, self.waiting.first_since_ms());
    }
}

/// A request in the queue; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket<T: Transport> {
    gate: Rc<Gate>,
    kit: Rc<Kit<T>>,
    place: Rc<QueuePlace>,
}

impl<T: Transport> Ticket<T> {
    /// Joins the queue at its end; `None` where it is full.
    pub(super) fn new(gate: &Rc<Gate>, kit: &Rc<Kit<T>>, limits: &Limits) -> Option<Self> {
        if !gate.counts.waiting.try_take(limits.queue) {
            return None;
        }
        if gate.waiting.count() == 0 {
            kit.put_queue(&gate.waiting);
        }
        let place = gate.waiting.join(kit.transport.coarse_ms());
        gate.note_first();
        // Nothing wakes the queue when an ejected endpoint comes back, so each newcomer lets the first look.
        gate.wake_first();
        Some(Self { gate: Rc::clone(gate), kit: Rc::clone(kit), place })
    }

    /// True where it is its turn; else its task is woken when that may be so.
    pub(super) fn is_turn(&self, limits: &Limits, cx: &Context<'_>) -> bool {
        self.gate.waiting.is_first(&self.place, cx) && self.gate.has_room(limits)
    }
}

impl<T: Transport> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.gate.waiting.leave(&self.place);
        self.gate.note_first();
        self.gate.counts.waiting.give_back();
        // There may be room for more than the one that leaves.
        self.gate.pass_on(&self.kit, false);
    }
}

/// A request in flight to an endpoint; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<T: Transport> {
    gate: Rc<Gate>,
    kit: Rc<Kit<T>>,
    /// Where it goes.
    pub endpoint: Rc<EndpointPool<T>>,
    /// Its position in the service.
    pub at: usize,
    /// It finds out whether an endpoint that was left out is back.
    pub is_trial: bool,
    /// When it began, in milliseconds of the coarse clock.
    pub began_ms: u64,
    /// The limits that it counts for.
    counted: Counted,
}

/// What a permit was counted for in the whole process.
#[derive(Debug, Default)]
struct Counted {
    in_service: bool,
    at_endpoint: Option<Arc<EndpointState>>,
}

/// Counts one more where there is a limit: `Ok(true)` where it was counted, `Ok(false)` where there is no limit, `Err`
/// where the limit is reached.
fn count(shared: &SharedCount, limit: usize) -> Result<bool, ()> {
    match limit {
        0 => Ok(false),
        limit => shared.try_take(limit).then_some(true).ok_or(()),
    }
}

impl<T: Transport> Permit<T> {
    /// A request that begins; `None` where another worker's took the last place meanwhile.
    pub(super) fn new(
        gate: &Rc<Gate>,
        kit: &Rc<Kit<T>>,
        endpoint: &Rc<EndpointPool<T>>,
        at: usize,
        limits: &Limits,
    ) -> Option<Self> {
        let in_service = count(&gate.counts.in_flight, limits.in_flight).ok()?;
        let at_endpoint = match count(&endpoint.state.in_flight, limits.endpoint_in_flight) {
            Ok(is_counted) => is_counted.then(|| Arc::clone(&endpoint.state)),
            Err(()) => {
                if in_service {
                    gate.counts.in_flight.give_back();
                    // Another request may have looked while this one held the place, and found no room: it is woken.
                    gate.pass_on(kit, false);
                }
                return None;
            }
        };
        gate.in_flight.set(gate.in_flight.get() + 1);
        endpoint.busy.set(endpoint.busy.get() + 1);
        let began_ms = kit.transport.coarse_ms();
        let is_trial = endpoint.passive.borrow_mut().begins(began_ms);
        Some(Self {
            gate: Rc::clone(gate),
            kit: Rc::clone(kit),
            endpoint: Rc::clone(endpoint),
            at,
            is_trial,
            began_ms,
            counted: Counted { in_service, at_endpoint },
        })
    }
}

impl<T: Transport> Drop for Permit<T> {
    fn drop(&mut self) {
        if self.is_trial {
            self.endpoint.passive.borrow_mut().drops_trial();
        }
        self.gate.in_flight.set(self.gate.in_flight.get() - 1);
        self.endpoint.busy.set(self.endpoint.busy.get() - 1);
        let Counted { in_service, at_endpoint } = std::mem::take(&mut self.counted);
        if in_service {
            self.gate.counts.in_flight.give_back();
        }
        if let Some(state) = &at_endpoint {
            state.in_flight.give_back();
        }
        if in_service || at_endpoint.is_some() {
            self.gate.pass_on(&self.kit, at_endpoint.is_some());
        }
    }
}
