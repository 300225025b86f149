//! Whoever waits for an upstream may leave: who that is, is not known here.

use std::task::{Context, Poll};

use crate::failure::Failure;

/// Looks after somebody while he waits.
pub(crate) trait Watch {
    /// Ready with what it means where he has left; else the task is woken when he does.
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
