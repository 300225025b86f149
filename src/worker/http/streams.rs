//! One HTTP/2 connection of a client: its streams become exchanges, its frames are bounded, its end is told in two steps.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use super::super::engine::Transport;
use super::super::host::Worker;
use super::super::live::ListenerSlot;
use super::super::time::timer::Timer;
use super::super::wire::ends::{Inlet, Outlet};
use super::super::wire::h2::pipe::{Gauge, Pipe};
use super::super::wire::h2::stream::ends;
use super::super::wire::link::Link;
use super::super::wire::tls::early::Early;
use super::exchange::exchange;
use super::session::Session;
use crate::failure::Failure;
use crate::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_EARLY_RESETS_MAX, H2_FAULTS_MAX, H2_HEADER_LIST_BYTES_MAX, H2_SEND_BUFFER_BYTES,
    H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX, HEAD_BUFFER_BYTES,
};
use crate::proto::h2::meter::Excess;
use crate::proto::h2::to_h1::{Carried, put_request};
use crate::snapshot::Peer;
use crate::timeouts::Timeout;
use crate::tls::Facts;

/// What the streams of a connection share.
struct Streams<T: Transport> {
    peer: Peer,
    slot: Rc<ListenerSlot<T>>,
    tls: Option<Rc<Facts>>,
    early: Option<Rc<Early>>,
    /// Exchanges that are not over; the client may think of some that they are.
    open: Cell<u32>,
    /// Streams that the client may still reset before their answer begins.
    resets_left: Cell<u32>,
    gauge: Rc<RefCell<Gauge>>,
    /// Wakes the connection when an exchange is over.
    connection: RefCell<Option<Waker>>,
}

/// An exchange that is counted until this is dropped.
struct ExchangePlace<T: Transport>(Rc<Streams<T>>);

impl<T: Transport> Drop for ExchangePlace<T> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if let Some(waker) = self.0.connection.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// What the connection's timer runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerWait {
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
    let Session { link, peer, slot, tls, early, .. } = session;
    let Link { receiver, sender, inbox, timer } = link;
    let (Inlet::Connection(inlet), Outlet::Connection(outlet)) = (receiver, sender) else { return };
    let gauge = Rc::new(RefCell::new(Gauge::default()));
    let header_ms = slot.listener().spec.timeouts.header.limit_ms();
    let streams = Rc::new(Streams {
        peer,
        slot,
        tls,
        early,
        open: Cell::new(0),
        resets_left: Cell::new(H2_EARLY_RESETS_MAX),
        gauge: Rc::clone(&gauge),
        connection: RefCell::default(),
    });
    let pipe = Pipe::new(worker.kit.transport.clone(), (inlet, outlet), inbox, Some(gauge));
    let handshake = pin!(builder().handshake::<_, Bytes>(pipe));
    timer.arm(Timeout::ClientHeader, header_ms);
    let Ok(Ok(connection)) = timer.guard(handshake).await else { return };
    let mut driver = ServerDriver { worker, streams, timer, connection, waiting: ServerWait::Rest, is_going: false };
    poll_fn(|cx| driver.poll(cx)).await;
    if let Some(excess) = driver.streams.gauge.borrow().excess {
        worker.kit.metrics.borrow_mut().count_excess(driver.streams.slot.label, excess.name);
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(H2_HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(H2_SEND_BUFFER_BYTES)
        .max_local_error_reset_streams(Some(H2_FAULTS_MAX))
        .enable_connect_protocol();
    builder
}

struct ServerDriver<'a, T: Transport> {
    worker: &'a Rc<Worker<T>>,
    streams: Rc<Streams<T>>,
    timer: Timer<T>,
    connection: Connection<Pipe<T>, Bytes>,
    waiting: ServerWait,
    /// The client was told that the connection ends.
    is_going: bool,
}

impl<T: Transport> ServerDriver<'_, T> {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.streams.connection.borrow_mut() = Some(cx.waker().clone());
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending if self.has_excess() && self.waiting != ServerWait::End => {
                    let code = self.streams.gauge.borrow().excess.map_or(0, |excess| excess.code);
                    self.connection.abrupt_shutdown(Reason::from(code));
                    self.await_end();
                }
                Poll::Pending if self.must_go() && !self.is_going => {
                    self.is_going = true;
                    self.connection.graceful_shutdown();
                }
                Poll::Pending => break,
            }
        }
        self.arm();
        if self.timer.poll_expired(cx).is_none() {
            return Poll::Pending;
        }
        match self.waiting {
            // It had its time.
            ServerWait::End | ServerWait::Leave => return Poll::Ready(()),
            ServerWait::Rest => {
                self.connection.abrupt_shutdown(Reason::PROTOCOL_ERROR);
                self.await_end();
            }
            ServerWait::Idle | ServerWait::Exchanges => {
                self.is_going = true;
                self.connection.graceful_shutdown();
            }
        }
        // What was just said leaves with the next turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn has_excess(&self) -> bool {
        self.streams.gauge.borrow().excess.is_some()
    }

    fn await_end(&mut self) {
        self.waiting = ServerWait::End;
        self.timer.arm_row(Timeout::Linger);
    }

    /// True where no further request shall come over this connection.
    fn must_go(&self) -> bool {
        self.worker.is_draining() || self.streams.slot.is_gone()
    }

    fn waits_for(&self) -> ServerWait {
        if self.streams.gauge.borrow().meter.is_unfinished() {
            ServerWait::Rest
        } else if self.streams.open.get() > 0 {
            ServerWait::Exchanges
        } else if self.is_going {
            ServerWait::Leave
        } else {
            ServerWait::Idle
        }
    }

    /// Starts the timer anew where something else is waited for.
    fn arm(&mut self) {
        let waiting = match self.waiting {
            ServerWait::End => return,
            ServerWait::Exchanges | ServerWait::Rest | ServerWait::Idle | ServerWait::Leave => self.waits_for(),
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
            ServerWait::Exchanges | ServerWait::End => self.timer.disarm(),
        }
    }

    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let open = self.streams.open.get();
        if open >= H2_STREAMS_MAX {
            // The client has reset some of which the upstream's side is not over: these count on.
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        self.streams.open.set(open + 1);
        let place = ExchangePlace(Rc::clone(&self.streams));
        self.worker.kit.transport.spawn(answer(Rc::clone(self.worker), place, request, respond));
    }
}

/// Answers the request of one stream.
async fn answer<T: Transport>(
    worker: Rc<Worker<T>>,
    place: ExchangePlace<T>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let Streams { peer, slot, tls, early, .. } = &*place.0;
    let buffers = &worker.kit.buffers;
    let (parts, body) = request.into_parts();
    let protocol = parts.extensions.get::<Protocol>().map(|protocol| protocol.as_str().as_bytes());
    let mut bytes = buffers.buffer(HEAD_BUFFER_BYTES);
    let mut head = worker.heads.head();
    let carried = put_request(&mut bytes, &parts, protocol, body.is_end_stream());
    let parsed = match carried {
        Ok(_) => head.parse(bytes, slot.listener().spec.underscores).map_err(Failure::from),
        Err(fault) => Err(fault.into()),
    };
    head.mark_h2();
    drop(parts);
    let (inlet, outlet, shared) = ends(body, respond, carried.unwrap_or(Carried::Plain));
    let ends = (Inlet::Stream(Box::new(inlet)), Outlet::Stream(Box::new(outlet)));
    let link = Link::new(ends, buffers.buffer(HEAD_BUFFER_BYTES), worker.kit.timer());
    let (slot, tls, early) = (Rc::clone(slot), tls.clone(), early.clone());
    let mut session = Session { link, peer: *peer, slot, requests: 1, is_last: false, tls, early };
    exchange(&worker, &mut session, &mut head, parsed).await;
    worker.heads.put_head(head, buffers);
    buffers.put_buffer(std::mem::take(&mut session.link.inbox));
    shared.close();
    place.0.note_end(shared.is_reset.get() && !shared.has_begun());
}

impl<T: Transport> Streams<T> {
    /// An exchange is over; `is_early` where the client reset it before its answer had begun.
    fn note_end(&self, is_early: bool) {
        match (is_early, self.resets_left.get()) {
            (true, 0) => self.gauge.borrow_mut().excess = Some(Excess::of("early_reset")),
            (true, left) => self.resets_left.set(left - 1),
            (false, left) => self.resets_left.set((left + 1).min(H2_EARLY_RESETS_MAX)),
        }
    }
}
