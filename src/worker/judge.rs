//! Judges a response head before it is passed on: whose answer it is, whether another attempt is better, what it proves.

use super::attempt::examine_end;
use super::ends::Inlet;
use super::forward::{Forward, Upload};
use super::io::Transport;
use crate::failure::Failure;
use crate::limits::RETRY_AFTER_S_MAX;
use crate::proto::h1::field::Known;
use crate::proto::h1::response::ResponseHead;
use crate::upstream::evidence::End;

impl<T: Transport> Forward<'_, T> {
    /// Refuses what cannot be the answer to this request: what came before a byte of it was sent, and a 408 for an idle
    /// connection, where the upstream did not take the request.
    pub(super) async fn check_unsolicited(&self, receiver: &Inlet<T>, head: &[u8]) -> Result<(), Failure> {
        if !self.is_reused || self.is_stream {
            return Ok(());
        }
        // Nothing of the request has left, or nothing can: it answers another one.
        let is_unsent = match self.progress.upload.get() {
            Upload::Sending => self.progress.sent_bytes.get() == 0,
            Upload::Broken(failure) => failure == Failure::StaleReuseUnsent,
            Upload::Sent => false,
        };
        if is_unsent {
            return Err(Failure::UpstreamUnsolicited);
        }
        let is_timeout = matches!(head.get(..12), Some(b"HTTP/1.1 408" | b"HTTP/1.0 408"));
        let may_discard =
            self.discards.idle_timeout && self.held.borrow().is_whole() && !self.progress.has_interim.get();
        if !is_timeout || !may_discard {
            return Ok(());
        }
        let (evidence, _) = Box::pin(examine_end(self.worker, receiver, End::Eof, self.sent_before)).await;
        let is_unread = evidence.is_proof() || self.head.is_idempotent();
        if is_unread { Err(Failure::UpstreamUnsolicited) } else { Ok(()) }
    }

    /// Whether the answer is thrown away for another attempt, which then is sure to be made.
    pub(super) fn is_tried_elsewhere(&self, head: &ResponseHead, bytes: &[u8]) -> bool {
        let Some(elsewhere) = &self.discards.elsewhere else { return false };
        if !self.service.retry.statuses.contains(&head.status())
            || !self.held.borrow().is_whole()
            || self.progress.has_interim.get()
            || !elsewhere.has_room(self.worker.transport.coarse_ms())
        {
            return false;
        }
        let wait_s: Option<u32> = match head.known(Known::RetryAfter, bytes) {
            None => Some(0),
            Some(value) => std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()),
        };
        let now_ms = self.worker.transport.coarse_ms();
        let left_ms = self.total_at_ms.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now_ms));
        let fits = |seconds: &u32| *seconds <= RETRY_AFTER_S_MAX && u64::from(*seconds) * 1_000 < left_ms;
        let wait_s = wait_s.filter(fits);
        self.progress.retry_after_s.set(wait_s.unwrap_or_default());
        wait_s.is_some()
    }

    /// The upstream has answered: what that says of the endpoint and the service need not wait for the body.
    pub(super) fn note_answer(&self, status: u16) {
        let now_ms = self.worker.transport.coarse_ms();
        let endpoint = &self.permit.endpoint;
        if self.is_reused && !self.is_stream {
            let mut habit = endpoint.habit.borrow_mut();
            habit.succeeds();
            // Where the connection was not looked at, this is what tells that it was still open.
            habit.survives(self.idle_us, self.worker.transport.now_us());
        }
        if status < 500 || !self.service.ejection.has_server_errors {
            endpoint.ejection.borrow_mut().succeeds(self.permit.is_trial, now_ms);
        }
        if let Some(admission) = self.admission.borrow_mut().as_mut() {
            admission.count(status >= 500, now_ms);
        }
    }
}
