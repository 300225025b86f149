//! Attempts that follow each other until one is answered, or the table of failures says that there shall be no other.

use super::evidence::{Evidence, State};
use super::retry::{Again, Attempted, NoRetry, Retry, decide};
use crate::failure::Failure;

/// An upstream connection as a request found it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// True where it came from the pool.
    pub is_reused: bool,
    /// Requests sent over it before.
    pub requests: u32,
    /// How long it had been idle, in microseconds.
    pub idle_us: u64,
    /// Its age, in milliseconds.
    pub age_ms: u64,
    /// How long its TLS handshake took, in microseconds; 0 for one that was reused, or has none.
    pub tls_us: u64,
}

/// One attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The endpoint's position in the service.
    pub endpoint: usize,
    /// Why.
    pub failure: Failure,
    /// What is known of the delivery.
    pub evidence: Evidence,
    /// The state of the TCP connection, once it was asked for.
    pub state: State,
    /// Bytes acknowledged over the connection's life, once it was asked for.
    pub acked_bytes: Option<u64>,
    /// The connection.
    pub connection: ConnectionFacts,
    /// The operating system's error, 0 for none.
    pub errno: i32,
    /// Bytes sent in it.
    pub sent_bytes: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

impl FailedAttempt {
    /// One of which nothing is known but where it went and why it failed.
    #[must_use]
    pub fn new(endpoint: usize, failure: Failure) -> Self {
        Self {
            endpoint,
            failure,
            evidence: Evidence::None,
            state: State::Unknown,
            acked_bytes: None,
            connection: ConnectionFacts::default(),
            errno: 0,
            sent_bytes: 0,
            took_us: 0,
        }
    }
}

/// Which connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// A pooled one that is good for a request that may be repeated, else a new one.
    Repeatable,
    /// A pooled one that is good for a request that must not be repeated, else a new one.
    Once,
    /// A new one; where requests share connections, one of those will do.
    Fresh,
    /// A new one that no other request shares: the connection before ended with this request on it, and the request may be why.
    Alone,
}

/// What is known of a request beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKind {
    /// The method is idempotent, or the request has an `Idempotency-Key`.
    pub is_idempotent: bool,
    /// It asks for another protocol.
    pub is_upgrade: bool,
    /// Its body is known to fit into what is held to be sent again.
    pub is_holdable: bool,
}

/// How things stand when an attempt has failed, or could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// Bytes of a response have gone to the client.
    pub has_client_bytes: bool,
    /// All that was read of the request body is still held.
    pub is_body_held: bool,
    /// The total time is over.
    pub is_late: bool,
}

/// What the service has for another attempt.
pub trait Options {
    /// An endpoint that was not tried; `Err(true)` where those that are left are busy, `Err(false)` where there is none.
    ///
    /// # Errors
    /// See above.
    fn pick(&mut self, tried: &[usize]) -> Result<usize, bool>;
    /// True where requests may wait for room.
    fn has_queue(&self) -> bool;
    /// True where the budget pays for another retry.
    fn has_budget(&self) -> bool;
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the same endpoint on a new connection.
    Same,
    /// To this endpoint; true where the budget pays.
    Other(usize, bool),
    /// To another one, once it has room.
    Queue,
}

impl Next {
    /// What metrics say of the decision.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same_endpoint",
            Self::Other(..) | Self::Queue => "other_endpoint",
        }
    }
}

/// What was tried so far. Empty where nothing went wrong, so that it costs nothing.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Positions of endpoints whose attempts failed.
    tried: Vec<usize>,
    /// The free attempt after a stale reuse was used.
    was_stale: bool,
    /// A new connection ended without an answer before.
    was_closed: bool,
    /// An attempt before may have been executed.
    was_delivered: bool,
    /// Why the last one failed.
    last: Option<Failure>,
    /// Attempts beyond the first, not counting the free one.
    retries: u8,
}

impl Attempts {
    /// Positions of endpoints that were tried.
    #[must_use]
    pub fn tried(&self) -> &[usize] {
        &self.tried
    }

    /// Which connection will do for the next attempt.
    #[must_use]
    pub fn reuse(&self, request: RequestKind) -> Reuse {
        // A request whose body cannot be held cannot be sent again: it is treated like one that must not be.
        let is_repeatable = request.is_idempotent && request.is_holdable && !request.is_upgrade;
        match (self.tried.is_empty(), is_repeatable) {
            // A pooled one may be just as stale, and cost another attempt.
            (false, _) if self.last.is_some_and(Failure::ends_connection) => Reuse::Alone,
            (false, _) => Reuse::Fresh,
            (true, true) => Reuse::Repeatable,
            (true, false) => Reuse::Once,
        }
    }

    /// True where a 408 that answers an idle connection may be thrown away in the next attempt.
    #[must_use]
    pub const fn may_discard_timeout(&self, request: RequestKind) -> bool {
        !self.was_stale && !request.is_upgrade
    }

    /// True where a status that the rules list may be thrown away in the next attempt.
    #[must_use]
    pub fn may_discard_status(&self, rules: &Retry, request: RequestKind, standpoint: Standpoint) -> bool {
        let failed = (Failure::UpstreamStatus, Evidence::None, false);
        !rules.on_status.is_empty() && decide(rules, &self.attempted(failed, request, standpoint)).is_ok()
    }

    /// Where the next attempt goes after one that failed.
    ///
    /// # Errors
    /// Why there is none; `None` where the failure is not one that could be retried.
    pub fn next(
        &mut self,
        rules: &Retry,
        (request, standpoint): (RequestKind, Standpoint),
        failed: &FailedAttempt,
        options: &mut impl Options,
    ) -> Result<Next, Option<NoRetry>> {
        self.tried.push(failed.endpoint);
        self.last = Some(failed.failure);
        let of = (failed.failure, failed.evidence, failed.connection.is_reused);
        let again = decide(rules, &self.attempted(of, request, standpoint))?;
        let next = self.place(again, failed.endpoint, options)?;
        let is_delivered = failed.evidence != Evidence::None && !failed.evidence.is_proof();
        self.was_delivered |= is_delivered;
        self.was_closed |= is_delivered && !failed.connection.is_reused;
        match next {
            Next::Same => self.was_stale = true,
            Next::Other(..) | Next::Queue => self.retries += 1,
        }
        Ok(next)
    }

    fn attempted(
        &self,
        (failure, evidence, is_reused): (Failure, Evidence, bool),
        request: RequestKind,
        standpoint: Standpoint,
    ) -> Attempted {
        Attempted {
            failure,
            evidence,
            is_reused,
            is_idempotent: request.is_idempotent,
            has_client_bytes: standpoint.has_client_bytes,
            is_upgrade: request.is_upgrade,
            is_body_held: standpoint.is_body_held,
            was_stale: self.was_stale,
            was_closed: self.was_closed,
            was_delivered: self.was_delivered,
            retries: self.retries,
            is_late: standpoint.is_late,
        }
    }

    fn place(&self, again: Again, here: usize, options: &mut impl Options) -> Result<Next, Option<NoRetry>> {
        let (is_paid, or_same) = match again {
            Again::SameEndpoint => return Ok(Next::Same),
            Again::OtherEndpoint { is_paid, or_same } => (is_paid, or_same),
        };
        let at = match options.pick(&self.tried) {
            Ok(at) => at,
            Err(_) if or_same => here,
            // The failed attempt cost the upstream nothing: the request waits like one that just came.
            Err(true) if !is_paid && options.has_queue() => return Ok(Next::Queue),
            Err(true | false) => return Err(Some(NoRetry::NoOtherEndpoint)),
        };
        if is_paid && !options.has_budget() {
            return Err(Some(NoRetry::Budget));
        }
        Ok(Next::Other(at, is_paid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed {
        endpoints: usize,
        is_busy: bool,
        has_queue: bool,
        has_budget: bool,
    }

    impl Options for Fixed {
        fn pick(&mut self, tried: &[usize]) -> Result<usize, bool> {
            let is_left = |at: &usize| !tried.contains(at);
            (0..self.endpoints).find(is_left).filter(|_| !self.is_busy).ok_or(self.is_busy)
        }
        fn has_queue(&self) -> bool {
            self.has_queue
        }
        fn has_budget(&self) -> bool {
            self.has_budget
        }
    }

    const GET: RequestKind = RequestKind { is_idempotent: true, is_upgrade: false, is_holdable: true };
    const POST: RequestKind = RequestKind { is_idempotent: false, ..GET };
    const NOW: Standpoint = Standpoint { has_client_bytes: false, is_body_held: true, is_late: false };
    const TWO: Fixed = Fixed { endpoints: 2, is_busy: false, has_queue: false, has_budget: true };

    fn failed(endpoint: usize, failure: Failure, evidence: Evidence, is_reused: bool) -> FailedAttempt {
        FailedAttempt {
            evidence,
            connection: ConnectionFacts { is_reused, ..ConnectionFacts::default() },
            ..FailedAttempt::new(endpoint, failure)
        }
    }

    #[test]
    fn a_stale_reuse_goes_once_to_the_same_endpoint_and_then_elsewhere() {
        let mut attempts = Attempts::default();
        assert_eq!((attempts.reuse(GET), attempts.reuse(POST)), (Reuse::Repeatable, Reuse::Once));
        let rules = Retry::default();
        let stale = failed(0, Failure::StaleReuseProven, Evidence::Proven, true);
        assert_eq!(attempts.next(&rules, (POST, NOW), &stale, &mut { TWO }), Ok(Next::Same));
        assert_eq!(attempts.reuse(GET), Reuse::Alone);
        assert!(!attempts.may_discard_timeout(GET));
        let refused = failed(0, Failure::ConnectRefused, Evidence::None, false);
        assert_eq!(attempts.next(&rules, (POST, NOW), &refused, &mut { TWO }), Ok(Next::Other(1, false)));
        assert_eq!(attempts.tried(), [0, 0]);
    }

    #[test]
    fn what_may_have_been_executed_is_paid_for_and_not_sent_to_the_same_endpoint_a_third_time() {
        let rules = Retry::default();
        let closed = |at| failed(at, Failure::UpstreamClosedNoResponse, Evidence::Delivered, false);
        let mut attempts = Attempts::default();
        assert_eq!(attempts.next(&rules, (POST, NOW), &closed(0), &mut { TWO }), Err(Some(NoRetry::NonIdempotent)));
        let mut attempts = Attempts::default();
        let mut poor = Fixed { has_budget: false, ..TWO };
        assert_eq!(attempts.next(&rules, (GET, NOW), &closed(0), &mut poor), Err(Some(NoRetry::Budget)));
        let mut attempts = Attempts::default();
        assert_eq!(attempts.next(&rules, (GET, NOW), &closed(0), &mut { TWO }), Ok(Next::Other(1, true)));
        assert_eq!(attempts.next(&rules, (GET, NOW), &closed(1), &mut { TWO }), Err(Some(NoRetry::Attempts)));
    }

    #[test]
    fn where_the_others_are_busy_nothing_is_lost_by_waiting() {
        let rules = Retry::default();
        let refused = failed(0, Failure::ConnectRefused, Evidence::None, false);
        for (has_queue, expected) in [(true, Ok(Next::Queue)), (false, Err(Some(NoRetry::NoOtherEndpoint)))] {
            let mut busy = Fixed { is_busy: true, has_queue, ..TWO };
            assert_eq!(Attempts::default().next(&rules, (GET, NOW), &refused, &mut busy), expected);
        }
    }

    #[test]
    fn a_failure_that_cannot_be_retried_is_passed_over_in_silence() {
        let bad = failed(0, Failure::RouteTimeout, Evidence::None, false);
        assert_eq!(Attempts::default().next(&Retry::default(), (GET, NOW), &bad, &mut { TWO }), Err(None));
    }
}
