//! The two ends of one stream of a client: the request reads as HTTP/1.1, the answer is sent as frames.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::super::fault::{StreamFault, gone, left};
use super::mux::{HeldStream, Mux};
use super::outgoing::{MessageStream, Outgoing};
use crate::encode::wire::H2Head;
use crate::failure::Failure;
use crate::proto::h2::frame::ErrorCode;
use crate::proto::h2::handle::Handle;
use crate::proto::h2::message::Carried;
use crate::proto::h2::stream::{StreamEnd, StreamKey};
use crate::upstream::evidence::{Delivery, Peek};
use crate::worker::engine::{Receive, Transmit, make_room};

/// The end of a stream as an error of I/O: a client that broke a rule is told apart from one that left.
fn broken(end: StreamEnd) -> io::Error {
    match end {
        StreamEnd::Broken(rule) => io::Error::other(StreamFault(Failure::ClientBadRequest(rule))),
        StreamEnd::Reset(ErrorCode::Cancel | ErrorCode::NoError) => left(),
        StreamEnd::Reset(_)
        | StreamEnd::Unprocessed { .. }
        | StreamEnd::BadHead(_)
        | StreamEnd::ConnectionOver
        | StreamEnd::Ours => gone(),
    }
}

/// What both ends of a stream share.
#[derive(Debug)]
struct StreamState {
    held: HeldStream,
    carried: Carried,
    /// The answer has begun.
    has_begun: Cell<bool>,
}

/// Where the request's body comes in.
#[derive(Debug)]
pub(crate) struct StreamInlet(Rc<StreamState>);

/// Where the answer goes out.
#[derive(Debug)]
pub(crate) struct StreamOutlet {
    shared: Rc<StreamState>,
    /// What is left to be sent.
    pub(in super::super) outgoing: Outgoing,
}

/// Both ends of a stream, whose request's body comes as its head says. What is not at its end when both are dropped is reset.
pub(crate) fn ends(mux: &Rc<Mux>, key: StreamKey, carried: Carried) -> (StreamInlet, StreamOutlet) {
    let held = HeldStream { mux: Rc::clone(mux), key };
    let shared = Rc::new(StreamState { held, carried, has_begun: Cell::new(false) });
    (StreamInlet(Rc::clone(&shared)), StreamOutlet { shared, outgoing: Outgoing::default() })
}

impl StreamState {
    fn with<R>(&self, act: impl FnOnce(Handle<'_>) -> R) -> R {
        self.held.mux.with(|connection| act(connection.stream(self.held.key)))
    }
}

impl StreamInlet {
    /// Ready where the client reset the stream, or the connection is over.
    pub(crate) fn poll_reset(&self, cx: &Context<'_>) -> Poll<io::Error> {
        self.0.with(|mut stream| stream.poll_end(cx)).map(broken)
    }
}

impl Receive for StreamInlet {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        make_room(inbox);
        match ready!(self.0.with(|mut stream| stream.poll_read(inbox, cx))) {
            Ok(bytes) if bytes > 0 => Poll::Ready(Ok(bytes)),
            // In a tunnel the client may end its side alone.
            Ok(_) if self.0.carried == Carried::Tunnel => Poll::Ready(Ok(0)),
            // What is left to hear of the client is that it is gone.
            Ok(_) => self.poll_reset(cx).map(Err),
            Err(end) => Poll::Ready(Err(broken(end))),
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        self.0.with(|mut stream| stream.read_at_once(inbox))
    }

    fn peek(&self) -> Peek {
        Peek::Quiet
    }

    fn delivery(&self) -> Option<Delivery> {
        None
    }
}

/// The answering half of a stream.
struct Answering<'a>(&'a StreamState);

impl MessageStream for Answering<'_> {
    fn poll_begin(&mut self, head: &H2Head, is_last: bool, _: &Context<'_>) -> Poll<io::Result<()>> {
        let put = self.0.with(|mut stream| stream.put_head(&head.fields, head.is_interim, is_last));
        self.0.has_begun.set(self.0.has_begun.get() || !head.is_interim);
        Poll::Ready(put.map_err(broken))
    }

    fn with<R>(&mut self, act: impl FnOnce(Handle<'_>) -> R) -> Option<R> {
        self.0.has_begun.get().then(|| self.0.with(act))
    }

    fn fault(&self, end: StreamEnd) -> io::Error {
        broken(end)
    }
}

impl StreamOutlet {
    /// True where the answer has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.shared.has_begun.get()
    }
}

impl Transmit for StreamOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.outgoing.poll_send(&mut Answering(&self.shared), out, from, cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.has_begun.get() {
            self.outgoing.finish(&mut Answering(&self.shared), cx);
        }
        Poll::Ready(())
    }

    fn reset(&mut self) {
        self.shared.held.reset(ErrorCode::Internal);
    }
}
