//! [`Transport`] on monoio.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use monoio::io::{AsyncReadRent, AsyncWriteRent, Splitable};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::half::{Looks, RingReceiver, RingSender};
use super::{Socket, Transport, caught, half};
use crate::mailbox::Acceptor;
use crate::snapshot::{Address, Peer};
use crate::sys;

/// How long a full queue of a Unix socket is left alone, where epoll has nothing to wait for.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// The engine of the running thread. Valid only inside [`super::select::run`].
#[derive(Clone, Debug)]
pub struct Ring {
    is_epoll: bool,
    shared: Rc<Shared>,
    looks: Rc<Looks>,
}

/// What all handles of an engine share.
#[derive(Debug)]
struct Shared {
    start: Instant,
    panics: Cell<u64>,
    /// The clocks as they were read in the present poll of a task; 0 where nobody has asked yet. Nothing blocks within a
    /// poll, so it takes microseconds, and one reading serves the ten times that a request asks.
    now_us: Cell<u64>,
    coarse_ms: Cell<u64>,
}

impl Shared {
    /// Another task is polled: forgets what the clocks said.
    fn begin_turn(&self) {
        self.now_us.set(0);
        self.coarse_ms.set(0);
    }
}

impl Ring {
    pub(super) fn new(is_epoll: bool) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let start = Instant::now();
        let shared = Shared { start, panics: Cell::new(0), now_us: Cell::new(0), coarse_ms: Cell::new(0) };
        Self { is_epoll, shared: Rc::new(shared), looks: Rc::default() }
    }

    /// Panics caught in tasks so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics.get()
    }

    /// Wraps the future of the thread itself, so that the clocks are read anew at each poll of it, as for tasks.
    pub(super) fn root<R>(&self, main: impl Future<Output = R>) -> impl Future<Output = R> {
        let shared = Rc::clone(&self.shared);
        let mut main = Box::pin(main);
        poll_fn(move |cx| {
            shared.begin_turn();
            main.as_mut().poll(cx)
        })
    }

    /// Takes over a listening socket. epoll needs it non-blocking, io_uring blocking: there, `O_NONBLOCK`
    /// makes an accept fail with EAGAIN instead of waiting.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn listener(&self, acceptor: Acceptor) -> io::Result<RingListener> {
        match acceptor {
            Acceptor::Tcp(socket) => {
                socket.set_nonblocking(self.is_epoll)?;
                TcpListener::from_std(socket).map(RingListener::Tcp)
            }
            Acceptor::Unix(socket) => {
                socket.set_nonblocking(self.is_epoll)?;
                UnixListener::from_std(socket).map(RingListener::Unix)
            }
        }
    }

    /// Takes over one end of a socket pair.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn adopt(&self, stream: std::os::unix::net::UnixStream) -> io::Result<Socket<Self>> {
        stream.set_nonblocking(self.is_epoll)?;
        Ok(socket(UnixStream::from_std(stream)?))
    }
}

/// A connection of monoio as one of ours.
fn socket<S>(stream: S) -> Socket<Ring>
where
    S: Splitable + AsRawFd,
    S::OwnedRead: AsyncReadRent + 'static,
    S::OwnedWrite: AsyncWriteRent + 'static,
{
    let (receiver, sender) = half::split(stream);
    Socket { receiver, sender }
}

/// A socket that accepts.
#[derive(Debug)]
pub enum RingListener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl RingListener {
    /// The next connection.
    ///
    /// # Errors
    /// Those of accept(2); `InvalidInput` once [`Self::stop`] was called.
    pub async fn accept(&self) -> io::Result<(Socket<Ring>, Peer)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (socket(stream), Peer::from(peer))),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (socket(stream), Peer::LOCAL)),
        }
    }

    /// A connection that waits already; `None` where none does.
    #[must_use]
    pub fn accept_waiting(&self, ring: &Ring) -> Option<(Socket<Ring>, Peer)> {
        let accepted = sys::socket::accept_waiting(self.fd())?;
        match self {
            Self::Tcp(_) => {
                let stream = std::net::TcpStream::from(accepted);
                let peer = stream.peer_addr().ok()?;
                stream.set_nonblocking(ring.is_epoll).ok()?;
                Some((socket(TcpStream::from_std(stream).ok()?), Peer::from(peer)))
            }
            Self::Unix(_) => Some((ring.adopt(std::os::unix::net::UnixStream::from(accepted)).ok()?, Peer::LOCAL)),
        }
    }

    /// True for TCP, where the queue is this worker's own; that of a Unix socket is shared by all.
    #[must_use]
    pub const fn has_own_queue(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Ends the accepts in flight: they complete, so that none can leak a connection.
    pub fn stop(&self) {
        sys::socket::shutdown_both(self.fd());
    }

    /// Lets no further connection begin, so that those which wait are all that there are.
    pub fn begin_no_more(&self) {
        sys::socket::begin_no_more(self.fd());
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

impl Transport for Ring {
    type Receiver = RingReceiver;
    type Sender = RingSender;

    fn now_us(&self) -> u64 {
        let now_us = &self.shared.now_us;
        if now_us.get() == 0 {
            now_us.set(u64::try_from(self.shared.start.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1);
        }
        now_us.get()
    }

    fn coarse_ms(&self) -> u64 {
        let coarse_ms = &self.shared.coarse_ms;
        if coarse_ms.get() == 0 {
            coarse_ms.set(sys::clock::coarse_ms());
        }
        coarse_ms.get()
    }

    fn wall(&self) -> SystemTime {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        SystemTime::now()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let shared = Rc::clone(&self.shared);
        // Boxed: a future that an async block captures and then pins would be stored twice.
        let mut task = Box::pin(task);
        monoio::spawn(async move {
            let turns = poll_fn(|cx| {
                shared.begin_turn();
                task.as_mut().poll(cx)
            });
            if caught(pin!(turns)).await.is_err() {
                shared.panics.set(shared.panics.get() + 1);
            }
        });
    }

    // Boxed, like a connect: rare, and monoio's is large and aligned to 128 bytes, which every future around it, the
    // whole task of a connection, would be too.
    fn sleep(&self, ms: u64) -> impl Future<Output = ()> {
        Box::pin(monoio::time::sleep(Duration::from_millis(ms)))
    }

    fn connect(&self, to: &Address) -> impl Future<Output = io::Result<Socket<Self>>> {
        Box::pin(async move {
            let mut socket = match to {
                Address::Tcp(address) => connect_tcp(*address).await?,
                Address::Unix(path) => {
                    let stream = loop {
                        match sys::socket::connect_unix(path, self.is_epoll)? {
                            Some(connected) => break UnixStream::from_std(connected)?,
                            None if self.is_epoll => monoio::time::sleep(FULL_QUEUE_PAUSE).await,
                            None => break UnixStream::connect(path).await?,
                        }
                    };
                    let mut socket = socket(stream);
                    socket.receiver.is_local = true;
                    socket
                }
            };
            if !self.is_epoll {
                socket.receiver.count(Rc::clone(&self.looks));
            }
            Ok(socket)
        })
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<Socket<Ring>> {
    let stream = TcpStream::connect_addr(address).await?;
    stream.set_nodelay(true)?;
    Ok(socket(stream))
}
