//! The two ends of one stream: what comes reads as HTTP/1.1, what goes out is read as such and sent as frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::super::io::{Receive, Transmit, make_room};
use crate::proto::h1::encode::put_chunk;
use crate::proto::h2::downgrade::{Carried, put_trailers};
use crate::proto::h2::unframe::{Part, Unframer};
use crate::upstream::evidence::{Delivery, Peek};

/// Room that a chunk's framing needs: 16 digits at most and two line ends.
const CHUNK_FRAMING_BYTES: usize = 20;
/// What follows the last chunk's data where there are no trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// The answering half of a stream, which both ends ask whether the client still listens.
enum Answer {
    /// Nothing but interim heads went out.
    Waiting(SendResponse<Bytes>),
    /// The head did, or all of it.
    Begun { stream: SendStream<Bytes>, is_ended: bool },
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// What both ends of a stream share.
#[derive(Debug)]
pub(super) struct Shared {
    answer: RefCell<Answer>,
    /// The client reset the stream.
    pub is_reset: Cell<bool>,
}

impl Shared {
    /// True where the answer has begun.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(*self.answer.borrow(), Answer::Waiting(_))
    }

    /// Ready where the client reset the stream, or the connection is over.
    fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = match &mut *self.answer.borrow_mut() {
            Answer::Waiting(respond) => respond.poll_reset(cx).map(drop),
            Answer::Begun { stream, .. } => stream.poll_reset(cx).map(drop),
        };
        if polled.is_ready() {
            self.is_reset.set(true);
        }
        polled
    }

    fn reset(&self, reason: Reason) {
        match &mut *self.answer.borrow_mut() {
            Answer::Waiting(respond) => respond.send_reset(reason),
            Answer::Begun { stream, is_ended: false } => stream.send_reset(reason),
            Answer::Begun { .. } => {}
        }
    }

    /// Ends a stream whose exchange is over: an answer that is not whole must not look so.
    pub(super) fn close(&self) {
        self.reset(Reason::INTERNAL_ERROR);
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Where the request's body comes in.
pub(in super::super) struct StreamInlet {
    body: RecvStream,
    shared: Rc<Shared>,
    carried: Carried,
    /// Received and not taken.
    data: Bytes,
    /// Taken, and not given back to the client's window.
    taken: usize,
    is_ended: bool,
}

impl std::fmt::Debug for StreamInlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamInlet")
    }
}

/// Both ends of a stream whose request is being read as HTTP/1.1.
pub(super) fn ends(
    body: RecvStream,
    respond: SendResponse<Bytes>,
    carried: Carried,
    is_head: bool,
) -> (StreamInlet, StreamOutlet, Rc<Shared>) {
    let shared = Rc::new(Shared { answer: RefCell::new(Answer::Waiting(respond)), is_reset: Cell::new(false) });
    let is_ended = body.is_end_stream();
    let inlet = StreamInlet { body, shared: Rc::clone(&shared), carried, data: Bytes::new(), taken: 0, is_ended };
    let unframer = Unframer::new(is_head, carried == Carried::Tunnel);
    let outlet = StreamOutlet { shared: Rc::clone(&shared), unframer, data_left: 0, is_last: false };
    (inlet, outlet, shared)
}

impl StreamInlet {
    /// Moves what the inbox has room for.
    fn take(&mut self, inbox: &mut Vec<u8>) -> usize {
        let before = inbox.len();
        let room = inbox.capacity() - before;
        let part = if self.carried == Carried::Chunked {
            let part = self.data.len().min(room.saturating_sub(CHUNK_FRAMING_BYTES).max(1));
            put_chunk(inbox, &self.data[..part]);
            part
        } else {
            let part = self.data.len().min(room);
            inbox.extend_from_slice(&self.data[..part]);
            part
        };
        self.data.advance(part);
        self.taken += part;
        inbox.len() - before
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>, inbox: &mut Vec<u8>) -> usize {
        let before = inbox.len();
        self.is_ended = true;
        if self.carried == Carried::Chunked {
            put_trailers(inbox, trailers);
        }
        inbox.len() - before
    }
}

impl Receive for StreamInlet {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.shared.is_reset.get() {
            return Poll::Ready(Err(gone()));
        }
        make_room(inbox);
        // What was taken before has gone on by now: only so the upstream's slowness reaches the client.
        if self.taken > 0 {
            let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.taken));
        }
        loop {
            if self.is_ended {
                // In a tunnel the client may end its side alone.
                if self.carried == Carried::Tunnel {
                    return Poll::Ready(Ok(0));
                }
                return self.shared.poll_reset(cx).map(|()| Err(gone()));
            }
            if !self.data.is_empty() {
                return Poll::Ready(Ok(self.take(inbox)));
            }
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => self.data = data,
                Some(Err(_)) => {
                    self.shared.is_reset.set(true);
                    return Poll::Ready(Err(gone()));
                }
                None => {
                    let trailers = ready!(self.body.poll_trailers(cx)).map_err(|_| gone())?;
                    let bytes = self.end(trailers.as_ref(), inbox);
                    if bytes > 0 {
                        return Poll::Ready(Ok(bytes));
                    }
                }
            }
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        if self.is_ended {
            return 0;
        }
        // The next receive registers whom to wake.
        match self.poll_receive(inbox, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(bytes)) => bytes,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        }
    }

    fn peek(&self) -> Peek {
        Peek::Quiet
    }

    fn delivery(&self) -> Option<Delivery> {
        None
    }
}

/// Where the answer goes out.
#[derive(Debug)]
pub(in super::super) struct StreamOutlet {
    shared: Rc<Shared>,
    unframer: Unframer,
    /// Bytes of body at the start of what is sent next, and whether they are the last.
    data_left: usize,
    is_last: bool,
}

impl StreamOutlet {
    /// Sends a first part of `out` as frames and says how much that was.
    fn poll_part(&mut self, out: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.data_left > 0 {
            return self.poll_data(out, cx);
        }
        let (taken, part) = self.unframer.next(out).map_err(|_| io::ErrorKind::InvalidData)?;
        match part {
            Some(Part::Data(length, is_last)) => {
                (self.data_left, self.is_last) = (length, is_last);
                if taken > 0 { Poll::Ready(Ok(taken)) } else { self.poll_data(out, cx) }
            }
            Some(part) => {
                self.send_fields(part).map_err(|_| gone())?;
                Poll::Ready(Ok(taken))
            }
            None => Poll::Ready(Ok(taken)),
        }
    }

    fn send_fields(&self, part: Part) -> Result<(), h2::Error> {
        let mut answer = self.shared.answer.borrow_mut();
        match (&mut *answer, part) {
            (Answer::Waiting(respond), Part::Interim(head)) => respond.send_informational(head),
            (Answer::Waiting(respond), Part::Head(head, is_last)) => {
                let stream = respond.send_response(head, is_last)?;
                *answer = Answer::Begun { stream, is_ended: is_last };
                Ok(())
            }
            (Answer::Begun { stream, is_ended }, Part::Trailers(trailers)) => {
                *is_ended = true;
                stream.send_trailers(trailers)
            }
            (Answer::Begun { stream, is_ended }, Part::End) => {
                *is_ended = true;
                stream.send_data(Bytes::new(), true)
            }
            _ => Ok(()),
        }
    }

    fn poll_data(&mut self, out: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wanted = self.data_left.min(out.len());
        let mut answer = self.shared.answer.borrow_mut();
        let Answer::Begun { stream, is_ended } = &mut *answer else { return Poll::Ready(Err(gone())) };
        stream.reserve_capacity(wanted);
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(gone())),
            }
        }
        let length = wanted.min(stream.capacity());
        let is_whole = length == self.data_left;
        // A chunked body's end is seen where it is here already: it then costs no frame of its own.
        let is_last_chunk = is_whole && !self.is_last && out[length..] == *LAST_CHUNK && !self.unframer.is_tunnel();
        let is_last = is_whole && self.is_last || is_last_chunk;
        stream.send_data(Bytes::copy_from_slice(&out[..length]), is_last).map_err(|_| gone())?;
        self.data_left -= length;
        *is_ended = is_last;
        if is_last_chunk {
            return Poll::Ready(Ok(out.len()));
        }
        Poll::Ready(Ok(length))
    }
}

impl Transmit for StreamOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut at = from;
        while at < out.len() {
            match self.poll_part(&out[at..], cx) {
                Poll::Ready(Ok(bytes)) => at += bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if at > from => break,
                // A client that waits for nothing any more opens no window either.
                Poll::Pending => return self.shared.poll_reset(cx).map(|()| Err(gone())),
            }
        }
        Poll::Ready(Ok(at - from))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if let Answer::Begun { stream, is_ended } = &mut *self.shared.answer.borrow_mut()
            && !*is_ended
        {
            *is_ended = stream.send_data(Bytes::new(), true).is_ok();
        }
        Poll::Ready(())
    }

    fn reset(&mut self) {
        self.shared.reset(Reason::INTERNAL_ERROR);
    }
}
