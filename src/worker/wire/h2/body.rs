//! The body of a stream on its way in, written as HTTP/1.1 has it: as it is, or in chunks with trailers behind them.

use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use h2::RecvStream;

use crate::proto::h1::encode::put_chunk;
use crate::proto::h2::to_h1::{Carried, put_trailers};

/// Room that a chunk's framing needs: 16 digits at most and two line ends.
const CHUNK_FRAMING_BYTES: usize = 20;

/// A body.
pub(super) struct IncomingBody {
    stream: RecvStream,
    pub carried: Carried,
    /// Received and not taken.
    data: Bytes,
    /// Taken, and not given back to the sender's window.
    taken: usize,
    pub is_ended: bool,
}

impl IncomingBody {
    pub(super) fn new(stream: RecvStream, carried: Carried) -> Self {
        let is_ended = stream.is_end_stream();
        Self { stream, carried, data: Bytes::new(), taken: 0, is_ended }
    }

    /// Moves bytes to the end of `inbox`, which has room; 0 once the body has ended.
    pub(super) fn poll(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
        // What was taken before has gone on by now: only so the slowness of one side reaches the other.
        if self.taken > 0 {
            let _ = self.stream.flow_control().release_capacity(std::mem::take(&mut self.taken));
        }
        while !self.is_ended {
            if !self.data.is_empty() {
                return Poll::Ready(Ok(self.take(inbox)));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(data) => self.data = data?,
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx))?;
                    self.is_ended = true;
                    if self.carried == Carried::Chunked {
                        let before = inbox.len();
                        put_trailers(inbox, trailers.as_ref());
                        return Poll::Ready(Ok(inbox.len() - before));
                    }
                }
            }
        }
        Poll::Ready(Ok(0))
    }

    /// What has come already, without waiting: nobody is woken for more, so a [`Self::poll`] must follow.
    pub(super) fn take_at_once(&mut self, inbox: &mut Vec<u8>) -> Result<usize, h2::Error> {
        match self.poll(inbox, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken,
            Poll::Pending => Ok(0),
        }
    }

    /// Moves what the inbox has room for.
    fn take(&mut self, inbox: &mut Vec<u8>) -> usize {
        let before = inbox.len();
        let room = inbox.capacity() - before;
        let part = match self.carried {
            Carried::Chunked => self.data.len().min(room.saturating_sub(CHUNK_FRAMING_BYTES).max(1)),
            Carried::Plain | Carried::Tunnel => self.data.len().min(room),
        };
        match self.carried {
            Carried::Chunked => put_chunk(inbox, &self.data[..part]),
            Carried::Plain | Carried::Tunnel => inbox.extend_from_slice(&self.data[..part]),
        }
        self.data.advance(part);
        self.taken += part;
        inbox.len() - before
    }
}
