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
use crate::limits::{COPIES_BYTES_MAX, COPIES_MAX, DRAIN_BYTES_MAX};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::rules::ForwardedPath;

/// One of the copies that a worker has on their way, until this is dropped.
struct Copying<T: Transport> {
    worker: Rc<Worker<T>>,
    bytes: usize,
}

impl<T: Transport> Copying<T> {
    /// `None` where there are too many.
    fn begin(worker: &Rc<Worker<T>>, bytes: usize) -> Option<Self> {
        let (count, in_all) = worker.copies.get();
        let has_room = count < COPIES_MAX && in_all + bytes <= COPIES_BYTES_MAX;
        has_room.then(|| {
            worker.copies.set((count + 1, in_all + bytes));
            Self { worker: Rc::clone(worker), bytes }
        })
    }
}

impl<T: Transport> Drop for Copying<T> {
    fn drop(&mut self) {
        self.worker.copies.update(|(count, in_all)| (count - 1, in_all - self.bytes));
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
    // Nothing is held for a body that is known to be too long.
    let is_too_long = |max: u64| matches!(head.framing(), Framing::Length(length) if length > max);
    let (too_long, to): (Vec<_>, Vec<_>) = to.into_iter().partition(|(_, max)| max.is_some_and(is_too_long));
    exchange.worker.count_copies(0, too_long.len());
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
    let Copies { request, to } = *copies;
    let held = held.borrow();
    let length = held.bytes().len();
    let is_here = is_received && held.is_whole();
    let begin = |max: Option<u64>| {
        let is_ready = max.is_none_or(|max| is_here && length as u64 <= max);
        Copying::begin(worker, max.map_or(0, |_| length)).filter(|_| is_ready)
    };
    let begun: Vec<_> = to.iter().filter_map(|(service, max)| Some((*service, max.is_some(), begin(*max)?))).collect();
    worker.count_copies(begun.len(), to.len() - begun.len());
    if begun.is_empty() {
        return;
    }
    let bare = begun.iter().any(|(_, has_body, _)| !has_body).then(|| Rc::new(request.clone()));
    let has_whole = begun.iter().any(|(_, has_body, _)| *has_body);
    let body = if has_whole { held.bytes().to_vec() } else { Vec::new() };
    let whole = Rc::new(Subrequest { body, ..request });
    for (service, has_body, copying) in begun {
        let request = Rc::clone(bare.as_ref().filter(|_| !has_body).unwrap_or(&whole));
        worker.kit.transport.spawn(async move {
            // Whatever becomes of it is in the counters of its service.
            let kept = usize::try_from(DRAIN_BYTES_MAX).unwrap_or(usize::MAX);
            let _ = ask(&copying.worker, service, &request, kept).await;
        });
    }
}
