//! What can go wrong in an exchange. `table` says what the client gets, `advice` what people can do about it.
//!
//! A failure becomes an answer in one place, `settle` in `worker/settle.rs`.
//! `cause` names are stable: logs, metrics and `Proxy-Status` carry them.

pub mod advice;
pub mod table;

use std::fmt;

/// Why an exchange did not end with the upstream's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The request head was not complete in time.
    ClientHeaderTimeout,
    /// The request body stalled, or came too slowly.
    ClientBodyTimeout,
    /// The request is malformed; the rule it broke.
    ClientBadRequest(&'static str),
    /// The request target is longer than the limit.
    ClientUriTooLong,
    /// The request head is larger than the limit, or has too many fields.
    ClientHeadTooLarge,
    /// The request body is larger than the limit.
    ClientBodyTooLarge,
    /// The protocol version is not HTTP/1.0 or HTTP/1.1.
    ClientVersion,
    /// The method is not implemented here (CONNECT).
    ClientMethod,
    /// `Expect` asks for something else than `100-continue`.
    ClientExpectation,
    /// The client was gone before it had the whole response.
    ClientClosed(Phase),
    /// The client did not take the response in time.
    ClientSendTimeout,
    /// No route matches.
    NoRoute,
    /// The service has no endpoint.
    NoEndpoints,
    /// Every endpoint is unhealthy, and the service does not fail open.
    AllUnhealthy,
    /// The queue before the service is full.
    QueueFull,
    /// The request waited in the queue for too long.
    QueueTimeout,
    /// The service or endpoint has as many requests in flight as it may.
    InflightLimit,
    /// The circuit breaker is open.
    CircuitOpen,
    /// The client sends more than its rate.
    RateLimited,
    /// Credentials are missing or wrong.
    AuthRequired,
    /// The client is not allowed.
    Denied,
    /// The name in the TLS handshake and the authority disagree.
    Misdirected,
    /// The name of the endpoint does not resolve.
    DnsError,
    /// Nobody answered for the name of the endpoint.
    DnsTimeout,
    /// The endpoint refused the connection, or reset it while it was set up.
    ConnectRefused,
    /// The endpoint cannot be reached.
    ConnectUnreachable,
    /// The endpoint did not accept the connection in time.
    ConnectTimeout,
    /// This host ran out of something that a connection needs.
    LocalResource(Resource),
    /// Nothing of the request could be sent on a reused connection.
    StaleReuseUnsent,
    /// The upstream answered the request on a reused connection with a reset, without having taken a byte.
    StaleReuseProven,
    /// The upstream reset a reused connection, and no byte was acknowledged.
    StaleReuseLikely,
    /// Bytes came on an idle connection.
    UpstreamUnsolicited,
    /// A status that the route retries; passed through.
    UpstreamStatus,
    /// The TLS handshake with the upstream failed; how.
    UpstreamTls(TlsFault),
    /// The upstream refused the stream (HTTP/2).
    H2Refused,
    /// The upstream went away below our stream (HTTP/2).
    H2GoawayUnprocessed,
    /// The upstream reset the stream (HTTP/2); its code.
    H2Reset(&'static str),
    /// The upstream closed without a byte of response.
    UpstreamClosedNoResponse,
    /// The upstream reset the connection while the request was being sent.
    UpstreamResetDuringSend,
    /// The upstream stopped taking the request.
    UpstreamSendTimeout,
    /// The response head was not complete in time.
    UpstreamHeaderTimeout,
    /// The response head is malformed; the rule it broke.
    UpstreamBadHeader(&'static str),
    /// The response head is larger than the limit.
    UpstreamHeadTooLarge,
    /// The upstream closed inside the response body.
    UpstreamTruncated,
    /// The response body has malformed framing; the rule it broke.
    UpstreamBadBody(&'static str),
    /// The response body stalled.
    UpstreamBodyTimeout,
    /// The route's total time was over.
    RouteTimeout,
    /// A tunnel carried no byte in either direction for too long.
    TunnelIdle,
    /// A tunnel's total time was over.
    TunnelTimeout,
    /// A bug of this program; where.
    Internal(&'static str),
}

/// Where in its course an exchange was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Receiving the request head.
    #[default]
    Head,
    /// Choosing route and endpoint.
    Route,
    /// Waiting for an endpoint that has room.
    Queue,
    /// Setting up the upstream connection.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the response head.
    Wait,
    /// Passing the response body on.
    Body,
    /// Carrying an upgraded connection.
    Tunnel,
}

impl Phase {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Route => "route",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Body => "body",
            Self::Tunnel => "tunnel",
        }
    }
}

/// Why TLS failed, each by the name of the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// The two do not understand each other, or the connection ended.
    Protocol(&'static str),
    /// Its certificate is not believed.
    Certificate(&'static str),
    /// It said so itself.
    Alert(&'static str),
}

impl TlsFault {
    /// The name of the reason.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Protocol(reason) | Self::Certificate(reason) | Self::Alert(reason) => reason,
        }
    }
}

/// What this host ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Local ports towards one endpoint (EADDRNOTAVAIL).
    Ports,
    /// File descriptors (EMFILE, ENFILE).
    Descriptors,
    /// Memory for sockets (ENOBUFS, ENOMEM).
    Memory,
    /// Time of the worker's CPU.
    Worker,
}

impl Failure {
    /// The detail behind the cause's name: the rule, phase, resource or site; empty for most.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::ClientBadRequest(rule)
            | Self::UpstreamBadHeader(rule)
            | Self::UpstreamBadBody(rule)
            | Self::H2Reset(rule) => rule,
            Self::UpstreamTls(fault) => fault.reason(),
            Self::ClientClosed(phase) => phase.name(),
            Self::LocalResource(Resource::Ports) => "ports",
            Self::LocalResource(Resource::Descriptors) => "descriptors",
            Self::LocalResource(Resource::Memory) => "memory",
            Self::LocalResource(Resource::Worker) => "worker",
            Self::Internal(site) => site,
            _ => "",
        }
    }

    /// True where no answer can reach the client, so that none is written.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::ClientClosed(_) | Self::ClientSendTimeout)
    }

    /// What `Retry-After` says, in seconds; `None` where it is not sent.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::QueueFull
            | Self::QueueTimeout
            | Self::InflightLimit
            | Self::CircuitOpen
            | Self::RateLimited
            | Self::LocalResource(_) => Some(1),
            _ => None,
        }
    }

    /// True where the upstream failed, and not the client, the request or this host.
    #[must_use]
    pub const fn is_upstream_fault(self) -> bool {
        matches!(self.row().status, 502 | 504)
            && !matches!(self, Self::RouteTimeout | Self::TunnelIdle | Self::TunnelTimeout)
    }

    /// True where the client's bytes can no longer be understood, so that the connection must close.
    #[must_use]
    pub const fn is_client_fault(self) -> bool {
        matches!(self.row().status, 400 | 408 | 413 | 414 | 417 | 431 | 499 | 501 | 505)
    }
}

/// `NAME` or `NAME:DETAIL`, as logs and metrics write it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().cause)?;
        match self.detail() {
            "" => Ok(()),
            detail => write!(f, ":{detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_of_ours_is_the_only_500() {
        let all = [
            Failure::NoRoute,
            Failure::UpstreamTruncated,
            Failure::LocalResource(Resource::Ports),
            Failure::ClientMethod,
            Failure::DnsError,
        ];
        assert!(all.iter().all(|failure| failure.row().status != 500));
        assert_eq!(Failure::Internal("exchange").row().status, 500);
    }

    #[test]
    fn a_cause_is_written_with_its_detail() {
        assert_eq!(Failure::ClientBadRequest("host_missing").to_string(), "client_bad_request:host_missing");
        assert_eq!(Failure::ClientClosed(Phase::Wait).to_string(), "client_closed:wait");
        assert_eq!(Failure::NoRoute.to_string(), "no_route");
    }
}
