//! [`Transport`] on monoio.
//!
//! monoio's futures own the buffer and borrow the socket, and dropping one loses what it received. So each half
//! of a connection lives in a small coroutine that is never dropped between two operations: whoever waits polls
//! it, and a mailbox of one buffer passes between them. It is allocated once for a connection, not for a request.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, Splitable};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Receive, Socket, Transmit, Transport, caught, make_room};
use crate::mailbox::Acceptor;
use crate::snapshot::{Address, Peer};
use crate::sys;
use crate::upstream::evidence::{Delivery, Peek};

/// The engine of the running thread. Valid only inside [`super::engine::run`].
#[derive(Clone, Debug)]
pub struct Ring {
    is_epoll: bool,
    shared: Rc<Shared>,
}

/// What all handles of an engine share.
#[derive(Debug)]
struct Shared {
    start: Instant,
    panics: Cell<u64>,
    /// What the clocks said in this turn of a task; 0 where nobody has asked. Nothing waits within a turn, so it is
    /// microseconds long, and a request would read the clock ten times.
    now_us: Cell<u64>,
    coarse_ms: Cell<u64>,
}

impl Shared {
    /// Another task has its turn.
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
        Self { is_epoll, shared: Rc::new(shared) }
    }

    /// Panics caught in tasks so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics.get()
    }

    /// The future of the thread itself, whose turns are turns like those of its tasks.
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
        Ok(split(UnixStream::from_std(stream)?))
    }
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
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (split(stream), Peer::from(peer))),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (split(stream), Peer::LOCAL)),
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
                Some((split(TcpStream::from_std(stream).ok()?), Peer::from(peer)))
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
        // Boxed, for what an async block captures and then pins is stored twice.
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
            match to {
                Address::Tcp(address) => connect_tcp(*address).await,
                Address::Unix(path) => Ok(split(UnixStream::connect(path).await?)),
            }
        })
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<Socket<Ring>> {
    let stream = TcpStream::connect_addr(address).await?;
    stream.set_nodelay(true)?;
    Ok(split(stream))
}

fn split<S>(stream: S) -> Socket<Ring>
where
    S: Splitable + AsRawFd,
    S::OwnedRead: AsyncReadRent + 'static,
    S::OwnedWrite: AsyncWriteRent + 'static,
{
    let fd = stream.as_raw_fd();
    let (reader, writer) = stream.into_split();
    let inbound: Rc<Mailbox> = Rc::default();
    let outbound: Rc<Mailbox> = Rc::default();
    Socket {
        receiver: RingReceiver { operations: Box::pin(receive_all(reader, Rc::clone(&inbound))), mailbox: inbound, fd },
        sender: RingSender { operations: Box::pin(send_all(writer, Rc::clone(&outbound))), mailbox: outbound, fd },
    }
}

/// What passes between a half and its coroutine.
#[derive(Default)]
enum Mail {
    /// Nothing: no operation is asked for.
    #[default]
    Empty,
    /// An operation is asked for, from this position of the buffer.
    Asked(Vec<u8>, usize),
    /// The coroutine has the buffer.
    InFlight,
    /// The operation is complete.
    Done(io::Result<usize>, Vec<u8>),
}

type Mailbox = Cell<Mail>;

async fn asked(mailbox: &Mailbox) -> (Vec<u8>, usize) {
    poll_fn(|_| match mailbox.take() {
        Mail::Asked(buffer, from) => {
            mailbox.set(Mail::InFlight);
            Poll::Ready((buffer, from))
        }
        // Whoever asks polls this coroutine in the same breath, so no waker is kept.
        other => {
            mailbox.set(other);
            Poll::Pending
        }
    })
    .await
}

async fn receive_all(mut reader: impl AsyncReadRent, mailbox: Rc<Mailbox>) {
    loop {
        let (mut buffer, from) = asked(&mailbox).await;
        make_room(&mut buffer);
        let (result, buffer) = reader.read(buffer.slice_mut(from..)).await;
        mailbox.set(Mail::Done(result, buffer.into_inner()));
    }
}

async fn send_all(mut writer: impl AsyncWriteRent, mailbox: Rc<Mailbox>) {
    loop {
        let (buffer, from) = asked(&mailbox).await;
        let (result, buffer) = writer.write(buffer.slice(from..)).await;
        mailbox.set(Mail::Done(result, buffer.into_inner()));
    }
}

/// The operations of one half, one after the other. `dyn`, for the coroutine's type has no name; one allocation for
/// a connection.
type Operations = Pin<Box<dyn Future<Output = ()>>>;

fn poll_operation(
    operations: &mut Operations,
    mailbox: &Mailbox,
    buffer: &mut Vec<u8>,
    from: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mail = mailbox.take();
    mailbox.set(if matches!(mail, Mail::Empty) { Mail::Asked(std::mem::take(buffer), from) } else { mail });
    let _ = operations.as_mut().poll(cx);
    match mailbox.take() {
        Mail::Done(result, done) => {
            *buffer = done;
            Poll::Ready(result)
        }
        other => {
            mailbox.set(other);
            Poll::Pending
        }
    }
}

/// The receiving half.
pub struct RingReceiver {
    operations: Operations,
    mailbox: Rc<Mailbox>,
    fd: RawFd,
}

impl Receive for RingReceiver {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let from = inbox.len();
        poll_operation(&mut self.operations, &self.mailbox, inbox, from, cx)
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        let mail = self.mailbox.take();
        let is_free = matches!(mail, Mail::Empty);
        self.mailbox.set(mail);
        if is_free { sys::socket::receive_at_once(self.fd, inbox) } else { 0 }
    }

    fn peek(&self) -> Peek {
        sys::socket::peek(self.fd)
    }

    fn delivery(&self) -> Option<Delivery> {
        sys::socket::delivery(self.fd)
    }
}

/// The sending half.
pub struct RingSender {
    operations: Operations,
    mailbox: Rc<Mailbox>,
    fd: RawFd,
}

impl Transmit for RingSender {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_operation(&mut self.operations, &self.mailbox, out, from, cx)
    }

    fn finish(&mut self) {
        sys::socket::shutdown_send(self.fd);
    }

    fn reset(&mut self) {
        sys::socket::reset(self.fd);
    }
}

impl std::fmt::Debug for RingReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingReceiver")
    }
}

impl std::fmt::Debug for RingSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingSender")
    }
}
