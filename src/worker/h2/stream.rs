//! The two ends of one stream of a client: what comes reads as HTTP/1.1, what goes out is read as such and sent as frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::super::io::{Receive, Transmit, make_room};
use super::body::{Body, gone};
use super::frames::{Frames, Next, send_end};
use crate::proto::h2::from_h1::{Kind, Part, Unframer};
use crate::proto::h2::to_h1::Carried;
use crate::upstream::evidence::{Delivery, Peek};

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

/// Where the request's body comes in.
pub(in super::super) struct StreamInlet {
    body: Body,
    shared: Rc<Shared>,
}

impl std::fmt::Debug for StreamInlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamInlet")
    }
}

impl StreamInlet {
    /// Ready where the client reset the stream, or the connection is over.
    pub(in super::super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.shared.poll_reset(cx).map(|()| gone())
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
    let inlet = StreamInlet { body: Body::new(body, carried), shared: Rc::clone(&shared) };
    let unframer = Unframer::new(Kind::Response { is_head, is_tunnel: carried == Carried::Tunnel });
    let outlet = StreamOutlet { shared: Rc::clone(&shared), frames: Frames::new(unframer) };
    (inlet, outlet, shared)
}

impl Receive for StreamInlet {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.shared.is_reset.get() {
            return Poll::Ready(Err(gone()));
        }
        make_room(inbox);
        match ready!(self.body.poll(inbox, cx)) {
            Ok(bytes) if bytes > 0 => Poll::Ready(Ok(bytes)),
            // In a tunnel the client may end its side alone.
            Ok(_) if self.body.carried == Carried::Tunnel => Poll::Ready(Ok(0)),
            // What is left to hear of the client is that it is gone.
            Ok(_) => self.shared.poll_reset(cx).map(|()| Err(gone())),
            Err(_) => {
                self.shared.is_reset.set(true);
                Poll::Ready(Err(gone()))
            }
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        if self.body.is_ended || self.shared.is_reset.get() {
            return 0;
        }
        // The next receive tells what is wrong.
        self.body.take_at_once(inbox).unwrap_or_else(|_| {
            self.shared.is_reset.set(true);
            0
        })
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
    frames: Frames,
}

impl StreamOutlet {
    fn send_fields(&self, part: Part) -> Result<(), h2::Error> {
        let mut answer = self.shared.answer.borrow_mut();
        match (&mut *answer, part) {
            (Answer::Waiting(respond), Part::Interim(head)) => respond.send_informational(head),
            (Answer::Waiting(respond), Part::Response(head, is_last)) => {
                let stream = respond.send_response(head, is_last)?;
                *answer = Answer::Begun { stream, is_ended: is_last };
                Ok(())
            }
            (Answer::Begun { stream, is_ended }, part) => {
                *is_ended = true;
                send_end(stream, part)
            }
            (Answer::Waiting(_), _) => Ok(()),
        }
    }
}

impl Transmit for StreamOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut at = from;
        while at < out.len() {
            match self.frames.next(&out[at..])? {
                Next::Framing(bytes) => at += bytes,
                Next::Fields(bytes, part) => {
                    self.send_fields(*part).map_err(|_| gone())?;
                    at += bytes;
                }
                Next::Data => {
                    let mut answer = self.shared.answer.borrow_mut();
                    let Answer::Begun { stream, is_ended } = &mut *answer else { return Poll::Ready(Err(gone())) };
                    match self.frames.poll_data(stream, &out[at..], is_ended, cx) {
                        Poll::Ready(bytes) => at += bytes?,
                        Poll::Pending if at > from => break,
                        // A client that waits for nothing any more opens no window either.
                        Poll::Pending => return stream.poll_reset(cx).map(|_| Err(gone())),
                    }
                }
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
