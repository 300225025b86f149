//! Gets a connection to an endpoint: from its pool, else a new one.

use std::io;
use std::rc::Rc;

use super::Worker;
use super::ends::{Inlet, Outlet, plain};
use super::h2::upstream::{Keep, Multiplexed};
use super::io::Transport;
use super::link::Link;
use super::pool::{Endpoint, Upstream};
use super::timer::Patience;
use super::{h2, tls};
use crate::config::services::Protocol;
use crate::failure::{Failure, Resource, TlsFault};
use crate::limits::HEAD_BUFFER_BYTES;
use crate::record::Connection;
use crate::timeouts::{RESOURCE_PAUSE_MS, RESOURCE_WAIT_MS, Timeout};
use crate::tls::client::ClientTls;
use crate::upstream::reuse::ReuseBounds;

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
    /// What may be spoken.
    pub protocol: Protocol,
    /// How a connection that carries many requests is kept.
    pub keep: Keep,
    /// How long one is used.
    pub reuse: ReuseBounds,
    /// How long it may take, its handshake included, in milliseconds.
    pub connect_ms: Option<u64>,
}

/// A new connection.
struct Dialled<T: Transport> {
    ends: (Inlet<T>, Outlet<T>),
    /// Empty.
    inbox: Vec<u8>,
    /// How long the handshake took, in microseconds.
    tls_us: u64,
    is_h2: bool,
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
    to: &To<'_>,
    wish: Wish,
) -> Result<(Upstream<T>, Connection), (Failure, i32)> {
    let mut waited_ms = 0;
    loop {
        let multiplex = &endpoint.multiplex;
        let is_multiplexed = match to.protocol {
            Protocol::Http1 => false,
            // Until it is known, the first connection is waited for: it may carry all.
            Protocol::Auto => to.tls.is_some() && multiplex.is_spoken.get() != Some(false),
            Protocol::H2 => true,
        };
        if is_multiplexed {
            if let Some(multiplexed) = multiplex.find(&to.reuse, worker.transport.coarse_ms()) {
                return Ok(stream(worker, &multiplexed, 0));
            }
            if multiplex.is_dialling() {
                let waiting = patience.wait(Timeout::Connect, to.connect_ms, Box::pin(multiplex.wait())).await;
                waiting.map_err(|failure| (failure, 0))?;
                continue;
            }
        }
        if !is_multiplexed
            && wish != Wish::Fresh
            && let Some(obtained) = reuse(worker, endpoint, wish == Wish::Repeatable)
        {
            return Ok(obtained);
        }
        let dialling = is_multiplexed.then(|| multiplex.dial());
        let dialled = dial(worker, endpoint, patience, to).await;
        match dialled {
            Ok(Dialled { ends, inbox, tls_us, is_h2: true }) => {
                worker.metrics.borrow_mut().counters.upstream_opened += 1;
                multiplex.is_spoken.set(Some(true));
                let begun = h2::upstream::begin(worker, multiplex, ends, inbox, to.keep).await;
                drop(dialling);
                let multiplexed = begun.map_err(|_| (Failure::ConnectRefused, 0))?;
                return Ok(stream(worker, &multiplexed, tls_us));
            }
            Ok(Dialled { ends, inbox, tls_us, is_h2: false }) => {
                worker.metrics.borrow_mut().counters.upstream_opened += 1;
                if to.protocol == Protocol::Auto {
                    multiplex.is_spoken.set(Some(false));
                }
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

/// One more stream of a connection.
fn stream<T: Transport>(worker: &Worker<T>, multiplexed: &Rc<Multiplexed>, tls_us: u64) -> (Upstream<T>, Connection) {
    let now_ms = worker.transport.coarse_ms();
    let requests = multiplexed.requests.get();
    let connection = Connection {
        is_reused: requests > 0,
        requests,
        idle_us: match multiplexed.idle_since_us() {
            0 => 0,
            since_us => worker.transport.now_us().saturating_sub(since_us),
        },
        age_ms: now_ms.saturating_sub(multiplexed.opened_ms),
        tls_us,
    };
    if connection.is_reused {
        worker.metrics.borrow_mut().counters.upstream_reused += 1;
    }
    let ends = h2::request::ends(multiplexed.take());
    let link = Link::new(ends, worker.spares.buffer(HEAD_BUFFER_BYTES), worker.timers.timer());
    let mut upstream = Upstream::new(link, multiplexed.opened_ms);
    upstream.requests = requests + 1;
    (upstream, connection)
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
        let Some(tls) = to.tls else {
            return Ok(Dialled { ends: plain(socket), inbox, tls_us: 0, is_h2: to.protocol == Protocol::H2 });
        };
        let began_us = worker.transport.now_us();
        let name = (to.name, to.protocol == Protocol::Http1);
        let (ends, facts) = tls::dial::dial(socket, tls, name, &mut inbox).await.map_err(|failure| (failure, 0))?;
        if to.protocol == Protocol::H2 && !facts.is_h2 {
            return Err((Failure::UpstreamTls(TlsFault::Protocol("no_h2")), 0));
        }
        worker.spares.fit(&mut inbox, 0);
        let tls_us = worker.transport.now_us().saturating_sub(began_us);
        Ok(Dialled { ends, inbox, tls_us, is_h2: facts.is_h2 })
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
