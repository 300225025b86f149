//! Gets a connection to an endpoint: from its pool, else a new one.

use std::io;

use super::Worker;
use super::ends::{Inlet, Outlet, plain};
use super::io::Transport;
use super::link::Link;
use super::pool::{Endpoint, Upstream};
use super::timer::Patience;
use super::tls;
use crate::failure::{Failure, Resource};
use crate::limits::HEAD_BUFFER_BYTES;
use crate::record::Connection;
use crate::timeouts::{RESOURCE_PAUSE_MS, RESOURCE_WAIT_MS, Timeout};
use crate::tls::client::ClientTls;

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

/// What a new connection is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    /// The endpoint, as it was written.
    pub name: &'a str,
    /// TLS, where it is spoken.
    pub tls: Option<&'a ClientTls>,
    /// How long it may take, its handshake included, in milliseconds.
    pub connect_ms: Option<u64>,
}

/// A new connection: its ends, its empty inbox, and how long the handshake took, in microseconds.
type Dialled<T> = ((Inlet<T>, Outlet<T>), Vec<u8>, u64);

/// A connection for one request, and how it was found. Where this host has run out of what a connection needs,
/// others are waited for to give theirs back.
///
/// # Errors
/// The failure of the connection phase, with the operating system's error number or 0.
pub(super) async fn obtain<T: Transport>(
    worker: &Worker<T>,
    endpoint: &Endpoint<T>,
    patience: &Patience<'_, T>,
    to: &To<'_>,
    wish: Wish,
) -> Result<(Upstream<T>, Connection), (Failure, i32)> {
    let mut waited_ms = 0;
    loop {
        if wish != Wish::Fresh
            && let Some(obtained) = reuse(worker, endpoint, wish == Wish::Repeatable)
        {
            return Ok(obtained);
        }
        match dial(worker, endpoint, patience, to).await {
            Ok((ends, inbox, tls_us)) => {
                worker.metrics.borrow_mut().counters.upstream_opened += 1;
                let link = Link::new(ends, inbox, worker.timers.timer());
                let connection = Connection { tls_us, ..Connection::default() };
                return Ok((Upstream::new(link, worker.transport.coarse_ms()), connection));
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
        tls_us: 0,
    };
    upstream.requests += 1;
    Some((upstream, connection))
}

async fn dial<T: Transport>(
    worker: &Worker<T>,
    endpoint: &Endpoint<T>,
    patience: &Patience<'_, T>,
    to: &To<'_>,
) -> Result<Dialled<T>, (Failure, i32)> {
    let dialling = Box::pin(async {
        let socket = worker.transport.connect(&endpoint.address).await;
        let socket = socket.map_err(|error| (failure_of(&error), error.raw_os_error().unwrap_or(0)))?;
        let mut inbox = worker.spares.buffer(HEAD_BUFFER_BYTES);
        let Some(tls) = to.tls else { return Ok((plain(socket), inbox, 0)) };
        let began_us = worker.transport.now_us();
        let (ends, _) = tls::dial::dial(socket, tls, to.name, &mut inbox).await.map_err(|failure| (failure, 0))?;
        worker.spares.fit(&mut inbox, 0);
        Ok((ends, inbox, worker.transport.now_us().saturating_sub(began_us)))
    });
    patience.wait(Timeout::Connect, to.connect_ms, dialling).await.map_err(|failure| (failure, 0))?
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
