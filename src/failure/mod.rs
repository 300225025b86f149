//! What can go wrong in an exchange. `table` has one row for each (`row`): what the client gets, what is done, what people can do.
//!
//! A failure becomes an answer in one place, `worker/http/settle.rs`.

pub mod details;
pub mod remedy;
pub mod row;
pub mod table;

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
    /// The upstream must know the length of the body, which the client does not say.
    ClientLengthRequired,
    /// The client was gone before it had the whole response.
    ClientClosed(Phase),
    /// The client did not take the response in time.
    ClientSendTimeout,
    /// No route matches.
    NoRoute,
    /// The path names no script of the FastCGI server.
    NoScript,
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
    /// The client sends more than its rate; the zone that counts.
    RateLimited(&'static str),
    /// The client has as many requests in flight as it may; the zone that counts.
    ConcurrencyLimited(&'static str),
    /// Credentials are missing or wrong; which.
    AuthRequired(&'static str),
    /// Nobody can say whether the client may; what does not answer.
    AuthUnavailable(&'static str),
    /// The client is not allowed; by what.
    Denied(&'static str),
    /// The authority falls under another TLS policy than the one that the connection was accepted under.
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
    /// A status after which the service asks for another attempt (`retry.on_status`).
    UpstreamStatus,
    /// The upstream answered with this status, whose page could not be had.
    NoErrorPage(u16),
    /// The upstream asked for the length of a body that came in chunks, and all of it is held.
    UpstreamLengthRequired,
    /// The TLS handshake with the upstream failed; how.
    UpstreamTls(TlsFault),
    /// The upstream refused the stream (HTTP/2).
    H2Refused,
    /// The FastCGI server refused the request before it began with it; why.
    FastCgiRefused(&'static str),
    /// The upstream sent a GOAWAY that names a last stream below ours, so it did not process the request (HTTP/2).
    H2GoawayUnprocessed,
    /// The same, but the GOAWAY says that an error made the upstream end the connection.
    H2GoawayError,
    /// The upstream reset the stream (HTTP/2); its code.
    H2Reset(&'static str),
    /// The upstream broke a rule of HTTP/2 on our stream; the rule.
    H2Broken(&'static str),
    /// The request's head is longer than the upstream said that it takes (HTTP/2, SETTINGS_MAX_HEADER_LIST_SIZE).
    UpstreamHeadLimit,
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
    /// The peer's certificate could not be verified.
    Certificate(&'static str),
    /// The peer sent an alert.
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

/// Every failure once, with an example of its detail.
pub const ALL: [Failure; 61] = [
    Failure::ClientHeaderTimeout,
    Failure::ClientBodyTimeout,
    Failure::ClientBadRequest("RULE"),
    Failure::ClientUriTooLong,
    Failure::ClientHeadTooLarge,
    Failure::ClientBodyTooLarge,
    Failure::ClientVersion,
    Failure::ClientMethod,
    Failure::ClientExpectation,
    Failure::ClientLengthRequired,
    Failure::ClientClosed(Phase::Wait),
    Failure::ClientSendTimeout,
    Failure::NoRoute,
    Failure::NoScript,
    Failure::NoEndpoints,
    Failure::AllUnhealthy,
    Failure::QueueFull,
    Failure::QueueTimeout,
    Failure::InflightLimit,
    Failure::CircuitOpen,
    Failure::RateLimited("ZONE"),
    Failure::ConcurrencyLimited("ZONE"),
    Failure::AuthRequired("WHAT"),
    Failure::AuthUnavailable("WHAT"),
    Failure::Denied("WHY"),
    Failure::Misdirected,
    Failure::DnsError,
    Failure::DnsTimeout,
    Failure::ConnectRefused,
    Failure::ConnectUnreachable,
    Failure::ConnectTimeout,
    Failure::LocalResource(Resource::Ports),
    Failure::StaleReuseUnsent,
    Failure::StaleReuseProven,
    Failure::StaleReuseLikely,
    Failure::UpstreamUnsolicited,
    Failure::UpstreamStatus,
    Failure::NoErrorPage(404),
    Failure::UpstreamLengthRequired,
    Failure::UpstreamTls(TlsFault::Certificate("WHAT")),
    Failure::H2Refused,
    Failure::FastCgiRefused("WHY"),
    Failure::H2GoawayUnprocessed,
    Failure::H2GoawayError,
    Failure::H2Reset("CODE"),
    Failure::H2Broken("RULE"),
    Failure::UpstreamHeadLimit,
    Failure::UpstreamClosedNoResponse,
    Failure::UpstreamResetDuringSend,
    Failure::UpstreamSendTimeout,
    Failure::UpstreamHeaderTimeout,
    Failure::UpstreamBadHeader("RULE"),
    Failure::UpstreamHeadTooLarge,
    Failure::UpstreamTruncated,
    Failure::UpstreamBadBody("RULE"),
    Failure::UpstreamBodyTimeout,
    Failure::RouteTimeout,
    Failure::TunnelIdle,
    Failure::TunnelTimeout,
    Failure::Internal("SITE"),
    Failure::LocalResource(Resource::Worker),
];
