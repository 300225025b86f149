//! What DATA means: bytes of a message within its length and its windows, for a stream that still takes them.

use super::Role;
use super::core::{Core, MEASURE};
use super::frame::ErrorCode;
use super::guard::Bounded;
use super::reader::{ConnectionFault, Frame};
use super::server;
use super::store::ClosedBy;
use super::stream::{Incoming, StreamEnd};

/// Takes a part of a frame.
pub(super) fn take_data(core: &mut Core, frame: Frame<'_>) -> Result<(), ConnectionFault> {
    let Frame::Data { stream: id, data, counted, ends_stream, is_empty } = frame else { return Ok(()) };
    core.window.receive(counted).map_err(|_| ConnectionFault::WINDOW)?;
    if is_empty && !ends_stream {
        core.bound(Bounded::Empty)?;
    } else if !data.is_empty() {
        core.guard.note_received();
    }
    let Some(key) = core.store.find(id) else {
        core.window.release(counted);
        return take_late(core, id);
    };
    if core.bandwidth.note_data(data.len(), core.now_ms) {
        core.writer.put_ping(MEASURE, false);
    }
    let Some(stream) = core.store.get(key) else { return Ok(()) };
    if stream.end.is_some() || !matches!(stream.incoming, Incoming::Held | Incoming::Body) {
        core.window.release(counted);
        return match (stream.end, stream.incoming) {
            (Some(StreamEnd::Reset(_)), _) => core.refuse_closed(id),
            (Some(_), _) => Ok(()),
            (None, Incoming::Head) => core.break_stream(key, ErrorCode::Protocol, "data_before_head"),
            (None, Incoming::Held | Incoming::Body | Incoming::Ended) => {
                core.break_stream(key, ErrorCode::StreamClosed, "data_behind_the_end")
            }
        };
    }
    if stream.window.receive(counted).is_err() {
        core.window.release(counted);
        return core.break_stream(key, ErrorCode::FlowControl, "window");
    }
    let mut passed_over = counted - data.len();
    let left = stream.length_left.map(|left| left.checked_sub(data.len() as u64));
    let is_of_length = left.is_none_or(|left| left.is_some_and(|left| left == 0 || !ends_stream));
    stream.length_left = left.flatten();
    if !is_of_length {
        return core.break_stream(key, ErrorCode::Protocol, "content_length");
    }
    let is_draining = stream.drains_until_ms.is_some();
    if is_draining {
        passed_over = counted;
    } else {
        stream.put_body(data);
    }
    if passed_over > 0 {
        core.window.release(passed_over);
        let increment = stream.window.release(passed_over, 0);
        // Nobody wants what is left, so that what the window lets through is all that comes.
        if !is_draining {
            core.writer.put_window_update(id, increment);
        }
    }
    let was_held = stream.incoming == Incoming::Held;
    if ends_stream {
        stream.incoming = Incoming::Ended;
    }
    stream.wake_receiver();
    let is_drained = ends_stream && is_draining;
    if was_held && (ends_stream || !data.is_empty()) {
        return server::decide(core, key, !data.is_empty());
    }
    if is_drained {
        core.forget(key, ClosedBy::Peer);
    }
    Ok(())
}

/// DATA, or a reset, for a stream that nobody has any more.
fn take_late(core: &mut Core, id: u32) -> Result<(), ConnectionFault> {
    if core.is_idle(id) {
        return Err(ConnectionFault::protocol("idle_stream"));
    }
    if core.store.closed_by(id) == Some(ClosedBy::Us) || core.role == Role::Client {
        // It was on its way when we reset the stream.
        return Ok(());
    }
    core.refuse_closed(id)
}
