//! A request body as it comes from the client, and what is held of it to be sent again.

use std::cell::Cell;

use super::spares::Spares;
use crate::limits::REPLAY_BYTES_MAX;
use crate::proto::grpc_web::TextDecoder;
use crate::proto::h1::framing::BodyDecoder;

/// The request body.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// What has not come yet.
    pub decoder: BodyDecoder,
    /// Trailers, as far as they came.
    pub trailers: Vec<u8>,
    /// What reads it where it is text of gRPC-web.
    pub text: TextDecoder,
}

/// All that was sent of a request body, framed for the upstream, unless it became too much.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// What the worker's account has of it.
    charged: usize,
    is_lost: bool,
}

/// What one worker holds in all, in bytes of memory.
#[derive(Debug, Default)]
pub(super) struct HeldBytes(Cell<usize>);

impl Held {
    /// True while it can all be sent again.
    pub(super) const fn is_whole(&self) -> bool {
        !self.is_lost
    }

    /// What was sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Holds what is sent now; lets go of everything where that is more than `limit`, or than the worker has.
    pub(super) fn hold(&mut self, sent: &[u8], limit: usize, spares: &Spares) {
        if self.is_lost || sent.is_empty() {
            return;
        }
        let length = self.bytes.len() + sent.len();
        if length > limit || spares.held.0.get() - self.charged + length > REPLAY_BYTES_MAX {
            self.let_go(spares);
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = spares.buffer(sent.len());
        }
        self.bytes.extend_from_slice(sent);
        spares.held.0.set(spares.held.0.get() - self.charged + self.bytes.capacity());
        self.charged = self.bytes.capacity();
    }

    /// It will not be sent again, nor what still comes.
    pub(super) fn let_go(&mut self, spares: &Spares) {
        self.is_lost = true;
        spares.held.0.set(spares.held.0.get() - self.charged);
        self.charged = 0;
        if self.bytes.capacity() > 0 {
            spares.put_buffer(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_let_go_and_the_worker_has_its_bytes_back() {
        let spares = Spares::default();
        let mut held = Held::default();
        held.hold(b"12345", 8, &spares);
        held.hold(b"678", 8, &spares);
        assert_eq!((held.bytes(), held.is_whole()), (&b"12345678"[..], true));
        assert!(spares.held.0.get() >= 8, "memory counts, not what is in it");
        held.hold(b"9", 8, &spares);
        assert!(!held.is_whole());
        assert_eq!((held.bytes().len(), spares.held.0.get()), (0, 0));
        spares.held.0.set(REPLAY_BYTES_MAX - 1);
        let mut other = Held::default();
        other.hold(b"12", 8, &spares);
        assert!(!other.is_whole());
    }
}
