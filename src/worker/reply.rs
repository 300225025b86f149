//! The answer to a request of our own, held whole.

use crate::proto::h1::response::ResponseHead;

/// The answer to a request of our own.
#[derive(Debug, Default)]
pub struct Reply {
    /// The head, parsed.
    pub head: ResponseHead,
    /// The bytes of the head, for [`ResponseHead::fields`].
    pub head_bytes: Vec<u8>,
    /// The body, or as much of it as was asked for.
    pub body: Vec<u8>,
    /// False where there was more of the body than was asked for.
    pub is_whole: bool,
}
