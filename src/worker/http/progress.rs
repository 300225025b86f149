//! How far an exchange is: what one direction must know of the other.

use std::cell::Cell;

use crate::failure::{Failure, Phase};

/// How far an exchange is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub upload: Cell<UploadState>,
    /// True where the client takes the connection's end for the body's.
    pub ends_at_close: Cell<bool>,
    /// True from the beginning of a send to the client until all of it was sent. Where a send failed in between it stays
    /// true, and no other answer may follow.
    pub is_sending: Cell<bool>,
    /// True once the client has ended its side of the connection behind its request, and waits for the answer.
    pub has_client_finished: Cell<bool>,
    /// True where the client sent more while its upgrade was awaited.
    pub has_early_bytes: Cell<bool>,
    /// The client got an interim response other than 100, which is a part of the upstream's answer.
    pub has_interim: Cell<bool>,
    /// Bytes have come from the upstream in this attempt.
    pub has_response_bytes: Cell<bool>,
    /// True where a part of the answer was thrown away, for the client had left.
    pub is_cut: Cell<bool>,
    /// The phase in which the client left, where the upstream finishes all the same (`ignore_client_abort`).
    pub client_left: Cell<Option<Phase>>,
    /// `Retry-After` of a response that is not passed on, in seconds.
    pub retry_after_s: Cell<u32>,
    /// The whole request body has come.
    pub is_body_received: Cell<bool>,
    pub expectation: Cell<Expectation>,
}

impl Progress {
    /// Another attempt begins; what went on between the client and us stays.
    pub(super) fn begin_attempt(&self) {
        self.upload.set(UploadState::Sending);
        self.has_response_bytes.set(false);
    }
}

/// How far the request is on its way up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UploadState {
    #[default]
    Sending,
    Sent,
    /// The upstream takes no more; it may still answer.
    Broken(Failure),
}

/// What became of `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Nobody has said anything.
    #[default]
    Open,
    /// The upstream is silent, so we shall say it.
    Due,
    /// The client was told, or did not wait.
    Met,
}
