//! The two ends of one stream to an upstream: the request is read as HTTP/1.1 and sent as frames, the response is written
//! as HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};

use super::super::ends::{Inlet, Outlet, StreamFault, fault_of};
use super::super::io::{Receive, Transmit, Transport, make_room};
use super::body::{Body, gone};
use super::frames::{Frames, Next, send_end};
use super::upstream::Place;
use crate::failure::Failure;
use crate::proto::h2::from_h1::{Kind, Part, Unframer};
use crate::proto::h2::to_h1::put_response;
use crate::upstream::evidence::{Delivery, Peek};

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
struct Shared {
    response: RefCell<Option<ResponseFuture>>,
    /// Why the head of the request could not be sent.
    fault: RefCell<Option<io::Error>>,
    is_head: Cell<bool>,
    place: Place,
}

/// Where the response comes in.
pub(in super::super) struct RequestInlet {
    shared: Rc<Shared>,
    body: Option<Body>,
}

impl std::fmt::Debug for RequestInlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestInlet")
    }
}

/// Where the request goes out.
pub(in super::super) struct RequestOutlet {
    shared: Rc<Shared>,
    sender: SendRequest<Bytes>,
    frames: Frames,
    stream: Option<SendStream<Bytes>>,
    is_ended: bool,
}

impl std::fmt::Debug for RequestOutlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestOutlet")
    }
}

/// Both ends of a new stream.
pub(in super::super) fn ends<T: Transport>(place: Place) -> (Inlet<T>, Outlet<T>) {
    let sender = place.connection().sender.clone();
    let frames = Frames::new(Unframer::new(Kind::Request(place.connection().scheme)));
    let shared =
        Rc::new(Shared { response: RefCell::default(), fault: RefCell::default(), is_head: Cell::new(false), place });
    let inlet = RequestInlet { shared: Rc::clone(&shared), body: None };
    let outlet = RequestOutlet { shared, sender, frames, stream: None, is_ended: false };
    (Inlet::Request(Box::new(inlet)), Outlet::Request(Box::new(outlet)))
}

impl RequestInlet {
    /// Nothing came for too long: no further request goes over the connection, for nobody may be there.
    pub(in super::super) fn distrust(&self) {
        self.shared.place.connection().distrust();
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
        self.body = Some(Body::new(body, carried));
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
    /// Sends a first part of `out` and says how much that was.
    fn poll_part(&mut self, out: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.frames.next(out)? {
            Next::Framing(bytes) => Poll::Ready(Ok(bytes)),
            Next::Fields(bytes, part) => {
                Poll::Ready(self.send_fields(*part).map(|()| bytes).map_err(|error| broken(&error)))
            }
            Next::Data => match &mut self.stream {
                Some(stream) => self.frames.poll_data(stream, out, &mut self.is_ended, cx),
                None => Poll::Ready(Err(gone())),
            },
        }
    }

    /// Tells whoever waits for the answer that none can come.
    fn fail(&self, error: io::Error) -> io::Error {
        if self.stream.is_none() {
            let again = fault_of(&error).map_or_else(gone, |failure| io::Error::other(StreamFault(failure)));
            *self.shared.fault.borrow_mut() = Some(again);
        }
        error
    }

    fn send_fields(&mut self, part: Part) -> Result<(), h2::Error> {
        match part {
            Part::Request(request, is_last) => {
                self.shared.is_head.set(request.method() == http::Method::HEAD);
                let (response, stream) = self.sender.send_request(request, is_last)?;
                *self.shared.response.borrow_mut() = Some(response);
                self.stream = Some(stream);
                self.is_ended = is_last;
                Ok(())
            }
            part => {
                self.is_ended = true;
                self.stream.as_mut().map_or(Ok(()), |stream| send_end(stream, part))
            }
        }
    }
}

impl Transmit for RequestOutlet {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.stream.is_none()
            && let Err(error) = ready!(self.sender.poll_ready(cx))
        {
            return Poll::Ready(Err(self.fail(broken(&error))));
        }
        let mut at = from;
        while at < out.len() {
            match self.poll_part(&out[at..], cx) {
                Poll::Ready(Ok(bytes)) => at += bytes,
                // What was sent before is told first: who hears of the error must not believe that nothing was.
                Poll::Ready(Err(_)) | Poll::Pending if at > from => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Poll::Pending => {
                    let Some(stream) = &mut self.stream else { return Poll::Pending };
                    return stream.poll_reset(cx).map(|_| Err(gone()));
                }
            }
        }
        Poll::Ready(Ok(at - from))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.is_ended) {
            self.is_ended = stream.send_data(Bytes::new(), true).is_ok();
        }
        Poll::Ready(())
    }

    fn reset(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(Reason::CANCEL);
        }
    }
}
