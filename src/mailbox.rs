//! How the control plane speaks to a worker: a channel of orders, and a socket that wakes the worker's loop. Another
//! worker may ring it too.
//!
//! The worker reads the socket through its own engine, so no waker crosses threads and no lock is on its path.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

use crate::observe::metrics::Report;
use crate::snapshot::{Label, Service, Snapshot};

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// Requests that begin from now on see this.
    Publish(Arc<Snapshot>),
    /// Likewise, and nothing of it changed but this service.
    PublishService(Arc<Snapshot>, Arc<Service>),
    /// Forget the series of these names, which are gone.
    Forget(Arc<[Label]>),
    /// Accept here, for the listener of this label.
    Listen(Label, Acceptor),
    /// Accept what waits, then stop accepting for this listener.
    Unlisten(Label),
    /// Accept no more and end connections as they become idle.
    Drain,
    /// Count one more here: the worker is alive.
    Beat(Arc<AtomicUsize>),
    /// Send a copy of the counters.
    Report(SyncSender<Report>),
}

/// A socket to accept from.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Acceptor {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// Where there is none to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

/// The control plane's end.
#[derive(Debug)]
pub struct Mailbox {
    orders: Sender<Order>,
    bell: UnixStream,
}

/// The worker's end.
#[derive(Debug)]
pub struct Inbox {
    /// The orders, in the order they were given.
    pub orders: Receiver<Order>,
    /// One byte or more means that there are orders.
    pub bell: UnixStream,
}

/// Wakes the loops of workers from one another: where room that one makes is another's turn.
#[derive(Clone, Debug, Default)]
pub struct Bells(Arc<[UnixStream]>);

impl Bells {
    /// Of these workers, in their order.
    ///
    /// # Errors
    /// Where there is no descriptor to be had.
    pub fn of(mailboxes: &[Mailbox]) -> io::Result<Self> {
        mailboxes
            .iter()
            .map(|mailbox| mailbox.bell.try_clone())
            .collect::<io::Result<Vec<_>>>()
            .map(|bells| Self(bells.into()))
    }

    /// Wakes one worker.
    pub fn ring(&self, worker: usize) {
        if let Some(mut bell) = self.0.get(worker) {
            // A full socket has rung enough, and one that is gone has nobody to wake.
            let _ = bell.write_all(&[1]);
        }
    }
}

/// A new pair.
///
/// # Errors
/// Where no socket pair can be made.
pub fn pair() -> io::Result<(Mailbox, Inbox)> {
    let (orders, inbox) = channel();
    let (bell, ear) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ear.set_nonblocking(true)?;
    Ok((Mailbox { orders, bell }, Inbox { orders: inbox, bell: ear }))
}

impl Mailbox {
    /// Gives an order; false where the worker is gone. One that is gone gets a successor or the process ends, so
    /// few callers need to know.
    #[expect(clippy::must_use_candidate, reason = "most orders need no answer")]
    pub fn give(&self, order: Order) -> bool {
        if self.orders.send(order).is_err() {
            return false;
        }
        match (&self.bell).write_all(&[1]) {
            Ok(()) => true,
            // A full socket has rung enough.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
