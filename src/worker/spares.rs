//! Buffers and heads that are used again, so that a request allocates nothing.

use std::cell::RefCell;

use super::held::HeldBytes;
use crate::limits::{BODY_BUFFER_BYTES, HEAD_BUFFER_BYTES, SPARE_BODIES_MAX, SPARE_HEADS_MAX};
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
        let (shelf, size) = if bytes <= HEAD_BUFFER_BYTES {
            (&self.small, HEAD_BUFFER_BYTES)
        } else {
            (&self.large, bytes.max(BODY_BUFFER_BYTES))
        };
        let buffer = shelf.borrow_mut().pop();
        buffer.unwrap_or_else(|| Vec::with_capacity(size))
    }

    /// Makes a buffer that holds nothing, and no operation has, one of the size that so many bytes need.
    pub(super) fn fit(&self, buffer: &mut Vec<u8>, bytes: usize) {
        let is_small = buffer.capacity() <= HEAD_BUFFER_BYTES_MAX;
        if buffer.capacity() < HEAD_BUFFER_BYTES || is_small != (bytes <= HEAD_BUFFER_BYTES) {
            self.put_buffer(std::mem::replace(buffer, self.buffer(bytes)));
        }
    }

    /// Takes a buffer back; one that grew beyond its use is freed.
    pub(super) fn put_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        // A buffer that grew for one large head would be held by an idle connection for ever.
        let (shelf, most) = match buffer.capacity() {
            HEAD_BUFFER_BYTES..=HEAD_BUFFER_BYTES_MAX => (&self.small, SPARE_HEADS_MAX),
            BODY_BUFFER_BYTES..=BODY_BUFFER_BYTES_MAX => (&self.large, SPARE_BODIES_MAX),
            _ => return,
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < most {
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
        if heads.len() < SPARE_HEADS_MAX {
            heads.push(head);
        }
    }
}
