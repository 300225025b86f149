//! A message on its way out over one stream: its head, its bytes as fast as the peer's windows open, its end.

use std::io;
use std::task::{Context, Poll, ready};

use super::super::fault::gone;
use crate::encode::wire::H2Head;
use crate::proto::h2::fields::FieldList;
use crate::proto::h2::handle::Handle;
use crate::proto::h2::stream::StreamEnd;

/// How a message ends.
#[derive(Debug)]
enum MessageEnd {
    Plain,
    Trailers(FieldList),
}

/// What is left to be sent of a message.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The head, and whether it is all.
    head: Option<(H2Head, bool)>,
    /// The end, once it is known.
    end: Option<MessageEnd>,
    is_ended: bool,
}

/// Where a message goes: a stream that its head begins.
pub(super) trait MessageStream {
    /// Sends a head, once that can be. `is_last` where nothing follows it.
    fn poll_begin(&mut self, head: &H2Head, is_last: bool, cx: &Context<'_>) -> Poll<io::Result<()>>;

    /// Does something with the stream; `None` while no head has begun it.
    fn with<R>(&mut self, act: impl FnOnce(Handle<'_>) -> R) -> Option<R>;

    /// The end of a stream as an error of I/O.
    fn fault(&self, end: StreamEnd) -> io::Error;
}

impl Outgoing {
    /// Gives the next head; `is_last` where nothing follows it.
    pub(crate) fn put_head(&mut self, head: H2Head, is_last: bool) {
        debug_assert!(self.head.is_none(), "a head leaves before the next one comes");
        self.head = Some((head, is_last));
    }

    /// The message ends behind the bytes that are sent next, with these trailers.
    pub(crate) fn put_end(&mut self, trailers: Option<FieldList>) {
        if !self.is_ended {
            self.end = Some(trailers.map_or(MessageEnd::Plain, MessageEnd::Trailers));
        }
    }

    /// Nobody is there to whom it could be sent.
    pub(crate) fn forget_pending(&mut self) {
        self.head = None;
        self.end = None;
    }

    /// True where a head or the end waits to be sent.
    pub(crate) const fn has_pending(&self) -> bool {
        self.head.is_some() || self.end.is_some()
    }

    /// Sends what waits, and a first part of `out[from..]`; how much of `out` that was. An error is told once nothing was
    /// sent before it: who hears of it must not believe that nothing was.
    pub(super) fn poll_send(
        &mut self,
        to: &mut impl MessageStream,
        out: &[u8],
        from: usize,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Some((head, is_last)) = &self.head {
            let begun = ready!(to.poll_begin(head, *is_last, cx));
            self.is_ended |= *is_last;
            self.head = None;
            begun?;
        }
        let mut at = from;
        while at < out.len() {
            let is_last = matches!(self.end, Some(MessageEnd::Plain));
            let sent = to.with(|mut stream| stream.poll_send(&out[at..], is_last, cx)).ok_or_else(gone)?;
            match sent {
                Poll::Ready(Ok(bytes)) => at += bytes,
                Poll::Ready(Err(_)) | Poll::Pending if at > from => return Poll::Ready(Ok(at - from)),
                Poll::Ready(Err(end)) => return Poll::Ready(Err(to.fault(end))),
                Poll::Pending => return Poll::Pending,
            }
            self.is_ended |= is_last && at == out.len();
        }
        let Some(end) = self.end.take().filter(|_| !self.is_ended) else { return Poll::Ready(Ok(at - from)) };
        match self.send_end(to, end, cx) {
            Poll::Ready(Err(error)) if at == from => Poll::Ready(Err(error)),
            Poll::Ready(_) | Poll::Pending => Poll::Ready(Ok(at - from)),
        }
    }

    fn send_end(&mut self, to: &mut impl MessageStream, end: MessageEnd, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.is_ended = true;
        let sent = to.with(|mut stream| match end {
            MessageEnd::Trailers(trailers) => Poll::Ready(stream.put_trailers(&trailers)),
            // An empty frame needs no window.
            MessageEnd::Plain => stream.poll_send(b"", true, cx).map_ok(drop),
        });
        Poll::Ready(match ready!(sent.ok_or_else(gone)?) {
            Ok(()) => Ok(()),
            Err(end) => Err(to.fault(end)),
        })
    }

    /// Ends a stream whose message has no other end: that of a tunnel.
    pub(super) fn finish(&mut self, to: &mut impl MessageStream, cx: &Context<'_>) {
        if !self.is_ended {
            // Whoever receives hears of it where the stream is gone.
            let _ = self.send_end(to, MessageEnd::Plain, cx);
        }
    }
}
