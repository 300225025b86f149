//! One stream as the connection knows it: what has come over it and was not taken, how it ends, and who waits for what.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::frame::ErrorCode;
use super::message::Carried;
use super::window::{StreamWindow, WindowBudget};
use crate::limits::BODY_BUFFER_BYTES;
use crate::proto::h1::encode::put_chunk;
use crate::proto::h1::fault::ResponseFault;

/// Room that a chunk's framing needs: 16 digits at most and two line ends.
const CHUNK_FRAMING_BYTES: usize = 20;

/// How a stream was over before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The peer reset it.
    Reset(ErrorCode),
    /// The peer went away and has not looked at it (RFC 9113 §6.8). `is_graceful` where it did so without an error: then it
    /// was no request that made it do so.
    Unprocessed {
        /// NO_ERROR.
        is_graceful: bool,
    },
    /// The peer broke a rule of streams: the name of the rule.
    Broken(&'static str),
    /// The head of the peer's response is malformed.
    BadHead(ResponseFault),
    /// The connection is over.
    ConnectionOver,
    /// We reset it.
    Ours,
}

/// Which stream, for as long as somebody holds this: its place, and its number to tell it from a later one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey {
    pub(super) place: usize,
    pub(super) id: u32,
}

/// What has come of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A client's request whose body may come to nothing: it is held until that is known.
    Held,
    /// The final head is still to come.
    Head,
    /// The body is coming.
    Body,
    /// All has come.
    Ended,
}

/// How much of our message has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentPart {
    /// Nothing but interim heads.
    Nothing,
    /// Its head.
    Head,
    /// All of it.
    All,
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    pub(super) id: u32,
    pub(super) incoming: Incoming,
    /// Heads as text, not taken.
    pub(super) head: Vec<u8>,
    /// Bytes of the head that it began with, as they are counted.
    pub(super) head_bytes: usize,
    /// Bytes of the body, of which so many were taken.
    body: Vec<u8>,
    read: usize,
    /// Taken, and not given back to the sender's window: what was taken has gone on only when more is asked for.
    taken: usize,
    /// Lines of trailers.
    pub(super) trailers: Vec<u8>,
    pub(super) carried: Carried,
    /// The end was told to whoever reads.
    is_end_told: bool,
    /// What the head says is still to come.
    pub(super) length_left: Option<u64>,
    /// The request is HEAD, whose answer has no body.
    pub(super) is_head: bool,
    pub(super) window: StreamWindow,
    /// What the peer lets us send.
    pub(super) send_window: i64,
    /// How much of our message has left.
    pub(super) outgoing: SentPart,
    pub(super) end: Option<StreamEnd>,
    /// The request is malformed: its answer is followed by a reset (RFC 9113 §8.1.1).
    pub(super) is_refused: bool,
    /// When it was opened, in milliseconds.
    pub(super) opened_ms: u64,
    /// Nobody reads any more: what still comes is thrown away, until then in milliseconds.
    pub(super) drains_until_ms: Option<u64>,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl Stream {
    pub(super) fn new(id: u32, send_window: i64, budget: &Rc<WindowBudget>, now_ms: u64) -> Self {
        Self {
            id,
            incoming: Incoming::Head,
            head: Vec::new(),
            head_bytes: 0,
            body: Vec::new(),
            read: 0,
            taken: 0,
            trailers: Vec::new(),
            carried: Carried::Plain,
            is_end_told: false,
            length_left: None,
            is_head: false,
            window: StreamWindow::new(Rc::clone(budget)),
            send_window,
            outgoing: SentPart::Nothing,
            end: None,
            is_refused: false,
            opened_ms: now_ms,
            drains_until_ms: None,
            receiver: None,
            sender: None,
        }
    }

    pub(super) fn wake_receiver(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_sender(&mut self) {
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
    }

    pub(super) fn await_receive(&mut self, cx: &Context<'_>) {
        keep(&mut self.receiver, cx);
    }

    pub(super) fn await_send(&mut self, cx: &Context<'_>) {
        keep(&mut self.sender, cx);
    }

    /// It is over before its time.
    pub(super) fn end(&mut self, end: StreamEnd) {
        if self.end.is_none() {
            self.end = Some(end);
        }
        self.wake_receiver();
        self.wake_sender();
    }

    /// Bytes of the body came.
    pub(super) fn put_body(&mut self, data: &[u8]) {
        // A reader that is always behind never empties the buffer: what it has read makes room in it, before it would grow.
        if self.body.len() + data.len() > self.body.capacity() && self.read > 0 {
            self.body.drain(..self.read);
            self.read = 0;
        }
        if self.body.len() + data.len() > self.body.capacity() {
            // By a quarter: doubled, a thousand readers that are behind would hold twice their windows.
            self.body.reserve_exact(data.len() + self.body.len() / 4);
        }
        self.body.extend_from_slice(data);
    }

    /// What was taken before has gone on by now: only so the slowness of one side reaches the other. Returns how much that is.
    pub(super) const fn take_gone_on(&mut self) -> usize {
        let gone_on = self.taken;
        self.taken = 0;
        gone_on
    }

    /// Throws away what has come and nobody will read; how many bytes of the windows that frees.
    pub(super) fn forget_body(&mut self) -> usize {
        let held = self.window.held();
        (self.body, self.read, self.taken) = (Vec::new(), 0, 0);
        self.window.release(held, 0);
        held
    }

    /// Moves what has come to the end of `inbox`, as far as it has room; how many bytes that were, and 0 at the end.
    pub(super) fn poll_read(&mut self, inbox: &mut Vec<u8>, cx: &Context<'_>) -> Poll<Result<usize, StreamEnd>> {
        if let Some(bytes) = self.read_at_once(inbox) {
            return Poll::Ready(Ok(bytes));
        }
        if self.incoming == Incoming::Ended {
            return Poll::Ready(Ok(0));
        }
        if let Some(end) = self.end {
            return Poll::Ready(Err(end));
        }
        self.await_receive(cx);
        Poll::Pending
    }

    /// [`Self::poll_read`] without waiting; `None` where nothing has come.
    pub(super) fn read_at_once(&mut self, inbox: &mut Vec<u8>) -> Option<usize> {
        let before = inbox.len();
        if !self.head.is_empty() {
            inbox.append(&mut self.head);
            self.head = Vec::new();
            return Some(inbox.len() - before);
        }
        let data = &self.body[self.read..];
        if !data.is_empty() {
            let room = inbox.capacity() - before;
            let part = match self.carried {
                Carried::Chunked => data.len().min(room.saturating_sub(CHUNK_FRAMING_BYTES).max(1)),
                Carried::Plain | Carried::Tunnel => data.len().min(room.max(1)),
            };
            match self.carried {
                Carried::Chunked => put_chunk(inbox, &data[..part]),
                Carried::Plain | Carried::Tunnel => inbox.extend_from_slice(&data[..part]),
            }
            self.read += part;
            self.taken += part;
            if self.read == self.body.len() {
                self.body.clear();
                self.body.shrink_to(BODY_BUFFER_BYTES);
                self.read = 0;
            }
            // The end goes with the last part.
            self.put_end(inbox);
            return Some(inbox.len() - before);
        }
        self.put_end(inbox);
        (inbox.len() > before).then(|| inbox.len() - before)
    }

    /// Writes the end of a body in chunks behind its last byte.
    fn put_end(&mut self, inbox: &mut Vec<u8>) {
        let is_due = self.incoming == Incoming::Ended && self.read == self.body.len() && !self.is_end_told;
        if is_due && self.carried == Carried::Chunked {
            self.is_end_told = true;
            inbox.extend_from_slice(b"0\r\n");
            inbox.append(&mut self.trailers);
            inbox.extend_from_slice(b"\r\n");
        }
    }
}

fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) => known.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_always_behind_holds_no_more_than_what_waits() {
        let mut stream = Stream::new(1, 0, &Rc::default(), 0);
        stream.incoming = Incoming::Body;
        stream.carried = Carried::Plain;
        let cx = Context::from_waker(Waker::noop());
        let (mut next, mut read) = (0_u32, 0_u32);
        for _ in 0..5_000 {
            let data: Vec<u8> = (0..1_000).map(|at| ((next + at) % 251).to_le_bytes()[0]).collect();
            stream.put_body(&data);
            next += 1_000;
            // It reads as much as comes, and leaves the first 20,000 bytes waiting.
            let mut inbox = Vec::with_capacity(if next > 20_000 { 1_000 } else { 1 });
            let Poll::Ready(Ok(bytes)) = stream.poll_read(&mut inbox, &cx) else { panic!("there is something") };
            for byte in &inbox[..bytes] {
                assert_eq!(u32::from(*byte), read % 251);
                read += 1;
            }
        }
        assert!(stream.body.capacity() < 100_000, "{}", stream.body.capacity());
    }
}
