//! The two ends of one stream of a client: the request reads as HTTP/1.1, the answer is sent as frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::super::fault::gone;
use super::body::IncomingBody;
use super::outgoing::{Outgoing, Stream};
use crate::encode::wire::H2Head;
use crate::proto::h2::to_h1::Carried;
use crate::upstream::evidence::{Delivery, Peek};
use crate::worker::engine::{Receive, Transmit, make_room};

/// The answering half of a stream, which both ends ask whether the client still listens.
enum AnswerState {
    /// Nothing but interim heads went out.
    Waiting(SendResponse<Bytes>),
    /// The head did, or all of it.
    Begun { stream: SendStream<Bytes>, is_ended: bool },
}

impl std::fmt::Debug for AnswerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerState")
    }
}

impl AnswerState {
    fn note_end(&mut self, is_over: bool) {
        if let Self::Begun { is_ended, .. } = self {
            *is_ended |= is_over;
        }
    }
}

/// What both ends of a stream share.
#[derive(Debug)]
pub(crate) struct StreamState {
    answer: RefCell<AnswerState>,
    /// The client reset the stream.
    pub is_reset: Cell<bool>,
}

impl StreamState {
    /// True where the answer has begun.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(*self.answer.borrow(), AnswerState::Waiting(_))
    }

    /// Ready where the client reset the stream, or the connection is over.
    fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = match &mut *self.answer.borrow_mut() {
            AnswerState::Waiting(respond) => respond.poll_reset(cx).map(drop),
            AnswerState::Begun { stream, .. } => stream.poll_reset(cx).map(drop),
        };
        if polled.is_ready() {
            self.is_reset.set(true);
        }
        polled
    }

    fn reset(&self, reason: Reason) {
        match &mut *self.answer.borrow_mut() {
            AnswerState::Waiting(respond) => respond.send_reset(reason),
            AnswerState::Begun { stream, is_ended: false } => stream.send_reset(reason),
            AnswerState::Begun { .. } => {}
        }
    }

    /// Ends a stream whose exchange is over: an answer that is not whole must not look so.
    pub(crate) fn close(&self) {
        self.reset(Reason::INTERNAL_ERROR);
    }
}

/// Where the request's body comes in.
pub(crate) struct StreamInlet {
    body: IncomingBody,
    shared: Rc<StreamState>,
}

impl std::fmt::Debug for StreamInlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamInlet")
    }
}

impl StreamInlet {
    /// Ready where the client reset the stream, or the connection is over.
    pub(crate) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.shared.poll_reset(cx).map(|()| gone())
    }
}

/// Both ends of a stream whose request is being read as HTTP/1.1.
pub(crate) fn ends(
    body: RecvStream,
    respond: SendResponse<Bytes>,
    carried: Carried,
) -> (StreamInlet, StreamOutlet, Rc<StreamState>) {
    let shared =
        Rc::new(StreamState { answer: RefCell::new(AnswerState::Waiting(respond)), is_reset: Cell::new(false) });
    let inlet = StreamInlet { body: IncomingBody::new(body, carried), shared: Rc::clone(&shared) };
    let outlet = StreamOutlet { shared: Rc::clone(&shared), outgoing: Outgoing::default() };
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
pub(crate) struct StreamOutlet {
    shared: Rc<StreamState>,
    /// What is left to be sent.
    pub(in super::super) outgoing: Outgoing,
}

impl StreamOutlet {
    /// True where the answer has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.shared.has_begun()
    }
}

impl Stream for AnswerState {
    fn poll_begin(&mut self, head: &mut Option<H2Head>, is_last: bool, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begun = match (&mut *self, head.take()) {
            (Self::Waiting(respond), Some(H2Head::Interim(head))) => respond.send_informational(*head),
            (Self::Waiting(respond), Some(H2Head::Response(head))) => {
                respond.send_response(*head, is_last).map(|stream| *self = Self::Begun { stream, is_ended: is_last })
            }
            (Self::Waiting(_), Some(H2Head::Request(_)) | None) | (Self::Begun { .. }, _) => {
                debug_assert!(false, "an answer begins once, by a response");
                Ok(())
            }
        };
        Poll::Ready(begun.map_err(|_| gone()))
    }

    fn begun(&mut self) -> Option<&mut SendStream<Bytes>> {
        match self {
            Self::Waiting(_) => None,
            Self::Begun { stream, .. } => Some(stream),
        }
    }

    fn fault(&self, _: &h2::Error) -> io::Error {
        gone()
    }
}

impl Transmit for StreamOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut answer = self.shared.answer.borrow_mut();
        let polled = self.outgoing.poll_send(&mut *answer, out, from, cx);
        answer.note_end(self.outgoing.is_ended());
        polled
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        let mut answer = self.shared.answer.borrow_mut();
        if answer.begun().is_some() {
            self.outgoing.finish(&mut *answer);
            answer.note_end(true);
        }
        Poll::Ready(())
    }

    fn reset(&mut self) {
        self.shared.reset(Reason::INTERNAL_ERROR);
    }
}
