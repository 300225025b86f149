//! Connections to one endpoint that carry many requests at once, and how one of them is found or made.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};

use super::super::Worker;
use super::super::ends::{Inlet, Outlet};
use super::super::io::Transport;
use super::super::timer::Timer;
use super::pipe::Pipe;
use crate::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_HEADER_LIST_BYTES_MAX, H2_SEND_BUFFER_BYTES, H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX,
};
use crate::timeouts::{H2_PONG_MS, LINGER_MS};
use crate::upstream::reuse::ReuseBounds;

/// A connection.
pub(in super::super) struct Multiplexed {
    pub(super) sender: SendRequest<Bytes>,
    /// Requests that are not over.
    open: Cell<usize>,
    /// No further request goes over it.
    is_closed: Cell<bool>,
    /// Requests so far.
    pub requests: Cell<u32>,
    /// When it was opened, in milliseconds of the coarse clock.
    pub opened_ms: u64,
    /// When its last request ended, in microseconds; 0 while there is one.
    idle_since_us: Cell<u64>,
    /// Wakes its task when a request ends.
    driver: RefCell<Option<Waker>>,
    /// `https` or `http`.
    pub(super) scheme: &'static str,
}

impl std::fmt::Debug for Multiplexed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Multiplexed")
    }
}

/// A request of a connection that counts until this is dropped.
#[derive(Debug)]
pub(in super::super) struct Place(Rc<Multiplexed>);

impl Place {
    pub(super) fn connection(&self) -> &Multiplexed {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if let Some(waker) = self.0.driver.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Multiplexed {
    fn has_room(&self) -> bool {
        // The peer's word of how many it takes comes with its first frame; until then its default holds.
        let streams_max = self.sender.current_max_send_streams().min(H2_STREAMS_MAX as usize);
        !self.is_closed.get() && self.open.get() < streams_max
    }

    /// Lets no further request go over it.
    pub(super) fn distrust(&self) {
        self.is_closed.set(true);
    }

    /// True where it may carry another request, by what the service bounds.
    fn is_within(&self, bounds: &ReuseBounds, now_ms: u64) -> bool {
        let is_young = bounds.age_ms_max == 0 || now_ms.saturating_sub(self.opened_ms) < bounds.age_ms_max;
        is_young && (bounds.requests_max == 0 || self.requests.get() < bounds.requests_max)
    }

    /// When it became idle, in microseconds; 0 where it is not.
    pub(in super::super) const fn idle_since_us(&self) -> u64 {
        if self.open.get() == 0 { self.idle_since_us.get() } else { 0 }
    }

    /// A place for one request.
    pub(in super::super) fn take(self: &Rc<Self>) -> Place {
        self.open.set(self.open.get() + 1);
        self.requests.set(self.requests.get() + 1);
        Place(Rc::clone(self))
    }
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub(in super::super) struct Multiplex {
    connections: RefCell<Vec<Rc<Multiplexed>>>,
    /// A connection is being made: others wait for it instead of making one each.
    is_dialling: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// Whether the endpoint agreed on HTTP/2 before; `None` where it was not asked.
    pub is_spoken: Cell<Option<bool>>,
}

impl Multiplex {
    /// The connection with the most requests that has room for another: the others become idle and end.
    pub(in super::super) fn find(&self, bounds: &ReuseBounds, now_ms: u64) -> Option<Rc<Multiplexed>> {
        let connections = self.connections.borrow();
        let is_fit = |one: &&Rc<Multiplexed>| one.has_room() && one.is_within(bounds, now_ms);
        connections.iter().filter(is_fit).max_by_key(|one| one.open.get()).map(Rc::clone)
    }

    /// True while a connection is being made.
    pub(in super::super) const fn is_dialling(&self) -> bool {
        self.is_dialling.get()
    }

    /// Connections that are open.
    pub(in super::super) fn count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Waits while a connection is being made; then this is the turn of whoever waited to look again.
    pub(in super::super) async fn wait(&self) {
        poll_fn(|cx| {
            if !self.is_dialling.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Says that a connection is being made, until this is dropped.
    pub(in super::super) fn dial(&self) -> Dialling<'_> {
        self.is_dialling.set(true);
        Dialling(self)
    }
}

/// A connection is being made.
pub(in super::super) struct Dialling<'a>(&'a Multiplex);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.is_dialling.set(false);
        self.0.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// How a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Keep {
    /// How long without a request, in milliseconds.
    pub idle_ms: u64,
    /// How often a peer with requests is asked whether it is there, in milliseconds.
    pub ping_ms: Option<u64>,
    /// `https` or `http`.
    pub scheme: &'static str,
}

/// Begins HTTP/2 over a connection and adds it to those of the endpoint.
pub(in super::super) async fn begin<T: Transport>(
    worker: &Worker<T>,
    multiplex: &Rc<Multiplex>,
    ends: (Inlet<T>, Outlet<T>),
    inbox: Vec<u8>,
    keep: Keep,
) -> io::Result<Rc<Multiplexed>> {
    let pipe = Pipe::new(worker.transport.clone(), ends, inbox, None);
    let mut builder = Builder::new();
    builder
        .initial_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(H2_HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(H2_SEND_BUFFER_BYTES)
        .initial_max_send_streams(H2_STREAMS_MAX as usize)
        .enable_push(false);
    let (sender, mut connection) = builder.handshake::<_, Bytes>(pipe).await.map_err(io::Error::other)?;
    let ping_pong = connection.ping_pong();
    let multiplexed = Rc::new(Multiplexed {
        sender,
        open: Cell::new(0),
        is_closed: Cell::new(false),
        requests: Cell::new(0),
        opened_ms: worker.transport.coarse_ms(),
        idle_since_us: Cell::new(0),
        driver: RefCell::default(),
        scheme: keep.scheme,
    });
    multiplex.connections.borrow_mut().push(Rc::clone(&multiplexed));
    let mut driver = Driver {
        timer: worker.timers.timer(),
        transport: worker.transport.clone(),
        multiplex: Rc::downgrade(multiplex),
        multiplexed: Some(Rc::clone(&multiplexed)),
        keep,
        ping_pong,
        connection: Box::pin(connection),
        waiting: Waiting::Nothing,
    };
    worker.transport.spawn(poll_fn(move |cx| driver.poll(cx)));
    Ok(multiplexed)
}

/// What a connection's timer runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    /// A request.
    Idle,
    /// The time for a PING.
    Ping,
    /// The answer to one.
    Pong,
    /// The end of the connection, which has been given up.
    End,
}

/// One connection's task.
struct Driver<T: Transport> {
    timer: Timer<T>,
    transport: T,
    multiplex: Weak<Multiplex>,
    /// `None` once no further request goes over it: the connection then ends with its last one.
    multiplexed: Option<Rc<Multiplexed>>,
    keep: Keep,
    ping_pong: Option<PingPong>,
    connection: Pin<Box<Connection<Pipe<T>, Bytes>>>,
    waiting: Waiting,
}

impl<T: Transport> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_pong = self.waiting == Waiting::Pong
            && self.ping_pong.as_mut().is_some_and(|ping_pong| ping_pong.poll_pong(cx).is_ready());
        if is_pong {
            self.waiting = Waiting::Nothing;
        }
        if self.connection.as_mut().poll(cx).is_ready() {
            self.give_up();
            return Poll::Ready(());
        }
        // After a GOAWAY those that it spares go on, and no other begins.
        let is_going = |one: &Rc<Multiplexed>| matches!(one.sender.clone().poll_ready(cx), Poll::Ready(Err(_)));
        if self.multiplexed.as_ref().is_some_and(is_going) {
            self.give_up();
        }
        self.arm(cx);
        while self.timer.poll_expired(cx) {
            match self.waiting {
                Waiting::Ping if self.ping_pong.as_mut().is_some_and(|one| one.send_ping(Ping::opaque()).is_ok()) => {
                    self.waiting = Waiting::Pong;
                    self.timer.arm(H2_PONG_MS);
                }
                Waiting::Idle => {
                    self.give_up();
                    self.waiting = Waiting::End;
                    self.timer.arm(LINGER_MS);
                }
                // Nobody is there: its requests learn of it as of a connection that ends.
                Waiting::Ping | Waiting::Pong | Waiting::End => {
                    self.give_up();
                    return Poll::Ready(());
                }
                Waiting::Nothing => break,
            }
            if self.connection.as_mut().poll(cx).is_ready() {
                self.give_up();
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Lets nobody else use the connection.
    fn give_up(&mut self) {
        let Some(multiplexed) = self.multiplexed.take() else { return };
        multiplexed.is_closed.set(true);
        if let Some(multiplex) = self.multiplex.upgrade() {
            multiplex.connections.borrow_mut().retain(|one| !Rc::ptr_eq(one, &multiplexed));
        }
    }

    /// Starts the timer anew where something else is waited for.
    fn arm(&mut self, cx: &Context<'_>) {
        let Some(multiplexed) = &self.multiplexed else { return };
        *multiplexed.driver.borrow_mut() = Some(cx.waker().clone());
        let waiting = match self.waiting {
            Waiting::Pong | Waiting::End => return,
            _ if multiplexed.open.get() == 0 => Waiting::Idle,
            _ if self.keep.ping_ms.is_some() => Waiting::Ping,
            _ => Waiting::Nothing,
        };
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        match waiting {
            Waiting::Idle => {
                multiplexed.idle_since_us.set(self.transport.now_us());
                self.timer.arm(self.keep.idle_ms);
            }
            Waiting::Ping => self.timer.set(self.keep.ping_ms),
            _ => self.timer.disarm(),
        }
    }
}
