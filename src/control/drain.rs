//! The end: workers finish what they have begun.

use std::thread::JoinHandle;
use std::time::Duration;

use super::signals::Signals;
use crate::mailbox::{Mailbox, Order};

/// How often a draining process looks whether its workers are done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Waits for the workers to finish what they have begun, once the signal `name` came; a second one or the end of the grace period ends it.
pub(super) async fn drain(
    (name, grace): (&str, Duration),
    mailboxes: &[Mailbox],
    signals: &mut Signals,
    workers: &[JoinHandle<()>],
) {
    tracing::info!(signal = name, grace_s = grace.as_secs(), "draining; a second signal ends at once");
    mailboxes.iter().for_each(|mailbox| {
        mailbox.give(Order::Drain);
    });
    let drained = async {
        while workers.iter().any(|worker| !worker.is_finished()) {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        () = tokio::time::sleep(grace) => tracing::warn!("the grace period is over; connections are cut"),
        name = signals.end() => tracing::warn!(signal = name, "ended at once; connections are cut"),
    }
}
