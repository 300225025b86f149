//! Gets a connection to an endpoint: from its pool, else a new one.

use std::io;
use std::pin::pin;

use super::Worker;
use super::ends::plain;
use super::io::{Socket, Transport};
use super::link::Link;
use super::pool::{Endpoint, Upstream};
use super::timer::Patience;
use crate::failure::{Failure, Resource};
use crate::limits::HEAD_BUFFER_BYTES;
use crate::record::Connection;
use crate::timeouts::{RESOURCE_PAUSE_MS, RESOURCE_WAIT_MS, Timeout};

/// Which connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A pooled one that is good for a request that may be repeated, else a new one.
    Repeatable,
    /// A pooled one that is good for a request that must not be repeated, else a new one.
    Once,
    /// A new one.
    Fresh,
}

/// A connection for one request, and how it was found. Where this host has run out of what a connection needs,
/// others are waited for to give theirs back.
///
/// # Errors
/// The failure of the connection phase, with the operating system's error number or 0.
pub(super) async fn obtain<T: Transport>(
    worker: &Worker<T>,
    endpoint: &Endpoint<T>,
    patience: &Patience<'_, T>,
    connect_ms: Option<u64>,
    wish: Wish,
) -> Result<(Upstream<T>, Connection), (Failure, i32)> {
    let mut waited_ms = 0;
    loop {
        if wish != Wish::Fresh
            && let Some(obtained) = reuse(worker, endpoint, wish == Wish::Repeatable)
        {
            return Ok(obtained);
        }
        match dial(worker, endpoint, patience, connect_ms).await {
            Ok(socket) => {
                worker.metrics.borrow_mut().counters.upstream_opened += 1;
                let inbox = worker.spares.buffer(HEAD_BUFFER_BYTES);
                let link = Link::new(plain(socket), inbox, worker.timers.timer());
                return Ok((Upstream::new(link, worker.transport.coarse_ms()), Connection::default()));
            }
            Err((Failure::LocalResource(_), _)) if waited_ms < RESOURCE_WAIT_MS => {
                worker.transport.sleep(RESOURCE_PAUSE_MS).await;
                waited_ms += RESOURCE_PAUSE_MS;
            }
            Err(error) => return Err(error),
        }
    }
}

fn reuse<T: Transport>(
    worker: &Worker<T>,
    endpoint: &Endpoint<T>,
    is_repeatable: bool,
) -> Option<(Upstream<T>, Connection)> {
    let (mut upstream, idle_us) = endpoint.check_out(worker, is_repeatable)?;
    worker.metrics.borrow_mut().counters.upstream_reused += 1;
    let now_ms = worker.transport.coarse_ms();
    let connection = Connection {
        is_reused: true,
        requests: upstream.requests,
        idle_us,
        age_ms: now_ms.saturating_sub(upstream.opened_ms),
    };
    upstream.requests += 1;
    Some((upstream, connection))
}

async fn dial<T: Transport>(
    worker: &Worker<T>,
    endpoint: &Endpoint<T>,
    patience: &Patience<'_, T>,
    connect_ms: Option<u64>,
) -> Result<Socket<T>, (Failure, i32)> {
    let dialling = pin!(worker.transport.connect(&endpoint.address));
    let dialled = patience.wait(Timeout::Connect, connect_ms, dialling).await;
    dialled.map_err(|failure| (failure, 0))?.map_err(|error| (failure_of(&error), error.raw_os_error().unwrap_or(0)))
}

/// What an error of connect(2) means. A Unix socket whose file is missing is refused, as is one whose queue is full.
pub(super) fn failure_of(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::ECONNABORTED | libc::ENOENT | libc::EAGAIN) => {
            Failure::ConnectRefused
        }
        Some(libc::ETIMEDOUT) => Failure::ConnectTimeout,
        Some(libc::EADDRNOTAVAIL) => Failure::LocalResource(Resource::Ports),
        Some(libc::EMFILE | libc::ENFILE) => Failure::LocalResource(Resource::Descriptors),
        Some(libc::ENOBUFS | libc::ENOMEM) => Failure::LocalResource(Resource::Memory),
        _ => Failure::ConnectUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_shortage_is_told_from_the_upstreams_refusal() {
        let of = |errno| failure_of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ECONNREFUSED), Failure::ConnectRefused);
        assert_eq!(of(libc::EHOSTUNREACH), Failure::ConnectUnreachable);
        assert_eq!(of(libc::EADDRNOTAVAIL), Failure::LocalResource(Resource::Ports));
        assert_eq!(of(libc::EMFILE), Failure::LocalResource(Resource::Descriptors));
    }
}
