//! One HTTP/2 connection to an upstream: how it begins, how it is kept, how it ends.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::connection::ConnectionEnds;
use super::carrier::{Carrier, Multiplex};
use super::mux::Mux;
use super::pipe::Pipe;
use crate::proto::h2::Role;
use crate::proto::h2::connection::Connection;
use crate::proto::h2::core::ConnectionStanding;
use crate::timeouts::Timeout;
use crate::worker::engine::Transport;
use crate::worker::kit::Kit;
use crate::worker::time::timer::Timer;

/// How a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// How long without a request, in milliseconds.
    pub idle_ms: u64,
    /// How often a peer with requests is asked whether it is there, in milliseconds.
    pub ping_ms: Option<u64>,
    /// What the window of one of its streams is raised to at most, in bytes.
    pub window_max: u32,
}

/// Begins HTTP/2 over a connection and adds it to those of its peer; `multiplex` is `None` where no other request shall share
/// it.
pub(crate) fn begin<T: Transport>(
    kit: &Rc<Kit<T>>,
    multiplex: Option<&Multiplex>,
    ends: ConnectionEnds<T>,
    inbox: Vec<u8>,
    keep: Keep,
) -> Rc<Carrier> {
    let mux = Mux::new(Role::Client, keep.window_max, Rc::clone(&kit.windows));
    let mut pipe = Pipe::new(kit.transport.clone(), ends, inbox);
    pipe.give_first(&mux);
    let carrier = Rc::new(Carrier::new(Rc::clone(&mux), kit.transport.coarse_ms()));
    if let Some(multiplex) = multiplex {
        multiplex.add(&carrier);
    }
    let mut driver = ClientDriver {
        timer: kit.timer(),
        kit: Rc::clone(kit),
        carrier: Rc::clone(&carrier),
        is_shared: multiplex.is_some(),
        keep,
        mux,
        pipe,
        waiting: ClientWait::Nothing,
    };
    kit.transport.spawn(poll_fn(move |cx| driver.poll(cx)));
    carrier
}

/// What a connection's timer runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientWait {
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
struct ClientDriver<T: Transport> {
    timer: Timer<T>,
    kit: Rc<Kit<T>>,
    carrier: Rc<Carrier>,
    /// Others than its first request may use it.
    is_shared: bool,
    keep: Keep,
    mux: Rc<Mux>,
    pipe: Pipe<T>,
    waiting: ClientWait,
}

impl<T: Transport> ClientDriver<T> {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mux.begin_turn(cx.waker());
        let polled = self.turn(cx);
        if polled.is_ready() {
            self.carrier.close();
            self.mux.drive(Connection::end);
        }
        polled
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.pipe.poll_flush(&self.mux, cx), Poll::Ready(Err(_))) {
            // It may have answered before it stopped listening.
            while matches!(self.pipe.poll_receive(&self.mux, cx), Poll::Ready(Ok(1..))) {}
            return Poll::Ready(());
        }
        if !self.mux.drive(|connection| connection.is_stuffed()) {
            match self.pipe.poll_receive(&self.mux, cx) {
                Poll::Ready(Ok(1..)) => {
                    // Whoever was woken puts its frames first; the next turn sends them all, and receives again.
                    self.mux.wake();
                    if self.waiting == ClientWait::Pong {
                        // Whatever comes shows that somebody is there: the answer to a PING may stand behind much else.
                        self.waiting = ClientWait::Nothing;
                    }
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        let standing = self.mux.drive(|connection| connection.standing());
        let is_exhausted = !self.is_shared && self.carrier.requests.get() > 0;
        // After a GOAWAY those that it spares go on, and no other begins.
        let is_idle = !self.carrier.is_busy();
        if standing == ConnectionStanding::Over || is_idle && (is_exhausted || self.carrier.is_closed()) {
            return self.part(cx);
        }
        self.arm();
        if self.timer.poll_expired(cx).is_none() {
            return Poll::Pending;
        }
        match self.waiting {
            ClientWait::Ping => {
                self.mux.with(Connection::ask_alive);
                self.waiting = ClientWait::Pong;
                self.timer.arm_row(Timeout::UpstreamPong);
            }
            ClientWait::Idle => return self.part(cx),
            // Nobody is there: its requests learn of it as of a connection that ends.
            ClientWait::Pong | ClientWait::End => return Poll::Ready(()),
            ClientWait::Nothing => {}
        }
        // The timer is asked again, for this is when it is told whom to wake.
        self.mux.wake();
        Poll::Pending
    }

    /// Tells the upstream that the connection ends, within a moment.
    fn part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.carrier.close();
        if self.waiting != ClientWait::End {
            self.waiting = ClientWait::End;
            self.timer.arm_row(Timeout::Linger);
        }
        match self.pipe.poll_flush(&self.mux, cx) {
            Poll::Ready(Ok(())) if self.pipe.poll_finish(cx).is_pending() => {}
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => {}
        }
        self.timer.poll_expired(cx).map_or(Poll::Pending, |_| Poll::Ready(()))
    }

    /// Starts the timer anew where something else is waited for.
    fn arm(&mut self) {
        let waiting = match self.waiting {
            ClientWait::Pong | ClientWait::End => return,
            ClientWait::Nothing | ClientWait::Idle | ClientWait::Ping if !self.carrier.is_busy() => ClientWait::Idle,
            ClientWait::Nothing | ClientWait::Idle | ClientWait::Ping if self.keep.ping_ms.is_some() => {
                ClientWait::Ping
            }
            ClientWait::Nothing | ClientWait::Idle | ClientWait::Ping => ClientWait::Nothing,
        };
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        match waiting {
            ClientWait::Idle => {
                self.carrier.note_idle(self.kit.transport.now_us());
                self.timer.arm(Timeout::UpstreamIdle, Some(self.keep.idle_ms));
            }
            ClientWait::Ping => self.timer.arm(Timeout::UpstreamPing, self.keep.ping_ms),
            ClientWait::Nothing | ClientWait::Pong | ClientWait::End => self.timer.disarm(),
        }
    }
}
