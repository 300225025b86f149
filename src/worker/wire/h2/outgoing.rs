//! A message on its way out over one stream: its head, its bytes as fast as the peer's windows open, its end.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use super::super::fault::gone;
use crate::encode::wire::H2Head;
use crate::limits::H2_DATA_BYTES_MAX;

/// How a message ends.
#[derive(Debug)]
enum StreamEnd {
    Plain,
    Trailers(HeaderMap),
}

/// What is left to be sent of a message.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The head, and whether it is all.
    head: Option<(H2Head, bool)>,
    /// The end, once it is known.
    end: Option<StreamEnd>,
    is_ended: bool,
}

/// Where a message goes: a stream that its head begins.
pub(super) trait Stream {
    /// Sends a head, once that can be. `is_last` where nothing follows it.
    fn poll_begin(&mut self, head: &mut Option<H2Head>, is_last: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The stream; `None` while no head has begun it.
    fn begun(&mut self) -> Option<&mut SendStream<Bytes>>;

    /// The error of a stream as one of I/O.
    fn fault(&self, error: &h2::Error) -> io::Error;
}

impl Outgoing {
    /// Gives the next head; `is_last` where nothing follows it.
    pub(crate) fn put_head(&mut self, head: H2Head, is_last: bool) {
        debug_assert!(self.head.is_none(), "a head leaves before the next one comes");
        self.head = Some((head, is_last));
    }

    /// The message ends behind the bytes that are sent next, with these trailers.
    pub(crate) fn put_end(&mut self, trailers: Option<HeaderMap>) {
        if !self.is_ended {
            self.end = Some(trailers.map_or(StreamEnd::Plain, StreamEnd::Trailers));
        }
    }

    /// Nobody is there to whom it could be sent.
    pub(crate) fn forget_pending(&mut self) {
        self.head = None;
        self.end = None;
    }

    /// True where the end was sent.
    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// True where a head or the end waits to be sent.
    pub(crate) const fn has_pending(&self) -> bool {
        self.head.is_some() || self.end.is_some()
    }

    /// Sends what waits, and a first part of `out[from..]`; how much of `out` that was. An error is told once nothing was
    /// sent before it: who hears of it must not believe that nothing was.
    pub(super) fn poll_send(
        &mut self,
        to: &mut impl Stream,
        out: &[u8],
        from: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Some((head, is_last)) = self.head.take() {
            let mut head = Some(head);
            let polled = to.poll_begin(&mut head, is_last, cx);
            self.head = head.map(|head| (head, is_last));
            ready!(polled)?;
            self.is_ended |= is_last;
        }
        let mut at = from;
        while at < out.len() {
            match self.poll_data(to, &out[at..], cx) {
                Poll::Ready(Ok(bytes)) => at += bytes,
                Poll::Ready(Err(_)) | Poll::Pending if at > from => return Poll::Ready(Ok(at - from)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // A peer that waits for nothing any more opens no window either.
                Poll::Pending => {
                    let Some(stream) = to.begun() else { return Poll::Pending };
                    return stream.poll_reset(cx).map(|_| Err(gone()));
                }
            }
        }
        match self.end.take() {
            Some(end) if !self.is_ended => self.send_end(to, end).map_or_else(
                |error| if at > from { Poll::Ready(Ok(at - from)) } else { Poll::Ready(Err(error)) },
                |()| Poll::Ready(Ok(at - from)),
            ),
            Some(_) | None => Poll::Ready(Ok(at - from)),
        }
    }

    /// Sends a first part of the body, as far as the peer's windows are open. The last part ends the stream where nothing
    /// follows it: the end then costs no frame of its own.
    fn poll_data(&mut self, to: &mut impl Stream, out: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = to.begun() else { return Poll::Ready(Err(gone())) };
        let wanted = out.len().min(H2_DATA_BYTES_MAX);
        stream.reserve_capacity(wanted);
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(gone())),
            }
        }
        let length = wanted.min(stream.capacity());
        let is_last = length == out.len() && matches!(self.end, Some(StreamEnd::Plain));
        stream.send_data(Bytes::copy_from_slice(&out[..length]), is_last).map_err(|_| gone())?;
        self.is_ended |= is_last;
        Poll::Ready(Ok(length))
    }

    fn send_end(&mut self, to: &mut impl Stream, end: StreamEnd) -> io::Result<()> {
        self.is_ended = true;
        let Some(stream) = to.begun() else { return Err(gone()) };
        let sent = match end {
            StreamEnd::Trailers(trailers) => stream.send_trailers(trailers),
            StreamEnd::Plain => stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|error| to.fault(&error))
    }

    /// Ends a stream whose message has no other end: that of a tunnel.
    pub(super) fn finish(&mut self, to: &mut impl Stream) {
        if !self.is_ended {
            // Whoever receives hears of it where the stream is gone.
            let _ = self.send_end(to, StreamEnd::Plain);
        }
    }
}
