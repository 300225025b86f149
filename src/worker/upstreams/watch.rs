//! Watches somebody who waits for an upstream and may leave meanwhile. Who that is does not matter here.

use std::task::{Context, Poll};

use crate::failure::Failure;

/// Looks after somebody while he waits.
pub(crate) trait Watch {
    /// Ready with the failure once he has left; else the task is woken when he leaves.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;
}

/// Nobody who could leave.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Watch for Nobody {
    fn poll_left(&mut self, _cx: &mut Context<'_>) -> Poll<Failure> {
        Poll::Pending
    }
}
