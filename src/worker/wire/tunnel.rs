//! Carries an upgraded connection: bytes both ways until both sides are done, with half-close and an idle limit.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::super::buffers::Buffers;
use super::super::engine::{Transport, finish, receive, send};
use super::super::time::timer::Timer;
use super::ends::{Inlet, Outlet};
use super::fault::has_left;
use super::link::Link;
use crate::failure::{Failure, Phase};
use crate::timeouts::{Timeout, UpstreamTimeouts};

/// Bytes carried: towards the upstream, towards the client.
#[derive(Debug, Default)]
pub(crate) struct TunnelBytes {
    pub up: Cell<u64>,
    pub down: Cell<u64>,
}

/// Ends well when both sides have finished.
///
/// # Errors
/// [`Failure::TunnelIdle`] after too long without a byte, [`Failure::TunnelTimeout`] after the total time; else the failure
/// of the side whose connection failed.
pub(crate) async fn carry<T: Transport>(
    client: &mut Link<T>,
    upstream: &mut Link<T>,
    (timeouts, buffers): (&UpstreamTimeouts, &Buffers),
    carried: &TunnelBytes,
) -> Result<(), Failure> {
    // One timer for both directions: a byte either way keeps the tunnel. The other is for the whole.
    let (timer, idle_ms, whole) = (&client.timer, timeouts.tunnel.limit_ms(), &upstream.timer);
    timer.arm(Timeout::Tunnel, idle_ms);
    whole.arm(Timeout::TunnelTotal, timeouts.tunnel_total.limit_ms());
    let client_gone = Failure::ClientClosed(Phase::Tunnel);
    let up =
        Direction { timer, idle_ms, buffers, bytes: &carried.up, faults: (client_gone, Failure::UpstreamTruncated) };
    let down =
        Direction { timer, idle_ms, buffers, bytes: &carried.down, faults: (Failure::UpstreamTruncated, client_gone) };
    let mut up = pin!(up.copy::<T>(&mut client.receiver, &mut client.inbox, &mut upstream.sender));
    let mut down = pin!(down.copy::<T>(&mut upstream.receiver, &mut upstream.inbox, &mut client.sender));
    let (mut up_ended, mut down_ended) = (None, None);
    poll_fn(|cx| {
        if up_ended.is_none()
            && let Poll::Ready(result) = up.as_mut().poll(cx)
        {
            up_ended = Some(result);
        }
        if down_ended.is_none()
            && let Poll::Ready(result) = down.as_mut().poll(cx)
        {
            down_ended = Some(result);
        }
        // Both are asked before either is judged: what ended in the same turn has ended.
        match (up_ended, down_ended) {
            // A client that said its last word, or got the upstream's, may be gone without another one. A page that is closed is
            // no failure, whether its connection ends or its stream of HTTP/2 is cancelled.
            (Some(Ok(_)), Some(Ok(_) | Err(Failure::ClientClosed(_))))
            | (Some(Err(Failure::ClientClosed(_))), Some(Ok(_)))
            | (Some(Ok(Ended::Left)), None) => return Poll::Ready(Ok(())),
            (Some(Err(failure)), _) | (_, Some(Err(failure))) => return Poll::Ready(Err(failure)),
            (None | Some(Ok(Ended::Finished)), None) | (None, Some(Ok(_))) => {}
        }
        if let Some(timeout) = timer.poll_expired(cx).or_else(|| whole.poll_expired(cx)) {
            Poll::Ready(Err(timeout.failure()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// How a direction ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Its source said all that it had to say, and may still listen.
    Finished,
    /// Its source is gone.
    Left,
}

/// One direction.
struct Direction<'a, T> {
    timer: &'a Timer<T>,
    idle_ms: Option<u64>,
    buffers: &'a Buffers,
    bytes: &'a Cell<u64>,
    /// Whose connection failed: where bytes come from, where they go to.
    faults: (Failure, Failure),
}

impl<S: Transport> Direction<'_, S> {
    /// Copies until the source ends, then tells the sink.
    async fn copy<T: Transport>(
        self,
        source: &mut Inlet<T>,
        buffer: &mut Vec<u8>,
        sink: &mut Outlet<T>,
    ) -> Result<Ended, Failure> {
        loop {
            let mut sent = 0;
            let length = buffer.len();
            while sent < length {
                sent += send(sink, buffer, sent).await.map_err(|_| self.faults.1)?;
                self.timer.arm(Timeout::Tunnel, self.idle_ms);
            }
            self.bytes.set(self.bytes.get() + length as u64);
            // A stream that fills its buffer gets a longer one, and one with little in it a short one. A capacity of 0 is that of a
            // receive in flight, which has the buffer.
            let was_full = length > 0 && length == buffer.capacity();
            buffer.clear();
            if was_full {
                self.buffers.grow(buffer, 2 * length);
            } else if length < buffer.capacity() / 8 {
                self.buffers.shrink(buffer);
            }
            let ended = match receive(source, buffer).await {
                Ok(1..) => None,
                Ok(0) => Some(Ended::Finished),
                Err(error) if has_left(&error) => Some(Ended::Left),
                Err(_) => return Err(self.faults.0),
            };
            if let Some(ended) = ended {
                finish(sink).await;
                return Ok(ended);
            }
            self.timer.arm(Timeout::Tunnel, self.idle_ms);
        }
    }
}
