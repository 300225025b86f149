//! One client connection: receive a head, have it answered, and again as long as both sides want.

use std::future::poll_fn;
use std::rc::Rc;

use super::Worker;
use super::ends::plain;
use super::exchange::{After, exchange};
use super::h2;
use super::io::{Socket, Transport, finish, receive};
use super::link::Link;
use super::live::Live;
use super::tls::accept::{Accepted, Refused, accept};
use super::tls::early::{Early, Until};
use crate::failure::{Failure, Phase};
use crate::limits::{
    DRAIN_BYTES_MAX, HEAD_BUFFER_BYTES, HEAD_BYTES_MAX, LINGER_BYTES_MAX, REQUESTS_PER_CONNECTION_MAX, TARGET_BYTES_MAX,
};
use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::field::is_token_byte;
use crate::proto::h1::request::Underscores;
use crate::proto::h1::scan::{HeadScan, leading_empty_lines};
use crate::proto::h2::{PREFACE, PREFACE_HEAD};
use crate::snapshot::{ClientTimeouts, Label, Peer};
use crate::timeouts::{LINGER_MS, MOMENT_MS};
use crate::tls::Facts;

/// A client connection between requests.
#[derive(Debug)]
pub(super) struct Session<T: Transport> {
    /// The connection.
    pub link: Link<T>,
    /// Its other end.
    pub peer: Peer,
    /// The listener that it came in at.
    pub listener: Label,
    /// What the present request runs with.
    pub live: Rc<Live<T>>,
    /// Requests so far.
    pub requests: u32,
    /// True where the present request is the last: the listener is gone, the worker drains, or there were enough.
    pub is_last: bool,
    /// What the handshake came to, where there was one.
    pub tls: Option<Rc<Facts>>,
    /// The rest of the handshake, where requests came before it.
    pub early: Option<Rc<Early>>,
}

/// What waiting for a head came to.
enum Arrival {
    /// A head of this length is at the start of the inbox.
    Head(usize),
    /// The connection ends without an answer.
    Quiet,
    /// It is answered so and ends.
    Refused(Failure),
}

/// How long a first byte is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For a moment, in which a client in the middle of its requests sends the next one.
    Moment,
    /// As long as a connection may be idle.
    Idle,
}

/// What waiting for a first byte came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstByte {
    /// There are bytes.
    Here,
    /// The time was over.
    Late,
    /// The connection has ended.
    Gone,
}

/// Serves a connection to its end.
pub async fn serve<T: Transport>(worker: Rc<Worker<T>>, socket: Socket<T>, peer: Peer, listener: Label) {
    let _count = Count::new(&worker);
    let live = worker.live();
    let Some(has_tls) = live.snapshot.listener(listener).map(|listener| listener.tls.is_some()) else { return };
    let (link, tls, early) = if has_tls {
        let begun = Box::pin(begin_tls(&worker, &live, socket, peer, listener)).await;
        let Some((link, facts, early)) = begun else { return };
        (link, Some(facts), early)
    } else {
        (Link::new(plain(socket), worker.spares.buffer(HEAD_BUFFER_BYTES), worker.timers.timer()), None, None)
    };
    let mut session = Session { link, peer, listener, live, requests: 0, is_last: false, tls, early };
    if session.tls.as_ref().is_some_and(|facts| facts.is_h2) {
        return Box::pin(h2::serve::serve(&worker, session)).await;
    }
    // The exchange's memory is there only while there are requests: an idle connection is this small future.
    while session.wait_for_first_byte(&worker, Wait::Idle).await == FirstByte::Here {
        match Box::pin(session.serve_busy(&worker)).await {
            After::KeepAlive => {}
            After::Linger => {
                session.linger().await;
                break;
            }
            After::Http2 => return Box::pin(h2::serve::serve(&worker, session)).await,
            After::Close => {
                session.link.say_goodbye().await;
                break;
            }
        }
    }
    worker.spares.put_buffer(std::mem::take(&mut session.link.inbox));
}

/// Makes the handshake; `None` where there is nothing more to do.
async fn begin_tls<T: Transport>(
    worker: &Rc<Worker<T>>,
    live: &Rc<Live<T>>,
    socket: Socket<T>,
    peer: Peer,
    label: Label,
) -> Option<(Link<T>, Rc<Facts>, Option<Rc<Early>>)> {
    let listener = live.snapshot.listener(label)?;
    let tls = listener.tls.as_ref()?;
    let timer = worker.timers.timer();
    timer.set(listener.timeouts.handshake_ms);
    let mut inbox = worker.spares.buffer(HEAD_BUFFER_BYTES);
    let refused = match accept(worker, socket, tls, &timer, &mut inbox).await {
        Ok(Accepted { ends, facts, early }) => {
            worker.metrics.borrow_mut().count_handshake(label, &facts);
            worker.spares.fit(&mut inbox, 0);
            return Some((Link::new(ends, inbox, timer), facts, early));
        }
        Err(refused) => refused,
    };
    let reason = match refused {
        Refused::Failed(reason) => reason,
        Refused::Plain(socket) => {
            let link = Link::new(plain(socket), inbox, timer);
            let (live, listener) = (Rc::clone(live), label);
            let mut session =
                Session { link, peer, listener, live, requests: 0, is_last: true, tls: None, early: None };
            let failure = Failure::ClientBadRequest("plain_http_to_tls");
            if exchange(worker, &mut session, &mut worker.spares.head(), Err(failure)).await == After::Linger {
                session.linger().await;
            }
            "plain_http"
        }
    };
    worker.metrics.borrow_mut().count_refused_handshake(label, reason);
    None
}

/// Counts open connections, whatever ends them.
struct Count<'a, T: Transport>(&'a Worker<T>);

impl<'a, T: Transport> Count<'a, T> {
    fn new(worker: &'a Worker<T>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(worker)
    }
}

impl<T: Transport> Drop for Count<'_, T> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

impl<T: Transport> Session<T> {
    /// Requests one after the other, while the next one comes within a moment. [`After::KeepAlive`] where it did not.
    async fn serve_busy(&mut self, worker: &Rc<Worker<T>>) -> After {
        loop {
            let after = self.turn(worker).await;
            if after != After::KeepAlive {
                return after;
            }
            match self.wait_for_first_byte(worker, Wait::Moment).await {
                FirstByte::Here => {}
                FirstByte::Late => return After::KeepAlive,
                FirstByte::Gone => return After::Close,
            }
        }
    }

    /// One request, of which the first bytes are in the inbox, and its answer.
    async fn turn(&mut self, worker: &Rc<Worker<T>>) -> After {
        let arrival = self.receive_head(self.timeouts()).await;
        self.refresh(worker);
        let mut head = worker.spares.head();
        let parsed = match arrival {
            Arrival::Quiet => {
                worker.spares.put_head(head);
                return After::Close;
            }
            Arrival::Head(PREFACE_HEAD) if self.begins_h2() => {
                worker.spares.put_head(head);
                return After::Http2;
            }
            Arrival::Refused(failure) => Err(failure),
            Arrival::Head(length) => {
                // The head keeps the buffer it came in; what follows it begins a new one.
                let mut bytes = std::mem::replace(&mut self.link.inbox, worker.spares.buffer(HEAD_BUFFER_BYTES));
                self.link.inbox.extend_from_slice(&bytes[length..]);
                bytes.truncate(length);
                head.parse(bytes, self.underscores()).map_err(Failure::from)
            }
        };
        let after = exchange(worker, self, &mut head, parsed).await;
        worker.spares.put_head(head);
        after
    }

    /// Takes up the latest snapshot, unless it no longer has this listener.
    fn refresh(&mut self, worker: &Worker<T>) {
        let live = worker.live();
        let has_listener = live.snapshot.listener(self.listener).is_some();
        if has_listener {
            self.live = live;
        }
        self.requests += 1;
        self.is_last = !has_listener || worker.is_draining.get() || self.requests >= REQUESTS_PER_CONNECTION_MAX;
    }

    /// True where the client begins as one that knows beforehand that HTTP/2 is spoken here.
    fn begins_h2(&self) -> bool {
        let is_spoken = self.live.snapshot.listener(self.listener).is_some_and(|listener| listener.http2);
        is_spoken && self.tls.is_none() && self.requests == 1 && self.link.inbox.starts_with(&PREFACE[..PREFACE_HEAD])
    }

    fn timeouts(&self) -> ClientTimeouts {
        self.live.snapshot.listener(self.listener).map(|listener| listener.timeouts).unwrap_or_default()
    }

    fn underscores(&self) -> Underscores {
        self.live.snapshot.listener(self.listener).map(|listener| listener.underscores).unwrap_or_default()
    }

    async fn receive_head(&mut self, timeouts: ClientTimeouts) -> Arrival {
        // Absolute from here on: a drip cannot stretch it.
        if self.requests > 0 {
            self.link.timer.set(timeouts.header_ms);
        }
        let mut scan = HeadScan::default();
        loop {
            let skipped = leading_empty_lines(&self.link.inbox);
            self.link.inbox.drain(..skipped);
            if self.link.inbox.first().is_some_and(|first| !is_token_byte(*first) && *first != b'\r') {
                return Arrival::Refused(RequestFault::RequestLine.into());
            }
            match scan.advance(&self.link.inbox) {
                Err(_) => return Arrival::Refused(RequestFault::BareLineFeed.into()),
                Ok(Some(length)) if length <= HEAD_BYTES_MAX => return Arrival::Head(length),
                Ok(found) if found.is_some() || self.link.inbox.len() >= HEAD_BYTES_MAX => {
                    return Arrival::Refused(too_large(&self.link.inbox));
                }
                Ok(_) => {}
            }
            // While a receive is in flight the inbox is empty, whatever has come.
            let is_begun = !self.link.inbox.is_empty();
            let link = &mut self.link;
            match link.timer.guard(receive(&mut link.receiver, &mut link.inbox)).await {
                Ok(Ok(bytes)) if bytes > 0 => {}
                _ if !is_begun => return Arrival::Quiet,
                Ok(_) => return Arrival::Refused(Failure::ClientClosed(Phase::Head)),
                Err(_) => return Arrival::Refused(Failure::ClientHeaderTimeout),
            }
        }
    }

    /// Waits until a request begins. That none does is no failure, and nobody is answered.
    async fn wait_for_first_byte(&mut self, worker: &Worker<T>, wait: Wait) -> FirstByte {
        if !self.link.inbox.is_empty() {
            return FirstByte::Here;
        }
        // Boxed: an idle connection has no room for what is rare.
        if self.early.is_some()
            && let Some(arrived) = Box::pin(self.end_handshake()).await
        {
            return arrived;
        }
        let timeouts = self.timeouts();
        if self.requests == 0 {
            // A new connection has the time of one head in all.
            self.link.timer.set(timeouts.header_ms);
        } else {
            let idle_ms = timeouts.idle_ms.unwrap_or(u64::from(u32::MAX));
            let drain_ms = worker.is_draining.get().then_some(self.live.snapshot.drain_idle_ms);
            let whole_ms = idle_ms.min(drain_ms.unwrap_or(u64::MAX));
            match (wait, whole_ms.saturating_sub(MOMENT_MS)) {
                (Wait::Moment, _) => self.link.timer.arm_idle(whole_ms.min(MOMENT_MS)),
                (Wait::Idle, 0) => return FirstByte::Late,
                (Wait::Idle, rest_ms) => self.link.timer.arm_idle(rest_ms),
            }
        }
        worker.spares.shrink(&mut self.link.inbox);
        let link = &mut self.link;
        match link.timer.guard(receive(&mut link.receiver, &mut link.inbox)).await {
            Ok(Ok(bytes)) if bytes > 0 => FirstByte::Here,
            Ok(_) => FirstByte::Gone,
            Err(_) => FirstByte::Late,
        }
    }

    /// Where the handshake was not over when requests came: waits for its end, as long as a handshake may take, and sends what
    /// is to be said then, the tickets. `None` where that is done and no further request has begun.
    async fn end_handshake(&mut self) -> Option<FirstByte> {
        let early = self.early.take()?;
        let timeouts = self.timeouts();
        self.link.timer.arm(timeouts.early_ms());
        let waited = early.wait(&mut self.link, Until::Request).await;
        if !early.is_over() {
            let is_here = matches!(waited, Ok(Ok(())));
            self.early = Some(early);
            return Some(if is_here { FirstByte::Here } else { FirstByte::Gone });
        }
        let link = &mut self.link;
        link.timer.set(timeouts.send_ms);
        match link.timer.guard(poll_fn(|cx| link.sender.poll_flush(cx))).await {
            Ok(Ok(())) if link.inbox.is_empty() => None,
            Ok(Ok(())) => Some(FirstByte::Here),
            _ => Some(FirstByte::Gone),
        }
    }

    /// Reads on for a moment after the last answer: closing with unread bytes would reset the connection, and
    /// the reset may destroy the answer before the client has read it (RFC 9112 §9.6).
    async fn linger(&mut self) {
        self.link.timer.arm(LINGER_MS);
        let _ = self.link.timer.guard(finish(&mut self.link.sender)).await;
        let mut left = LINGER_BYTES_MAX.max(DRAIN_BYTES_MAX);
        let link = &mut self.link;
        while left > 0 {
            link.inbox.clear();
            match link.timer.guard(receive(&mut link.receiver, &mut link.inbox)).await {
                Ok(Ok(bytes)) if bytes > 0 => left = left.saturating_sub(bytes as u64),
                _ => return,
            }
        }
    }
}

/// Whether it is the target or the head as a whole that is too long.
fn too_large(inbox: &[u8]) -> Failure {
    let line = inbox.iter().position(|byte| *byte == b'\n').unwrap_or(inbox.len());
    if line > TARGET_BYTES_MAX { RequestFault::TargetTooLong.into() } else { RequestFault::HeadTooLarge.into() }
}
