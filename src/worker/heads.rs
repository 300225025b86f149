//! Request heads that are used again, so that a request allocates nothing.

use std::cell::RefCell;

use super::buffers::Buffers;
use crate::limits::SPARE_HEADS_MAX;
use crate::proto::h1::request::RequestHead;

/// The spare heads of one worker.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "heads move between shelf and task; a pointer moves, not its 200 bytes")]
pub(super) struct Heads(RefCell<Vec<Box<RequestHead>>>);

impl Heads {
    /// An empty head.
    #[must_use]
    pub(super) fn head(&self) -> Box<RequestHead> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back, and its buffer.
    pub(super) fn put_head(&self, mut head: Box<RequestHead>, buffers: &Buffers) {
        buffers.put_buffer(head.take_bytes());
        let mut heads = self.0.borrow_mut();
        if heads.len() < SPARE_HEADS_MAX {
            heads.push(head);
        }
    }
}
