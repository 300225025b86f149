//! Judges a response head before it is passed on: whose answer it is, and whether another attempt is better.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::super::engine::Transport;
use super::super::time::timer::Deadline;
use super::super::upstreams::outcome;
use super::super::wire::ends::Inlet;
use super::super::wire::fault::fault_of;
use super::progress::UploadState;
use super::transfer::Transfer;
use crate::config::services::{Protocol, ServiceSpec};
use crate::encode::response::UpstreamResponse;
use crate::failure::Failure;
use crate::filter::transform::NotPassed;
use crate::proto::h1::fault::ResponseFault;
use crate::proto::h1::field::{Known, list_elements};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::rules::Lenient;
use crate::proto::stranger;
use crate::proto::version::Version;
use crate::timeouts::Timeout;
use crate::upstream::retry::Retry;

/// Refuses a head that cannot be the answer to this request: one that came on a reused connection before a byte of the
/// request was sent, and a 408 by which the upstream ended the idle connection without having read the request.
pub(super) async fn check_unsolicited<T: Transport>(
    transfer: &Transfer<'_, T>,
    receiver: &Inlet<T>,
    head: &[u8],
) -> Result<(), Failure> {
    if !transfer.connection.is_reused || transfer.is_stream {
        return Ok(());
    }
    let progress = transfer.progress;
    // Nothing of the request has left, or nothing can: it answers another one.
    let is_unsent = match progress.upload.get() {
        UploadState::Sending => transfer.account.sent_bytes().get() == 0,
        UploadState::Broken(failure) => failure == Failure::StaleReuseUnsent,
        UploadState::Sent => false,
    };
    let took_us = transfer.account.waited_us(transfer.kit().transport.now_us());
    if is_unsent || outcome::is_unasked(transfer.permit, receiver, transfer.sent_before, took_us) {
        return Err(Failure::UpstreamUnsolicited);
    }
    let is_timeout = matches!(head.get(..12), Some(b"HTTP/1.1 408" | b"HTTP/1.0 408"));
    let may_discard =
        transfer.discards.idle_timeout && transfer.held.borrow().is_whole() && !progress.has_interim.get();
    if !is_timeout || !may_discard {
        return Ok(());
    }
    let is_idempotent = transfer.head.is_idempotent();
    let is_unread = outcome::is_unread(transfer.kit(), receiver, transfer.sent_before, is_idempotent).await;
    if is_unread { Err(Failure::UpstreamUnsolicited) } else { Ok(()) }
}

/// Whether the answer hands the connection to another protocol. A switch to one that was not asked for is refused, and so
/// is a success without a switch that a client of HTTP/2 would take for one.
pub(super) fn is_upgrade<T: Transport>(
    transfer: &Transfer<'_, T>,
    UpstreamResponse { head, bytes }: UpstreamResponse<'_>,
) -> Result<bool, Failure> {
    let is_upgrade = head.status() == 101;
    let asked = transfer.head.upgrade().filter(|_| transfer.offers);
    let answered = head.known(Known::Upgrade, bytes);
    if is_upgrade && !asked.zip(answered).is_some_and(|(asked, answered)| is_one_of(answered, asked)) {
        return Err(ResponseFault::UpgradeNotAsked.into());
    }
    // A client of HTTP/2 takes any 2xx for the beginning of the other protocol (RFC 8441 §5).
    let is_h2 = transfer.head.version() == Version::H2;
    if is_h2 && transfer.head.demands_upgrade() && (200..300).contains(&head.status()) {
        return Err(Failure::UpstreamBadHeader("upgrade_ignored"));
    }
    if is_upgrade && transfer.progress.has_early_bytes.get() {
        return Err(Failure::ClientBadRequest("bytes_before_upgrade"));
    }
    Ok(is_upgrade)
}

/// Whether the answer is discarded for another attempt: the service lists its status, and an endpoint with room and the
/// budget for it were there just now.
pub(super) fn is_tried_elsewhere<T: Transport>(
    transfer: &Transfer<'_, T>,
    UpstreamResponse { head, bytes }: UpstreamResponse<'_>,
) -> bool {
    let Some(tried) = transfer.discards.elsewhere else { return false };
    let (kit, to) = (transfer.kit(), transfer.to);
    if !transfer.to.retry().on_status.contains(&head.status())
        || !transfer.held.borrow().is_whole()
        || transfer.progress.has_interim.get()
        || !to.has_elsewhere(kit, tried, transfer.permit.at)
    {
        return false;
    }
    let rules = transfer.to.retry();
    let wait_s = wait_s(UpstreamResponse { head, bytes }, rules, to.total_at_ms, kit.transport.coarse_ms());
    transfer.progress.retry_after_s.set(wait_s.unwrap_or_default());
    wait_s.is_some()
}

/// Whether the upstream asks for the length of a body that was sent in chunks, and it can be sent again with its length.
pub(super) fn wants_length<T: Transport>(
    transfer: &Transfer<'_, T>,
    UpstreamResponse { head, .. }: UpstreamResponse<'_>,
) -> bool {
    let is_told = transfer.body_length.get().is_some() || transfer.head.framing() != Framing::Chunked;
    if head.status() != 411 || is_told {
        return false;
    }
    let progress = transfer.progress;
    let held = transfer.held.borrow();
    let can_repeat = held.is_whole() && progress.is_body_received.get() && !progress.has_interim.get();
    if can_repeat {
        transfer.body_length.set(Some(held.bytes().len() as u64));
    } else if transfer.to.snapshot().counts.tells_length_first() {
        let service = &*transfer.to.snapshot().name;
        tracing::warn!(
            service,
            "the upstream takes no body without its length (411); put `{{ buffer = {{}} }}` among the filters of its routes"
        );
    }
    can_repeat
}

/// How long an answer asks to wait before the next attempt, in seconds; `None` where that is longer than anybody waits.
pub(super) fn wait_s(
    UpstreamResponse { head, bytes }: UpstreamResponse<'_>,
    rules: &Retry,
    total_at_ms: Option<u64>,
    now_ms: u64,
) -> Option<u32> {
    let asked_s: Option<u32> = match head.known(Known::RetryAfter, bytes) {
        None => Some(0),
        Some(value) => std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()),
    };
    let left_ms = total_at_ms.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now_ms));
    let is_waited_out = |asked_ms: u64| asked_ms <= rules.retry_after_max.ms() && asked_ms < left_ms;
    asked_s.filter(|seconds| is_waited_out(u64::from(*seconds) * 1_000))
}

/// The protocol changes behind the request: until its last byte has left, the connection speaks HTTP.
///
/// # Errors
/// Why it cannot change.
pub(super) async fn await_sent<T: Transport>(
    transfer: &Transfer<'_, T>,
    deadline: &Deadline<'_, T>,
) -> Result<(), Failure> {
    let progress = transfer.progress;
    if !progress.is_body_received.get() {
        return Err(ResponseFault::UpgradeNotAsked.into());
    }
    let is_sent = poll_fn(|_| match progress.upload.get() {
        // The upload is a part of the same task, and goes first.
        UploadState::Sending => Poll::Pending,
        UploadState::Sent => Poll::Ready(Ok(())),
        UploadState::Broken(failure) => Poll::Ready(Err(failure)),
    });
    deadline.wait(Timeout::UpstreamSend, transfer.to.timeouts().send.limit_ms(), is_sent).await??;
    if progress.has_early_bytes.get() { Err(Failure::ClientBadRequest("bytes_before_upgrade")) } else { Ok(()) }
}

/// Refuses first bytes that cannot begin an answer, by what they are.
///
/// # Errors
/// See above.
pub(super) fn check_first_bytes(inbox: &[u8]) -> Result<(), Failure> {
    if stranger::is_no_answer(inbox) {
        return Err(Failure::UpstreamBadHeader(
            stranger::of_upstream(inbox).unwrap_or(ResponseFault::StatusLine.rule()),
        ));
    }
    Ok(())
}

/// The failure of a connection that ended before a whole response head had come.
pub(super) fn closed_before_head<T: Transport>(
    transfer: &Transfer<'_, T>,
    result: &io::Result<usize>,
    inbox: &[u8],
) -> Failure {
    if let Err(error) = result {
        transfer.account.note_errno(error.raw_os_error().unwrap_or(0));
        if let Some(failure) = fault_of(error) {
            return failure;
        }
    }
    match transfer.progress.upload.get() {
        UploadState::Sending | UploadState::Sent | UploadState::Broken(_) if !inbox.is_empty() => {
            Failure::UpstreamBadHeader("head_truncated")
        }
        UploadState::Broken(failure) => failure,
        UploadState::Sending | UploadState::Sent => Failure::UpstreamClosedNoResponse,
    }
}

/// True where a connection that ended without a close_notify of TLS has ended its answer, as the service allows. FastCGI has an end of
/// its own.
pub(super) fn is_allowed_end(spec: &ServiceSpec, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        && spec.protocol != Protocol::FastCgi
        && spec.leniency().has(Lenient::MissingCloseNotify)
}

/// The failure of a connection that ended inside a response body.
pub(super) fn ended_in_body(error: &io::Error) -> Failure {
    match fault_of(error) {
        Some(failure @ Failure::UpstreamBadBody(_)) => failure,
        Some(_) | None => Failure::UpstreamTruncated,
    }
}

/// The failure of a response body that could not be changed as it should.
pub(super) const fn not_passed(fault: NotPassed) -> Failure {
    match fault {
        NotPassed::NotDecoded => Failure::UpstreamBadBody("content_encoding"),
        NotPassed::NotText | NotPassed::NotEncoded => Failure::Internal("transform"),
    }
}

/// True where the protocol is one that was offered, in the order of preference that `Upgrade` lists.
fn is_one_of(answered: &[u8], offered: &[u8]) -> bool {
    list_elements(offered).any(|protocol| protocol.eq_ignore_ascii_case(answered))
}
