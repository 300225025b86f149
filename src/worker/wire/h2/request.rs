//! The two ends of one stream to an upstream: the request is sent as frames, the response reads as HTTP/1.1.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::fault::{StreamFault, fault_of, gone};
use super::carrier::StreamPlace;
use super::mux::HeldStream;
use super::outgoing::{MessageStream, Outgoing};
use crate::encode::wire::H2Head;
use crate::failure::Failure;
use crate::limits::H2_USUAL_HEAD_BYTES;
use crate::proto::h2::client::NotOpened;
use crate::proto::h2::frame::ErrorCode;
use crate::proto::h2::handle::Handle;
use crate::proto::h2::stream::StreamEnd;
use crate::upstream::evidence::{Delivery, Peek};
use crate::worker::engine::{Receive, Transmit, make_room};

/// The end of a stream as an error of I/O.
fn broken(end: StreamEnd) -> io::Error {
    let failure = match end {
        StreamEnd::Unprocessed { is_graceful: true } => Failure::H2GoawayUnprocessed,
        StreamEnd::Unprocessed { is_graceful: false } => Failure::H2GoawayError,
        StreamEnd::Reset(ErrorCode::RefusedStream) => Failure::H2Refused,
        StreamEnd::Reset(code) => Failure::H2Reset(code.name()),
        StreamEnd::Broken(rule) => Failure::H2Broken(rule),
        StreamEnd::BadHead(fault) => fault.into(),
        StreamEnd::ConnectionOver | StreamEnd::Ours => return gone(),
    };
    io::Error::other(StreamFault(failure))
}

/// What both ends of a stream share.
#[derive(Debug)]
struct RequestState {
    /// The stream, once its head has left. It is given up before its place is.
    held: RefCell<Option<HeldStream>>,
    /// Why the head of the request could not be sent.
    fault: RefCell<Option<io::Error>>,
    place: StreamPlace,
}

impl RequestState {
    fn with<R>(&self, act: impl FnOnce(Handle<'_>) -> R) -> Option<R> {
        let held = self.held.borrow();
        let HeldStream { mux, key } = held.as_ref()?;
        Some(mux.with(|connection| act(connection.stream(*key))))
    }
}

/// Where the response comes in.
#[derive(Debug)]
pub(crate) struct RequestInlet(Rc<RequestState>);

/// Where the request goes out.
#[derive(Debug)]
pub(crate) struct RequestOutlet {
    shared: Rc<RequestState>,
    /// What is left to be sent.
    pub(in super::super) outgoing: Outgoing,
}

/// Both ends of a new stream.
pub(crate) fn ends(place: StreamPlace) -> (RequestInlet, RequestOutlet) {
    let shared = Rc::new(RequestState { held: RefCell::default(), fault: RefCell::default(), place });
    (RequestInlet(Rc::clone(&shared)), RequestOutlet { shared, outgoing: Outgoing::default() })
}

impl RequestInlet {
    /// Nothing came for too long: no further request goes over the connection, for nobody may be there.
    pub(crate) fn distrust(&self) {
        self.0.place.carrier().close();
    }
}

impl Receive for RequestInlet {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        make_room(inbox);
        let Some(read) = self.0.with(|mut stream| stream.poll_read(inbox, cx)) else {
            // Nothing of the request has left yet; whoever sends it is polled by the same task, before this.
            return self.0.fault.borrow_mut().take().map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)));
        };
        read.map_err(broken)
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        self.0.with(|mut stream| stream.read_at_once(inbox)).unwrap_or(0)
    }

    fn peek(&self) -> Peek {
        Peek::Quiet
    }

    fn delivery(&self) -> Option<Delivery> {
        None
    }
}

impl RequestOutlet {
    /// True where the head has left.
    pub(crate) fn has_begun(&self) -> bool {
        self.shared.held.borrow().is_some()
    }

    /// Tells whoever waits for the answer that none can come.
    fn fail(&self, error: io::Error) -> io::Error {
        if !self.has_begun() {
            let again = fault_of(&error).map_or_else(gone, |failure| io::Error::other(StreamFault(failure)));
            *self.shared.fault.borrow_mut() = Some(again);
        }
        error
    }
}

/// The sending half of a stream that its request opens.
struct Opening<'a>(&'a RequestState);

impl MessageStream for Opening<'_> {
    fn poll_begin(&mut self, head: &H2Head, is_last: bool, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mux = self.0.place.carrier().mux();
        // A usual head is taken by everybody. Of a larger one the upstream shall first have said whether it takes it: some end
        // the whole connection over it.
        if head.fields.size() > H2_USUAL_HEAD_BYTES && !mux.drive(|connection| connection.is_told(cx)) {
            return Poll::Pending;
        }
        let opened = mux.with(|connection| connection.open(&head.fields, is_last));
        let key = opened.map_err(|why| {
            io::Error::other(StreamFault(match why {
                // The connection was given up since it was found; nothing was sent.
                NotOpened::Full => Failure::H2GoawayUnprocessed,
                NotOpened::HeadTooLarge => Failure::UpstreamHeadLimit,
            }))
        })?;
        *self.0.held.borrow_mut() = Some(HeldStream { mux: Rc::clone(mux), key });
        Poll::Ready(Ok(()))
    }

    fn with<R>(&mut self, act: impl FnOnce(Handle<'_>) -> R) -> Option<R> {
        self.0.with(act)
    }

    fn fault(&self, end: StreamEnd) -> io::Error {
        broken(end)
    }
}

impl Transmit for RequestOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sent = self.outgoing.poll_send(&mut Opening(&self.shared), out, from, cx);
        sent.map_err(|error| self.fail(error))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_begun() {
            self.outgoing.finish(&mut Opening(&self.shared), cx);
        }
        Poll::Ready(())
    }

    fn reset(&mut self) {
        if let Some(held) = &*self.shared.held.borrow() {
            held.reset(ErrorCode::Cancel);
        }
    }
}
