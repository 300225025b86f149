//! Every wait of the data plane by name: what it waits for, how long, and the failure that its expiry becomes.
//!
//! Timers are armed by a row of [`Timeout`] and by nothing else (`worker/time`), so a wait without a row does not exist.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::units::Duration;

/// A named wait. Each says which key sets it, or its constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// `listeners.NAME.timeouts.handshake`: a whole TLS handshake with a client.
    Handshake,
    /// The rest of a handshake whose client sent early data: `listeners.NAME.timeouts.handshake`, never without end.
    EarlyHandshake,
    /// `listeners.NAME.timeouts.header`: from the first byte (or the accept) to the end of the request head. Absolute.
    #[default]
    ClientHeader,
    /// `listeners.NAME.timeouts.body`: between two receives of the request body.
    ClientBody,
    /// `listeners.NAME.timeouts.idle`: a kept-alive client connection without a request.
    ClientIdle,
    /// `listeners.NAME.timeouts.send`: one send to the client that makes no progress.
    ClientSend,
    /// `services.NAME.limits.queue_wait`: a request before a service that has no room.
    Queue,
    /// `services.NAME.timeouts.connect`: setting up an upstream connection, its TLS handshake included.
    Connect,
    /// `services.NAME.timeouts.send`: one send to the upstream that makes no progress.
    UpstreamSend,
    /// `services.NAME.timeouts.header`: from the last byte of the request to the end of the response head.
    UpstreamHeader,
    /// `services.NAME.timeouts.body`: between two receives of the response body.
    UpstreamBody,
    /// `services.NAME.timeouts.total`: the whole exchange.
    Total,
    /// `services.NAME.timeouts.tunnel`: an upgraded connection without a byte in either direction.
    Tunnel,
    /// `services.NAME.timeouts.tunnel_total`: an upgraded connection as a whole.
    TunnelTotal,
    /// `services.NAME.keep_alive.idle`: a pooled upstream connection, or what was learned of the endpoint where that is less.
    UpstreamIdle,
    /// `services.NAME.keep_alive.ping`: an HTTP/2 upstream with requests, until it is asked whether it is there.
    UpstreamPing,
    /// The answer to that question.
    UpstreamPong,
    /// How long an upstream may keep a client waiting that sent `Expect: 100-continue`, before we say `100`. Upstreams that
    /// do not know the field never say it; curl waits 1,000 ms, which a user would notice.
    ExpectContinue,
    /// What `Retry-After` of a discarded answer asks for, before the next attempt.
    RetryAfter,
    /// What `bandwidth_limit` makes an answer wait.
    Bandwidth,
    /// For a password to be verified, behind others that wait for it.
    Password,
    /// Until it is asked again whether a reset came for a request that got no answer.
    Evidence,
    /// Until it is looked whether another request gave a local resource back.
    ResourcePause,
    /// How long an endpoint stays left out.
    Ejected,
    /// A connection of the worker's own to an endpoint that was left out.
    Probe,
    /// How long a client connection keeps the memory of an exchange for its next request.
    Moment,
    /// Reading on after an answer, or draining a request body, so that a reset does not destroy the answer.
    Linger,
    /// How long a client of HTTP/2 has to leave once it was told that no further request is taken.
    Leave,
    /// The pause after an accept failed for lack of descriptors; doubled each time.
    AcceptBackoff,
    /// Until lines that wait for a full batch are handed to the log. Its lateness is the worker's lag.
    LogFlush,
    /// Until a draining worker looks whether it is done.
    DrainLook,
}

/// How long a connection is waited for in all where this host has none left, in milliseconds.
pub const RESOURCE_WAIT_MS: u64 = 1_000;
/// How long the rest of a handshake with early data may take where nothing else bounds it, in milliseconds.
const EARLY_MS: u64 = 10_000;
/// How long a connection of the worker's own may take where connecting has no timeout, in milliseconds.
const PROBE_MS: u64 = 5_000;

/// What is known of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutRow {
    /// What its expiry becomes; `None` where the connection just closes or the exchange just goes on.
    pub failure: Option<Failure>,
    /// The key in the configuration, empty where it cannot be set.
    pub key: &'static str,
    /// How long it is where no key and no circumstance says, in milliseconds; 0 where they always do.
    pub ms: u64,
}

const fn set(key: &'static str, failure: Failure) -> TimeoutRow {
    TimeoutRow { failure: Some(failure), key, ms: 0 }
}

const fn quiet(key: &'static str, ms: u64) -> TimeoutRow {
    TimeoutRow { failure: None, key, ms }
}

impl Timeout {
    /// Every row, for documentation and tests.
    pub const ALL: [Self; 31] = [
        Self::Handshake,
        Self::EarlyHandshake,
        Self::ClientHeader,
        Self::ClientBody,
        Self::ClientIdle,
        Self::ClientSend,
        Self::Queue,
        Self::Connect,
        Self::UpstreamSend,
        Self::UpstreamHeader,
        Self::UpstreamBody,
        Self::Total,
        Self::Tunnel,
        Self::TunnelTotal,
        Self::UpstreamIdle,
        Self::UpstreamPing,
        Self::UpstreamPong,
        Self::ExpectContinue,
        Self::RetryAfter,
        Self::Bandwidth,
        Self::Password,
        Self::Evidence,
        Self::ResourcePause,
        Self::Ejected,
        Self::Probe,
        Self::Moment,
        Self::Linger,
        Self::Leave,
        Self::AcceptBackoff,
        Self::LogFlush,
        Self::DrainLook,
    ];

    /// What is known of it.
    #[must_use]
    pub const fn row(self) -> TimeoutRow {
        match self {
            Self::Handshake => quiet("listeners.NAME.timeouts.handshake", 0),
            Self::EarlyHandshake => quiet("", EARLY_MS),
            Self::ClientHeader => set("listeners.NAME.timeouts.header", Failure::ClientHeaderTimeout),
            Self::ClientBody => set("listeners.NAME.timeouts.body", Failure::ClientBodyTimeout),
            Self::ClientIdle => quiet("listeners.NAME.timeouts.idle", u32::MAX as u64),
            Self::ClientSend => set("listeners.NAME.timeouts.send", Failure::ClientSendTimeout),
            Self::Queue => set("services.NAME.limits.queue_wait", Failure::QueueTimeout),
            Self::Connect => set("services.NAME.timeouts.connect", Failure::ConnectTimeout),
            Self::UpstreamSend => set("services.NAME.timeouts.send", Failure::UpstreamSendTimeout),
            Self::UpstreamHeader => set("services.NAME.timeouts.header", Failure::UpstreamHeaderTimeout),
            Self::UpstreamBody => set("services.NAME.timeouts.body", Failure::UpstreamBodyTimeout),
            Self::Total => set("services.NAME.timeouts.total", Failure::RouteTimeout),
            Self::Tunnel => set("services.NAME.timeouts.tunnel", Failure::TunnelIdle),
            Self::TunnelTotal => set("services.NAME.timeouts.tunnel_total", Failure::TunnelTimeout),
            Self::UpstreamIdle => quiet("services.NAME.keep_alive.idle", 0),
            Self::UpstreamPing => quiet("services.NAME.keep_alive.ping", 0),
            Self::UpstreamPong | Self::Password => quiet("", 10_000),
            Self::ExpectContinue => quiet("", 200),
            Self::RetryAfter | Self::Bandwidth | Self::Ejected => quiet("", 0),
            Self::Evidence => quiet("", 1),
            Self::ResourcePause => quiet("", 20),
            Self::Probe => TimeoutRow { failure: Some(Failure::ConnectTimeout), key: "", ms: PROBE_MS },
            Self::Moment | Self::Linger => quiet("", 1_000),
            Self::Leave => quiet("", 5_000),
            Self::AcceptBackoff | Self::DrainLook => quiet("", 10),
            Self::LogFlush => quiet("", 100),
        }
    }

    /// What its expiry becomes: the row's failure, or a bug of ours where one waits for it as for a failure.
    #[must_use]
    pub const fn failure(self) -> Failure {
        match self.row().failure {
            Some(failure) => failure,
            None => Failure::Internal("timeout"),
        }
    }
}

/// How long clients are waited for; `"0s"` without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTimeouts {
    /// For a whole TLS handshake.
    pub handshake: Duration,
    /// For a whole request head, from its first byte.
    pub header: Duration,
    /// Between two pieces of a request body.
    pub body: Duration,
    /// For the next request on a kept-alive connection.
    pub idle: Duration,
    /// For a send to make progress.
    pub send: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_s(10),
            header: Duration::from_s(10),
            body: Duration::from_s(30),
            idle: Duration::from_s(75),
            send: Duration::from_s(30),
        }
    }
}

impl ClientTimeouts {
    /// For the end of a handshake whose client sent early data, in milliseconds: it is never without one.
    #[must_use]
    pub fn early_ms(&self) -> u64 {
        self.handshake.limit_ms().unwrap_or(EARLY_MS)
    }
}

/// How long upstreams are waited for; `"0s"` without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the response head, from the last byte of the request.
    pub header: Duration,
    /// Between two pieces of the response body.
    pub body: Duration,
    /// For a send to make progress.
    pub send: Duration,
    /// For the whole exchange.
    pub total: Duration,
    /// For a byte in either direction of an upgraded connection, or a message of gRPC.
    pub tunnel: Duration,
    /// For an upgraded connection as a whole.
    pub tunnel_total: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_s(5),
            header: Duration::from_s(60),
            body: Duration::from_s(60),
            send: Duration::from_s(60),
            total: Duration::from_ms(0),
            tunnel: Duration::from_s(3_600),
            tunnel_total: Duration::from_ms(0),
        }
    }
}

impl UpstreamTimeouts {
    /// For a connection of the worker's own, in milliseconds.
    #[must_use]
    pub fn probe_ms(&self) -> u64 {
        self.connect.limit_ms().unwrap_or(PROBE_MS)
    }
}

/// A slowest rate over the time spent waiting: a drip cannot stretch a timeout without end.
///
/// It judges what has come, and never ends a wait: how long a pause may be is the timeout's to say. Only waiting counts, so
/// back-pressure from the other side is not held against the peer; one pause counts as half the grace at most, for it is not a low
/// rate. A quick start earns no more than the grace: what was saved up is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    grace_ms: u64,
    bytes_per_s: u64,
    left_ms: u64,
}

impl Pace {
    /// `grace_ms` of waiting are free; then `bytes_per_s` must come. 0 holds nobody to anything.
    #[must_use]
    pub const fn new(grace_ms: u64, bytes_per_s: u64) -> Self {
        Self { grace_ms, bytes_per_s, left_ms: grace_ms }
    }

    /// A pace that holds nobody to anything.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self::new(0, 0)
    }

    /// Notes that a wait of `waited_ms` brought `bytes`; false where the peer is too slow.
    #[must_use]
    pub fn advance(&mut self, waited_ms: u64, bytes: usize) -> bool {
        if self.bytes_per_s == 0 {
            return true;
        }
        let earned_ms = (bytes as u64).saturating_mul(1_000) / self.bytes_per_s;
        let budget_ms = self.left_ms.saturating_add(earned_ms);
        let waited_ms = waited_ms.min(self.grace_ms / 2);
        self.left_ms = budget_ms.saturating_sub(waited_ms).min(self.grace_ms);
        budget_ms >= waited_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drip_of_one_byte_a_second_runs_out_after_its_grace() {
        let mut pace = Pace::new(10_000, 500);
        let waits = (1..100).find(|_| !pace.advance(1_000, 1));
        assert_eq!(waits, Some(11));
        let mut pace = Pace::new(30_000, 500);
        let waits = (1..100).find(|_| !pace.advance(29_000, 1));
        assert_eq!(waits, Some(3), "one byte behind each pause is a drip");
    }

    #[test]
    fn a_body_above_the_slowest_rate_never_runs_out() {
        let mut pace = Pace::new(10_000, 500);
        for _ in 0..100_000 {
            assert!(pace.advance(1_000, 600));
        }
    }

    #[test]
    fn a_pause_is_no_low_rate_and_a_quick_start_buys_no_endless_drip() {
        let mut pace = Pace::new(10_000, 500);
        assert!(pace.advance(10, 100_000_000));
        for _ in 0..100 {
            assert!(pace.advance(600_000, 5_000));
        }
        assert!((1..100).any(|_| !pace.advance(1_000, 1)));
        let mut off = Pace::new(10_000, 0);
        assert!((0..100).all(|_| off.advance(600_000, 0) && Pace::unbounded().advance(600_000, 0)));
    }

    #[test]
    fn every_configurable_timeout_has_a_key_of_its_own() {
        let mut keys: Vec<_> =
            Timeout::ALL.iter().map(|timeout| timeout.row().key).filter(|key| !key.is_empty()).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
