//! One client connection: receive a head, have it answered, and again as long as both sides want.

use std::future::poll_fn;
use std::rc::Rc;

use super::super::engine::{Socket, Transport, finish, receive};
use super::super::host::Worker;
use super::super::kit::Kit;
use super::super::live::ListenerSlot;
use super::super::silent::Silence;
use super::super::wire::connection::{plain, secure};
use super::super::wire::early::{Until, wait_for_handshake};
use super::super::wire::ends::of_connection;
use super::super::wire::link::Link;
use super::super::wire::tls::accept::{Accepted, Refused, accept};
use super::exchange::exchange;
use super::session::Session;
use super::state::After;
use super::streams;
use crate::failure::{Failure, Phase};
use crate::limits::{DRAIN_BYTES_MAX, HEAD_BUFFER_BYTES, HEAD_BYTES_MAX, LINGER_BYTES_MAX, TARGET_BYTES_MAX};
use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::field::is_token_byte;
use crate::proto::h1::scan::{HeadScan, leading_empty_lines};
use crate::proto::h2::{PREFACE, PREFACE_HEAD};
use crate::proto::stranger;
use crate::snapshot::{Label, Peer};
use crate::timeouts::Timeout;

/// What waiting for a head came to.
enum Arrival {
    /// A head of this length is at the start of the inbox.
    Head(usize),
    /// The connection ends without an answer.
    Quiet,
    /// The request is answered with this failure, and the connection ends.
    Refused(Failure),
}

/// How long a first byte is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstByteWait {
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
    let _open = worker.count_connection();
    let Some(slot) = worker.live.listener(listener) else { return };
    let session = if slot.listener().tls.is_some() {
        match Box::pin(begin_tls(&worker, socket, peer, slot)).await {
            Some(session) => session,
            None => return,
        }
    } else {
        let inbox = worker.kit.buffers.buffer(HEAD_BUFFER_BYTES);
        let link = Link::new(of_connection(plain(socket)), inbox, worker.kit.timer());
        Session::new(&worker.kit, link, peer, slot)
    };
    if session.tls.as_ref().is_some_and(|facts| facts.is_h2) {
        return Box::pin(streams::serve(&worker, session)).await;
    }
    let mut connection = ClientConnection { worker, session };
    // The exchange's memory is there only while there are requests: an idle connection is this small future.
    while connection.wait_for_first_byte(FirstByteWait::Idle).await == FirstByte::Here {
        match Box::pin(connection.serve_busy()).await {
            After::KeepAlive => {}
            After::Linger => {
                linger(&connection.worker.kit, &mut connection.session.link).await;
                break;
            }
            After::Http2 => {
                let ClientConnection { worker, session } = connection;
                return Box::pin(streams::serve(&worker, session)).await;
            }
            After::Close => {
                connection.session.link.say_goodbye().await;
                break;
            }
        }
    }
    let inbox = std::mem::take(&mut connection.session.link.inbox);
    connection.worker.kit.buffers.put_buffer(inbox);
}

/// Makes the handshake; `None` where there is nothing more to do.
async fn begin_tls<T: Transport>(
    worker: &Rc<Worker<T>>,
    socket: Socket<T>,
    peer: Peer,
    slot: Rc<ListenerSlot<T>>,
) -> Option<Session<T>> {
    let (kit, listener) = (&worker.kit, slot.listener());
    let tls = listener.tls.as_ref()?;
    let timer = kit.timer();
    timer.arm(Timeout::Handshake, listener.spec.timeouts.handshake.limit_ms());
    let mut inbox = kit.buffers.buffer(HEAD_BUFFER_BYTES);
    let refused = match accept(kit, socket, tls, &timer, &mut inbox).await {
        Ok(Accepted { ends, facts, early }) => {
            kit.metrics.borrow_mut().count_handshake(slot.label, &facts);
            kit.buffers.fit(&mut inbox, 0);
            let link = Link::new(of_connection(secure(ends)), inbox, timer);
            return Some(Session { tls: Some(facts), early, ..Session::new(kit, link, peer, slot) });
        }
        Err(refused) => refused,
    };
    let label = slot.label;
    let reason = match refused {
        Refused::Failed(reason) => reason,
        Refused::Plain(socket) => {
            let link = Link::new(of_connection(plain(socket)), inbox, timer);
            let mut session = Session { is_last: true, ..Session::new(kit, link, peer, slot) };
            let failure = Failure::ClientBadRequest("plain_http_to_tls");
            if exchange(worker, &mut session, &mut worker.heads.head(), Err(failure)).await == After::Linger {
                linger(kit, &mut session.link).await;
            }
            "plain_http"
        }
    };
    kit.metrics.borrow_mut().count_refused_handshake(label, reason);
    None
}

/// A client connection that speaks HTTP/1.
struct ClientConnection<T: Transport> {
    worker: Rc<Worker<T>>,
    session: Session<T>,
}

impl<T: Transport> ClientConnection<T> {
    /// Requests one after the other, while the next one comes within a moment. [`After::KeepAlive`] where it did not.
    async fn serve_busy(&mut self) -> After {
        loop {
            let after = self.turn().await;
            if after != After::KeepAlive {
                return after;
            }
            match self.wait_for_first_byte(FirstByteWait::Moment).await {
                FirstByte::Here => {}
                FirstByte::Late => return After::KeepAlive,
                FirstByte::Gone => return After::Close,
            }
        }
    }

    /// One request, of which the first bytes are in the inbox, and its answer.
    async fn turn(&mut self) -> After {
        let arrival = self.receive_head().await;
        let Self { worker, session } = self;
        session.begin_request(worker.is_draining());
        let mut head = worker.heads.head();
        let parsed = match arrival {
            Arrival::Quiet => {
                worker.heads.put_head(head, &worker.kit.buffers);
                return After::Close;
            }
            Arrival::Head(PREFACE_HEAD) if begins_h2(session) => {
                worker.heads.put_head(head, &worker.kit.buffers);
                return After::Http2;
            }
            Arrival::Refused(failure) => Err(failure),
            Arrival::Head(length) => {
                // The head keeps the buffer it came in; what follows it begins a new one.
                let next = worker.kit.buffers.buffer(HEAD_BUFFER_BYTES);
                let mut bytes = std::mem::replace(&mut session.link.inbox, next);
                session.link.inbox.extend_from_slice(&bytes[length..]);
                bytes.truncate(length);
                head.parse(bytes, session.slot.listener().spec.head_rules()).map_err(Failure::from)
            }
        };
        let after = exchange(worker, session, &mut head, parsed).await;
        worker.heads.put_head(head, &worker.kit.buffers);
        after
    }

    async fn receive_head(&mut self) -> Arrival {
        let session = &mut self.session;
        // The deadline is absolute from here on: a client that sends byte by byte cannot put it off.
        if session.requests > 0 {
            session.link.timer.arm(Timeout::ClientHeader, session.timeouts().header.limit_ms());
        }
        let mut scan = HeadScan::default();
        let link = &mut session.link;
        loop {
            if session.requests == 0
                && let Some(rule) = stranger::of_client(&link.inbox)
            {
                return Arrival::Refused(Failure::ClientBadRequest(rule));
            }
            let skipped = leading_empty_lines(&link.inbox);
            link.inbox.drain(..skipped);
            if link.inbox.first().is_some_and(|first| !is_token_byte(*first) && *first != b'\r') {
                return Arrival::Refused(RequestFault::RequestLine.into());
            }
            match scan.advance(&link.inbox) {
                Err(_) => return Arrival::Refused(RequestFault::BareLineFeed.into()),
                Ok(Some(length)) if length <= HEAD_BYTES_MAX => return Arrival::Head(length),
                Ok(found) if found.is_some() || link.inbox.len() >= HEAD_BYTES_MAX => {
                    return Arrival::Refused(too_large(&link.inbox));
                }
                Ok(_) => {}
            }
            // While a receive is in flight the inbox is empty, whatever has come.
            let is_begun = !link.inbox.is_empty();
            match link.timer.guard(receive(&mut link.receiver, &mut link.inbox)).await {
                Ok(Ok(bytes)) if bytes > 0 => {}
                Ok(_) | Err(_) if !is_begun || session.silence.as_ref().is_some_and(Silence::is_over) => {
                    return Arrival::Quiet;
                }
                Ok(_) => return Arrival::Refused(Failure::ClientClosed(Phase::Head)),
                Err(_) => return Arrival::Refused(Failure::ClientHeaderTimeout),
            }
        }
    }

    /// Waits until a request begins. That none does is no failure, and nobody is answered.
    async fn wait_for_first_byte(&mut self, wait: FirstByteWait) -> FirstByte {
        let Self { worker, session } = self;
        if !session.link.inbox.is_empty() {
            return FirstByte::Here;
        }
        // Boxed: an idle connection has no room for what is rare.
        if session.early.is_some()
            && let Some(arrived) = Box::pin(end_handshake(session)).await
        {
            return arrived;
        }
        let timeouts = session.timeouts();
        if session.requests == 0 {
            // A new connection must bring its first head within the header timeout, counted from the accept.
            session.link.timer.arm(Timeout::ClientHeader, timeouts.header.limit_ms());
        } else {
            let idle_ms = timeouts.idle.limit_ms().unwrap_or(Timeout::ClientIdle.row().ms);
            let drain_ms = worker.is_draining().then(|| worker.live.process().drain_idle_ms);
            let whole_ms = idle_ms.min(drain_ms.unwrap_or(u64::MAX));
            let moment_ms = Timeout::Moment.row().ms;
            // The idle time is waited for in two parts: a moment within `serve_busy`, which still has the memory of an
            // exchange, and the rest in the small future of an idle connection.
            match (wait, whole_ms.saturating_sub(moment_ms)) {
                (FirstByteWait::Moment, _) => {
                    session.link.timer.arm_idle(Timeout::Moment, whole_ms.min(moment_ms));
                }
                (FirstByteWait::Idle, 0) => return FirstByte::Late,
                (FirstByteWait::Idle, rest_ms) => session.link.timer.arm_idle(Timeout::ClientIdle, rest_ms),
            }
        }
        worker.kit.buffers.shrink(&mut session.link.inbox);
        let link = &mut session.link;
        match link.timer.guard(receive(&mut link.receiver, &mut link.inbox)).await {
            Ok(Ok(bytes)) if bytes > 0 => FirstByte::Here,
            Ok(_) => FirstByte::Gone,
            Err(_) => FirstByte::Late,
        }
    }
}

/// True where the client begins HTTP/2 with prior knowledge (RFC 9113 §3.3).
fn begins_h2<T: Transport>(session: &Session<T>) -> bool {
    session.slot.listener().spec.http2
        && session.tls.is_none()
        && session.requests == 1
        && session.link.inbox.starts_with(&PREFACE[..PREFACE_HEAD])
}

/// Where requests came as early data: waits for the end of the handshake, as long as a handshake may take, and then sends
/// the tickets. `None` where that is done and no further request has begun.
async fn end_handshake<T: Transport>(session: &mut Session<T>) -> Option<FirstByte> {
    let early = session.early.take()?;
    let timeouts = session.timeouts();
    session.link.timer.arm(Timeout::EarlyHandshake, Some(timeouts.early_ms()));
    let waited = wait_for_handshake(&early, &mut session.link, Until::Request).await;
    if !early.is_over() {
        let is_here = matches!(waited, Ok(Ok(())));
        session.early = Some(early);
        return Some(if is_here { FirstByte::Here } else { FirstByte::Gone });
    }
    let link = &mut session.link;
    link.timer.arm(Timeout::ClientSend, timeouts.send.limit_ms());
    match link.timer.guard(poll_fn(|cx| link.sender.poll_flush(cx))).await {
        Ok(Ok(())) if link.inbox.is_empty() => None,
        Ok(Ok(())) => Some(FirstByte::Here),
        Ok(Err(_)) | Err(_) => Some(FirstByte::Gone),
    }
}

/// Reads on for a moment after the last answer: closing with unread bytes would reset the connection, and
/// the reset may destroy the answer before the client has read it (RFC 9112 §9.6).
async fn linger<T: Transport>(kit: &Kit<T>, link: &mut Link<T>) {
    // Nothing more is expected of it: it gives way where places run out.
    let _silence = kit.begin_silence(&link.timer);
    link.timer.arm_row(Timeout::Linger);
    let _ = link.timer.guard(finish(&mut link.sender)).await;
    let mut left = LINGER_BYTES_MAX.max(DRAIN_BYTES_MAX);
    while left > 0 {
        link.inbox.clear();
        match link.timer.guard(receive(&mut link.receiver, &mut link.inbox)).await {
            Ok(Ok(bytes)) if bytes > 0 => left = left.saturating_sub(bytes as u64),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Whether it is the target or the head as a whole that is too long.
fn too_large(inbox: &[u8]) -> Failure {
    let line = inbox.iter().position(|byte| *byte == b'\n').unwrap_or(inbox.len());
    if line > TARGET_BYTES_MAX { RequestFault::TargetTooLong.into() } else { RequestFault::HeadTooLarge.into() }
}
