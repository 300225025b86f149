//! How a body is written on the wire that it goes out on, in either direction.

use super::super::engine::Transport;
use super::super::wire::ends::Outlet;
use crate::encode::wire::{Wire, trailer_fields};
use crate::filter::transform::Transform;
use crate::proto::gateway::Gateway;
use crate::proto::gateway::records::{put_stdin, put_stdin_end};
use crate::proto::h1::encode::{put_chunk, put_last_chunk};
use crate::proto::h1::framing::{BodyDecoder, Framing};

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// As it is: its length is in the head, or the connection's end is its end.
    Plain,
    /// In chunks.
    Chunked,
    /// By the frames of a stream.
    Stream,
    /// In records of FastCGI.
    Records,
}

impl BodyFraming {
    /// The framing on this wire of a body whose head says `framing`.
    pub(super) fn of(wire: Wire, framing: Framing) -> Self {
        match (wire, framing) {
            (Wire::H2, _) => Self::Stream,
            (Wire::Http1, Framing::Chunked) => Self::Chunked,
            (Wire::Http1, Framing::None | Framing::Length(_) | Framing::UntilClose) => Self::Plain,
        }
    }

    /// [`Self::of`] towards an upstream, which may speak something else than HTTP.
    pub(super) fn towards(gateway: Option<Gateway>, wire: Wire, framing: Framing) -> Self {
        match gateway {
            Some(gateway) if gateway.has_records() => Self::Records,
            // The length is among the variables.
            Some(_) => Self::Plain,
            None => Self::of(wire, framing),
        }
    }

    /// True where nothing is written beside the bytes themselves.
    pub(super) const fn is_bare(self) -> bool {
        matches!(self, Self::Plain | Self::Stream)
    }

    /// Appends a part. It must not be empty: an empty chunk would end the body.
    pub(super) fn put(self, out: &mut Vec<u8>, data: &[u8]) {
        match self {
            Self::Plain | Self::Stream => out.extend_from_slice(data),
            Self::Chunked => put_chunk(out, data),
            Self::Records => put_stdin(out, data),
        }
    }

    /// Writes what ends the body behind what `out` holds.
    pub(super) fn end<T: Transport>(self, out: &mut Vec<u8>, sender: &mut Outlet<T>, trailers: &[u8]) {
        match self {
            Self::Plain => {}
            Self::Chunked => put_last_chunk(out, trailers),
            Self::Stream => sender.put_end(trailer_fields(trailers)),
            Self::Records => put_stdin_end(out),
        }
    }
}

/// A response's body on its way down.
pub(super) struct ResponseBody {
    pub decoder: BodyDecoder,
    pub framing: BodyFraming,
    pub transform: Transform,
    pub trailers: Vec<u8>,
}

impl ResponseBody {
    /// True where the next `length` bytes are body, and pass as they are.
    pub(super) const fn is_plain_to(&self, length: usize) -> bool {
        let is_body = match &self.decoder {
            BodyDecoder::Length(left) => length as u64 <= *left,
            BodyDecoder::UntilClose => true,
            BodyDecoder::Done | BodyDecoder::Chunked(_) => false,
        };
        is_body && self.framing.is_bare() && self.transform.is_none()
    }
}
