//! Every timeout by name: what it waits for, its default and the failure it becomes.
//!
//! A wait without a name here does not exist in the data plane.

use crate::failure::Failure;

/// A named wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// `listener.timeouts.header`: from the first byte (or the accept) to the end of the request head. Absolute.
    ClientHeader,
    /// `listener.timeouts.body`: between two receives of the request body.
    ClientBody,
    /// `listener.timeouts.idle`: a kept-alive client connection without a request.
    ClientIdle,
    /// `listener.timeouts.send`: one send to the client that makes no progress.
    ClientSend,
    /// `service.limits.queue_wait`: a request before a service that has no room.
    Queue,
    /// `service.timeouts.connect`: setting up an upstream connection.
    Connect,
    /// `service.timeouts.send`: one send to the upstream that makes no progress.
    UpstreamSend,
    /// `service.timeouts.header`: from the last byte of the request to the end of the response head.
    UpstreamHeader,
    /// `service.timeouts.body`: between two receives of the response body.
    UpstreamBody,
    /// `service.timeouts.total`: the whole exchange.
    Total,
    /// `service.timeouts.tunnel`: an upgraded connection without a byte in either direction.
    Tunnel,
    /// `service.timeouts.tunnel_total`: an upgraded connection as a whole.
    TunnelTotal,
    /// `service.keep_alive.idle`: a pooled upstream connection.
    UpstreamIdle,
    /// How long an upstream may keep a client waiting that sent `Expect: 100-continue`, before we say `100`.
    ExpectContinue,
    /// Reading on after an answer, so that a reset does not destroy it.
    Linger,
}

/// How long `Expect: 100-continue` waits for the upstream's word, in milliseconds. Upstreams that do
/// not know the field never say it; curl waits 1,000 ms, which a user would notice.
pub const EXPECT_CONTINUE_MS: u64 = 200;
/// How long a connection is waited for where this host has none left, in milliseconds.
pub const RESOURCE_WAIT_MS: u64 = 1_000;
/// How often it is looked whether another request gave one back, in milliseconds.
pub const RESOURCE_PAUSE_MS: u64 = 20;
/// How long a client of HTTP/2 has to leave once it was told that no further request is taken, in milliseconds.
pub const H2_LEAVE_MS: u64 = 5_000;
/// How long the answer to a PING is waited for, in milliseconds.
pub const H2_PONG_MS: u64 = 10_000;
/// How long a client connection keeps the memory of an exchange for its next request, in milliseconds.
pub const MOMENT_MS: u64 = 1_000;
/// How long an unread request body is drained and a closed connection lingers, in milliseconds.
pub const LINGER_MS: u64 = 1_000;

/// How long the end of a handshake may take whose client sent early data, where nothing else bounds it, in milliseconds.
pub const EARLY_MS: u64 = 10_000;

impl Timeout {
    /// Every row, for documentation and tests.
    pub const ALL: [Self; 15] = [
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
        Self::ExpectContinue,
        Self::Linger,
    ];

    /// What the expiry becomes; `None` where the connection just closes or the exchange just goes on.
    #[must_use]
    pub const fn failure(self) -> Option<Failure> {
        match self {
            Self::ClientHeader => Some(Failure::ClientHeaderTimeout),
            Self::ClientBody => Some(Failure::ClientBodyTimeout),
            Self::ClientSend => Some(Failure::ClientSendTimeout),
            Self::Queue => Some(Failure::QueueTimeout),
            Self::Connect => Some(Failure::ConnectTimeout),
            Self::UpstreamSend => Some(Failure::UpstreamSendTimeout),
            Self::UpstreamHeader => Some(Failure::UpstreamHeaderTimeout),
            Self::UpstreamBody => Some(Failure::UpstreamBodyTimeout),
            Self::Total => Some(Failure::RouteTimeout),
            Self::Tunnel => Some(Failure::TunnelIdle),
            Self::TunnelTotal => Some(Failure::TunnelTimeout),
            Self::ClientIdle | Self::UpstreamIdle | Self::ExpectContinue | Self::Linger => None,
        }
    }

    /// The key in the configuration, empty where it cannot be set.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ClientHeader => "listeners.NAME.timeouts.header",
            Self::ClientBody => "listeners.NAME.timeouts.body",
            Self::ClientIdle => "listeners.NAME.timeouts.idle",
            Self::ClientSend => "listeners.NAME.timeouts.send",
            Self::Queue => "services.NAME.limits.queue_wait",
            Self::Connect => "services.NAME.timeouts.connect",
            Self::UpstreamSend => "services.NAME.timeouts.send",
            Self::UpstreamHeader => "services.NAME.timeouts.header",
            Self::UpstreamBody => "services.NAME.timeouts.body",
            Self::Total => "services.NAME.timeouts.total",
            Self::Tunnel => "services.NAME.timeouts.tunnel",
            Self::TunnelTotal => "services.NAME.timeouts.tunnel_total",
            Self::UpstreamIdle => "services.NAME.keep_alive.idle",
            Self::ExpectContinue | Self::Linger => "",
        }
    }
}

/// A slowest rate over the time spent waiting: a drip cannot stretch a timeout without end.
///
/// Only waiting counts, so back-pressure from the other side is not held against the peer. A quick start earns
/// no more than the grace: what was saved up is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    grace_ms: u64,
    bytes_per_s: u64,
    left_ms: u64,
}

impl Pace {
    /// `grace_ms` of waiting are free; then `bytes_per_s` must have come (1 or more).
    #[must_use]
    pub const fn new(grace_ms: u64, bytes_per_s: u64) -> Self {
        Self { grace_ms, bytes_per_s, left_ms: grace_ms }
    }

    /// A pace that holds nobody to anything.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self::new(u64::MAX, 1)
    }

    /// Notes that a wait of `waited_ms` brought `bytes`.
    pub fn advance(&mut self, waited_ms: u64, bytes: usize) {
        let earned_ms = (bytes as u64).saturating_mul(1_000) / self.bytes_per_s;
        self.left_ms = self.left_ms.saturating_sub(waited_ms).saturating_add(earned_ms).min(self.grace_ms);
    }

    /// How long the next wait may last, in milliseconds; 0 when the peer is already too slow.
    #[must_use]
    pub const fn allowed_ms(&self) -> u64 {
        self.left_ms
    }

    /// The shorter of a timeout and what the pace allows; `None` without either.
    #[must_use]
    pub fn limit_ms(&self, timeout_ms: Option<u64>) -> Option<u64> {
        let allowed = Some(self.left_ms).filter(|_| self.grace_ms < u64::MAX);
        allowed.into_iter().chain(timeout_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drip_of_one_byte_a_second_runs_out_after_its_grace() {
        let mut pace = Pace::new(10_000, 500);
        let mut waited = 0;
        while pace.allowed_ms() >= 1_000 {
            pace.advance(1_000, 1);
            waited += 1;
        }
        assert_eq!(waited, 10);
    }

    #[test]
    fn a_body_above_the_slowest_rate_never_runs_out() {
        let mut pace = Pace::new(10_000, 500);
        for _ in 0..100_000 {
            pace.advance(1_000, 600);
            assert!(pace.allowed_ms() >= 9_000);
        }
    }

    #[test]
    fn a_quick_start_does_not_buy_an_endless_drip() {
        let mut pace = Pace::new(10_000, 500);
        pace.advance(10, 100_000_000);
        assert_eq!(pace.allowed_ms(), 10_000);
        assert_eq!(pace.limit_ms(None), Some(10_000));
        assert_eq!(Pace::unbounded().limit_ms(None), None);
    }

    #[test]
    fn every_configurable_timeout_has_a_key_of_its_own() {
        let mut keys: Vec<_> = Timeout::ALL.iter().map(|t| t.key()).filter(|k| !k.is_empty()).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
