//! Buffers that are used again, so that a request allocates nothing.

use std::cell::RefCell;

use crate::limits::{
    BODY_BUFFER_BYTES, HEAD_BUFFER_BYTES, LONG_BODY_BUFFER_BYTES, SPARE_BODIES_MAX, SPARE_HEADS_MAX,
    SPARE_LONG_BODIES_MAX,
};

/// The spare buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// One shelf for each of [`SIZES`].
    shelves: [RefCell<Vec<Vec<u8>>>; SIZES.len()],
}

/// For each shelf: the size of its buffers in bytes, and how many spare ones are kept. A buffer that has grown is kept up
/// to twice its size.
const SIZES: [(usize, usize); 3] = [
    (HEAD_BUFFER_BYTES, SPARE_HEADS_MAX),
    (BODY_BUFFER_BYTES, SPARE_BODIES_MAX),
    (LONG_BODY_BUFFER_BYTES, SPARE_LONG_BODIES_MAX),
];

/// The shelf whose buffers hold so many bytes, or the last one.
fn shelf_for(bytes: usize) -> usize {
    SIZES.iter().position(|(size, _)| bytes <= *size).unwrap_or(SIZES.len() - 1)
}

/// The shelf that a buffer belongs on.
fn shelf_of(buffer: &Vec<u8>) -> Option<usize> {
    SIZES.iter().position(|(size, _)| (*size..=2 * size).contains(&buffer.capacity()))
}

impl Buffers {
    /// An empty buffer for so many bytes, or for a part of them where they are more than a buffer has.
    #[must_use]
    pub(crate) fn buffer(&self, bytes: usize) -> Vec<u8> {
        let shelf = shelf_for(bytes);
        let buffer = self.shelves[shelf].borrow_mut().pop();
        buffer.unwrap_or_else(|| Vec::with_capacity(SIZES[shelf].0))
    }

    /// Replaces a buffer by one of the size that `bytes` need, and keeps what is in it. No operation may be in flight with
    /// it.
    pub(crate) fn fit(&self, buffer: &mut Vec<u8>, bytes: usize) {
        let shelf = shelf_for(bytes.max(buffer.len()));
        if shelf_of(buffer) != Some(shelf) {
            let mut other = self.buffer(SIZES[shelf].0);
            other.extend_from_slice(buffer);
            self.put_buffer(std::mem::replace(buffer, other));
        }
    }

    /// Gives an idle connection a small inbox in place of the one that a body needed. Does nothing while a receive is in
    /// flight: it has the buffer then, and the capacity here is 0.
    pub(crate) fn shrink(&self, inbox: &mut Vec<u8>) {
        if inbox.capacity() > 0 {
            self.fit(inbox, 0);
        }
    }

    /// [`Self::fit`], unless the buffer is larger already.
    pub(crate) fn grow(&self, buffer: &mut Vec<u8>, bytes: usize) {
        if buffer.capacity() < SIZES[shelf_for(bytes)].0 {
            self.fit(buffer, bytes);
        }
    }

    /// Takes a buffer back; one that grew beyond its use is freed.
    pub(crate) fn put_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        // A buffer that grew for one large head is freed: reused, it would stay with an idle connection for ever.
        let Some(at) = shelf_of(&buffer) else { return };
        let mut shelf = self.shelves[at].borrow_mut();
        if shelf.len() < SIZES[at].1 {
            shelf.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_fits_its_use_and_keeps_what_it_holds() {
        let buffers = Buffers::default();
        let mut buffer = buffers.buffer(10);
        assert_eq!(buffer.capacity(), HEAD_BUFFER_BYTES);
        buffer.extend_from_slice(b"body");
        buffers.grow(&mut buffer, 5_000);
        assert_eq!((buffer.capacity(), &buffer[..]), (BODY_BUFFER_BYTES, &b"body"[..]));
        buffers.grow(&mut buffer, 10);
        assert_eq!(buffer.capacity(), BODY_BUFFER_BYTES, "it never shrinks by growing");
        buffers.fit(&mut buffer, 10);
        assert_eq!((buffer.capacity(), &buffer[..]), (HEAD_BUFFER_BYTES, &b"body"[..]));
        buffers.grow(&mut buffer, usize::MAX);
        assert_eq!(buffer.capacity(), LONG_BODY_BUFFER_BYTES);
        buffer.resize(BODY_BUFFER_BYTES + 1, 0);
        buffers.fit(&mut buffer, 10);
        assert_eq!(buffer.capacity(), LONG_BODY_BUFFER_BYTES, "what it holds must fit");
    }

    #[test]
    fn a_buffer_that_was_given_back_is_the_next_one() {
        let buffers = Buffers::default();
        let buffer = buffers.buffer(BODY_BUFFER_BYTES);
        let address = buffer.as_ptr();
        buffers.put_buffer(buffer);
        let next = buffers.buffer(BODY_BUFFER_BYTES);
        assert_eq!(next.as_ptr(), address);
        buffers.put_buffer(Vec::with_capacity(100));
        assert!(buffers.shelves.iter().all(|shelf| shelf.borrow().is_empty()), "odd sizes are freed");
    }
}
