//! A request body as it comes from the client, and what is held of it to be sent again.

use std::cell::Cell;

use super::super::buffers::Buffers;
use crate::encode::subrequest::Subrequest;
use crate::filter::transform::Transform;
use crate::limits::REPLAY_BYTES_MAX;
use crate::proto::h1::framing::BodyDecoder;
use crate::snapshot::Label;

/// The request body.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// What has not come yet.
    pub decoder: BodyDecoder,
    /// Trailers, as far as they came.
    pub trailers: Vec<u8>,
    /// What is done with it on its way.
    pub transform: Transform,
}

/// All that was sent of a request body, without framing, unless it became too much.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// How many bytes of it are counted in the worker's total.
    charged: usize,
    is_lost: bool,
}

/// Copies of a request for others, which wait for its body.
#[derive(Debug)]
pub(super) struct Copies {
    /// The request without its body.
    pub request: Subrequest,
    /// Who gets one, and the longest body for that; `None` for a copy without.
    pub to: Vec<(Label, Option<u64>)>,
}

impl Copies {
    /// Bytes of the longest body that one of them has.
    pub(super) fn body_max(&self) -> u64 {
        self.to.iter().filter_map(|(_, max)| *max).max().unwrap_or_default()
    }
}

/// Where one worker's held bytes are kept and counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldStore<'a> {
    /// Bytes of memory that the worker holds in all.
    pub account: &'a Cell<usize>,
    /// Where buffers come from.
    pub buffers: &'a Buffers,
}

impl Held {
    /// True while it can all be sent again.
    pub(super) const fn is_whole(&self) -> bool {
        !self.is_lost
    }

    /// What was sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Holds what is sent now; lets go of everything where that would be more than `limit`, or more than a worker may hold
    /// in all.
    pub(super) fn hold(&mut self, sent: &[u8], limit: u64, store: HeldStore<'_>) {
        if self.is_lost || sent.is_empty() {
            return;
        }
        let length = self.bytes.len() + sent.len();
        if length as u64 > limit || store.account.get() - self.charged + length > REPLAY_BYTES_MAX {
            self.let_go(store);
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = store.buffers.buffer(sent.len());
        }
        self.bytes.extend_from_slice(sent);
        store.account.set(store.account.get() - self.charged + self.bytes.capacity());
        self.charged = self.bytes.capacity();
    }

    /// Gives the buffer back: the body cannot be sent again, and nothing more of it is held.
    pub(super) fn let_go(&mut self, store: HeldStore<'_>) {
        self.is_lost = true;
        store.account.set(store.account.get() - self.charged);
        self.charged = 0;
        if self.bytes.capacity() > 0 {
            store.buffers.put_buffer(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_let_go_and_the_worker_has_its_bytes_back() {
        let (account, buffers) = (Cell::new(0), Buffers::default());
        let store = HeldStore { account: &account, buffers: &buffers };
        let mut held = Held::default();
        held.hold(b"12345", 8, store);
        held.hold(b"678", 8, store);
        assert_eq!((held.bytes(), held.is_whole()), (&b"12345678"[..], true));
        assert!(account.get() >= 8, "memory counts, not what is in it");
        held.hold(b"9", 8, store);
        assert!(!held.is_whole());
        assert_eq!((held.bytes().len(), account.get()), (0, 0));
        account.set(REPLAY_BYTES_MAX - 1);
        let mut other = Held::default();
        other.hold(b"12", 8, store);
        assert!(!other.is_whole());
    }
}
