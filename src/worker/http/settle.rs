//! Ends an exchange: the one place where a failure becomes an answer, and what becomes of the connection.

use std::borrow::Cow;
use std::cell::Cell;

use super::super::engine::{Transmit as _, Transport, receive};
use super::super::time::timer::Deadline;
use super::super::wire::link::Link;
use super::super::wire::send::{SendFault, SendTerms, send_all};
use super::super::wire::tls::early::Early;
use super::pages;
use super::state::{After, Ending, Exchange};
use crate::encode::answer::{AnswerTerms, body, failure_answer, h2_answer, put_answer};
use crate::encode::wire::Wire;
use crate::failure::{Failure, Phase};
use crate::filter::context::{Answer, Refusal};
use crate::limits::{DRAIN_BYTES_MAX, HEAD_BUFFER_BYTES};
use crate::proto::h1::framing::BodyDecoder;
use crate::proto::h1::request::RequestHead;
use crate::timeouts::Timeout;

/// Answers in the upstream's place, as a filter says.
///
/// # Errors
/// The client did not take it.
pub(super) async fn answer<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    answer: &Answer<'_>,
) -> Result<Ending, Failure> {
    let keep_alive = may_keep_alive(exchange, head);
    exchange.account.put_status(answer.status);
    send(exchange, client, answer, &terms(exchange, head, keep_alive, answer.status)).await?;
    Ok(Ending::Answered(keep_alive))
}

/// Answers with the page for the error that the upstream answered, which was not passed on but for the fields that are `kept`.
///
/// # Errors
/// There is no page after all; or the client did not take it.
pub(super) async fn answer_with_page<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    kept: &[(Vec<u8>, Vec<u8>)],
) -> Result<Ending, Failure> {
    let status = exchange.account.status();
    let page = pages::page(exchange, head, (status, None)).await.ok_or(Failure::NoErrorPage(status))?;
    let fields = kept.iter().map(|(name, value)| (&name[..], Cow::Borrowed(&value[..]))).collect();
    let mut own = Answer { status, fields, body: Cow::Borrowed(b"") };
    page.replace(&mut own);
    answer(exchange, client, head, &own).await
}

/// Turns the outcome into what becomes of the client's connection: the one place where a failure is answered.
pub(super) async fn settle<T: Transport>(
    exchange: &Exchange<'_, T>,
    outcome: Result<Ending, Failure>,
    client: &mut Link<T>,
    head: &RequestHead,
) -> After {
    let account = &exchange.account;
    let keep_alive = match outcome {
        Ok(Ending::Tunnelled) => return After::Close,
        Ok(Ending::Answered(keep_alive)) => keep_alive,
        Err(failure) => {
            account.note_failure(failure);
            if account.is_response_started() {
                // The client must not take what it has for the whole. A length or chunks tell it; where only
                // the connection's end would, that end is a reset, which may cost bytes it has not read yet.
                if exchange.progress.ends_at_close.get() {
                    client.sender.reset();
                }
                return After::Close;
            }
            let handling = failure.handling();
            let is_grpc = exchange.is_grpc.get() && !handling.is_silent;
            let refusal = exchange.filtered.get().and_then(|filtered| filtered.refusal.as_deref());
            let status = refusal.and_then(|refusal| refusal.status).unwrap_or(failure.row().status);
            let is_bare = is_grpc || handling.is_silent || exchange.progress.is_sending.get();
            // What this worker has no room for costs nobody anything.
            let has_none = is_bare || matches!(failure, Failure::NoErrorPage(_) | Failure::LocalResource(_));
            let of = (status, Some(failure));
            let page = if has_none { None } else { Box::pin(pages::page(exchange, head, of)).await };
            let status = page.as_ref().map_or(status, |page| page.status);
            account.put_status(if is_grpc { 200 } else { status });
            account.note_grpc_status(is_grpc.then(|| failure.grpc_status()));
            if handling.is_silent || exchange.progress.is_sending.get() {
                return After::Close;
            }
            // After a bug nobody knows how far the body was read.
            let is_ours = matches!(failure, Failure::Internal(_));
            let keep_alive = may_keep_alive(exchange, head) && !handling.closes_client && !is_ours;
            let terms = terms(exchange, head, keep_alive, status);
            let bare = refusal.filter(|_| page.is_some()).map(Refusal::bare);
            let mut answer = failure_answer(failure, bare.as_ref().or(refusal), &terms);
            page.iter().for_each(|page| page.replace(&mut answer));
            if send(exchange, client, &answer, &terms).await.is_err() {
                return After::Close;
            }
            keep_alive
        }
    };
    // The end of the client's handshake is still on its way; a socket that is closed already would answer it with a reset.
    let is_settled = exchange.early.is_none_or(Early::is_over);
    if keep_alive && drain(exchange, client).await {
        After::KeepAlive
    } else if is_settled && exchange.body.borrow().decoder.is_done() && !account.has_failed() && client.inbox.is_empty()
    {
        After::Close
    } else {
        After::Linger
    }
}

fn terms<'h, T: Transport>(
    exchange: &'h Exchange<'_, T>,
    head: &'h RequestHead,
    keep_alive: bool,
    status: u16,
) -> AnswerTerms<'h> {
    AnswerTerms {
        head,
        details: exchange.listener.spec.details,
        keep_alive,
        now: exchange.kit().transport.wall(),
        is_grpc: exchange.is_grpc.get(),
        edits: exchange.edits().of_response(exchange.hop.asked.is_secure(), status),
    }
}

async fn send<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    answer: &Answer<'_>,
    terms: &AnswerTerms<'_>,
) -> Result<(), Failure> {
    let buffers = &exchange.kit().buffers;
    let mut out = buffers.buffer(HEAD_BUFFER_BYTES);
    match client.sender.wire() {
        Wire::Http1 => put_answer(&mut out, answer, terms),
        Wire::H2 => {
            out.extend_from_slice(body(answer, terms));
            client.sender.put_head(h2_answer(answer, terms), out.is_empty());
            client.sender.put_end(None);
        }
    }
    let deadline = Deadline { timer: &client.timer, total_at_ms: None };
    let mut pace = exchange.listener.spec.send_pace();
    let send_terms = SendTerms {
        timeout: (Timeout::ClientSend, exchange.listener.spec.timeouts.send.limit_ms()),
        pace: &mut pace,
        total: &Cell::default(),
    };
    let sent = send_all(&mut client.sender, &mut out, &deadline, send_terms).await;
    buffers.put_buffer(out);
    sent.map_err(|fault| match fault {
        SendFault::Io(..) => Failure::ClientClosed(Phase::Body),
        SendFault::Expired(failure) => failure,
    })
}

/// Whether the connection can go on after an answer of our own, given what is left of the request body.
fn may_keep_alive<T: Transport>(exchange: &Exchange<'_, T>, head: &RequestHead) -> bool {
    let is_drainable = match &exchange.body.borrow().decoder {
        BodyDecoder::Done => true,
        // A client that waits for 100 may send the body or leave it out: nobody knows what comes next.
        BodyDecoder::Length(left) => *left <= DRAIN_BYTES_MAX && !head.expects_continue(),
        BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => false,
    };
    head.wants_keep_alive() && !exchange.is_last && is_drainable && !exchange.progress.has_client_finished.get()
}

/// Reads the rest of the request body and throws it away; false where it is too long or too slow.
async fn drain<T: Transport>(exchange: &Exchange<'_, T>, client: &mut Link<T>) -> bool {
    // Nothing need be read of a stream to keep its connection.
    if client.is_stream() {
        return true;
    }
    client.timer.arm_row(Timeout::Linger);
    let mut left = DRAIN_BYTES_MAX;
    let mut trailers = Vec::new();
    loop {
        let is_done = {
            let decoder = &mut exchange.body.borrow_mut().decoder;
            while !client.inbox.is_empty() && !decoder.is_done() {
                let Ok(piece) = decoder.decode(&client.inbox, &mut trailers) else { return false };
                client.inbox.drain(..piece.consumed);
                left = left.saturating_sub(piece.consumed as u64);
            }
            decoder.is_done()
        };
        if is_done || left == 0 {
            return is_done;
        }
        let received = receive(&mut client.receiver, &mut client.inbox);
        if !matches!(client.timer.guard(received).await, Ok(Ok(bytes)) if bytes > 0) {
            return false;
        }
    }
}
