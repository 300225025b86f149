//! `bandwidth_limit`: how fast the body of an answer goes to its client, as nginx's `limit_rate`, or that of a request to its upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use crate::units::Size;

/// Bounds how fast the body of each answer goes to its client, or of each request to its upstream. Whoever sends it is read no faster. What
/// we answer ourselves, and what an upgraded connection carries, is not bounded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandwidthLimit {
    /// Bytes for each second, from 1 KiB: `"500KiB"`.
    pub rate: Size,
    /// How much goes at full speed first.
    #[serde(default = "nothing")]
    pub after: Size,
    /// Whose body: `"response"` or `"request"`.
    #[serde(default)]
    pub body: SlowBody,
}

/// The body that goes no faster than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlowBody {
    /// Of the answer.
    #[default]
    Response,
    /// Of the request.
    Request,
}

const fn nothing() -> Size {
    Size::from_bytes(0)
}

/// The same, compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate {
    rate: u64,
    after: u64,
}

impl BandwidthLimit {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<ByteRate> {
        let (rate, after) = (self.rate.bytes(), self.after.bytes());
        if rate < 1024 {
            place.fault(format!("{} in a second is no rate", self.rate), "write 1KiB or more");
        }
        (!place.has_faults()).then_some(ByteRate { rate, after })
    }
}

impl ByteRate {
    /// Of a body that began so many milliseconds ago: how many bytes may have gone, an eighth of a second ahead.
    fn allowed(self, since_ms: u64) -> u64 {
        let timed = u128::from(self.rate) * (u128::from(since_ms) + 125) / 1_000;
        self.after.saturating_add(u64::try_from(timed).unwrap_or(u64::MAX))
    }

    /// How many bytes may go now, where `sent` have gone.
    #[must_use]
    pub fn room(self, sent: u64, since_ms: u64) -> u64 {
        self.allowed(since_ms).saturating_sub(sent)
    }

    /// How long to wait for the next part, in milliseconds: until there is room for an eighth of a second.
    #[must_use]
    pub fn wait_ms(self, sent: u64, since_ms: u64) -> u64 {
        let wanted = u128::from(sent.saturating_sub(self.after)) * 1_000 / u128::from(self.rate);
        u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(since_ms).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_behind_the_first_part() {
        for (rate, after) in [(1024, 0), (100_000, 65_536), (50_000_000, 1), (4096, 1 << 30)] {
            let (bandwidth, length) = (ByteRate { rate, after }, after + rate * 4);
            let (mut sent, mut now_ms, mut rounds) = (0, 0, 0);
            while sent < length {
                let room = bandwidth.room(sent, now_ms).min(length - sent);
                assert!(sent + room <= after + rate * (now_ms + 125) / 1_000);
                sent += room;
                rounds += 1;
                if sent < length {
                    now_ms += bandwidth.wait_ms(sent, now_ms);
                }
            }
            assert!((3_750..=4_000).contains(&now_ms), "{rate}: {now_ms} ms");
            assert!(rounds <= 40, "{rate}: {rounds} parts");
        }
    }
}
