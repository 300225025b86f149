//! Reads a request body whole before the upstream hears of it, where a filter asks for that.

use super::super::engine::{Transport, receive};
use super::super::time::timer::Deadline;
use super::super::wire::fault::fault_of;
use super::super::wire::link::Link;
use super::super::wire::send::{SendTerms, send_all};
use super::held::HeldStore;
use super::progress::Expectation;
use super::state::Exchange;
use crate::encode::response::h2_continue;
use crate::encode::wire::Wire;
use crate::failure::{Failure, Phase, Resource};
use crate::limits::{BODY_BUFFER_BYTES, GATEWAY_BODY_BYTES};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::timeouts::{Pace, Timeout};

/// Reads the body, of which so many bytes may be held; from here on its length is known.
///
/// # Errors
/// It is too long, does not come in time, breaks a rule, or there is no memory for it.
pub(super) async fn read_whole<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    max: u64,
) -> Result<(), Failure> {
    if matches!(head.framing(), Framing::Length(length) if length > max) {
        return Err(Failure::ClientBodyTooLarge);
    }
    if head.expects_continue() {
        say_continue(exchange, client).await?;
    }
    let spec = &exchange.listener.spec;
    let (mut pace, body_ms) = (spec.body_pace(), spec.timeouts.body.limit_ms());
    while !take(exchange, &mut client.inbox, max)? {
        if client.inbox.capacity() > 0 {
            exchange.kit().buffers.grow(&mut client.inbox, BODY_BUFFER_BYTES);
        }
        let deadline = Deadline { timer: &client.timer, total_at_ms: None };
        let before_ms = deadline.now_ms();
        let received = receive(&mut client.receiver, &mut client.inbox);
        match deadline.wait(Timeout::ClientBody, body_ms, received).await? {
            Ok(bytes) if bytes > 0 => {
                if !pace.advance(deadline.now_ms().saturating_sub(before_ms), bytes) {
                    return Err(Failure::ClientBodyTimeout);
                }
            }
            Ok(_) => return Err(Failure::ClientClosed(Phase::Route)),
            Err(error) => return Err(fault_of(&error).unwrap_or(Failure::ClientClosed(Phase::Route))),
        }
    }
    client.timer.disarm();
    exchange.body_length.set(Some(exchange.held.borrow().bytes().len() as u64));
    exchange.progress.is_body_received.set(true);
    Ok(())
}

/// Reads a body without a length for an application server, which is told of the length before the body.
///
/// # Errors
/// As [`read_whole`]; one that is too long must say its length.
pub(super) async fn find_length<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
) -> Result<(), Failure> {
    let read = read_whole(exchange, client, head, GATEWAY_BODY_BYTES).await;
    let is_allowed = exchange.body_max().is_none_or(|max| max > GATEWAY_BODY_BYTES);
    read.map_err(|failure| {
        if failure == Failure::ClientBodyTooLarge && is_allowed { Failure::ClientLengthRequired } else { failure }
    })
}

/// Moves what is here of the body to what is held; true once it is all.
fn take<T: Transport>(exchange: &Exchange<'_, T>, inbox: &mut Vec<u8>, max: u64) -> Result<bool, Failure> {
    let (mut body, mut held) = (exchange.body.borrow_mut(), exchange.held.borrow_mut());
    let store = HeldStore { account: &exchange.worker.held_bytes, buffers: &exchange.kit().buffers };
    let (body, mut taken) = (&mut *body, 0);
    while taken < inbox.len() && !body.decoder.is_done() {
        let piece = body.decoder.decode(&inbox[taken..], &mut body.trailers);
        let piece = piece.map_err(|fault| Failure::ClientBadRequest(fault.rule()))?;
        let data = &inbox[taken..][piece.data];
        exchange.account.add_request_bytes(data.len());
        let bytes = exchange.account.request_bytes();
        if bytes > max || exchange.body_max().is_some_and(|max| bytes > max) {
            return Err(Failure::ClientBodyTooLarge);
        }
        let passed = body.transform.pass(data, |data| held.hold(data, max, store));
        passed.map_err(|_| Failure::ClientBadRequest("grpc_web_text"))?;
        taken += piece.consumed;
    }
    if body.decoder.is_done() {
        let finished = body.transform.finish(&mut body.trailers, |data| held.hold(data, max, store));
        finished.map_err(|_| Failure::ClientBadRequest("grpc_web_text"))?;
    }
    inbox.drain(..taken);
    if !held.is_whole() {
        return Err(Failure::LocalResource(Resource::Memory));
    }
    // A body with a length has none.
    body.trailers.clear();
    Ok(body.decoder.is_done())
}

/// Tells a client that waits for it to send the body.
async fn say_continue<T: Transport>(exchange: &Exchange<'_, T>, client: &mut Link<T>) -> Result<(), Failure> {
    let mut out = Vec::new();
    match client.sender.wire() {
        Wire::Http1 => out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Wire::H2 => client.sender.put_head(h2_continue(), false),
    }
    exchange.progress.expectation.set(Expectation::Met);
    let deadline = Deadline { timer: &client.timer, total_at_ms: None };
    let terms = SendTerms {
        timeout: (Timeout::ClientSend, exchange.listener.spec.timeouts.send.limit_ms()),
        pace: &mut Pace::unbounded(),
        total: &std::cell::Cell::default(),
    };
    let sent = send_all(&mut client.sender, &mut out, &deadline, terms).await;
    sent.map_err(|_| Failure::ClientClosed(Phase::Route))
}
