//! One HTTP/2 connection of a client: its streams become exchanges, its frames are bounded, its end is told in two steps.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::engine::Transport;
use super::super::host::Worker;
use super::super::live::ListenerSlot;
use super::super::silent::Silence;
use super::super::time::timer::Timer;
use super::super::wire::ends::{Inlet, Outlet};
use super::super::wire::h2::mux::Mux;
use super::super::wire::h2::pipe::Pipe;
use super::super::wire::h2::stream::ends;
use super::super::wire::link::Link;
use super::super::wire::tls::early::Early;
use super::exchange::exchange;
use super::session::Session;
use crate::failure::Failure;
use crate::limits::{H2_STREAM_WINDOW_BYTES, HEAD_BUFFER_BYTES, LINGER_BYTES_MAX};
use crate::proto::h2::Role;
use crate::proto::h2::connection::Connection;
use crate::proto::h2::core::ConnectionStanding;
use crate::proto::h2::core::NewRequest;
use crate::proto::h2::reader::ConnectionFault;
use crate::snapshot::Peer;
use crate::timeouts::Timeout;
use crate::tls::Facts;

/// What the streams of a connection share.
struct Streams<T: Transport> {
    peer: Peer,
    slot: Rc<ListenerSlot<T>>,
    tls: Option<Rc<Facts>>,
    early: Option<Rc<Early>>,
    mux: Rc<Mux>,
}

/// What the connection's timer runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerWait {
    /// Nothing has been waited for yet.
    Nothing,
    /// Exchanges, which have timers of their own.
    Exchanges,
    /// The rest of the preface, a frame or a block of fields.
    Rest,
    /// The next request.
    Idle,
    /// The client to leave, which was told that no further request is taken.
    Leave,
    /// The client to see why the connection is over.
    End,
}

/// Serves a connection to its end. What came already is in the session's inbox.
pub(super) async fn serve<T: Transport>(worker: &Rc<Worker<T>>, session: Session<T>) {
    let Session { silence, link, peer, slot, tls, early, .. } = session;
    let Link { receiver, sender, inbox, timer } = link;
    let (Inlet::Connection(inlet), Outlet::Connection(outlet)) = (receiver, sender) else { return };
    let window_max = slot.listener().spec.http2_window_max.window_bytes().unwrap_or(H2_STREAM_WINDOW_BYTES);
    let mux = Mux::new(Role::Server, window_max, Rc::clone(&worker.kit.windows));
    let streams = Rc::new(Streams { peer, slot, tls, early, mux });
    let mut pipe = Pipe::new(worker.kit.transport.clone(), (inlet, outlet), inbox);
    pipe.give_first(&streams.mux);
    let rest = worker.kit.timer();
    let waiting = ServerWait::Nothing;
    let mut driver = ServerDriver { silence, worker, streams, timer, rest, pipe, waiting, requests: 0, discarded: 0 };
    poll_fn(|cx| driver.poll(cx)).await;
    if let Some(fault) = driver.streams.mux.drive(|connection| connection.fault()) {
        worker.kit.metrics.borrow_mut().count_excess(driver.streams.slot.label, fault.name);
    }
}

struct ServerDriver<'a, T: Transport> {
    /// It has brought no request yet. Before the timer that it names.
    silence: Option<Silence>,
    worker: &'a Rc<Worker<T>>,
    streams: Rc<Streams<T>>,
    timer: Timer<T>,
    /// For what a stream leaves behind it, or has not begun.
    rest: Timer<T>,
    pipe: Pipe<T>,
    waiting: ServerWait,
    /// Requests so far.
    requests: u32,
    /// Bytes that came once the connection was over.
    discarded: u64,
}

impl<T: Transport> ServerDriver<'_, T> {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.streams.mux.begin_turn(cx.waker());
        let polled = self.turn(cx);
        if polled.is_ready() {
            self.streams.mux.drive(Connection::end);
        }
        polled
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mux = Rc::clone(&self.streams.mux);
        if self.must_go() {
            mux.drive(Connection::leave);
        }
        self.begin_accepted();
        let flushed = self.pipe.poll_flush(&mux, cx);
        if matches!(flushed, Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        if mux.drive(|connection| connection.is_over()) {
            return self.part(flushed.is_ready(), cx);
        }
        if !mux.drive(|connection| connection.is_stuffed()) {
            match self.pipe.poll_receive(&mux, cx) {
                Poll::Ready(Ok(1..)) => {
                    self.begin_accepted();
                    // Whoever was woken puts its frames first; the next turn sends them all, and receives again.
                    mux.wake();
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        self.await_rest(cx);
        if self.silence.as_ref().is_some_and(Silence::is_over) {
            return Poll::Ready(());
        }
        self.arm();
        if self.timer.poll_expired(cx).is_none() {
            return Poll::Pending;
        }
        match self.waiting {
            // It had its time.
            ServerWait::Leave | ServerWait::End => return Poll::Ready(()),
            ServerWait::Rest => {
                mux.drive(|connection| connection.abort(ConnectionFault::protocol("unfinished")));
            }
            ServerWait::Idle => mux.drive(Connection::leave),
            ServerWait::Nothing | ServerWait::Exchanges => {}
        }
        // What was just said leaves with the next turn.
        mux.wake();
        Poll::Pending
    }

    /// Begins the exchanges of requests that have come.
    fn begin_accepted(&mut self) {
        while let Some(accepted) = self.streams.mux.drive(Connection::accept) {
            self.silence = None;
            self.requests = self.requests.saturating_add(1);
            self.worker.kit.transport.spawn(answer(Rc::clone(self.worker), Rc::clone(&self.streams), accepted));
        }
    }

    /// Lets go of what streams have left behind them, once it has had its time.
    fn await_rest(&mut self, cx: &mut Context<'_>) {
        let now_ms = self.worker.kit.transport.coarse_ms();
        let mux = &self.streams.mux;
        let Some(expires_ms) = mux.drive(|connection| connection.expires_ms(now_ms)) else { return };
        if expires_ms <= now_ms {
            mux.with(|connection| connection.expire(now_ms));
            mux.wake();
        } else {
            self.rest.arm(Timeout::Linger, Some(expires_ms - now_ms));
            if self.rest.poll_expired(cx).is_some() {
                mux.wake();
            }
        }
    }

    /// The connection is over: the peer is told that nothing more comes, and has a moment to see why.
    fn part(&mut self, is_flushed: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting != ServerWait::End {
            self.waiting = ServerWait::End;
            self.timer.arm_row(Timeout::Linger);
        }
        if is_flushed && self.pipe.poll_finish(cx).is_ready() {
            while let Poll::Ready(discarded) = self.pipe.poll_discard(cx) {
                self.discarded += discarded.as_ref().map_or(0, |bytes| *bytes as u64);
                // Who goes on sending without end has had its time as well.
                if !matches!(discarded, Ok(1..)) || self.discarded > LINGER_BYTES_MAX {
                    return Poll::Ready(());
                }
            }
        }
        self.timer.poll_expired(cx).map_or(Poll::Pending, |_| Poll::Ready(()))
    }

    /// True where no further request shall come over this connection.
    fn must_go(&self) -> bool {
        let slot = &self.streams.slot;
        let has_had_its = || self.requests >= slot.listener().spec.requests_per_connection;
        self.worker.is_draining() || slot.is_gone() || has_had_its()
    }

    fn waits_for(&self) -> ServerWait {
        self.streams.mux.drive(|connection| {
            if connection.is_unfinished() {
                ServerWait::Rest
            } else if connection.held() > 0 {
                ServerWait::Exchanges
            } else if connection.standing() == ConnectionStanding::Open {
                ServerWait::Idle
            } else {
                ServerWait::Leave
            }
        })
    }

    /// Starts the timer anew where something else is waited for.
    fn arm(&mut self) {
        let waiting = match self.waiting {
            ServerWait::End => return,
            ServerWait::Nothing | ServerWait::Exchanges | ServerWait::Rest | ServerWait::Idle | ServerWait::Leave => {
                self.waits_for()
            }
        };
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        let timeouts = self.streams.slot.listener().spec.timeouts;
        match waiting {
            ServerWait::Rest => self.timer.arm(Timeout::ClientHeader, timeouts.header.limit_ms()),
            ServerWait::Idle => {
                let drain_ms = self.worker.is_draining().then(|| self.worker.live.process().drain_idle_ms);
                // As long as its handshake is not over, a connection has the time of one.
                let is_early = self.streams.early.as_deref().is_some_and(|early| !early.is_over());
                let early_ms = is_early.then(|| timeouts.early_ms());
                let bounds = [timeouts.idle.limit_ms(), drain_ms, early_ms];
                let idle_ms = bounds.into_iter().flatten().min().unwrap_or(Timeout::ClientIdle.row().ms);
                self.timer.arm_idle(Timeout::ClientIdle, idle_ms);
            }
            ServerWait::Leave => self.timer.arm_row(Timeout::Leave),
            ServerWait::Nothing | ServerWait::Exchanges | ServerWait::End => self.timer.disarm(),
        }
    }
}

/// Answers the request of one stream.
async fn answer<T: Transport>(worker: Rc<Worker<T>>, streams: Rc<Streams<T>>, accepted: NewRequest) {
    let Streams { peer, slot, tls, early, mux } = &*streams;
    let buffers = &worker.kit.buffers;
    let NewRequest { key, head: mut bytes, carried } = accepted;
    let mut head = worker.heads.head();
    let rules = slot.listener().spec.head_rules();
    let parsed = match carried {
        Ok(_) => head.parse(bytes, rules).map_err(Failure::from),
        Err(fault) => {
            // What there is of it is for the log.
            bytes.extend_from_slice(b"\r\n");
            let _ = head.parse(bytes, rules);
            Err(fault.into())
        }
    };
    head.mark_h2();
    let (inlet, outlet) = ends(mux, key, carried.unwrap_or_default());
    let ends = (Inlet::Stream(Box::new(inlet)), Outlet::Stream(Box::new(outlet)));
    let link = Link::new(ends, buffers.buffer(HEAD_BUFFER_BYTES), worker.kit.timer());
    let (slot, tls, early) = (Rc::clone(slot), tls.clone(), early.clone());
    let mut session =
        Session { silence: None, link, peer: *peer, slot, requests: 1, is_last: false, tls, early, bound: None };
    exchange(&worker, &mut session, &mut head, parsed).await;
    worker.heads.put_head(head, buffers);
    buffers.put_buffer(std::mem::take(&mut session.link.inbox));
}
