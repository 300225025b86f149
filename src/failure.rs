//! The table of failures: what can go wrong in an exchange, whose fault it is, and what the client gets.
//!
//! A failure becomes an answer in one place, the outer function of `worker/exchange.rs`.
//! `cause` names are stable: logs, metrics and `Proxy-Status` carry them.

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
    UpstreamTls(&'static str),
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
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Body => "body",
            Self::Tunnel => "tunnel",
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
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The status that the client gets; 499 is logged only, and so is every status once a head went out.
    pub status: u16,
    /// The stable name of the cause, without its detail.
    pub cause: &'static str,
    /// The error token of RFC 9209 §2.3, empty where none is sent.
    pub token: &'static str,
    /// What happened, as one sentence for the person who reads the answer.
    pub meaning: &'static str,
}

const fn row(status: u16, cause: &'static str, token: &'static str, meaning: &'static str) -> Row {
    Row { status, cause, token, meaning }
}

/// Details that are not names: rules, phases and resources.
const DENIED: &str = "http_request_denied";
const BAD: &str = "http_request_error";
const GONE: &str = "connection_terminated";
const LATE: &str = "http_response_timeout";
const BUSY: &str = "connection_limit_reached";
const TORN: &str = "http_response_incomplete";

impl Failure {
    /// The row of the table for this failure.
    #[must_use]
    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        match self {
            Self::ClientHeaderTimeout => row(408, "client_header_timeout", BAD, "The request head was not complete in time."),
            Self::ClientBodyTimeout => row(408, "client_body_timeout", BAD, "The request body stalled."),
            Self::ClientBadRequest(_) => row(400, "client_bad_request", BAD, "The request is malformed."),
            Self::ClientUriTooLong => row(414, "client_uri_too_long", DENIED, "The request target is too long."),
            Self::ClientHeadTooLarge => row(431, "client_head_too_large", DENIED, "The request head is too large."),
            Self::ClientBodyTooLarge => row(413, "client_body_too_large", DENIED, "The request body is too large."),
            Self::ClientVersion => row(505, "client_version", DENIED, "The protocol version is not supported."),
            Self::ClientMethod => row(501, "client_method", DENIED, "The method is not implemented by this proxy."),
            Self::ClientExpectation => row(417, "client_expectation", DENIED, "Only 100-continue can be expected."),
            Self::ClientClosed(_) => row(499, "client_closed", "", "The client closed before it had the response."),
            Self::ClientSendTimeout => row(499, "client_send_timeout", "", "The client did not take the response in time."),
            Self::NoRoute => row(404, "no_route", "destination_not_found", "No route matches this request."),
            Self::NoEndpoints => row(503, "no_endpoints", "destination_unavailable", "The service has no endpoint."),
            Self::AllUnhealthy => row(503, "all_unhealthy", "destination_unavailable", "Every endpoint is unhealthy."),
            Self::QueueFull => row(503, "queue_full", BUSY, "The queue before the service is full."),
            Self::QueueTimeout => row(503, "queue_timeout", BUSY, "The request waited in the queue for too long."),
            Self::InflightLimit => row(503, "inflight_limit", BUSY, "The service has as many requests in flight as it may."),
            Self::CircuitOpen => row(503, "circuit_open", BUSY, "The service failed too often; it is left alone for a moment."),
            Self::RateLimited => row(429, "rate_limited", DENIED, "The client sends more than its rate."),
            Self::AuthRequired => row(401, "auth_required", DENIED, "Credentials are missing or wrong."),
            Self::Denied => row(403, "denied", DENIED, "The client is not allowed."),
            Self::Misdirected => row(421, "misdirected", DENIED, "The connection was made for another host."),
            Self::DnsTimeout => row(504, "dns_timeout", "dns_timeout", "Nobody answered for the name of the upstream."),
            Self::StaleReuseProven => row(502, "stale_reuse_proven", GONE, "The upstream had closed the reused connection."),
            Self::StaleReuseLikely => row(502, "stale_reuse_likely", GONE, "The upstream reset the reused connection."),
            Self::UpstreamUnsolicited => row(502, "upstream_unsolicited", GONE, "The upstream sent bytes that nobody asked for."),
            Self::UpstreamStatus => row(502, "upstream_status", "", "The upstream's own answer."),
            Self::UpstreamTls(_) => row(502, "upstream_tls", "tls_protocol_error", "The TLS handshake with the upstream failed."),
            Self::H2Refused => row(502, "h2_refused", GONE, "The upstream refused the stream."),
            Self::H2GoawayUnprocessed => row(502, "h2_goaway_unprocessed", GONE, "The upstream went away."),
            Self::H2Reset(_) => row(502, "h2_reset", "http_protocol_error", "The upstream reset the stream."),
            Self::DnsError => row(502, "dns_error", "dns_error", "The name of the upstream does not resolve."),
            Self::ConnectRefused => row(502, "connect_refused", "connection_refused", "The upstream refused the connection."),
            Self::ConnectUnreachable => row(502, "connect_unreachable", "destination_ip_unroutable", "The upstream cannot be reached."),
            Self::ConnectTimeout => row(504, "connect_timeout", "connection_timeout", "The upstream did not accept the connection in time."),
            Self::LocalResource(_) => row(503, "local_resource", "proxy_internal_error", "The proxy ran out of a local resource."),
            Self::StaleReuseUnsent => row(502, "stale_reuse_unsent", GONE, "The upstream had closed the reused connection."),
            Self::UpstreamClosedNoResponse => row(502, "upstream_closed_no_response", GONE, "The upstream closed without an answer."),
            Self::UpstreamResetDuringSend => row(502, "upstream_reset_during_send", "connection_write_error", "The upstream reset the connection while the request was sent."),
            Self::UpstreamSendTimeout => row(504, "upstream_send_timeout", "connection_write_timeout", "The upstream stopped taking the request."),
            Self::UpstreamHeaderTimeout => row(504, "upstream_header_timeout", LATE, "The upstream did not answer in time."),
            Self::UpstreamBadHeader(_) => row(502, "upstream_bad_header", "http_protocol_error", "The upstream's response head is malformed."),
            Self::UpstreamHeadTooLarge => row(502, "upstream_head_too_large", "http_protocol_error", "The upstream's response head is too large."),
            Self::UpstreamTruncated => row(502, "upstream_truncated", TORN, "The upstream closed inside its response."),
            Self::UpstreamBadBody(_) => row(502, "upstream_bad_body", "http_protocol_error", "The upstream's response body is malformed."),
            Self::UpstreamBodyTimeout => row(504, "upstream_body_timeout", TORN, "The upstream's response body stalled."),
            Self::RouteTimeout => row(504, "route_timeout", LATE, "The time allowed for this route was over."),
            Self::TunnelIdle => row(504, "tunnel_idle", "connection_timeout", "The tunnel was idle for too long."),
            Self::Internal(_) => row(500, "internal", "proxy_internal_error", "The proxy has a bug."),
        }
    }

    /// The detail behind the cause's name: the rule, phase, resource or site; empty for most.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::ClientBadRequest(rule)
            | Self::UpstreamBadHeader(rule)
            | Self::UpstreamBadBody(rule)
            | Self::UpstreamTls(rule)
            | Self::H2Reset(rule) => rule,
            Self::ClientClosed(phase) => phase.name(),
            Self::LocalResource(Resource::Ports) => "ports",
            Self::LocalResource(Resource::Descriptors) => "descriptors",
            Self::LocalResource(Resource::Memory) => "memory",
            Self::Internal(site) => site,
            _ => "",
        }
    }

    /// True where no answer can reach the client, so that none is written.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::ClientClosed(_) | Self::ClientSendTimeout)
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
