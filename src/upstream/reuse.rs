//! How long an upstream connection may be reused: what the upstream said and what is configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// Upstream connections that stay open between requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepAlive {
    /// How long an idle connection is kept at most; `"0s"` keeps none.
    pub idle: Duration,
    /// Idle connections to one endpoint that one worker keeps.
    pub per_worker: usize,
    /// Requests sent over one connection at most; 0 for no limit.
    pub requests_max: u32,
    /// Age at which a connection is closed after its response; `"0s"` for no limit.
    pub age_max: Duration,
    /// How often an HTTP/2 upstream with requests is asked whether it is there (PING); `"0s"` for never. Servers of gRPC
    /// take more than one in five minutes for an attack.
    pub ping: Duration,
    /// Keep a connection that carried a body of a method that has none by custom (GET, HEAD, DELETE, OPTIONS, TRACE): only where upstreams
    /// are known to read it. One that does not takes the body for the next request, and its answer for somebody else's.
    pub unusual_bodies: bool,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_s(15),
            per_worker: 256,
            requests_max: 0,
            age_max: Duration::from_ms(0),
            ping: Duration::from_ms(0),
            unusual_bodies: false,
        }
    }
}

/// How much one connection was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Requests sent over it.
    pub requests: u32,
    /// Milliseconds since it was opened.
    pub age_ms: u64,
}

/// What the last response said about the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamWord {
    /// It leaves the connection open.
    pub keeps_alive: bool,
    /// `Keep-Alive: timeout=`, in seconds.
    pub idle_s_max: Option<u32>,
    /// `Keep-Alive: max=`, in further requests.
    pub requests_max: Option<u32>,
}

/// How long the connection may stay idle in the pool, in milliseconds; `None` where it must close.
///
/// An announced timeout is used less one second: the upstream's clock runs from its last byte, and our next
/// request must arrive before it ends.
#[must_use]
pub fn idle_ms(bounds: &KeepAlive, wear: Wear, word: UpstreamWord) -> Option<u64> {
    let is_worn = (bounds.requests_max > 0 && wear.requests >= bounds.requests_max)
        || (bounds.age_max.ms() > 0 && wear.age_ms >= bounds.age_max.ms());
    if !word.keeps_alive || is_worn || word.requests_max == Some(0) {
        return None;
    }
    let announced = word.idle_s_max.map_or(u64::MAX, |seconds| u64::from(seconds).saturating_sub(1) * 1_000);
    Some(announced.min(bounds.idle.ms())).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: KeepAlive = KeepAlive {
        idle: Duration::from_s(15),
        per_worker: 256,
        requests_max: 0,
        age_max: Duration::from_ms(0),
        ping: Duration::from_ms(0),
        unusual_bodies: false,
    };
    const OPEN: UpstreamWord = UpstreamWord { keeps_alive: true, idle_s_max: None, requests_max: None };

    #[test]
    fn the_shorter_of_what_is_said_and_what_is_configured_counts() {
        assert_eq!(idle_ms(&BOUNDS, Wear::default(), OPEN), Some(15_000));
        assert_eq!(idle_ms(&BOUNDS, Wear::default(), UpstreamWord { idle_s_max: Some(5), ..OPEN }), Some(4_000));
        assert_eq!(idle_ms(&BOUNDS, Wear::default(), UpstreamWord { idle_s_max: Some(1), ..OPEN }), None);
        assert_eq!(idle_ms(&BOUNDS, Wear::default(), UpstreamWord { idle_s_max: Some(99), ..OPEN }), Some(15_000));
    }

    #[test]
    fn a_worn_or_closing_connection_is_not_kept() {
        assert_eq!(idle_ms(&BOUNDS, Wear::default(), UpstreamWord { keeps_alive: false, ..OPEN }), None);
        assert_eq!(idle_ms(&BOUNDS, Wear::default(), UpstreamWord { requests_max: Some(0), ..OPEN }), None);
        let bounds = KeepAlive { requests_max: 10, age_max: Duration::from_s(1), ..BOUNDS };
        assert_eq!(idle_ms(&bounds, Wear { requests: 10, age_ms: 0 }, OPEN), None);
        assert_eq!(idle_ms(&bounds, Wear { requests: 9, age_ms: 1_000 }, OPEN), None);
        assert!(idle_ms(&bounds, Wear { requests: 9, age_ms: 999 }, OPEN).is_some());
        assert_eq!(idle_ms(&KeepAlive { idle: Duration::from_ms(0), ..BOUNDS }, Wear::default(), OPEN), None);
    }
}
