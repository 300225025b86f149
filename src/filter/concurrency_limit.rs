//! `concurrency_limit`: how many requests of a key are in flight, exactly for the whole process.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Context, Notes, Refusal, Verdict};
use super::counters::in_flight::{InFlightTerms, InFlightZone};
use super::key::{LimitScope, WrittenScope, by_client, ipv6_prefix, keys};
use super::shared::SharedParts;
use crate::failure::Failure;
use crate::proto::h1::request::RequestHead;

/// How many requests may be in flight at once. Streams of HTTP/2 count each, and so does an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyLimit {
    /// Requests at once, 1 or more.
    pub max: u32,
    /// By what requests are told apart, as for `rate_limit`.
    #[serde(default = "by_client")]
    pub key: String,
    /// Bits of an IPv6 address that are one client.
    #[serde(default = "ipv6_prefix")]
    pub ipv6_prefix: u8,
    /// The name of the counters: filters that name the same one count together, and must say the same otherwise.
    #[serde(default)]
    pub zone: Option<String>,
    /// Keys with a request in flight at most.
    #[serde(default = "keys")]
    pub keys: usize,
    /// Networks whose clients are not counted.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// The status of the refusal, 400 to 599; 429 by default.
    #[serde(default)]
    pub status: Option<u16>,
}

/// A limit, compiled.
#[derive(Clone, Debug)]
pub struct CompiledConcurrencyLimit {
    scope: LimitScope,
    zone: Arc<InFlightZone>,
    name: &'static str,
}

impl ConcurrencyLimit {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledConcurrencyLimit> {
        let Self { key, ipv6_prefix, keys, exempt, status, .. } = self;
        let written = WrittenScope { key, ipv6_prefix: *ipv6_prefix, keys: *keys, exempt, status: *status };
        let scope = written.compile(place);
        if self.max == 0 {
            place.fault("a limit of 0 lets nothing through", "write 1 or more");
        }
        let scope = scope.filter(|_| !place.has_faults())?;
        let keys = if scope.key.is_single() { 1 } else { self.keys };
        let terms = InFlightTerms { max: self.max, key: (self.key.clone(), self.ipv6_prefix), keys };
        let zone = match &self.zone {
            None => Arc::new(InFlightZone::new(terms)),
            Some(name) => match place.shared.in_flight_zone(name, terms) {
                Some(zone) => zone,
                None => {
                    let what = format!("the zone `{name}` has another limit or key elsewhere");
                    place.fault(what, "give all filters of a zone the same `max`, `key` and `keys`");
                    return None;
                }
            },
        };
        let name = self.zone.as_deref().map_or("", |name| place.shared.word(name));
        Some(CompiledConcurrencyLimit { scope, zone, name })
    }
}

impl CompiledConcurrencyLimit {
    /// Names its counters once more; the name where others have it by now.
    pub(super) fn claim(&self, shared: &mut SharedParts) -> Option<&'static str> {
        (!self.name.is_empty() && !shared.claim_in_flight(self.name, &self.zone)).then_some(self.name)
    }

    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        let Some(key) = self.scope.key_of(head, context, notes) else { return Verdict::Pass };
        if let Some(taken) = self.zone.take(&key) {
            notes.places.push(taken);
            return Verdict::Pass;
        }
        let failure = Failure::ConcurrencyLimited(self.name);
        Verdict::Refuse(Box::new(Refusal { failure, status: self.scope.status, ..Refusal::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, head_of};
    use super::super::context::{Context, Notes, Verdict};

    #[test]
    fn places_are_given_back_when_the_request_is_over() {
        let (chain, faults) = compiled("[{ concurrency_limit = { max = 2, key = \"header:x-key\" } }]");
        assert!(faults.is_empty(), "{faults:?}");
        let ask = |key: &str| {
            let (mut head, mut notes) =
                (head_of(&format!("GET / HTTP/1.1\nHost: a\nX-Key: {key}\n")), Notes::default());
            let passes = matches!(chain.on_request(&mut head, &Context::of_nobody("http"), &mut notes), Verdict::Pass);
            (passes, notes)
        };
        let (first, second, third, other) = (ask("a"), ask("a"), ask("a"), ask("b"));
        assert_eq!([first.0, second.0, third.0, other.0], [true, true, false, true]);
        drop(first);
        assert!(ask("a").0);
    }
}
