//! The table of failures: status, cause and error token of each, and what is told to whoever reads the answer.

use super::{Failure, TlsFault};

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

// Error tokens of RFC 9209 §2.3 that several rows share.
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
            Self::UpstreamTls(TlsFault::Certificate(_)) => row(502, "upstream_tls", "tls_certificate_error", "The upstream's certificate is not believed."),
            Self::UpstreamTls(TlsFault::Alert(_)) => row(502, "upstream_tls", "tls_alert_received", "The upstream refused the TLS handshake."),
            Self::UpstreamTls(TlsFault::Protocol(_)) => row(502, "upstream_tls", "tls_protocol_error", "The TLS handshake with the upstream failed."),
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
            Self::TunnelTimeout => row(504, "tunnel_timeout", "connection_timeout", "The tunnel's total time was over."),
            Self::Internal(_) => row(500, "internal", "proxy_internal_error", "The proxy has a bug."),
        }
    }
}
