//! What a client's blocks of fields mean: a request, or the trailers of one.

use super::core::{Core, NewRequest, Undecided};
use super::frame::ErrorCode;
use super::guard::Bounded;
use super::malformed::MessageFault;
use super::message::{BlockFields, Body};
use super::reader::ConnectionFault;
use super::store::ClosedBy;
use super::stream::{Incoming, Stream, StreamEnd, StreamKey};
use crate::limits::{H2_HEADER_LIST_BYTES_MAX, H2_HEADS_BYTES_MAX, H2_STREAMS_MAX};

const CLOSED: ConnectionFault = ConnectionFault { name: "closed_stream", code: ErrorCode::StreamClosed };

/// Takes a block. `is_own_parent` where it says that its stream depends on itself.
pub(super) fn take_block(
    core: &mut Core,
    id: u32,
    fields: &mut BlockFields,
    (ends_stream, is_own_parent): (bool, bool),
) -> Result<(), ConnectionFault> {
    if id.is_multiple_of(2) {
        return Err(ConnectionFault::protocol("stream_of_ours"));
    }
    if let Some(key) = core.store.find(id) {
        return take_trailers(core, key, fields, ends_stream);
    }
    if !core.is_idle(id) {
        return match core.store.closed_by(id) {
            Some(ClosedBy::Us) => core.bound(Bounded::Dropped),
            Some(ClosedBy::Peer) => Err(CLOSED),
            None => Err(ConnectionFault::protocol("old_stream")),
        };
    }
    core.highest_of_peer = id;
    if core.last_told.is_some_and(|last| id > last) {
        // It was told that nobody will look at it (RFC 9113 §6.8).
        core.store.note_closed(id, ClosedBy::Us);
        return core.bound(Bounded::Dropped);
    }
    core.last_of_peer = id;
    if is_own_parent {
        core.writer.put_reset(id, ErrorCode::Protocol);
        core.store.note_closed(id, ClosedBy::Us);
        return core.bound(Bounded::Fault);
    }
    let is_too_much = core.held > 0 && core.heads_bytes + head_bytes(fields) > H2_HEADS_BYTES_MAX;
    if core.held >= H2_STREAMS_MAX as usize || is_too_much {
        // The client may have reset some of which the upstream's side is not over: these count on.
        core.writer.put_reset(id, ErrorCode::RefusedStream);
        core.store.note_closed(id, ClosedBy::Us);
        return core.bound(Bounded::Dropped);
    }
    core.guard.note_stream();
    let window = core.writer.initial_window();
    let mut stream = Stream::new(id, window, &core.budget, core.now_ms);
    stream.length_left = fields.length();
    stream.head_bytes = head_bytes(fields);
    core.heads_bytes += stream.head_bytes;
    stream.incoming = if ends_stream { Incoming::Ended } else { Incoming::Body };
    core.held += 1;
    let body = fields.body(ends_stream);
    if body == Body::Unknown && fields.fault().is_none() {
        stream.incoming = Incoming::Held;
        let key = core.store.insert(stream);
        core.undecided.push(Undecided { key, fields: std::mem::take(fields) });
        return Ok(());
    }
    let is_short = ends_stream && fields.length().is_some_and(|length| length > 0);
    let fault = if is_short { Some(MessageFault::Length) } else { fields.fault() };
    if is_short {
        stream.length_left = None;
    }
    let key = core.store.insert(stream);
    accept(core, key, (fields, fault), body)
}

/// What a block is counted as: one beyond the bound of a head is thrown away, and answered.
fn head_bytes(fields: &BlockFields) -> usize {
    fields.size().min(H2_HEADER_LIST_BYTES_MAX as usize)
}

/// Hands a request to whoever takes it, with what is wrong with it.
fn accept(
    core: &mut Core,
    key: StreamKey,
    (fields, fault): (&BlockFields, Option<MessageFault>),
    body: Body,
) -> Result<(), ConnectionFault> {
    let mut head = Vec::with_capacity(512);
    let carried = fields.put_request(&mut head, body).and_then(|carried| match fault {
        Some(fault) => Err(fault.into()),
        None => Ok(carried),
    });
    if let Some(stream) = core.store.get(key) {
        stream.carried = carried.unwrap_or_default();
        stream.is_refused = carried.is_err();
    }
    core.accepted.push_back(NewRequest { key, head, carried });
    if carried.is_err() { core.bound(Bounded::Fault) } else { Ok(()) }
}

/// It is known now whether a request has a body.
pub(super) fn decide(core: &mut Core, key: StreamKey, has_body: bool) -> Result<(), ConnectionFault> {
    let Some(at) = core.undecided.iter().position(|one| one.key == key) else { return Ok(()) };
    let Undecided { fields, .. } = core.undecided.remove(at);
    if let Some(stream) = core.store.get(key)
        && stream.incoming == Incoming::Held
    {
        stream.incoming = Incoming::Body;
    }
    accept(core, key, (&fields, None), if has_body { Body::Some } else { Body::None })
}

fn take_trailers(
    core: &mut Core,
    key: StreamKey,
    fields: &BlockFields,
    ends_stream: bool,
) -> Result<(), ConnectionFault> {
    let Some(stream) = core.store.get(key) else { return Ok(()) };
    match stream.end {
        Some(StreamEnd::Reset(_)) => return Err(CLOSED),
        Some(_) => return Ok(()),
        None => {}
    }
    if stream.incoming == Incoming::Ended {
        return core.break_stream(key, ErrorCode::StreamClosed, "head_behind_the_end");
    }
    // They are held until the request is over, as its head is.
    let bytes = head_bytes(fields);
    if core.heads_bytes + bytes > H2_HEADS_BYTES_MAX {
        return core.break_stream(key, ErrorCode::EnhanceYourCalm, "trailers");
    }
    stream.head_bytes += bytes;
    core.heads_bytes += bytes;
    let (was_held, is_drained) = (stream.incoming == Incoming::Held, stream.drains_until_ms.is_some());
    if !core.end_by_trailers(key, fields, ends_stream)? {
        return Ok(());
    }
    if is_drained {
        core.forget(key, ClosedBy::Peer);
    }
    if was_held { decide(core, key, true) } else { Ok(()) }
}
