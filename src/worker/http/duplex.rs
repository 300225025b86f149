//! Passes a request up while its response comes down: one task, two directions, back-pressure from end to end.
//!
//! Upload and download are futures polled together. The download decides when the exchange is over; the upload can only
//! fail it. Once the body is sent, the upload watches the client: bytes that come belong to the next request, and an end
//! means that nobody waits for the answer any more. The next request needs that receive anyway, so the watch costs no
//! operation.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::super::engine::Transport;
use super::super::time::timer::Deadline;
use super::super::wire::link::Link;
use super::download::download;
use super::held::RequestBody;
use super::transfer::{Delivered, Transfer};
use super::upload::{BodySource, upload};
use crate::failure::Failure;

/// Runs both directions. `out` holds what of the request was encoded; `body` is what the client still has to send.
pub(super) async fn run<T: Transport>(
    transfer: &Transfer<'_, T>,
    client: &mut Link<T>,
    upstream: &mut Link<T>,
    body: &mut RequestBody,
    out: &mut Vec<u8>,
) -> Result<Delivered, Failure> {
    let total_at_ms = transfer.to.total_at_ms;
    let Link { receiver: client_receiver, sender: client_sender, inbox: client_inbox, timer: client_timer } = client;
    let Link { receiver, sender, inbox, timer } = upstream;
    let up = Deadline { timer: client_timer, total_at_ms };
    let down = Deadline { timer, total_at_ms };
    let mut source = BodySource { receiver: client_receiver, inbox: client_inbox, deadline: up };
    let mut upload = pin!(upload(transfer, &mut source, sender, body, out));
    let mut download = pin!(download(transfer, receiver, inbox, &down, client_sender));
    // The upload goes first: while no stream has begun, a receive from an upstream of HTTP/2 leaves no waker and counts on
    // the sender being polled before it.
    poll_fn(|cx| {
        let Poll::Ready(failure) = upload.as_mut().poll(cx) else { return download.as_mut().poll(cx) };
        // Its last part may have arrived in the same turn as the news that the client has left: what is delivered is delivered.
        match download.as_mut().poll(cx) {
            delivered @ Poll::Ready(Ok(_)) => delivered,
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(Err(failure)),
        }
    })
    .await
}
