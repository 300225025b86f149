//! Accepts connections: several operations in flight, back-off where descriptors run out, shedding where too many are open.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::engine::ring::{Ring, RingListener};
use super::engine::{Socket, Transport as _};
use super::host::Worker;
use super::http::serve::serve;
use crate::limits::{ACCEPT_BACKOFF_MS_MAX, ACCEPTS_IN_FLIGHT};
use crate::snapshot::{Label, Peer};
use crate::sys::socket::accept_waiting;
use crate::timeouts::Timeout;
use crate::units::addresses::is_in;

/// A listening socket of this worker.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Rc<RingListener>,
    is_stopped: Rc<Cell<bool>>,
}

/// Starts accepting.
pub(super) fn listen(
    worker: &Rc<Worker<Ring>>,
    reserve: &Rc<Reserve>,
    label: Label,
    socket: RingListener,
) -> Listening {
    let listening = Listening { socket: Rc::new(socket), is_stopped: Rc::default() };
    for _ in 0..ACCEPTS_IN_FLIGHT {
        let socket = Rc::clone(&listening.socket);
        let is_stopped = Rc::clone(&listening.is_stopped);
        let accepting = accept_all(Rc::clone(worker), Rc::clone(reserve), label, (socket, is_stopped));
        worker.kit.transport.spawn(accepting);
    }
    listening
}

impl Listening {
    /// Stops accepting. Connections that wait in the accept queue are taken first: closing the socket would reset them.
    pub(super) fn stop(&self, worker: &Rc<Worker<Ring>>, label: Label) {
        self.is_stopped.set(true);
        self.socket.begin_no_more();
        while let Some((connection, peer)) = self.socket.accept_waiting(&worker.kit.transport) {
            take(worker, label, connection, peer);
        }
        self.socket.stop();
    }
}

/// Serves a new connection, or closes it where there are too many.
fn take(worker: &Rc<Worker<Ring>>, label: Label, connection: Socket<Ring>, peer: Peer) {
    let mut metrics = worker.kit.metrics.borrow_mut();
    metrics.counters.accepted += 1;
    if worker.is_full() {
        metrics.counters.shed += 1;
        if worker.tells_full() {
            tracing::warn!(
                worker = worker.kit.worker,
                open = worker.connections(),
                "client connections are closed: there are as many as the limit of open files, or `workers.connections_max`, allows; raise it (LimitNOFILE, ulimit -n)"
            );
        }
        // Whoever has said nothing for longest gives way; it is gone with the next turn.
        if !worker.kit.shed_silent() {
            return;
        }
    }
    drop(metrics);
    let limit = worker.live.listener(label).map_or(0, |slot| {
        let spec = &slot.listener().spec;
        // A trusted proxy has the connections of many.
        if is_in(&spec.trusted_proxies, peer.address) { 0 } else { spec.connections_per_client }
    });
    let serving = serve(Rc::clone(worker), connection, peer, label);
    // Peers of a Unix socket have no address of their own: all of them would count as one client.
    if limit == 0 || peer == Peer::LOCAL {
        worker.kit.transport.spawn(serving);
        return;
    }
    match worker.clients.take(peer.address, limit) {
        None => {
            worker.kit.metrics.borrow_mut().counters.refused_clients += 1;
            if worker.tells_crowded() {
                tracing::warn!(
                    client = %peer.address,
                    limit,
                    "connections of a client are closed: it has as many as `connections_per_client` of the listener allows; proxies that are trusted are not counted"
                );
            }
        }
        Some(place) => worker.kit.transport.spawn(async move {
            serving.await;
            drop(place);
        }),
    }
}

async fn accept_all(
    worker: Rc<Worker<Ring>>,
    reserve: Rc<Reserve>,
    label: Label,
    (socket, is_stopped): (Rc<RingListener>, Rc<Cell<bool>>),
) {
    let first_ms = Timeout::AcceptBackoff.row().ms;
    let mut backoff_ms = first_ms;
    while !is_stopped.get() {
        match socket.accept().await {
            Ok((connection, peer)) => {
                backoff_ms = first_ms;
                take(&worker, label, connection, peer);
            }
            Err(_) if is_stopped.get() => return,
            // The client was gone before it was accepted, or a signal came: nothing is wrong with us.
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                worker.kit.metrics.borrow_mut().counters.accept_errors += 1;
                let is_shed = has_no_descriptor(&error) && (worker.kit.shed_silent() || reserve.shed(&socket));
                worker.kit.metrics.borrow_mut().counters.shed += u64::from(is_shed);
                if backoff_ms == first_ms {
                    tracing::warn!(%error, "accept failed; trying again");
                }
                worker.kit.pause(Timeout::AcceptBackoff, Some(backoff_ms)).await;
                backoff_ms = (backoff_ms * 2).min(ACCEPT_BACKOFF_MS_MAX);
            }
        }
    }
}

fn has_no_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A spare descriptor for the moment when the process has no other left (EMFILE). Closing it makes room to accept one
/// waiting client and to close that connection at once; otherwise the client would wait for its own timeout.
#[derive(Debug, Default)]
pub(super) struct Reserve(RefCell<Option<std::fs::File>>);

impl Reserve {
    /// A reserve, if a descriptor is to be had now.
    pub(super) fn new() -> Self {
        Self(RefCell::new(std::fs::File::open("/dev/null").ok()))
    }

    /// True where a client was shed.
    fn shed(&self, listener: &RingListener) -> bool {
        // Workers share the accept queue of a Unix socket: another may take the client first, and this accept would block
        // the whole worker.
        let had_one = listener.has_own_queue() && self.0.borrow_mut().take().is_some();
        let is_shed = had_one && accept_waiting(listener.fd()).is_some();
        *self.0.borrow_mut() = std::fs::File::open("/dev/null").ok();
        is_shed
    }
}

/// True for an error of one connection, after which accept(2) is simply called again. EPERM: a firewall rule forbids it.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EPERM))
}
