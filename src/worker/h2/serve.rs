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

use super::super::Worker;
use super::super::ends::{Inlet, Outlet};
use super::super::exchange::exchange;
use super::super::io::Transport;
use super::super::link::Link;
use super::super::live::Live;
use super::super::serve::Session;
use super::super::timer::Timer;
use super::super::tls::early::Early;
use super::pipe::{Gauge, Pipe};
use super::stream::ends;
use crate::failure::Failure;
use crate::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_EARLY_RESETS_MAX, H2_FAULTS_MAX, H2_HEADER_LIST_BYTES_MAX, H2_SEND_BUFFER_BYTES,
    H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX, HEAD_BUFFER_BYTES,
};
use crate::proto::h2::meter::Excess;
use crate::proto::h2::to_h1::{Carried, put_request};
use crate::snapshot::{Label, Peer};
use crate::timeouts::{H2_LEAVE_MS, LINGER_MS};
use crate::tls::Facts;

/// What the streams of a connection share.
struct Streams<T: Transport> {
    peer: Peer,
    listener: Label,
    /// The latest snapshot that has the listener, for requests that were on their way when it went.
    live: RefCell<Rc<Live<T>>>,
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
struct Place<T: Transport>(Rc<Streams<T>>);

impl<T: Transport> Drop for Place<T> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if let Some(waker) = self.0.connection.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// What the connection's timer runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
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
pub(in super::super) async fn serve<T: Transport>(worker: &Rc<Worker<T>>, session: Session<T>) {
    let Session { link, peer, listener, tls, early, live, .. } = session;
    let gauge = Rc::new(RefCell::new(Gauge::default()));
    let streams = Rc::new(Streams {
        peer,
        listener,
        live: RefCell::new(live),
        tls,
        early,
        open: Cell::new(0),
        resets_left: Cell::new(H2_EARLY_RESETS_MAX),
        gauge: Rc::clone(&gauge),
        connection: RefCell::default(),
    });
    let Link { receiver, sender, inbox, timer } = link;
    let pipe = Pipe::new(worker.transport.clone(), (receiver, sender), inbox, Some(gauge));
    let handshake = pin!(builder().handshake::<_, Bytes>(pipe));
    let timeouts = worker.live().snapshot.listener(listener).map(|listener| listener.timeouts).unwrap_or_default();
    timer.set(timeouts.header_ms);
    let Ok(Ok(connection)) = timer.guard(handshake).await else { return };
    let mut driver = Driver { worker, streams, timer, connection, waiting: Waiting::Rest, is_going: false };
    poll_fn(|cx| driver.poll(cx)).await;
    if let Some(excess) = driver.streams.gauge.borrow().excess {
        worker.metrics.borrow_mut().count_excess(listener, excess.name);
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

struct Driver<'a, T: Transport> {
    worker: &'a Rc<Worker<T>>,
    streams: Rc<Streams<T>>,
    timer: Timer<T>,
    connection: Connection<Pipe<T>, Bytes>,
    waiting: Waiting,
    /// The client was told that the connection ends.
    is_going: bool,
}

impl<T: Transport> Driver<'_, T> {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.streams.connection.borrow_mut() = Some(cx.waker().clone());
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending if self.has_excess() && self.waiting != Waiting::End => {
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
        if !self.timer.poll_expired(cx) {
            return Poll::Pending;
        }
        match self.waiting {
            // It had its time.
            Waiting::End | Waiting::Leave => return Poll::Ready(()),
            Waiting::Rest => {
                self.connection.abrupt_shutdown(Reason::PROTOCOL_ERROR);
                self.await_end();
            }
            Waiting::Idle | Waiting::Exchanges => {
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
        self.waiting = Waiting::End;
        self.timer.arm(LINGER_MS);
    }

    /// True where no further request shall come over this connection.
    fn must_go(&self) -> bool {
        self.worker.is_draining.get() || self.worker.live().snapshot.listener(self.streams.listener).is_none()
    }

    /// Starts the timer anew where something else is waited for.
    fn arm(&mut self) {
        let waiting = match self.waiting {
            Waiting::End => return,
            _ if self.streams.gauge.borrow().meter.is_unfinished() => Waiting::Rest,
            _ if self.streams.open.get() > 0 => Waiting::Exchanges,
            _ if self.is_going => Waiting::Leave,
            _ => Waiting::Idle,
        };
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        let live = self.worker.live();
        let timeouts = live.snapshot.listener(self.streams.listener).map(|listener| listener.timeouts);
        let timeouts = timeouts.unwrap_or_default();
        match waiting {
            Waiting::Rest => self.timer.set(timeouts.header_ms),
            Waiting::Idle => {
                let drain_ms = self.worker.is_draining.get().then_some(live.snapshot.drain_idle_ms);
                // As long as its handshake is not over, a connection has the time of one.
                let is_early = self.streams.early.as_deref().is_some_and(|early| !early.is_over());
                let early_ms = is_early.then(|| timeouts.early_ms());
                let bounds = [timeouts.idle_ms, drain_ms, early_ms];
                self.timer.arm_idle(bounds.into_iter().flatten().min().unwrap_or(u64::from(u32::MAX)));
            }
            Waiting::Leave => self.timer.arm(H2_LEAVE_MS),
            Waiting::Exchanges | Waiting::End => self.timer.disarm(),
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
        let place = Place(Rc::clone(&self.streams));
        self.worker.transport.spawn(answer(Rc::clone(self.worker), place, request, respond));
    }
}

/// Answers the request of one stream.
async fn answer<T: Transport>(
    worker: Rc<Worker<T>>,
    place: Place<T>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let Streams { peer, listener, tls, early, .. } = &*place.0;
    let latest = worker.live();
    if latest.snapshot.listener(*listener).is_some() {
        *place.0.live.borrow_mut() = latest;
    }
    let live = Rc::clone(&place.0.live.borrow());
    let Some(settings) = live.snapshot.listener(*listener) else { return };
    let underscores = settings.underscores;
    let (parts, body) = request.into_parts();
    let protocol = parts.extensions.get::<Protocol>().map(|protocol| protocol.as_str().as_bytes());
    let mut bytes = worker.spares.buffer(HEAD_BUFFER_BYTES);
    let mut head = worker.spares.head();
    let carried = put_request(&mut bytes, &parts, protocol, body.is_end_stream());
    let parsed = match carried {
        Ok(_) => head.parse(bytes, underscores).map_err(Failure::from),
        Err(fault) => Err(fault.into()),
    };
    head.mark_h2();
    let is_head = parts.method == http::Method::HEAD;
    let (inlet, outlet, shared) = ends(body, respond, carried.unwrap_or(Carried::Plain), is_head);
    drop(parts);
    let ends = (Inlet::Stream(Box::new(inlet)), Outlet::Stream(Box::new(outlet)));
    let link = Link::new(ends, worker.spares.buffer(HEAD_BUFFER_BYTES), worker.timers.timer());
    let (tls, early) = (tls.clone(), early.clone());
    let mut session = Session { link, peer: *peer, listener: *listener, live, requests: 1, is_last: false, tls, early };
    exchange(&worker, &mut session, &mut head, parsed).await;
    worker.spares.put_head(head);
    worker.spares.put_buffer(std::mem::take(&mut session.link.inbox));
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
