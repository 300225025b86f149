//! Gets a connection to an endpoint: from its pool, else a new one.

use std::io;
use std::rc::Rc;

use super::super::engine::Transport;
use super::super::kit::Kit;
use super::super::time::timer::Deadline;
use super::super::wire::connection::{ConnectionEnds, plain, secure};
use super::super::wire::ends::{Inlet, Outlet, of_connection};
use super::super::wire::h2::carrier::Carrier;
use super::super::wire::h2::client::{Keep, begin};
use super::super::wire::h2::request;
use super::super::wire::link::Link;
use super::super::wire::records::RecordInlet;
use super::super::wire::tls::dial::handshake;
use super::admit::Destination;
use super::endpoint::{EndpointPool, UpstreamConnection};
use super::gate::Permit;
use crate::config::services::Protocol;
use crate::failure::{Failure, Resource, TlsFault};
use crate::limits::{H2_STREAM_WINDOW_BYTES, HEAD_BUFFER_BYTES};
use crate::proto::gateway::Gateway;
use crate::timeouts::{RESOURCE_WAIT_MS, Timeout};
use crate::tls::client::ClientTls;
use crate::upstream::attempts::{ConnectionFacts, Reuse};
use crate::upstream::reuse::KeepAlive;

/// What a new connection is made with.
#[derive(Clone, Copy, Debug)]
struct Dial<'a> {
    /// The endpoint, as it was written.
    name: &'a str,
    /// TLS, where it is spoken.
    tls: Option<&'a ClientTls>,
    /// What may be spoken.
    protocol: Protocol,
    /// What is spoken in the place of HTTP.
    gateway: Option<Gateway>,
    /// How a connection that carries many requests is kept.
    keep: Keep,
    /// How long a connection is reused.
    reuse: &'a KeepAlive,
    /// How long it may take, its handshake included, in milliseconds.
    connect_ms: Option<u64>,
}

/// A new connection.
struct Dialled<T: Transport> {
    ends: ConnectionEnds<T>,
    /// Empty.
    inbox: Vec<u8>,
    /// How long the handshake took, in microseconds.
    tls_us: u64,
    is_h2: bool,
}

/// Why there is no connection: the failure of the connection phase, with the operating system's error number or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotConnected {
    pub failure: Failure,
    pub errno: i32,
}

impl From<Failure> for NotConnected {
    fn from(failure: Failure) -> Self {
        Self { failure, errno: 0 }
    }
}

/// A connection for one request to the endpoint of the permit, and how it was found. `needs_http1` for an upgrade: over
/// HTTP/2 it takes extended CONNECT (RFC 8441), which few upstreams know. Where this host has run out of ports, descriptors
/// or memory, it waits for other connections to close.
///
/// # Errors
/// [`NotConnected`].
pub(crate) async fn connect<T: Transport>(
    kit: &Rc<Kit<T>>,
    to: &Destination<T>,
    permit: &Permit<T>,
    deadline: &Deadline<'_, T>,
    (reuse, needs_http1): (Reuse, bool),
) -> Result<(UpstreamConnection<T>, ConnectionFacts), NotConnected> {
    let (service, spec) = (to.snapshot(), &to.snapshot().spec);
    let tls = service.tls.as_deref();
    let dial = Dial {
        name: to.members.name_of(permit.at),
        tls,
        protocol: if needs_http1 && !spec.protocol.is_gateway() { Protocol::Http1 } else { spec.protocol },
        gateway: service.gateway.as_ref().map(|gateway| gateway.gateway),
        keep: Keep {
            idle_ms: spec.keep_alive.idle.ms(),
            ping_ms: spec.keep_alive.ping.limit_ms(),
            window_max: spec.http2_window_max.window_bytes().unwrap_or(H2_STREAM_WINDOW_BYTES),
        },
        reuse: &spec.keep_alive,
        connect_ms: to.timeouts().connect.limit_ms(),
    };
    // FastCGI cannot announce an end, and php-fpm reads and throws away what comes behind its last answer: no evidence would tell such a
    // request from one that was executed. So one that must not be repeated has a connection of its own, which ends with it.
    let is_own = dial.gateway.is_some() && reuse == Reuse::Once;
    let dial = Dial { gateway: dial.gateway.map(|gateway| if is_own { gateway.closing() } else { gateway }), ..dial };
    let reuse = if is_own { Reuse::Fresh } else { reuse };
    obtain(kit, &permit.endpoint, deadline, &dial, reuse).await
}

async fn obtain<T: Transport>(
    kit: &Rc<Kit<T>>,
    endpoint: &EndpointPool<T>,
    deadline: &Deadline<'_, T>,
    to: &Dial<'_>,
    reuse: Reuse,
) -> Result<(UpstreamConnection<T>, ConnectionFacts), NotConnected> {
    let mut waited_ms = 0;
    loop {
        let multiplex = &endpoint.multiplex;
        let is_multiplexed = match to.protocol {
            Protocol::Http1 | Protocol::Uwsgi | Protocol::Scgi | Protocol::FastCgi => false,
            // Until the ALPN of the endpoint is known, requests wait for its first connection: it may carry all of them.
            Protocol::Auto => to.tls.is_some() && multiplex.is_spoken.get() != Some(false),
            Protocol::H2 => true,
        };
        // The connection before ended with this request on it, which may have been the cause: it gets one of its own, so that
        // nobody else's goes down with it.
        let is_alone = reuse == Reuse::Alone;
        if is_multiplexed && !is_alone {
            let carrier = multiplex.find(to.reuse, kit.transport.coarse_ms());
            if let Some(carrier) = carrier {
                return Ok(stream(kit, &carrier, 0));
            }
            if multiplex.is_dialling() {
                deadline.wait(Timeout::Connect, to.connect_ms, Box::pin(multiplex.wait())).await?;
                continue;
            }
        }
        if !is_multiplexed && let Some(found) = pooled(kit, endpoint, reuse, to.gateway) {
            return Ok(found);
        }
        let dialling = (is_multiplexed && !is_alone).then(|| multiplex.dial());
        match dial(kit, endpoint, deadline, to).await {
            Ok(Dialled { ends, inbox, tls_us, is_h2: true }) => {
                kit.metrics.borrow_mut().counters.upstream_opened += 1;
                multiplex.is_spoken.set(Some(true));
                let carrier = begin(kit, (!is_alone).then_some(multiplex), ends, inbox, to.keep);
                drop(dialling);
                return Ok(stream(kit, &carrier, tls_us));
            }
            Ok(Dialled { ends, inbox, tls_us, is_h2: false }) => {
                kit.metrics.borrow_mut().counters.upstream_opened += 1;
                if to.protocol == Protocol::Auto {
                    multiplex.is_spoken.set(Some(false));
                }
                let link = Link::new(ends_of(ends, to.gateway), inbox, kit.timer());
                let facts = ConnectionFacts { tls_us, ..ConnectionFacts::default() };
                let mut upstream = UpstreamConnection::new(link, kit.transport.coarse_ms());
                upstream.gateway = to.gateway;
                return Ok((upstream, facts));
            }
            Err(NotConnected { failure: Failure::LocalResource(_), .. }) if waited_ms < RESOURCE_WAIT_MS => {
                kit.pause(Timeout::ResourcePause, None).await;
                waited_ms += Timeout::ResourcePause.row().ms;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Both ends of a connection that carries one request at a time.
fn ends_of<T: Transport>((inlet, outlet): ConnectionEnds<T>, gateway: Option<Gateway>) -> (Inlet<T>, Outlet<T>) {
    if gateway.is_some_and(Gateway::has_records) {
        (Inlet::Records(Box::new(RecordInlet::new(inlet))), Outlet::Connection(outlet))
    } else {
        of_connection((inlet, outlet))
    }
}

/// One more stream of a connection.
fn stream<T: Transport>(kit: &Kit<T>, carrier: &Rc<Carrier>, tls_us: u64) -> (UpstreamConnection<T>, ConnectionFacts) {
    let requests = carrier.requests.get();
    let facts = ConnectionFacts {
        is_reused: requests > 0,
        requests,
        idle_us: match carrier.idle_since_us() {
            0 => 0,
            since_us => kit.transport.now_us().saturating_sub(since_us),
        },
        age_ms: kit.transport.coarse_ms().saturating_sub(carrier.opened_ms),
        tls_us,
    };
    let (inlet, outlet) = request::ends(carrier.take());
    if facts.is_reused {
        kit.metrics.borrow_mut().counters.upstream_reused += 1;
    }
    let ends = (Inlet::Request(Box::new(inlet)), Outlet::Request(Box::new(outlet)));
    let link = Link::new(ends, kit.buffers.buffer(HEAD_BUFFER_BYTES), kit.timer());
    let mut upstream = UpstreamConnection::new(link, carrier.opened_ms);
    upstream.requests = requests + 1;
    (upstream, facts)
}

/// A pooled connection that is good for the request.
fn pooled<T: Transport>(
    kit: &Kit<T>,
    endpoint: &EndpointPool<T>,
    reuse: Reuse,
    gateway: Option<Gateway>,
) -> Option<(UpstreamConnection<T>, ConnectionFacts)> {
    let is_repeatable = match reuse {
        Reuse::Repeatable => true,
        Reuse::Once => false,
        Reuse::Fresh | Reuse::Alone => return None,
    };
    let (mut upstream, idle_us) = loop {
        let (upstream, idle_us) = endpoint.check_out(kit, is_repeatable)?;
        if upstream.gateway == gateway {
            break (upstream, idle_us);
        }
        // The service spoke something else when it was opened.
        upstream.end(kit);
    };
    kit.metrics.borrow_mut().counters.upstream_reused += 1;
    let facts = ConnectionFacts {
        is_reused: true,
        requests: upstream.requests,
        idle_us,
        age_ms: kit.transport.coarse_ms().saturating_sub(upstream.opened_ms),
        tls_us: 0,
    };
    upstream.requests += 1;
    Some((upstream, facts))
}

async fn dial<T: Transport>(
    kit: &Kit<T>,
    endpoint: &EndpointPool<T>,
    deadline: &Deadline<'_, T>,
    to: &Dial<'_>,
) -> Result<Dialled<T>, NotConnected> {
    let dialling = Box::pin(async {
        let socket = kit.transport.connect(&endpoint.address).await.map_err(|error| not_connected(&error))?;
        let mut inbox = kit.buffers.buffer(HEAD_BUFFER_BYTES);
        let Some(tls) = to.tls else {
            return Ok(Dialled { ends: plain(socket), inbox, tls_us: 0, is_h2: to.protocol == Protocol::H2 });
        };
        let began_us = kit.transport.now_us();
        let name = (to.name, to.protocol == Protocol::Http1);
        let (ends, facts) = handshake(socket, tls, name, &mut inbox).await?;
        if to.protocol == Protocol::H2 && !facts.is_h2 {
            return Err(Failure::UpstreamTls(TlsFault::Protocol("no_h2")).into());
        }
        kit.buffers.fit(&mut inbox, 0);
        let tls_us = kit.transport.now_us().saturating_sub(began_us);
        Ok(Dialled { ends: secure(ends), inbox, tls_us, is_h2: facts.is_h2 })
    });
    deadline.wait(Timeout::Connect, to.connect_ms, dialling).await?
}

fn not_connected(error: &io::Error) -> NotConnected {
    NotConnected { failure: failure_of(error), errno: error.raw_os_error().unwrap_or(0) }
}

/// What an error of connect(2) means. A Unix socket counts as refused where its file is missing (ENOENT) or its queue is
/// full (EAGAIN).
pub(crate) fn failure_of(error: &io::Error) -> Failure {
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
