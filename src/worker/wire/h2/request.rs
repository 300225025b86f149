//! The two ends of one stream to an upstream: the request is sent as frames, the response reads as HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};

use super::super::fault::{StreamFault, fault_of, gone};
use super::body::IncomingBody;
use super::carrier::StreamPlace;
use super::outgoing::{Outgoing, Stream};
use crate::encode::wire::H2Head;
use crate::failure::Failure;
use crate::proto::h2::to_h1::put_response;
use crate::upstream::evidence::{Delivery, Peek};
use crate::worker::engine::{Receive, Transmit, make_room};

/// The error of a stream as one of I/O.
fn broken(error: &h2::Error) -> io::Error {
    let failure = match error.reason() {
        // Below the last stream that it names it has looked at none.
        _ if error.is_go_away() && error.is_remote() => Failure::H2GoawayUnprocessed,
        Some(Reason::REFUSED_STREAM) if error.is_remote() => Failure::H2Refused,
        Some(reason) => Failure::H2Reset(reason_name(reason)),
        None => return gone(),
    };
    io::Error::other(StreamFault(failure))
}

const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_ERROR => "no_error",
        Reason::PROTOCOL_ERROR => "protocol_error",
        Reason::INTERNAL_ERROR => "internal_error",
        Reason::FLOW_CONTROL_ERROR => "flow_control_error",
        Reason::SETTINGS_TIMEOUT => "settings_timeout",
        Reason::STREAM_CLOSED => "stream_closed",
        Reason::FRAME_SIZE_ERROR => "frame_size_error",
        Reason::REFUSED_STREAM => "refused_stream",
        Reason::CANCEL => "cancel",
        Reason::COMPRESSION_ERROR => "compression_error",
        Reason::CONNECT_ERROR => "connect_error",
        Reason::ENHANCE_YOUR_CALM => "enhance_your_calm",
        Reason::INADEQUATE_SECURITY => "inadequate_security",
        Reason::HTTP_1_1_REQUIRED => "http_1_1_required",
        _ => "unknown",
    }
}

/// What both ends of a stream share.
struct RequestState {
    response: RefCell<Option<ResponseFuture>>,
    /// Why the head of the request could not be sent.
    fault: RefCell<Option<io::Error>>,
    is_head: Cell<bool>,
    place: StreamPlace,
}

/// Where the response comes in.
pub(crate) struct RequestInlet {
    shared: Rc<RequestState>,
    body: Option<IncomingBody>,
}

impl std::fmt::Debug for RequestInlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestInlet")
    }
}

/// Where the request goes out.
pub(crate) struct RequestOutlet {
    shared: Rc<RequestState>,
    /// What is left to be sent.
    pub(in super::super) outgoing: Outgoing,
    opening: Opening,
}

impl std::fmt::Debug for RequestOutlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestOutlet")
    }
}

/// The sending half of a stream that its request opens.
struct Opening {
    sender: SendRequest<Bytes>,
    stream: Option<SendStream<Bytes>>,
    shared: Rc<RequestState>,
}

/// Both ends of a new stream; `None` where its connection takes no further one.
pub(crate) fn ends(place: StreamPlace) -> Option<(RequestInlet, RequestOutlet)> {
    let sender = place.carrier().sender()?;
    let shared = Rc::new(RequestState {
        response: RefCell::default(),
        fault: RefCell::default(),
        is_head: Cell::new(false),
        place,
    });
    let inlet = RequestInlet { shared: Rc::clone(&shared), body: None };
    let opening = Opening { sender, stream: None, shared: Rc::clone(&shared) };
    Some((inlet, RequestOutlet { shared, outgoing: Outgoing::default(), opening }))
}

impl RequestInlet {
    /// Nothing came for too long: no further request goes over the connection, for nobody may be there.
    pub(crate) fn distrust(&self) {
        self.shared.place.carrier().distrust();
    }

    /// The next head, written to the end of the inbox.
    fn poll_head(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = inbox.len();
        let mut response = self.shared.response.borrow_mut();
        let Some(future) = response.as_mut() else {
            // Nothing of the request has left yet; whoever sends it is polled by the same task, before this.
            return self.shared.fault.borrow_mut().take().map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)));
        };
        let is_head = self.shared.is_head.get();
        if let Poll::Ready(Some(Ok(interim))) = future.poll_informational(cx) {
            put_response(inbox, &interim.into_parts().0, false, is_head);
            return Poll::Ready(Ok(inbox.len() - before));
        }
        let answered = ready!(Pin::new(future).poll(cx)).map_err(|error| broken(&error))?;
        let (head, body) = answered.into_parts();
        let carried = put_response(inbox, &head, body.is_end_stream(), is_head);
        self.body = Some(IncomingBody::new(body, carried));
        Poll::Ready(Ok(inbox.len() - before))
    }
}

impl Receive for RequestInlet {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        make_room(inbox);
        match &mut self.body {
            None => self.poll_head(inbox, cx),
            Some(body) => body.poll(inbox, cx).map_err(|error| broken(&error)),
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        // The next receive tells what is wrong.
        let Some(body) = self.body.as_mut().filter(|body| !body.is_ended) else { return 0 };
        body.take_at_once(inbox).unwrap_or(0)
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
    pub(crate) const fn has_begun(&self) -> bool {
        self.opening.stream.is_some()
    }

    /// Tells whoever waits for the answer that none can come.
    fn fail(&self, error: io::Error) -> io::Error {
        if self.opening.stream.is_none() {
            let again = fault_of(&error).map_or_else(gone, |failure| io::Error::other(StreamFault(failure)));
            *self.shared.fault.borrow_mut() = Some(again);
        }
        error
    }
}

impl Stream for Opening {
    fn poll_begin(&mut self, head: &mut Option<H2Head>, is_last: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = ready!(self.sender.poll_ready(cx)) {
            return Poll::Ready(Err(broken(&error)));
        }
        let Some(H2Head::Request(request)) = head.take() else {
            debug_assert!(false, "a stream to an upstream begins with a request");
            return Poll::Ready(Err(gone()));
        };
        self.shared.is_head.set(request.method() == http::Method::HEAD);
        let (response, stream) = self.sender.send_request(*request, is_last).map_err(|error| broken(&error))?;
        *self.shared.response.borrow_mut() = Some(response);
        self.stream = Some(stream);
        Poll::Ready(Ok(()))
    }

    fn begun(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.stream.as_mut()
    }

    fn fault(&self, error: &h2::Error) -> io::Error {
        broken(error)
    }
}

impl Transmit for RequestOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sent = ready!(self.outgoing.poll_send(&mut self.opening, out, from, cx));
        Poll::Ready(sent.map_err(|error| self.fail(error)))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.opening.stream.is_some() {
            self.outgoing.finish(&mut self.opening);
        }
        Poll::Ready(())
    }

    fn reset(&mut self) {
        if let Some(stream) = &mut self.opening.stream {
            stream.send_reset(Reason::CANCEL);
        }
    }
}
