//! Reads a body that nobody gets, so that its connection can be kept.

use super::super::engine::{Transport, receive};
use super::super::time::timer::Deadline;
use super::super::wire::ends::Inlet;
use super::progress::UploadState;
use super::transfer::Transfer;
use crate::limits::DRAIN_BYTES_MAX;
use crate::proto::h1::chunked::BodyOf;
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::timeouts::Timeout;

/// Reads to the end of the body, or as far as is worth it; true where that was all of it.
pub(super) async fn discard<T: Transport>(
    transfer: &Transfer<'_, T>,
    deadline: &Deadline<'_, T>,
    (receiver, inbox): (&mut Inlet<T>, &mut Vec<u8>),
    framing: Framing,
) -> bool {
    let mut decoder = BodyDecoder::new(BodyOf::Response, framing);
    // The page that goes in its place must not wait for what nobody reads.
    deadline.arm(Timeout::Linger, Some(Timeout::Linger.row().ms));
    let (mut left, mut trailers) = (DRAIN_BYTES_MAX, Vec::new());
    loop {
        while !inbox.is_empty() && !decoder.is_done() {
            let Ok(piece) = decoder.decode(inbox, &mut trailers) else { return false };
            inbox.drain(..piece.consumed);
            left = left.saturating_sub(piece.consumed as u64);
        }
        if decoder.is_done() || left == 0 || transfer.progress.upload.get() != UploadState::Sent {
            return decoder.is_done();
        }
        transfer.make_room_for_body(inbox, decoder.bytes_left(), transfer.account.received_bytes());
        match deadline.timer.guard(receive(receiver, inbox)).await {
            Ok(Ok(bytes)) if bytes > 0 => transfer.note_received(bytes),
            Ok(_) | Err(_) => return false,
        }
    }
}
