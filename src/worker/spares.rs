//! Buffers and heads that are used again, so that a request allocates nothing.

use std::cell::RefCell;

use super::held::HeldBytes;
use crate::limits::{BODY_BUFFER_BYTES, HEAD_BUFFER_BYTES, SPARE_BUFFERS_MAX};
use crate::proto::h1::request::RequestHead;

/// Largest buffer that serves as a small one again, in bytes.
const HEAD_BUFFER_BYTES_MAX: usize = 2 * HEAD_BUFFER_BYTES;
/// Largest buffer that serves as a large one again, in bytes.
const BODY_BUFFER_BYTES_MAX: usize = 2 * BODY_BUFFER_BYTES;

/// The spare parts of one worker.
#[derive(Debug, Default)]
pub(super) struct Spares {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    #[expect(clippy::vec_box, reason = "heads move between shelf and task; a pointer moves, not its 200 bytes")]
    heads: RefCell<Vec<Box<RequestHead>>>,
    /// Bytes of request bodies that are held to be sent again.
    pub held: HeldBytes,
}

impl Spares {
    /// An empty buffer with at least so much room.
    #[must_use]
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        let shelf = if bytes <= HEAD_BUFFER_BYTES { &self.small } else { &self.large };
        let buffer = shelf.borrow_mut().pop();
        buffer.unwrap_or_else(|| Vec::with_capacity(bytes.max(HEAD_BUFFER_BYTES)))
    }

    /// Takes a buffer back; one that grew beyond its use is freed.
    pub(super) fn put_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        // A buffer that grew for one large head would be held by an idle connection for ever.
        let shelf = match buffer.capacity() {
            HEAD_BUFFER_BYTES..=HEAD_BUFFER_BYTES_MAX => &self.small,
            BODY_BUFFER_BYTES..=BODY_BUFFER_BYTES_MAX => &self.large,
            _ => return,
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < SPARE_BUFFERS_MAX {
            shelf.push(buffer);
        }
    }

    /// An empty head.
    #[must_use]
    pub(super) fn head(&self) -> Box<RequestHead> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back, and its buffer.
    pub(super) fn put_head(&self, mut head: Box<RequestHead>) {
        self.put_buffer(head.take_bytes());
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE_BUFFERS_MAX {
            heads.push(head);
        }
    }
}
