//! Copies of a request for other services, whose answers are thrown away: those of `mirror`. They are sent once the request's own answer
//! begins, for then its body is here or will not be held any longer.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::engine::Transport;
use super::super::host::Worker;
use super::held::{Copies, Held};
use super::state::Exchange;
use super::subrequest::ask;
use crate::encode::request::fields_of;
use crate::encode::subrequest::Subrequest;
use crate::filter::Chain;
use crate::limits::{COPIES_MAX, DRAIN_BYTES_MAX};
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::rules::ForwardedPath;

/// One of the copies that a worker has on their way, until this is dropped.
struct Copying<T: Transport>(Rc<Worker<T>>);

impl<T: Transport> Drop for Copying<T> {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

/// Copies a request where filters want that.
pub(super) fn take<T: Transport>(exchange: &Exchange<'_, T>, head: &RequestHead) {
    let Some(chains) = exchange.chains().filter(|_| head.upgrade().is_none() && !exchange.is_grpc.get()) else {
        return;
    };
    let mirrors = chains.into_iter().flat_map(Chain::mirrors);
    let chosen = mirrors.filter(|mirror| mirror.share.has(exchange.kit().transport.random()));
    let to: Vec<_> = chosen.map(|mirror| (mirror.service, mirror.body_max)).collect();
    if to.is_empty() {
        return;
    }
    let request = Subrequest {
        method: head.method().to_vec(),
        target: head.forwarded(ForwardedPath::default()).to_vec(),
        host: head.rewritten_host().or(Some(head.authority())).filter(|host| !host.is_empty()).map(<[u8]>::to_vec),
        fields: fields_of(head, &exchange.hop(), &exchange.edits().request),
        body: Vec::new(),
    };
    *exchange.copies.borrow_mut() = Some(Box::new(Copies { request, to }));
}

/// Sends the copies, if there are any. Those whose body is not here, or too long, are dropped, and so are those of a worker that has
/// too many on their way.
pub(super) fn send<T: Transport>(
    worker: &Rc<Worker<T>>,
    copies: &RefCell<Option<Box<Copies>>>,
    (held, is_received): (&RefCell<Held>, bool),
) {
    let Some(copies) = copies.take() else { return };
    let Copies { mut request, to } = *copies;
    let held = held.borrow();
    let is_here = is_received && held.is_whole();
    let fits = |max: u64| is_here && held.bytes().len() as u64 <= max;
    request.body = if is_here { held.bytes().to_vec() } else { Vec::new() };
    let request = Rc::new(request);
    for (service, max) in to {
        let counters = &mut worker.kit.metrics.borrow_mut().counters;
        if !fits(max) || worker.copies.get() >= COPIES_MAX {
            counters.copies_dropped += 1;
            continue;
        }
        counters.copies += 1;
        worker.copies.set(worker.copies.get() + 1);
        let (copying, request) = (Copying(Rc::clone(worker)), Rc::clone(&request));
        worker.kit.transport.spawn(async move {
            // Whatever becomes of it is in the counters of its service.
            let _ = ask(&copying.0, service, &request, usize::try_from(DRAIN_BYTES_MAX).unwrap_or(usize::MAX)).await;
        });
    }
}
