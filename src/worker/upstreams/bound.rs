//! An upstream connection that is one client's alone: NTLM and Negotiate authenticate the connection, so whoever else came over it
//! would be taken for that client.

use std::net::IpAddr;
use std::rc::{Rc, Weak};

use super::super::engine::{Receive as _, Transport};
use super::super::kit::Kit;
use super::endpoint::{EndpointPool, UpstreamConnection};
use super::gate::Permit;
use crate::upstream::attempts::ConnectionFacts;
use crate::upstream::evidence::Peek;

/// A connection that was authenticated as its client's.
#[derive(Debug)]
pub(crate) struct BoundConnection<T: Transport> {
    /// Where it leads; a reload may have taken that away.
    endpoint: Weak<EndpointPool<T>>,
    /// Whose it is: a trusted proxy may have many clients on one connection.
    client: IpAddr,
    upstream: UpstreamConnection<T>,
}

impl<T: Transport> BoundConnection<T> {
    /// Keeps a connection to the endpoint of the permit, for at most so many milliseconds without a request.
    pub(crate) fn new(
        kit: &Kit<T>,
        permit: &Permit<T>,
        (upstream, client): (UpstreamConnection<T>, IpAddr),
        idle_ms: u64,
    ) -> Self {
        let transport = &kit.transport;
        let upstream = UpstreamConnection {
            is_bound: true,
            idle_since_us: transport.now_us(),
            idle_until_ms: transport.coarse_ms() + idle_ms,
            ..upstream
        };
        Self { endpoint: Rc::downgrade(&permit.endpoint), client, upstream }
    }

    /// The endpoint, where this client may go on over the connection and nothing was heard of it since.
    pub(crate) fn endpoint_for(&self, client: IpAddr) -> Option<Rc<EndpointPool<T>>> {
        let is_open = self.upstream.link.receiver.peek() == Peek::Quiet;
        self.endpoint.upgrade().filter(|_| self.client == client && is_open)
    }

    /// The connection for its client's next request, where it is still open.
    pub(crate) fn take(self, kit: &Kit<T>) -> Option<(UpstreamConnection<T>, ConnectionFacts)> {
        let (mut upstream, transport) = (self.upstream, &kit.transport);
        if transport.coarse_ms() >= upstream.idle_until_ms || upstream.link.receiver.peek() != Peek::Quiet {
            upstream.end(kit);
            return None;
        }
        let facts = ConnectionFacts {
            is_reused: true,
            requests: upstream.requests,
            idle_us: upstream.idle_us(transport.now_us()),
            age_ms: transport.coarse_ms().saturating_sub(upstream.opened_ms),
            tls_us: 0,
        };
        upstream.requests += 1;
        Some((upstream, facts))
    }
}
