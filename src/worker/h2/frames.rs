//! A message on its way out: read as HTTP/1.1, sent as frames, as fast as the peer's windows open.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;

use super::body::gone;
use crate::limits::H2_DATA_BYTES_MAX;
use crate::proto::h2::from_h1::{Part, Unframer};

/// What follows the last chunk's data where there are no trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A message.
#[derive(Debug)]
pub(super) struct Frames {
    unframer: Unframer,
    /// Bytes of body at the start of what is sent next, and whether they are the last.
    data_left: usize,
    is_last: bool,
}

/// What stands next in what is to be sent.
pub(super) enum Next {
    /// So many bytes that frames have no need of.
    Framing(usize),
    /// A head, trailers or the end, in so many bytes.
    Fields(usize, Box<Part>),
    /// Bytes of body: [`Frames::poll_data`] takes them.
    Data,
}

impl Frames {
    pub(super) const fn new(unframer: Unframer) -> Self {
        Self { unframer, data_left: 0, is_last: false }
    }

    /// What stands at the start of `out`.
    pub(super) fn next(&mut self, out: &[u8]) -> io::Result<Next> {
        if self.data_left > 0 {
            return Ok(Next::Data);
        }
        let (taken, part) = self.unframer.next(out).map_err(|_| io::ErrorKind::InvalidData)?;
        match part {
            Some(Part::Data(length, is_last)) => {
                (self.data_left, self.is_last) = (length, is_last);
                Ok(if taken > 0 { Next::Framing(taken) } else { Next::Data })
            }
            Some(part) => Ok(Next::Fields(taken, Box::new(part))),
            // Heads are written whole.
            None if taken == 0 => Err(io::ErrorKind::InvalidData.into()),
            None => Ok(Next::Framing(taken)),
        }
    }

    /// Sends a first part of the body at the start of `out`, as far as the peer's windows are open; how much of `out`
    /// that was.
    pub(super) fn poll_data(
        &mut self,
        stream: &mut SendStream<Bytes>,
        out: &[u8],
        is_ended: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let wanted = self.data_left.min(out.len()).min(H2_DATA_BYTES_MAX);
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
        *is_ended = is_whole && self.is_last || is_last_chunk;
        stream.send_data(Bytes::copy_from_slice(&out[..length]), *is_ended).map_err(|_| gone())?;
        self.data_left -= length;
        Poll::Ready(Ok(if is_last_chunk { out.len() } else { length }))
    }
}

/// Sends what ends a message.
pub(super) fn send_end(stream: &mut SendStream<Bytes>, part: Part) -> Result<(), h2::Error> {
    match part {
        Part::Trailers(trailers) => stream.send_trailers(trailers),
        _ => stream.send_data(Bytes::new(), true),
    }
}
