//! What usually causes each failure, and what to do: the source of `docs/failures.md` and `ringress explain-cause`.

use super::{Failure, Phase, Resource, TlsFault};

/// What people can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What usually causes it.
    pub usually: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const fn advice(usually: &'static str, remedy: &'static str) -> Advice {
    Advice { usually, remedy }
}

/// Every failure once, with an example of its detail.
pub const ALL: [Failure; 51] = [
    Failure::ClientHeaderTimeout,
    Failure::ClientBodyTimeout,
    Failure::ClientBadRequest("RULE"),
    Failure::ClientUriTooLong,
    Failure::ClientHeadTooLarge,
    Failure::ClientBodyTooLarge,
    Failure::ClientVersion,
    Failure::ClientMethod,
    Failure::ClientExpectation,
    Failure::ClientClosed(Phase::Wait),
    Failure::ClientSendTimeout,
    Failure::NoRoute,
    Failure::NoEndpoints,
    Failure::AllUnhealthy,
    Failure::QueueFull,
    Failure::QueueTimeout,
    Failure::InflightLimit,
    Failure::CircuitOpen,
    Failure::RateLimited,
    Failure::AuthRequired,
    Failure::Denied,
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
    Failure::UpstreamTls(TlsFault::Certificate("WHAT")),
    Failure::H2Refused,
    Failure::H2GoawayUnprocessed,
    Failure::H2Reset("CODE"),
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

impl Failure {
    /// True for causes whose feature is not built yet, so that they cannot occur.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(self, Self::RateLimited | Self::AuthRequired | Self::Denied)
    }

    /// What people can do about it.
    #[must_use]
    pub const fn advice(self) -> Advice {
        match self {
            Self::ClientHeaderTimeout
            | Self::ClientBodyTimeout
            | Self::ClientBadRequest(_)
            | Self::ClientUriTooLong
            | Self::ClientHeadTooLarge
            | Self::ClientBodyTooLarge
            | Self::ClientVersion
            | Self::ClientMethod
            | Self::ClientExpectation
            | Self::ClientClosed(_)
            | Self::ClientSendTimeout => self.of_client(),
            Self::NoRoute
            | Self::NoEndpoints
            | Self::AllUnhealthy
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::InflightLimit
            | Self::CircuitOpen
            | Self::RateLimited
            | Self::AuthRequired
            | Self::Denied
            | Self::Misdirected
            | Self::LocalResource(_)
            | Self::RouteTimeout
            | Self::TunnelIdle
            | Self::TunnelTimeout
            | Self::Internal(_) => self.of_proxy(),
            Self::DnsError
            | Self::DnsTimeout
            | Self::ConnectRefused
            | Self::ConnectUnreachable
            | Self::ConnectTimeout
            | Self::StaleReuseUnsent
            | Self::StaleReuseProven
            | Self::StaleReuseLikely
            | Self::UpstreamUnsolicited => self.of_connection(),
            _ => self.of_upstream(),
        }
    }

    #[rustfmt::skip]
    const fn of_client(self) -> Advice {
        match self {
            Self::ClientHeaderTimeout => advice(
                "A client on a bad line, a connection opened ahead of need, or an attack by slow heads.",
                "Nothing, where it is rare. Otherwise look at the client addresses in the access log; `listeners.NAME.timeouts.header` is the time."),
            Self::ClientBodyTimeout => advice(
                "A client that stopped sending, or sends less than 500 bytes a second after the first 10 s.",
                "Raise `listeners.NAME.timeouts.body` where clients are known to pause; otherwise nothing."),
            Self::ClientBadRequest(_) => advice(
                "A client that breaks RFC 9112, a scanner, or an attempt to smuggle a request; the rule behind the colon says what was wrong.",
                "Correct the client. `field_underscore` can be allowed by `listeners.NAME.underscores`."),
            Self::ClientUriTooLong => advice(
                "A form sent by GET, or a loop of redirects that appends to the query; the limit is 16 KiB.",
                "Send long data in a body."),
            Self::ClientHeadTooLarge => advice(
                "Cookies that grew; the limits are 64 KiB and 128 fields.",
                "Delete cookies, and find who sets them."),
            Self::ClientBodyTooLarge => advice(
                "An upload above `listeners.NAME.body_max`.",
                "Raise the limit, or tell users of it."),
            Self::ClientVersion => advice("A client that speaks neither HTTP/1.0 nor HTTP/1.1, often a scanner.", "Nothing."),
            Self::ClientMethod => advice("CONNECT: the client takes this for a forward proxy.", "Correct the client's proxy settings."),
            Self::ClientExpectation => advice("`Expect` with another value than `100-continue`.", "Correct the client."),
            Self::ClientClosed(_) => advice(
                "The user went on, or the client's own timeout is shorter than the answer takes; the phase behind the colon says what we waited for. In phase `wait` the upstream is slow.",
                "Compare `total_us` in the access log with the client's timeout. `services.NAME.ignore_client_abort` lets the upstream finish all the same."),
            _ => advice(
                "A client that stopped reading: a suspended tab, a full disk, a lost line.",
                "Nothing, where it is rare; `listeners.NAME.timeouts.send` is the time."),
        }
    }

    #[rustfmt::skip]
    const fn of_proxy(self) -> Advice {
        match self {
            Self::NoRoute => advice(
                "A host or path that no route has, often a missing host name or a scanner.",
                "`ringress explain CONFIG METHOD URL` says which routes were looked at."),
            Self::NoEndpoints => advice("A service without endpoints.", "Add endpoints to the service."),
            Self::AllUnhealthy => advice(
                "Every endpoint failed its health check, and `health.fail_open` is false.",
                "`/api/endpoints` says for each endpoint what its check saw."),
            Self::QueueFull | Self::QueueTimeout => advice(
                "More requests than the upstream answers in time: `limits` of the service keep the rest waiting.",
                "Add endpoints, make them faster, or raise `limits.queue` and `limits.queue_wait`; `queue_us` in the access log says how long requests waited."),
            Self::InflightLimit => advice(
                "More requests at once than `limits` allow, and no queue before them.",
                "Raise `limits.in_flight`, or let requests wait by `limits.queue`."),
            Self::CircuitOpen => advice(
                "The service failed, or was slow, in more requests than `circuit_breaker` allows.",
                "Look for the causes before it in the access log: they are the reason."),
            Self::RateLimited => advice("A client above its rate.", "Raise the rate, or slow the client down."),
            Self::AuthRequired => advice("No credentials, or wrong ones.", "Send the right ones."),
            Self::Denied => advice("An address that is not on the list.", "Add it to the list."),
            Self::Misdirected => advice("A connection reused for another host.", "Nothing: clients try again on a connection of their own."),
            Self::LocalResource(_) => advice(
                "`ports`: too many connections to one endpoint. `descriptors`: the limit of open files. `memory`: socket buffers. `worker`: this CPU is overloaded, so that each turn of its loop takes longer than `workers.shed_above`.",
                "`ports`: more endpoint addresses, or keep-alive at the upstream. `descriptors`: raise LimitNOFILE. `worker`: more CPUs or nodes."),
            Self::RouteTimeout => advice(
                "The whole exchange, retries included, took longer than `services.NAME.timeouts.total`.",
                "The attempts in the access log say where the time went."),
            Self::TunnelIdle => advice(
                "A WebSocket on which neither side sent anything for `services.NAME.timeouts.tunnel`.",
                "Send pings, or raise the time."),
            Self::TunnelTimeout => advice(
                "A WebSocket was open for as long as `services.NAME.timeouts.tunnel_total` allows.",
                "Clients connect again; raise the time, or leave it out, where they should not have to."),
            _ => advice(
                "A bug of this program.",
                "Please report it with the process log, which has the place and the reason."),
        }
    }

    #[rustfmt::skip]
    const fn of_connection(self) -> Advice {
        match self {
            Self::DnsError | Self::DnsTimeout => advice(
                "The name of an endpoint does not resolve: a typing error, a service that is gone, or a name server that does not answer.",
                "Ask for the name on this host; it is asked for again by itself."),
            Self::ConnectRefused => advice(
                "Nothing listens there: the upstream is down, starts just now, or listens on another port; or its queue of connections is full (Unix socket).",
                "Start it, or correct `endpoints`. With more endpoints requests go to another one."),
            Self::ConnectUnreachable => advice("No route to the host, or a firewall that says so.", "Check routes and firewalls from this host."),
            Self::ConnectTimeout => advice(
                "A firewall that drops packets, a host that is off, or an upstream whose queue of connections is full.",
                "Check from this host; `services.NAME.timeouts.connect` is the time."),
            Self::StaleReuseUnsent | Self::StaleReuseProven => advice(
                "The upstream closed a kept-alive connection just as it was used again. The request did not reach it and was sent again on a new connection; that one failed too, or a retry was not possible (`no_retry` says why).",
                "Let the upstream keep connections longer than `services.NAME.keep_alive.idle`, or lower that."),
            Self::StaleReuseLikely => advice(
                "The upstream reset a kept-alive connection just as it was used again. Nothing was acknowledged, which is no proof that it did not read the request, so a request that is not idempotent was not sent again.",
                "As for stale_reuse_proven. Where sending twice does no harm: `retry.non_idempotent = \"reused\"`, or an `Idempotency-Key`."),
            _ => advice(
                "Bytes came from the upstream before the request was sent: a 408 for an idle connection, or an answer that nobody had asked for. The connection was discarded.",
                "Look at what the upstream sends on idle connections."),
        }
    }

    #[rustfmt::skip]
    const fn of_upstream(self) -> Advice {
        match self {
            Self::UpstreamStatus => advice("A status that `retry.on_status` lists, after the last attempt.", "It is the upstream's own answer: ask there."),
            Self::UpstreamTls(_) => advice("A certificate that no given authority vouches for (unknown_issuer), that is over (expired) or is another name's (name_mismatch); an upstream that speaks no TLS (no_tls) or refuses ours (alert_...).", "Name its authority in the service's `tls.ca`, its name in `tls.server_name`; renew what is over."),
            Self::H2Refused => advice("An upstream that has as many requests as it takes at a time, on every attempt.", "Raise its limit of concurrent streams, or give it endpoints."),
            Self::H2GoawayUnprocessed => advice("An upstream that was stopped, or bounds the age of its connections, on every attempt.", "Nothing, where it comes back; else see why it ends connections that have just begun."),
            Self::H2Reset(_) => advice("The upstream gave up the request, with the code that stands behind the name.", "Look into the upstream's log at that moment."),
            Self::UpstreamClosedNoResponse => advice(
                "The upstream took the request and closed without an answer: a crashed or restarted process, a worker killed for memory or time (uWSGI `harakiri`, gunicorn `timeout`), or a keep-alive connection closed just as it was used again, where `reused` is true.",
                "Look into the upstream's log at this moment. Idempotent requests are sent again; others with `retry.non_idempotent` or an `Idempotency-Key`."),
            Self::UpstreamResetDuringSend => advice(
                "The upstream closed while the request body was on its way: it refused the body (too large, not authorised) without reading it, or crashed.",
                "Compare the upstream's body limit with `listeners.NAME.body_max`."),
            Self::UpstreamSendTimeout => advice("The upstream stopped reading the request.", "It is overloaded or stuck; `services.NAME.timeouts.send` is the time."),
            Self::UpstreamHeaderTimeout => advice(
                "The upstream took the request and was silent: a slow query, a deadlock, all its workers busy.",
                "Look there; `services.NAME.timeouts.header` is the time. `limits` keep requests here until a worker is free."),
            Self::UpstreamBadHeader(_) => advice(
                "A response that breaks RFC 9112; the rule behind the colon says what was wrong. `head_truncated` is a process that died while it answered.",
                "Correct the application, often one that writes fields by hand."),
            Self::UpstreamHeadTooLarge => advice("A response head above 64 KiB or 128 fields, often too many cookies.", "Correct the application."),
            Self::UpstreamTruncated => advice(
                "The upstream closed inside its response: it crashed, or its Content-Length is wrong. The client was shown that the response is not whole.",
                "Look into the upstream's log at this moment."),
            Self::UpstreamBadBody(_) => advice("A body with broken chunks.", "Correct the application."),
            _ => advice(
                "The response body stalled on its way. The client was shown that the response is not whole.",
                "Look at the upstream; `services.NAME.timeouts.body` is the time between two pieces."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_one_row_and_its_own_words() {
        let mut causes: Vec<_> = ALL.iter().map(|failure| failure.row().cause).collect();
        causes.sort_unstable();
        causes.dedup();
        // The local resources share one row.
        assert_eq!(causes.len(), ALL.len() - 1);
        for failure in ALL {
            let Advice { usually, remedy } = failure.advice();
            assert!(usually.ends_with('.') && remedy.ends_with('.'), "{failure}");
        }
    }
}
