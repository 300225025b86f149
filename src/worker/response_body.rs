//! A response's body on its way down: decoded, framed for the client, and for one of gRPC-web with its trailers in it.

use crate::proto::grpc_web;
use crate::proto::h1::encode::{put_chunk, put_last_chunk};
use crate::proto::h1::framing::BodyDecoder;

/// A body on its way down.
pub(super) struct Body {
    pub decoder: BodyDecoder,
    /// Towards the client.
    pub is_chunked: bool,
    pub trailers: Vec<u8>,
    /// How a client of gRPC-web gets it.
    pub web: Option<grpc_web::Kind>,
}

impl Body {
    /// Appends a part of it.
    pub(super) fn put(&self, out: &mut Vec<u8>, data: &[u8]) {
        match self.web {
            _ if data.is_empty() => {}
            Some(kind) => self.put_written(out, &kind.written(data)),
            None => self.put_written(out, data),
        }
    }

    fn put_written(&self, out: &mut Vec<u8>, data: &[u8]) {
        if self.is_chunked {
            put_chunk(out, data);
        } else {
            out.extend_from_slice(data);
        }
    }

    /// True where the next `length` bytes are body and nothing else.
    pub(super) const fn is_plain_to(&self, length: usize) -> bool {
        match &self.decoder {
            BodyDecoder::Length(left) => length as u64 <= *left,
            BodyDecoder::UntilClose => true,
            BodyDecoder::Done | BodyDecoder::Chunked(_) => false,
        }
    }

    /// Writes what ends the body.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.decoder = BodyDecoder::Done;
        if let Some(kind) = self.web.take()
            && !self.trailers.is_empty()
        {
            let trailers = std::mem::take(&mut self.trailers);
            self.put_written(out, &kind.written_trailers(&trailers));
        }
        if self.is_chunked {
            put_last_chunk(out, &self.trailers);
        }
    }
}
