//! The table of failures: one row for each, with everything that depends on which failure it is.
//!
//! A row is written out in one place, so that a new failure does not compile until somebody has said all of it: what the
//! client gets, whose fault it is, what becomes of the client's connection, whether and how the request is tried again,
//! whether the endpoint is blamed, and what people can do. `docs/failures.md` is rendered from it.
//! `cause` names are stable: logs, metrics and `Proxy-Status` carry them.

use std::fmt;

use super::row::{Blame, EvidenceSource, Fault, Handling, RetryClass, Row};
use super::{Failure, Resource, TlsFault};

const CLIENT: Handling = Handling {
    fault: Fault::Client,
    closes_client: true,
    is_silent: false,
    retry_after_s: None,
    retry: RetryClass::Final,
    evidence: EvidenceSource::None,
    ejection: Blame::None,
};
const CLIENT_GONE: Handling = Handling { is_silent: true, ..CLIENT };
const OURS: Handling = Handling { fault: Fault::Proxy, closes_client: false, ..CLIENT };
const BUSY: Handling = Handling { retry_after_s: Some(1), ..OURS };
const UPSTREAM: Handling = Handling { fault: Fault::Upstream, ..OURS };
const CONNECT: Handling = Handling { retry: RetryClass::Connect, ejection: Blame::Connection, ..UPSTREAM };
const HANDSHAKE: Handling = Handling {
    retry: RetryClass::Handshake,
    evidence: EvidenceSource::Delivered,
    ejection: Blame::Endpoint,
    ..UPSTREAM
};
const STALE: Handling = Handling { retry: RetryClass::Stale, ..UPSTREAM };
const ENDED: Handling =
    Handling { retry: RetryClass::Ended, evidence: EvidenceSource::Kernel, ejection: Blame::NewConnection, ..UPSTREAM };
const BAD_RESPONSE: Handling = Handling { retry: RetryClass::BadResponse, ..UPSTREAM };

// Error tokens of RFC 9209 §2.3 that several rows share.
const DENIED: &str = "http_request_denied";
const BAD: &str = "http_request_error";
const GONE: &str = "connection_terminated";
const LATE: &str = "http_response_timeout";
const LIMIT: &str = "connection_limit_reached";
const TORN: &str = "http_response_incomplete";

const fn row(
    (status, grpc_status): (u16, u8),
    cause: &'static str,
    token: &'static str,
    handling: Handling,
    [meaning, usually, remedy]: [&'static str; 3],
) -> Row {
    Row { status, grpc_status, cause, token, handling, meaning, usually, remedy }
}

impl Failure {
    /// The row of the table for this failure.
    #[must_use]
    #[rustfmt::skip]
    #[expect(clippy::too_many_lines, reason = "the table stands in one place")]
    pub const fn row(self) -> Row {
        match self {
            Self::ClientHeaderTimeout => row((408, 13), "client_header_timeout", BAD, CLIENT, [
                "The request head was not complete in time.",
                "A slow network, a connection that was opened in advance, or an attack by slow heads (slowloris).",
                "Nothing, where it is rare. Otherwise look at the client addresses in the access log; `listeners.NAME.timeouts.header` is the time."]),
            Self::ClientBodyTimeout => row((408, 13), "client_body_timeout", BAD, CLIENT, [
                "The request body stalled.",
                "A client that stopped sending for `listeners.NAME.timeouts.body`, or sends less than `listeners.NAME.body_rate` once 10 s were waited for it.",
                "Raise `timeouts.body` where clients are known to pause, lower `body_rate` where they are slow; otherwise nothing."]),
            Self::ClientBadRequest(_) => row((400, 13), "client_bad_request", BAD, CLIENT, [
                "The request is malformed.",
                "A client that breaks RFC 9112, a scanner, or an attempt to smuggle a request; the rule behind the colon says what was wrong.",
                "Correct the client. `field_underscore` can be allowed by `listeners.NAME.underscores`, `hidden_dots` by `listeners.NAME.hidden_dots`. `tls_to_plain_http` is a client of TLS at a listener without it."]),
            Self::ClientUriTooLong => row((414, 8), "client_uri_too_long", DENIED, CLIENT, [
                "The request target is too long.",
                "A form sent by GET, or a loop of redirects that appends to the query; the limit is 16 KiB.",
                "Send long data in a body."]),
            Self::ClientHeadTooLarge => row((431, 8), "client_head_too_large", DENIED, CLIENT, [
                "The request head is too large.",
                "Cookies that grew; the limits are 64 KiB and 2,048 fields.",
                "Delete cookies, and find who sets them."]),
            Self::ClientBodyTooLarge => row((413, 8), "client_body_too_large", DENIED, CLIENT, [
                "The request body is too large.",
                "An upload above `listeners.NAME.body_max`.",
                "Raise the limit, or tell users of it."]),
            Self::ClientVersion => row((505, 12), "client_version", DENIED, CLIENT, [
                "The protocol version is not supported.",
                "A client that speaks neither HTTP/1.0 nor HTTP/1.1, often a scanner.",
                "Nothing."]),
            Self::ClientMethod => row((501, 12), "client_method", DENIED, CLIENT, [
                "The method is not implemented by this proxy.",
                "CONNECT: the client takes this for a forward proxy, or asks for another protocol over HTTP/2 than the WebSocket.",
                "Correct the client's settings."]),
            Self::ClientExpectation => row((417, 13), "client_expectation", DENIED, CLIENT, [
                "Only 100-continue can be expected.",
                "`Expect` with another value than `100-continue`.",
                "Correct the client."]),
            Self::ClientLengthRequired => row((411, 8), "client_length_required", DENIED, CLIENT, [
                "The body must come with its length.",
                "A body in chunks above 1 MiB for an application server of uwsgi, SCGI or FastCGI, which is told of the length before the body.",
                "Let the client send `Content-Length`, or put `{ buffer = { max = \"8MiB\" } }` among the filters of the route."]),
            Self::ClientClosed(_) => row((499, 14), "client_closed", "", CLIENT_GONE, [
                "The client closed before it had the response.",
                "The user went on, or the client's own timeout is shorter than the answer takes; the phase behind the colon says what we waited for. In phase `wait` the upstream is slow.",
                "Compare `total_us` in the access log with the client's timeout. `services.NAME.ignore_client_abort` lets the upstream finish all the same."]),
            Self::ClientSendTimeout => row((499, 14), "client_send_timeout", "", CLIENT_GONE, [
                "The client did not take the response in time.",
                "A client that stopped reading: a suspended tab, a full disk, a lost line.",
                "Nothing, where it is rare; `listeners.NAME.timeouts.send` is the time, `listeners.NAME.send_rate` the slowest pace."]),
            Self::NoRoute => row((404, 12), "no_route", "destination_not_found", OURS, [
                "No route matches this request.",
                "A host or path that no route has, often a missing host name or a scanner.",
                "`ringress explain CONFIG METHOD URL` says which routes were looked at."]),
            Self::NoScript => row((404, 12), "no_script", "destination_not_found", OURS, [
                "The path names no script of the FastCGI server.",
                "A path without the ending of a script, or the name of one that is not there; often a scanner.",
                "Set `front_controller`, `index` or `split_path` in the `script` of the service."]),
            Self::NoEndpoints => row((503, 14), "no_endpoints", "destination_unavailable", OURS, [
                "The service has no endpoint.",
                "A service without endpoints.",
                "Add endpoints to the service."]),
            Self::AllUnhealthy => row((503, 14), "all_unhealthy", "destination_unavailable", OURS, [
                "Every endpoint is unhealthy.",
                "Every endpoint failed its health check, and `health.fail_open` is false.",
                "`/api/endpoints` says for each endpoint what its check saw."]),
            Self::QueueFull => row((503, 14), "queue_full", LIMIT, BUSY, [
                "The queue before the service is full.",
                "More requests than the upstream answers in time: `limits` of the service keep the rest waiting.",
                "Add endpoints, make them faster, or raise `limits.queue` and `limits.queue_wait`; `queue_us` in the access log says how long requests waited."]),
            Self::QueueTimeout => row((503, 14), "queue_timeout", LIMIT, BUSY, [
                "The request waited in the queue for too long.",
                "More requests than the upstream answers in time: `limits` of the service keep the rest waiting.",
                "Add endpoints, make them faster, or raise `limits.queue` and `limits.queue_wait`; `queue_us` in the access log says how long requests waited."]),
            Self::InflightLimit => row((503, 14), "inflight_limit", LIMIT, BUSY, [
                "The service has as many requests in flight as it may.",
                "More requests at once than `limits` allow, and no queue before them.",
                "Raise `limits.in_flight`, or let requests wait by `limits.queue`."]),
            Self::CircuitOpen => row((503, 14), "circuit_open", LIMIT, BUSY, [
                "The service failed too often; it is left alone for a moment.",
                "The service failed, or was slow, in more requests than `circuit_breaker` allows.",
                "Look at the failures before it in the access log: they opened the circuit breaker."]),
            Self::RateLimited(_) => row((429, 14), "rate_limited", DENIED, BUSY, [
                "Requests come more often than they may.",
                "A client above the rate of a `rate_limit`, or several that its `key` takes for one: behind a proxy that is not in `trusted_proxies` all clients have one address. The zone is behind the colon, where it has a name.",
                "Slow the client down, as `Retry-After` says; raise `rate` or `burst`, choose another `key`, or name the client in `exempt`."]),
            Self::ConcurrencyLimited(_) => row((429, 14), "concurrency_limited", DENIED, BUSY, [
                "As many requests are in flight as may be.",
                "A client with more requests at once than `max` of a `concurrency_limit`: streams of HTTP/2 count each, an open WebSocket counts for as long as it is open. The zone is behind the colon, where it has a name.",
                "Let the client wait for answers; raise `max`, choose another `key`, or name the client in `exempt`."]),
            Self::AuthRequired(_) => row((401, 16), "auth_required", DENIED, OURS, [
                "Credentials are missing or wrong.",
                "`password`: no user or a wrong password for `basic_auth`; `digest` the same for `digest_auth`. `key`: no key or an unknown one for `api_key`. `token_…`: no token, or one that `jwt` does not take, and why. `service`: the service of `forward_auth` answered 401. `session`: nobody has signed in at the provider of `oidc`, and what asks is no browser that shows a page.",
                "Send the right ones. Browsers ask for a password by themselves; the field that shows a key is named in the filter."]),
            Self::AuthUnavailable(_) => row((503, 14), "auth_unavailable", "proxy_internal_error", BUSY, [
                "Nobody can say whether the client may.",
                "`service`: the service of `forward_auth` was not reached or did not answer in time. `answer`: it answered with a 5xx. `password`: too many passwords wait to be verified, as in a storm of logins. `keys`, `provider`: the keys of `jwt` or the provider of `oidc` could not be fetched yet, or the provider does not answer codes.",
                "Look at the service of `forward_auth` as at any upstream. Against a storm of logins put a `rate_limit` before `basic_auth`, or use hashes that cost less."]),
            Self::Denied(_) => row((403, 7), "denied", DENIED, OURS, [
                "The client is not allowed.",
                "A filter of the route refuses the client. `address`: its address is not in `allow`, or is in `deny`. `header`: a field of its request is one of `deny_headers`. `certificate_…`: `client_certificate` asks for another one, or for one at all. `origin`: a browser asked for a page of an origin that `cors` does not list. `service`: the service of `forward_auth` said no. `claims`: the token has not what `require` of `jwt` or `oidc` asks for. `login`: a browser came back from the provider of `oidc` without having begun there, or too late. `provider`: it said no. `token_…`: what is wrong with its token. `session`: what it says of the client is too large.",
                "Where it should be let in, change the filter; behind another proxy check `listeners.NAME.trusted_proxies`, by which the client's address is known."]),
            Self::Misdirected => row((421, 14), "misdirected", DENIED, OURS, [
                "The connection was made for another host.",
                "A connection reused for another host.",
                "Nothing: clients try again on a connection of their own."]),
            Self::DnsError => row((502, 14), "dns_error", "dns_error", UPSTREAM, [
                "The name of the upstream does not resolve.",
                "The name of an endpoint does not resolve: a typing error, a service that is gone, or a name server that does not answer.",
                "Ask for the name on this host; it is asked for again by itself."]),
            Self::DnsTimeout => row((504, 4), "dns_timeout", "dns_timeout", UPSTREAM, [
                "No name server answered for the name of the upstream in time.",
                "The name of an endpoint does not resolve: a typing error, a service that is gone, or a name server that does not answer.",
                "Ask for the name on this host; it is asked for again by itself."]),
            Self::ConnectRefused => row((502, 14), "connect_refused", "connection_refused", CONNECT, [
                "The upstream refused the connection.",
                "Nothing listens there: the upstream is down, starts just now, or listens on another port; or its queue of connections is full (Unix socket).",
                "Start it, or correct `endpoints`. With more endpoints requests go to another one."]),
            Self::ConnectUnreachable => row((502, 14), "connect_unreachable", "destination_ip_unroutable", CONNECT, [
                "The upstream cannot be reached.",
                "No route to the host, or a firewall that says so.",
                "Check routes and firewalls from this host."]),
            Self::ConnectTimeout => row((504, 4), "connect_timeout", "connection_timeout", CONNECT, [
                "The upstream did not accept the connection in time.",
                "A firewall that drops packets, a host that is off, or an upstream whose queue of connections is full.",
                "Check from this host; `services.NAME.timeouts.connect` is the time."]),
            Self::LocalResource(_) => row((503, 14), "local_resource", "proxy_internal_error", BUSY, [
                "The proxy ran out of a local resource.",
                "`ports`: too many connections to one endpoint. `descriptors`: the limit of open files. `memory`: socket buffers. `worker`: this CPU is overloaded, so that each turn of its loop takes longer than `workers.shed_above`.",
                "`ports`: more endpoint addresses, or keep-alive at the upstream. `descriptors`: raise LimitNOFILE. `worker`: more CPUs or nodes."]),
            Self::StaleReuseUnsent => row((502, 14), "stale_reuse_unsent", GONE, Handling { evidence: EvidenceSource::Unsent, ..STALE }, [
                "The upstream had closed the reused connection.",
                "The upstream closed a kept-alive connection just as it was used again. The request did not reach it and was sent again on a new connection; that one failed too, or a retry was not possible (`no_retry` says why).",
                "Let the upstream keep connections longer than `services.NAME.keep_alive.idle`, or lower that."]),
            Self::StaleReuseProven => row((502, 14), "stale_reuse_proven", GONE, STALE, [
                "The upstream had closed the reused connection.",
                "The upstream closed a kept-alive connection just as it was used again. The request did not reach it and was sent again on a new connection; that one failed too, or a retry was not possible (`no_retry` says why).",
                "Let the upstream keep connections longer than `services.NAME.keep_alive.idle`, or lower that."]),
            Self::StaleReuseLikely => row((502, 14), "stale_reuse_likely", GONE, STALE, [
                "The upstream reset the reused connection.",
                "The upstream reset a kept-alive connection just as it was used again. Nothing was acknowledged, which is no proof that it did not read the request, so a request that is not idempotent was not sent again.",
                "As for stale_reuse_proven. Where sending twice does no harm: `retry.non_idempotent = \"reused\"`, or an `Idempotency-Key`."]),
            Self::UpstreamUnsolicited => row((502, 14), "upstream_unsolicited", GONE, Handling { evidence: EvidenceSource::Kernel, ..STALE }, [
                "The upstream sent bytes that nobody asked for.",
                "Bytes came from the upstream before the request was sent: a 408 for an idle connection, or an answer that nobody had asked for. The connection was discarded.",
                "Look at what the upstream sends on idle connections."]),
            Self::NoErrorPage(status) => row((status, 14), "error_page_failed", GONE, OURS, [
                "The upstream answered with this status, and there is no page for it.",
                "The service that `error_pages` names did not answer, or its page was longer than 1 MiB. The upstream's own answer was thrown away already.",
                "Look at the service of the filter `error_pages`; or let the page be a `file`."]),
            Self::UpstreamStatus => row((502, 14), "upstream_status", "", Handling { retry: RetryClass::Status, ejection: Blame::ServerError, ..UPSTREAM }, [
                "The upstream's own answer.",
                "A status that `retry.on_status` lists, after the last attempt.",
                "It is the upstream's own answer: look into its log."]),
            Self::UpstreamLengthRequired => row((411, 13), "upstream_length_required", "", Handling { retry: RetryClass::Form, ..UPSTREAM }, [
                "The upstream takes no body without its length.",
                "A client that sends a body in chunks, or over HTTP/2 without a length, and an upstream that answers 411: many stores that are compatible with S3, and CGI programs. The body was held, and was sent again with its length.",
                "Nothing; `{ buffer = {} }` among the filters of the route spares the first attempt, and holds longer bodies than `retry.buffer`."]),
            Self::UpstreamTls(TlsFault::Certificate(_)) => row((502, 14), "upstream_tls", "tls_certificate_error", Handling { retry: RetryClass::Final, ..HANDSHAKE }, [
                "The upstream's certificate could not be verified.",
                "A certificate that no given authority vouches for (unknown_issuer), that has expired (expired) or is another name's (name_mismatch); an upstream that speaks no TLS (no_tls) or refuses ours (alert_...).",
                "Name its authority in the service's `tls.ca`, its name in `tls.server_name`; renew what has expired. For `no_tls` leave `tls` out of the service."]),
            Self::UpstreamTls(TlsFault::Alert(_)) => row((502, 14), "upstream_tls", "tls_alert_received", HANDSHAKE, [
                "The upstream refused the TLS handshake.",
                "A certificate that no given authority vouches for (unknown_issuer), that has expired (expired) or is another name's (name_mismatch); an upstream that speaks no TLS (no_tls) or refuses ours (alert_...).",
                "Name its authority in the service's `tls.ca`, its name in `tls.server_name`; renew what has expired. For `no_tls` leave `tls` out of the service."]),
            Self::UpstreamTls(TlsFault::Protocol(_)) => row((502, 14), "upstream_tls", "tls_protocol_error", HANDSHAKE, [
                "The TLS handshake with the upstream failed.",
                "A certificate that no given authority vouches for (unknown_issuer), that has expired (expired) or is another name's (name_mismatch); an upstream that speaks no TLS (no_tls) or refuses ours (alert_...).",
                "Name its authority in the service's `tls.ca`, its name in `tls.server_name`; renew what has expired. For `no_tls` leave `tls` out of the service."]),
            Self::H2Refused => row((502, 14), "h2_refused", GONE, Handling { evidence: EvidenceSource::Proof, ..STALE }, [
                "The upstream refused the stream.",
                "An upstream that has as many requests as it takes at a time, on every attempt.",
                "Raise its limit of concurrent streams, or add endpoints."]),
            Self::FastCgiRefused(_) => row((502, 14), "fastcgi_refused", GONE, Handling { evidence: EvidenceSource::Proof, ..STALE }, [
                "The FastCGI server refused the request before it began with it.",
                "A server that is overloaded, or takes another role than that of a responder, on every attempt.",
                "Give it more processes, or bound what it gets at once by `limits.endpoint_in_flight`."]),
            Self::H2GoawayUnprocessed => row((502, 14), "h2_goaway_unprocessed", GONE, Handling { evidence: EvidenceSource::Proof, ..STALE }, [
                "The upstream closed the connection before it processed the request (GOAWAY).",
                "An upstream that was stopped, or bounds the age of its connections, on every attempt.",
                "Nothing, where it comes back; else see why it ends connections that have just begun."]),
            Self::H2GoawayError => row((502, 14), "h2_goaway_error", GONE, Handling { evidence: EvidenceSource::Proof, ..STALE }, [
                "The upstream ended the connection with an error before it processed the request (GOAWAY).",
                "A request that the upstream cannot bear, on a connection that many requests share. Each is sent again on a connection of its own; this one failed there too.",
                "Look into the upstream's log at that moment."]),
            Self::H2Broken(_) => row((502, 13), "h2_broken", "http_protocol_error", Handling { retry: RetryClass::Closed, evidence: EvidenceSource::Delivered, ..UPSTREAM }, [
                "The upstream broke a rule of HTTP/2 on the stream.",
                "A fault of the upstream's HTTP/2, by the rule that stands behind the name; `speaks_http1` and the like are another protocol.",
                "Update the upstream, or speak HTTP/1.1 with it: set the service's `protocol` to \"http1\"."]),
            Self::UpstreamHeadLimit => row((431, 8), "upstream_head_limit", BAD, OURS, [
                "The head of the request is longer than the upstream takes.",
                "Large cookies or tokens, and an upstream whose limit is lower than this proxy's (SETTINGS_MAX_HEADER_LIST_SIZE); or variables of more than 64 KiB, which is all that uwsgi can carry.",
                "Raise the upstream's limit of header bytes, or send less."]),
            Self::H2Reset(_) => row((502, 14), "h2_reset", "http_protocol_error", Handling { retry: RetryClass::Closed, evidence: EvidenceSource::Delivered, ..UPSTREAM }, [
                "The upstream reset the stream.",
                "The upstream gave up the request, with the code that stands behind the name.",
                "Look into the upstream's log at that moment."]),
            Self::UpstreamClosedNoResponse => row((502, 14), "upstream_closed_no_response", GONE, ENDED, [
                "The upstream closed without an answer.",
                "The upstream took the request and closed without an answer: a crashed or restarted process, a worker killed for memory or time (uWSGI `harakiri`, gunicorn `timeout`, php-fpm `request_terminate_timeout`), or a keep-alive connection closed just as it was used again, where `reused` is true. Where every request ends so, it may speak another protocol: servers of TLS, uWSGI's own protocol (`socket =`) and FastCGI close without a word.",
                "Look into the upstream's log at this moment. For a server of TLS write `tls = {}` in the service; for uWSGI's `socket =` write `protocol = \"uwsgi\"`, for php-fpm `protocol = \"fastcgi\"`. Idempotent requests are sent again; others with `retry.non_idempotent` or an `Idempotency-Key`."]),
            Self::UpstreamResetDuringSend => row((502, 14), "upstream_reset_during_send", "connection_write_error", ENDED, [
                "The upstream reset the connection while the request was sent.",
                "The upstream closed while the request body was on its way: it refused the body (too large, not authorised) without reading it, or crashed.",
                "Compare the upstream's body limit with `listeners.NAME.body_max`."]),
            Self::UpstreamSendTimeout => row((504, 4), "upstream_send_timeout", "connection_write_timeout", Handling { retry: RetryClass::Stalled, ejection: Blame::NewConnection, ..UPSTREAM }, [
                "The upstream stopped taking the request.",
                "The upstream stopped reading the request.",
                "It is overloaded or stuck; `services.NAME.timeouts.send` is the time."]),
            Self::UpstreamHeaderTimeout => row((504, 4), "upstream_header_timeout", LATE, Handling { retry: RetryClass::HeaderTimeout, ejection: Blame::NewConnection, ..UPSTREAM }, [
                "The upstream did not answer in time.",
                "The upstream took the request and was silent: a slow query, a deadlock, all its workers busy.",
                "Look at the upstream; `services.NAME.timeouts.header` is the time. `limits` keep requests here until one of its workers is free."]),
            Self::UpstreamBadHeader(_) => row((502, 14), "upstream_bad_header", "http_protocol_error", BAD_RESPONSE, [
                "The upstream's response head is malformed.",
                "A response that breaks RFC 9112; the rule behind the colon says what was wrong. `head_truncated` is a process that died while it answered; `speaks_tls`, `speaks_h2`, `speaks_fastcgi` and the like name the protocol that its first bytes are of.",
                "Correct the application, often one that writes fields by hand; where it speaks something else, `tls`, `protocol` or `endpoints` of the service."]),
            Self::UpstreamHeadTooLarge => row((502, 14), "upstream_head_too_large", "http_protocol_error", BAD_RESPONSE, [
                "The upstream's response head is too large.",
                "A response head above 64 KiB or 2,048 fields, often too many cookies.",
                "Correct the application."]),
            Self::UpstreamTruncated => row((502, 14), "upstream_truncated", TORN, BAD_RESPONSE, [
                "The upstream closed inside its response.",
                "The upstream closed inside its response: it crashed, or its Content-Length is wrong. The client was shown that the response is not whole.",
                "Look into the upstream's log at this moment. Where every answer over TLS ends so, the upstream ends them without saying it, as uWSGI's `suwsgi-socket` does: `lenient = [\"missing_close_notify\"]`."]),
            Self::UpstreamBadBody(_) => row((502, 14), "upstream_bad_body", "http_protocol_error", BAD_RESPONSE, [
                "The upstream's response body is malformed.",
                "A body with broken chunks.",
                "Correct the application."]),
            Self::UpstreamBodyTimeout => row((504, 4), "upstream_body_timeout", TORN, BAD_RESPONSE, [
                "The upstream's response body stalled.",
                "The response body stalled on its way. The client was shown that the response is not whole.",
                "Look at the upstream; `services.NAME.timeouts.body` is the time between two pieces."]),
            Self::RouteTimeout => row((504, 4), "route_timeout", LATE, OURS, [
                "The time allowed for this route was over.",
                "The whole exchange, retries included, took longer than `services.NAME.timeouts.total`.",
                "The attempts in the access log say where the time went."]),
            Self::TunnelIdle => row((504, 4), "tunnel_idle", "connection_timeout", OURS, [
                "The tunnel was idle for too long.",
                "A WebSocket on which neither side sent anything for `services.NAME.timeouts.tunnel`.",
                "Send pings, or raise the time."]),
            Self::TunnelTimeout => row((504, 4), "tunnel_timeout", "connection_timeout", OURS, [
                "The tunnel's total time was over.",
                "A WebSocket was open for as long as `services.NAME.timeouts.tunnel_total` allows.",
                "Clients connect again; raise the time, or leave it out, where they should not have to."]),
            Self::Internal(_) => row((500, 13), "internal", "proxy_internal_error", OURS, [
                "The proxy has a bug.",
                "A bug of this program.",
                "Please report it with the process log, which has the place and the reason."]),
        }
    }

    /// What is done about it.
    #[must_use]
    pub const fn handling(self) -> Handling {
        self.row().handling
    }

    /// The status that a client of gRPC gets: the row's, and for a stream that the upstream reset the one that gRPC over HTTP/2
    /// gives to its code (PROTOCOL-HTTP2.md, "Errors"), which says whether to try again.
    #[must_use]
    pub fn grpc_status(self) -> u8 {
        let Self::H2Reset(code) = self else { return self.row().grpc_status };
        match code {
            "cancel" => 1,
            "stream_closed" | "http_1_1_required" | "unknown" => 2,
            "inadequate_security" => 7,
            "enhance_your_calm" => 8,
            _ => 13,
        }
    }

    /// True where the connection ended while it had the request: where others share the connection, this request may be why.
    #[must_use]
    pub const fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::StaleReuseUnsent
                | Self::StaleReuseProven
                | Self::StaleReuseLikely
                | Self::UpstreamClosedNoResponse
                | Self::UpstreamResetDuringSend
                | Self::H2GoawayError
        )
    }

    /// The detail behind the cause's name: the rule, phase, resource or site; empty for most.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        if let Self::ClientBadRequest(detail)
        | Self::UpstreamBadHeader(detail)
        | Self::UpstreamBadBody(detail)
        | Self::H2Reset(detail)
        | Self::H2Broken(detail)
        | Self::FastCgiRefused(detail)
        | Self::Denied(detail)
        | Self::AuthRequired(detail)
        | Self::AuthUnavailable(detail)
        | Self::RateLimited(detail)
        | Self::ConcurrencyLimited(detail)
        | Self::Internal(detail) = self
        {
            return detail;
        }
        if let Self::UpstreamTls(fault) = self {
            return fault.reason();
        }
        if let Self::ClientClosed(phase) = self {
            return phase.name();
        }
        if let Self::LocalResource(resource) = self {
            return match resource {
                Resource::Ports => "ports",
                Resource::Descriptors => "descriptors",
                Resource::Memory => "memory",
                Resource::Worker => "worker",
            };
        }
        ""
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
    use super::super::{ALL, Phase};
    use super::*;

    #[test]
    fn a_bug_of_ours_is_the_only_500() {
        let bugs: Vec<_> = ALL.iter().filter(|failure| failure.row().status == 500).collect();
        assert_eq!(bugs, [&Failure::Internal("SITE")]);
    }

    #[test]
    fn a_cause_is_written_with_its_detail() {
        assert_eq!(Failure::ClientBadRequest("host_missing").to_string(), "client_bad_request:host_missing");
        assert_eq!(Failure::ClientClosed(Phase::Wait).to_string(), "client_closed:wait");
        assert_eq!(Failure::LocalResource(Resource::Ports).to_string(), "local_resource:ports");
        assert_eq!(Failure::NoRoute.to_string(), "no_route");
    }

    #[test]
    fn every_cause_has_one_row_and_its_own_words() {
        let mut causes: Vec<_> = ALL.iter().map(|failure| failure.row().cause).collect();
        causes.sort_unstable();
        causes.dedup();
        // The local resources share one row.
        assert_eq!(causes.len(), ALL.len() - 1);
        for failure in ALL {
            let Row { usually, remedy, .. } = failure.row();
            assert!(usually.ends_with('.') && remedy.ends_with('.'), "{failure}");
        }
    }

    #[test]
    fn what_is_told_agrees_with_what_is_done() {
        for failure in ALL {
            let Row { status, handling, .. } = failure.row();
            let is_clients = handling.fault == Fault::Client;
            assert_eq!(
                is_clients, handling.closes_client,
                "{failure}: what a client sends after its fault is not trusted"
            );
            assert!(!handling.is_silent || status == 499, "{failure}");
            let is_tried = handling.retry != RetryClass::Final;
            assert!(!is_tried || handling.fault == Fault::Upstream, "{failure}: only an upstream is tried again");
            assert!(handling.ejection == Blame::None || handling.fault == Fault::Upstream, "{failure}");
        }
    }
}
