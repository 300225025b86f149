//! Waits for the rest of a handshake whose requests came before its end.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use super::super::engine::Transport;
use super::super::time::timer::Expired;
use super::connection::ConnectionInlet;
use super::ends::Inlet;
use super::link::Link;
use super::tls::early::Early;
use super::tls::ends::Heard;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The end of the handshake.
    Over,
    /// That, or bytes of a request.
    Request,
}

/// Waits as long as the link's timer runs; what comes meanwhile is put into the inbox.
pub(crate) async fn wait_for_handshake<T: Transport>(
    early: &Early,
    link: &mut Link<T>,
    until: Until,
) -> Result<io::Result<()>, Expired> {
    let Link { receiver, inbox, timer, .. } = link;
    let waited = poll_fn(|cx| match receiver {
        Inlet::Connection(ConnectionInlet::Tls(inlet)) => {
            while !early.is_over() && (until == Until::Over || inbox.is_empty()) {
                if ready!(inlet.poll_records(inbox, cx))? == Heard::End {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            Poll::Ready(Ok(()))
        }
        // Its connection is driven by another task.
        Inlet::Stream(inlet) => match early.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => inlet.poll_reset(cx).map(Err),
        },
        Inlet::Connection(ConnectionInlet::Plain(_)) | Inlet::Request(_) | Inlet::Records(_) => Poll::Ready(Ok(())),
    });
    let outcome = timer.guard(waited).await;
    // Whatever ended the wait, its waker must not stay behind.
    poll_fn(|cx| {
        early.forget(cx);
        Poll::Ready(())
    })
    .await;
    outcome
}
