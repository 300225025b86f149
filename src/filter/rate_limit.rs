//! `rate_limit`: how often requests may come, by a key.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Context, Notes, Refusal, Verdict};
use super::counters::rate::{AlsoRate, Bucket, RateFinding, RatePerTime, RateTerms, RateZone};
use super::key::{LimitScope, WrittenScope, by_client, ipv6_prefix, keys};
use super::shared::SharedParts;
use crate::failure::Failure;
use crate::proto::h1::request::RequestHead;

/// How often requests may come. What is above is refused, not delayed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// The rate: `"100/s"`, `"20/m"`, `"5/10s"`.
    pub rate: RatePerTime,
    /// Requests at once from a key that was quiet; by default as many as the rate has in its time.
    #[serde(default)]
    pub burst: Option<u32>,
    /// Further rates, each with its burst, that must hold as well.
    #[serde(default)]
    pub also: Vec<AlsoRate>,
    /// By what requests are told apart: `"client_ip"`, `"host"`, `"header:NAME"`, `"cookie:NAME"`, `"none"` for all together, or a text
    /// with variables. A request without it counts by its client's address.
    #[serde(default = "by_client")]
    pub key: String,
    /// Bits of an IPv6 address that are one client.
    #[serde(default = "ipv6_prefix")]
    pub ipv6_prefix: u8,
    /// The name of the counters: filters that name the same one count together, and must say the same otherwise.
    #[serde(default)]
    pub zone: Option<String>,
    /// Keys that are remembered at most; those that were quiet for longest are forgotten first. Each takes 16 bytes.
    #[serde(default = "keys")]
    pub keys: usize,
    /// Networks whose clients are not counted.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// The status of the refusal, 400 to 599; 429 by default.
    #[serde(default)]
    pub status: Option<u16>,
    /// Tell in every answer what is left, as `RateLimit` and `RateLimit-Policy`.
    #[serde(default)]
    pub tell: bool,
}

/// A rate limit, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRateLimit {
    scope: LimitScope,
    zone: Arc<RateZone>,
    tells: bool,
    name: &'static str,
}

impl RateLimit {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledRateLimit> {
        let Self { key, ipv6_prefix, keys, exempt, status, .. } = self;
        let written = WrittenScope { key, ipv6_prefix: *ipv6_prefix, keys: *keys, exempt, status: *status };
        let scope = written.compile(place);
        if self.burst == Some(0) || self.also.iter().any(|also| also.burst == Some(0)) {
            place.fault("a burst of 0 lets nothing through", "write 1 or more");
        }
        let scope = scope.filter(|_| !place.has_faults())?;
        let terms = self.terms(scope.key.is_single());
        let zone = match &self.zone {
            None => Arc::new(RateZone::new(terms)),
            Some(name) => match place.shared.rate_zone(name, terms) {
                Some(zone) => zone,
                None => {
                    let what = format!("the zone `{name}` has another rate, burst or key elsewhere");
                    place.fault(what, "give all filters of a zone the same `rate`, `burst`, `also`, `key` and `keys`");
                    return None;
                }
            },
        };
        let name = self.zone.as_deref().map_or("", |name| place.shared.word(name));
        Some(CompiledRateLimit { scope, zone, tells: self.tell, name })
    }

    fn terms(&self, is_single: bool) -> RateTerms {
        let first = AlsoRate { rate: self.rate, burst: self.burst };
        RateTerms {
            rates: std::iter::once(first).chain(self.also.iter().cloned()).collect(),
            key: (self.key.clone(), self.ipv6_prefix),
            keys: if is_single { 1 } else { self.keys },
        }
    }
}

impl CompiledRateLimit {
    /// Names its counters once more; the name where others have it by now.
    pub(super) fn claim(&self, shared: &mut SharedParts) -> Option<&'static str> {
        (!self.name.is_empty() && !shared.claim_rate(self.name, &self.zone)).then_some(self.name)
    }

    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        let Some(key) = self.scope.key_of(head, context, notes) else { return Verdict::Pass };
        let (finding, bucket) = self.zone.take(&key, context.now_us * 1_000);
        let (left, wait_s) = match finding {
            RateFinding::Passes(left) => (left, bucket.interval_s()),
            RateFinding::In(ns) => (0, ns.div_ceil(1_000_000_000).max(1)),
        };
        if self.tells {
            self.tell(notes, bucket, left, wait_s);
        }
        if matches!(finding, RateFinding::Passes(_)) {
            return Verdict::Pass;
        }
        let fields = vec![(&b"Retry-After"[..], wait_s.to_string().into_bytes())];
        Verdict::Refuse(Box::new(Refusal {
            failure: Failure::RateLimited(self.name),
            status: self.scope.status,
            fields,
            ..Refusal::default()
        }))
    }

    /// As draft-ietf-httpapi-ratelimit-headers-10 writes it.
    fn tell(&self, notes: &mut Notes, bucket: &Bucket, left: u64, wait_s: u64) {
        let name = if self.name.is_empty() { "default" } else { self.name };
        let (count, window_s) = bucket.policy();
        let edits = &mut notes.edits.response;
        let policy = format!("\"{name}\";q={count};w={window_s}");
        edits.set(b"RateLimit-Policy", policy.into_bytes());
        edits.set(b"RateLimit", format!("\"{name}\";r={left};t={wait_s}").into_bytes());
    }
}
