//! Accepts connections: several operations in flight, back-off where descriptors run out, shedding where too many are open.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use super::Worker;
use super::io::ring::{Ring, RingListener};
use super::io::{Socket, Transport as _};
use super::serve::serve;
use crate::limits::{ACCEPT_BACKOFF_MS_MAX, ACCEPT_BACKOFF_MS_MIN, ACCEPTS_IN_FLIGHT};
use crate::snapshot::{Label, Peer};
use crate::sys::socket::accept_waiting;

/// A listening socket of this worker.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Rc<RingListener>,
    is_stopped: Rc<Cell<bool>>,
}

/// Starts accepting.
pub(super) fn listen(worker: &Rc<Worker<Ring>>, label: Label, socket: RingListener) -> Listening {
    let listening = Listening { socket: Rc::new(socket), is_stopped: Rc::default() };
    for _ in 0..ACCEPTS_IN_FLIGHT {
        let socket = Rc::clone(&listening.socket);
        let is_stopped = Rc::clone(&listening.is_stopped);
        worker.transport.spawn(accept_all(Rc::clone(worker), label, socket, is_stopped));
    }
    listening
}

impl Listening {
    /// Ends the accepts. What waits in the queue is accepted first: closing would reset it.
    pub(super) fn stop(&self, worker: &Rc<Worker<Ring>>, label: Label) {
        self.is_stopped.set(true);
        while let Some((connection, peer)) = self.socket.accept_waiting(&worker.transport) {
            take(worker, label, connection, peer);
        }
        self.socket.stop();
    }
}

/// Serves a new connection, or closes it where there are too many.
fn take(worker: &Rc<Worker<Ring>>, label: Label, connection: Socket<Ring>, peer: Peer) {
    let mut metrics = worker.metrics.borrow_mut();
    metrics.counters.accepted += 1;
    if worker.is_full() {
        metrics.counters.shed += 1;
        return;
    }
    drop(metrics);
    let live = worker.live();
    let limit = live.snapshot.listener(label).map_or(0, |listener| listener.connections_per_client);
    // Whoever is at the other end of a Unix socket has no address of its own.
    let limit = if peer == Peer::LOCAL { 0 } else { limit };
    let serving = serve(Rc::clone(worker), connection, peer, label);
    let Some(limit) = live.snapshot.part_of(limit) else {
        worker.transport.spawn(serving);
        return;
    };
    match ClientPlace::take(worker, peer, limit) {
        None => worker.metrics.borrow_mut().counters.refused_clients += 1,
        Some(place) => worker.transport.spawn(async move {
            serving.await;
            drop(place);
        }),
    }
}

/// A connection that counts for its client's address until this is dropped.
struct ClientPlace(Rc<Worker<Ring>>, IpAddr);

impl ClientPlace {
    /// `None` where the client has as many as it may.
    fn take(worker: &Rc<Worker<Ring>>, peer: Peer, limit: usize) -> Option<Self> {
        let mut clients = worker.clients.borrow_mut();
        let count = clients.entry(peer.address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Self(Rc::clone(worker), peer.address))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut clients = self.0.clients.borrow_mut();
        if let Some(count) = clients.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.1);
            }
        }
    }
}

async fn accept_all(worker: Rc<Worker<Ring>>, label: Label, socket: Rc<RingListener>, is_stopped: Rc<Cell<bool>>) {
    let mut backoff_ms = ACCEPT_BACKOFF_MS_MIN;
    while !is_stopped.get() {
        match socket.accept().await {
            Ok((connection, peer)) => {
                backoff_ms = ACCEPT_BACKOFF_MS_MIN;
                take(&worker, label, connection, peer);
            }
            Err(_) if is_stopped.get() => return,
            // The client was gone before it was accepted, or a signal came: nothing is wrong with us.
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                worker.metrics.borrow_mut().counters.accept_errors += 1;
                if has_no_descriptor(&error) && worker.reserve.shed(&socket) {
                    worker.metrics.borrow_mut().counters.shed += 1;
                }
                if backoff_ms == ACCEPT_BACKOFF_MS_MIN {
                    tracing::warn!(%error, "accept failed; trying again");
                }
                worker.transport.sleep(backoff_ms).await;
                backoff_ms = (backoff_ms * 2).min(ACCEPT_BACKOFF_MS_MAX);
            }
        }
    }
}

fn has_no_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A descriptor kept for the moment when there is no other: given up, it lets one waiting client be accepted and
/// closed, which then need not wait for a timeout of its own.
#[derive(Debug, Default)]
pub(super) struct Reserve(RefCell<Option<std::fs::File>>);

impl Reserve {
    /// A reserve, if a descriptor is to be had now.
    pub(super) fn new() -> Self {
        Self(RefCell::new(std::fs::File::open("/dev/null").ok()))
    }

    /// True where a client was shed.
    fn shed(&self, listener: &RingListener) -> bool {
        // Where the queue is shared another worker may be faster, and this one would wait.
        let had_one = listener.has_own_queue() && self.0.borrow_mut().take().is_some();
        let is_shed = had_one && accept_waiting(listener.fd()).is_some();
        *self.0.borrow_mut() = std::fs::File::open("/dev/null").ok();
        is_shed
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EPERM))
}
