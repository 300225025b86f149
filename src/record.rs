//! What is known of one exchange when it is over: the source of log lines and metrics.

use std::net::IpAddr;
use std::rc::Rc;

use crate::failure::{Failure, Phase};
use crate::snapshot::Label;
use crate::tls::Facts;
use crate::upstream::attempts::{ConnectionFacts, FailedAttempt};
use crate::upstream::retry::NoRetry;

/// One exchange. Positions of endpoints refer to the service as the exchange found it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The listener.
    pub listener: Label,
    /// Who asked, behind trusted proxies.
    pub client: IpAddr,
    /// The route; the empty name where none matched.
    pub route: Label,
    /// The service; the empty name where there is none.
    pub service: Label,
    /// The endpoint's position in the service, once one was picked.
    pub endpoint: Option<usize>,
    /// What the client got; 499 where it was gone.
    pub status: u16,
    /// Why the answer is not the upstream's own, or not whole.
    pub failure: Option<Failure>,
    /// How far it came.
    pub phase: Phase,
    /// Attempts, the last one included.
    pub attempts: u8,
    /// Those that failed, in order. Empty where nothing went wrong, so that it costs nothing.
    pub failed: Vec<FailedAttempt>,
    /// Why the last failure was not followed by another attempt.
    pub no_retry: Option<NoRetry>,
    /// The upstream connection of the last attempt.
    pub connection: ConnectionFacts,
    /// Bytes of request body that came from the client.
    pub request_bytes: u64,
    /// Bytes of response body that went to the client.
    pub response_bytes: u64,
    /// Bytes sent to the upstream and received from it in the last attempt, heads included.
    pub sent_bytes: u64,
    /// See [`Self::sent_bytes`].
    pub received_bytes: u64,
    /// True once a byte of the final response may have left: no other answer can follow.
    pub is_response_started: bool,
    /// The operating system's error behind a failure, 0 for none.
    pub errno: i32,
    /// The identifier that the upstream got, unless a trusted proxy gave one.
    pub request_id: u128,
    /// How a call of gRPC ended, 0 to 16: the upstream's word, or ours.
    pub grpc_status: Option<u8>,
    /// What the TLS handshake came to, where there was one.
    pub tls: Option<Rc<Facts>>,
    /// It was sent on before that handshake was over.
    pub is_early: bool,
    /// When what happened.
    pub times: Times,
}

/// Moments, in microseconds of the worker's clock; 0 where it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The head was complete.
    pub started_us: u64,
    /// The service had room, and an endpoint was picked.
    pub admitted_us: u64,
    /// The last attempt began.
    pub attempted_us: u64,
    /// A connection was at hand.
    pub connected_us: u64,
    /// The request was sent.
    pub sent_us: u64,
    /// The final response head was complete.
    pub first_byte_us: u64,
    /// It was over.
    pub ended_us: u64,
}

impl Times {
    /// How long the whole took, in microseconds.
    #[must_use]
    pub const fn total_us(&self) -> u64 {
        self.ended_us.saturating_sub(self.started_us)
    }

    /// From `from_us` to `to_us`, 0 where either did not happen.
    #[must_use]
    pub const fn between_us(from_us: u64, to_us: u64) -> u64 {
        if from_us == 0 { 0 } else { to_us.saturating_sub(from_us) }
    }
}

impl Record {
    /// An exchange that begins.
    #[must_use]
    pub fn new(listener: Label, client: IpAddr, started_us: u64) -> Self {
        Self {
            listener,
            client,
            route: Label::default(),
            service: Label::default(),
            endpoint: None,
            status: 0,
            failure: None,
            phase: Phase::default(),
            attempts: 0,
            failed: Vec::new(),
            no_retry: None,
            connection: ConnectionFacts::default(),
            request_bytes: 0,
            response_bytes: 0,
            sent_bytes: 0,
            received_bytes: 0,
            is_response_started: false,
            errno: 0,
            request_id: 0,
            grpc_status: None,
            tls: None,
            is_early: false,
            times: Times { started_us, ..Times::default() },
        }
    }
}
