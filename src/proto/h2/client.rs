//! Streams to an upstream: how they are opened, and what its blocks of fields mean: the head of an answer, an interim one, or
//! trailers.

use super::core::Core;
use super::fields::FieldList;
use super::frame::ErrorCode;
use super::message::BlockFields;
use super::reader::ConnectionFault;
use super::stream::{Incoming, SentPart, Stream, StreamEnd, StreamKey};
use crate::limits::HEAD_BYTES_MAX;
use crate::proto::h1::fault::ResponseFault;

/// A request cannot be sent over this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// It takes no further stream.
    Full,
    /// The head is longer than the peer said that it takes.
    HeadTooLarge,
}

/// Opens a stream with this head; `is_last` where nothing follows it.
pub(super) fn open(core: &mut Core, head: &FieldList, is_last: bool) -> Result<StreamKey, NotOpened> {
    if !core.has_room() {
        return Err(NotOpened::Full);
    }
    if head.size() > core.writer.list_bytes_max() {
        return Err(NotOpened::HeadTooLarge);
    }
    let mut stream = Stream::new(core.next_id, core.writer.initial_window(), &core.budget, core.now_ms);
    stream.outgoing = if is_last { SentPart::All } else { SentPart::Head };
    stream.is_head = head.value(b":method") == Some(b"HEAD");
    core.next_id += 2;
    core.held += 1;
    core.writer.put_fields(stream.id, head, is_last);
    Ok(core.store.insert(stream))
}

/// Takes a block.
pub(super) fn take_block(
    core: &mut Core,
    id: u32,
    fields: &BlockFields,
    ends_stream: bool,
) -> Result<(), ConnectionFault> {
    if core.is_idle(id) {
        return Err(ConnectionFault::protocol("idle_stream"));
    }
    let Some(key) = core.store.find(id) else { return Ok(()) };
    let Some(stream) = core.store.get(key) else { return Ok(()) };
    match (stream.end, stream.incoming) {
        (Some(_), _) => Ok(()),
        (None, Incoming::Head | Incoming::Held) => {
            take_head(core, key, fields, ends_stream);
            Ok(())
        }
        (None, Incoming::Body) => core.end_by_trailers(key, fields, ends_stream).map(drop),
        (None, Incoming::Ended) => core.break_stream(key, ErrorCode::StreamClosed, "head_behind_the_end"),
    }
}

fn take_head(core: &mut Core, key: StreamKey, fields: &BlockFields, ends_stream: bool) {
    let Some(stream) = core.store.get(key) else { return };
    let status = fields.status().and_then(|status| {
        let has_no_body = stream.is_head || status == 304;
        let is_short = ends_stream && !has_no_body && fields.length().is_some_and(|length| length > 0);
        // Nobody has read those before: more of them come than anybody would.
        if stream.head.len() > HEAD_BYTES_MAX {
            Err(ResponseFault::TooManyInterim)
        // An interim head never ends a stream (RFC 9113 §8.1).
        } else if is_short || ends_stream && status < 200 {
            Err(ResponseFault::BodyLength)
        } else {
            Ok(status)
        }
    });
    match status {
        Err(fault) => {
            stream.end(StreamEnd::BadHead(fault));
            core.writer.put_reset(key.id, ErrorCode::Protocol);
        }
        Ok(status) => {
            stream.carried = fields.put_response(&mut stream.head, status, ends_stream, stream.is_head);
            if status >= 200 {
                let is_counted = !stream.is_head && status != 304;
                stream.length_left = fields.length().filter(|_| is_counted);
                stream.incoming = if ends_stream { Incoming::Ended } else { Incoming::Body };
            }
            stream.wake_receiver();
        }
    }
}
