//! Whether a failed attempt is followed by another, where, and if not, why not: the table of failures as a function.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use crate::failure::Failure;
use crate::failure::row::RetryClass;
use crate::units::{Duration, Size};

/// Retries per second that need no requests in flight, and how many of them can be saved up.
const RETRIES_PER_S: u64 = 3;
const RETRIES_SAVED_MAX: u64 = 30;
/// Retries in flight, in percent of the requests in flight.
const RETRIES_PERCENT: usize = 20;

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts beyond the first; the one after a stale kept-alive connection is free and not among them.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// What happens to requests that are not idempotent (POST, PATCH) and have no `Idempotency-Key`.
    pub non_idempotent: NonIdempotent,
    /// Statuses after which an idempotent request is tried at another endpoint; `Retry-After` is honoured.
    pub on_status: Vec<u16>,
    /// Longest `Retry-After` that is waited out before another attempt; an answer that asks for more is passed on. `"0s"` waits for none.
    pub retry_after_max: Duration,
    /// Further failures after which an idempotent request is tried at another endpoint.
    pub on: Vec<RetryOn>,
    /// Most bytes of a request body that are held to be sent again; `"0B"` holds none.
    pub buffer: Size,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            non_idempotent: NonIdempotent::default(),
            on_status: Vec::new(),
            retry_after_max: Duration::from_s(5),
            on: Vec::new(),
            buffer: Size::from_kib(64),
        }
    }
}

/// What happens to requests that are not idempotent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonIdempotent {
    /// Sent again only where no upstream can have seen them.
    #[default]
    Proof,
    /// Also after any failure of a kept-alive connection: a request may be executed twice.
    Reused,
    /// Like idempotent ones: a request may be executed twice.
    Always,
    /// Never sent again.
    Never,
}

/// A failure that is tried again only where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The response head did not come in time.
    HeaderTimeout,
    /// The response breaks a rule.
    BadResponse,
}

/// A failed attempt and what can be done about it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug)]
pub struct Attempted {
    /// Why it failed.
    pub failure: Failure,
    /// What is known of the delivery.
    pub evidence: Evidence,
    /// The connection came from the pool.
    pub is_reused: bool,
    /// The method is idempotent, or the request has an `Idempotency-Key`.
    pub is_idempotent: bool,
    /// Bytes of a response have gone to the client.
    pub has_client_bytes: bool,
    /// The request asks for another protocol.
    pub is_upgrade: bool,
    /// All that was read of the request body is still held.
    pub is_body_held: bool,
    /// A stale reuse was retried already.
    pub was_stale: bool,
    /// An attempt on a fresh connection ended without a byte of response before: once is enough.
    pub was_closed: bool,
    /// An attempt before may have been executed.
    pub was_delivered: bool,
    /// Attempts so far beyond the first, not counting the free one.
    pub retries: u8,
    /// The route's total time is over.
    pub is_late: bool,
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// To the same endpoint on a new connection, for nothing.
    SameEndpoint,
    /// To another endpoint.
    OtherEndpoint {
        /// The attempt may have cost the upstream work, so that the budget pays.
        is_paid: bool,
        /// Where there is no other, the same will do: it did take the connection.
        or_same: bool,
    },
}

/// Why there is no other attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRetry {
    /// There were too many retries of late.
    Budget,
    /// The request body was longer than what is held.
    BodyOverflow,
    /// The request may have been executed, and must not be twice.
    NonIdempotent,
    /// The route's total time is over.
    Deadline,
    /// The client has bytes of a response.
    ClientBytesSent,
    /// There were as many attempts as are allowed.
    Attempts,
    /// The service has no other endpoint that could be tried.
    NoOtherEndpoint,
    /// The request asks for another protocol.
    Upgrade,
    /// This failure is tried again only where `retry` says so.
    NotAsked,
}

impl NoRetry {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::BodyOverflow => "body_overflow",
            Self::NonIdempotent => "non_idempotent",
            Self::Deadline => "deadline",
            Self::ClientBytesSent => "client_bytes_sent",
            Self::Attempts => "attempts",
            Self::NoOtherEndpoint => "no_other_endpoint",
            Self::Upgrade => "upgrade",
            Self::NotAsked => "not_asked",
        }
    }
}

/// What a failure allows, once it is known how the attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Trying again cannot help, or nobody asks for it: no reason is recorded.
    Final,
    /// A reused connection ended before the first byte.
    Stale,
    /// No connection came about.
    Connect,
    /// A new connection ended before the first byte, or while the request was sent.
    Closed,
    /// The upstream did not take the request.
    Stalled,
    /// It did nothing, and takes the request in another form.
    Form,
    /// As the service asks.
    Asked(bool),
}

/// The rule of the table for this attempt.
///
/// # Errors
/// Why there is no other attempt; `None` where the failure is not one that could be retried.
pub fn decide(rules: &Retry, attempted: &Attempted) -> Result<Again, Option<NoRetry>> {
    let refuse = |why| Err(Some(why));
    let kind = kind(rules, attempted);
    if matches!(kind, Kind::Final) {
        return Err(None);
    }
    if attempted.has_client_bytes {
        return refuse(NoRetry::ClientBytesSent);
    }
    if attempted.is_late {
        return refuse(NoRetry::Deadline);
    }
    if attempted.is_upgrade && !matches!(kind, Kind::Connect) {
        return refuse(NoRetry::Upgrade);
    }
    let is_proof = matches!(kind, Kind::Connect | Kind::Form) || attempted.evidence.is_proof();
    let may_repeat = attempted.is_idempotent
        || match rules.non_idempotent {
            NonIdempotent::Never => matches!(kind, Kind::Form),
            NonIdempotent::Proof => is_proof,
            NonIdempotent::Reused => is_proof || matches!(kind, Kind::Stale),
            NonIdempotent::Always => is_proof || matches!(kind, Kind::Stale | Kind::Closed),
        };
    if matches!(kind, Kind::Asked(false)) {
        return refuse(NoRetry::NotAsked);
    }
    if !may_repeat {
        return refuse(NoRetry::NonIdempotent);
    }
    if !attempted.is_body_held {
        return refuse(NoRetry::BodyOverflow);
    }
    // In another form it goes once: then its length is known.
    if matches!(kind, Kind::Form) || matches!(kind, Kind::Stale) && !attempted.was_stale {
        return Ok(Again::SameEndpoint);
    }
    let may_be_third = matches!(kind, Kind::Closed | Kind::Stale) && attempted.was_closed && !is_proof;
    if attempted.retries >= rules.attempts || may_be_third {
        return refuse(NoRetry::Attempts);
    }
    // Where there is no other endpoint the same one may be tried again, unless the request may have been executed twice
    // already.
    let or_same = matches!(kind, Kind::Closed | Kind::Stale) && (is_proof || !attempted.was_delivered);
    Ok(Again::OtherEndpoint { is_paid: !is_proof, or_same })
}

fn kind(rules: &Retry, attempted: &Attempted) -> Kind {
    match attempted.failure.handling().retry {
        RetryClass::Final => Kind::Final,
        RetryClass::Stale => Kind::Stale,
        RetryClass::Ended if attempted.is_reused => Kind::Stale,
        RetryClass::Ended | RetryClass::Closed => Kind::Closed,
        // After the handshake, with the request on its way.
        RetryClass::Handshake if attempted.evidence != Evidence::None => Kind::Closed,
        RetryClass::Handshake | RetryClass::Connect => Kind::Connect,
        RetryClass::Stalled => Kind::Stalled,
        RetryClass::HeaderTimeout => Kind::Asked(rules.on.contains(&RetryOn::HeaderTimeout)),
        RetryClass::BadResponse => Kind::Asked(rules.on.contains(&RetryOn::BadResponse)),
        RetryClass::Status => Kind::Asked(true),
        RetryClass::Form => Kind::Form,
    }
}

/// What keeps retries from multiplying the load of an upstream that is down: of one service in one worker.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Retries in flight.
    in_flight: usize,
    /// Thousandths of a retry that are saved up.
    saved: u64,
    refilled_ms: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { in_flight: 0, saved: RETRIES_SAVED_MAX * 1_000, refilled_ms: 0 }
    }
}

impl Budget {
    /// Whether a retry is allowed with so many requests in flight; [`Self::take`] takes it.
    #[must_use]
    pub fn has_room(&mut self, requests: usize, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.refilled_ms).saturating_mul(RETRIES_PER_S);
        self.refilled_ms = now_ms;
        self.saved = (self.saved.saturating_add(earned)).min(RETRIES_SAVED_MAX * 1_000);
        self.saved >= 1_000 || (self.in_flight + 1) * 100 <= requests * RETRIES_PERCENT
    }

    /// A retry begins.
    pub const fn take(&mut self) {
        self.in_flight += 1;
        self.saved = self.saved.saturating_sub(1_000);
    }

    /// A request that was retried is over.
    pub const fn give_back(&mut self, retries: usize) {
        self.in_flight -= retries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(non_idempotent: NonIdempotent) -> Retry {
        Retry { non_idempotent, on_status: vec![503], ..Retry::default() }
    }

    const FAILED: Attempted = Attempted {
        failure: Failure::ConnectRefused,
        evidence: Evidence::None,
        is_reused: false,
        is_idempotent: false,
        has_client_bytes: false,
        is_upgrade: false,
        is_body_held: true,
        was_stale: false,
        was_closed: false,
        was_delivered: false,
        retries: 0,
        is_late: false,
    };

    fn reused(evidence: Evidence) -> Attempted {
        Attempted { failure: evidence.failure(), evidence, is_reused: true, ..FAILED }
    }

    /// One letter for each case: `s` same endpoint, `o` other endpoint, `-` none; idempotent first.
    fn row(attempted: Attempted) -> String {
        let rules_of = [NonIdempotent::Proof, NonIdempotent::Reused, NonIdempotent::Always, NonIdempotent::Never];
        let letter = |rules: &Retry, attempted: &Attempted| match decide(rules, attempted) {
            Ok(Again::SameEndpoint) => 's',
            Ok(Again::OtherEndpoint { .. }) => 'o',
            Err(_) => '-',
        };
        let idempotent = letter(&rules(NonIdempotent::Proof), &Attempted { is_idempotent: true, ..attempted });
        std::iter::once(idempotent).chain(rules_of.map(|of| letter(&rules(of), &attempted))).collect()
    }

    #[test]
    fn the_table_row_by_row() {
        let fresh = |failure| Attempted { failure, ..FAILED };
        // Idempotent, then not: proof, reused, always, never.
        for (attempted, expected) in [
            (fresh(Failure::ConnectRefused), "oooo-"),
            (fresh(Failure::ConnectUnreachable), "oooo-"),
            (fresh(Failure::ConnectTimeout), "oooo-"),
            (reused(Evidence::Unsent), "ssss-"),
            (reused(Evidence::Proven), "ssss-"),
            (reused(Evidence::Likely), "s-ss-"),
            (reused(Evidence::Delivered), "s-ss-"),
            (fresh(Failure::UpstreamClosedNoResponse), "o--o-"),
            (fresh(Failure::UpstreamResetDuringSend), "o--o-"),
            (fresh(Failure::UpstreamSendTimeout), "o----"),
            (fresh(Failure::UpstreamHeaderTimeout), "-----"),
            (fresh(Failure::UpstreamBadHeader("x")), "-----"),
            (fresh(Failure::UpstreamHeadTooLarge), "-----"),
            (fresh(Failure::UpstreamStatus), "o----"),
            (fresh(Failure::UpstreamTruncated), "-----"),
            (fresh(Failure::RouteTimeout), "-----"),
            (fresh(Failure::ClientBodyTimeout), "-----"),
            (fresh(Failure::Internal("x")), "-----"),
        ] {
            assert_eq!(row(attempted), expected, "{:?}", attempted.failure);
        }
    }

    #[test]
    fn what_stands_against_a_retry_is_named() {
        let of = |attempted: Attempted| decide(&rules(NonIdempotent::Proof), &attempted).unwrap_err();
        let idempotent = Attempted { is_idempotent: true, failure: Failure::UpstreamClosedNoResponse, ..FAILED };
        assert_eq!(of(Attempted { has_client_bytes: true, ..idempotent }), Some(NoRetry::ClientBytesSent));
        assert_eq!(of(Attempted { is_late: true, ..idempotent }), Some(NoRetry::Deadline));
        assert_eq!(of(Attempted { is_body_held: false, ..idempotent }), Some(NoRetry::BodyOverflow));
        assert_eq!(of(Attempted { is_upgrade: true, ..idempotent }), Some(NoRetry::Upgrade));
        assert_eq!(of(Attempted { retries: 2, ..idempotent }), Some(NoRetry::Attempts));
        assert_eq!(of(Attempted { was_closed: true, ..idempotent }), Some(NoRetry::Attempts));
        assert_eq!(of(Attempted { is_idempotent: false, ..idempotent }), Some(NoRetry::NonIdempotent));
        assert_eq!(of(Attempted { failure: Failure::UpstreamHeaderTimeout, ..idempotent }), Some(NoRetry::NotAsked));
        assert_eq!(of(Attempted { failure: Failure::NoRoute, ..idempotent }), None);
        // A stale reuse is retried once for nothing, then like any other.
        let stale = Attempted { was_stale: true, ..reused(Evidence::Proven) };
        let again = Again::OtherEndpoint { is_paid: false, or_same: true };
        assert_eq!(decide(&rules(NonIdempotent::Proof), &stale), Ok(again));
    }

    #[test]
    fn the_budget_lets_a_fifth_of_the_load_and_a_few_a_second_through() {
        let mut budget = Budget::default();
        let mut taken = 0;
        while budget.has_room(100, 0) {
            budget.take();
            taken += 1;
        }
        // Thirty were saved up, which is more than twenty in a hundred.
        assert_eq!(taken, 30);
        budget.give_back(30);
        while budget.has_room(100, 0) {
            budget.take();
            taken += 1;
        }
        assert_eq!(taken, 50);
        budget.give_back(20);
        assert!(!budget.has_room(0, 0));
        assert!(budget.has_room(0, 334));
        budget.take();
        assert!(!budget.has_room(4, 334) && budget.has_room(10, 334));
    }
}
