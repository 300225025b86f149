//! What is known of a request that was sent and got no byte of response: whether the upstream can have seen it.
//!
//! Asked on the failure path only. The kernel acknowledges what its socket took, whether or not the application read it,
//! so an acknowledged byte says "may have been executed", and a reset after an end says "cannot have been".

use crate::failure::Failure;

/// The bytes that a connection's own SYN counts for in the kernel's `tcpi_bytes_acked`.
pub const SYN_BYTES: u64 = 1;
/// How long a reset that may still be on its way is waited for at least, in microseconds; two round trips where those are
/// longer.
const RESET_WAIT_US_MIN: u64 = 5_000;

/// The kernel's view of a TCP connection (`TCP_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its state.
    pub state: State,
    /// Bytes acknowledged since it was opened, its SYN included.
    pub acked_bytes: u64,
    /// The smoothed round trip, in microseconds.
    pub round_trip_us: u32,
}

/// What a look into an idle connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// It is open and holds no byte that was not received.
    Quiet,
    /// It holds bytes.
    Bytes,
    /// It has ended.
    End,
}

/// The state of a TCP connection, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody asked, or it is no TCP connection.
    #[default]
    Unknown,
    /// Open.
    Established,
    /// The peer has ended its side and may still read.
    CloseWait,
    /// Reset, or ended on both sides.
    Close,
    /// Another.
    Other,
}

impl State {
    /// The kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Established => "ESTABLISHED",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Close => "CLOSE",
            Self::Other => "OTHER",
        }
    }
}

/// How a connection ended before the first byte of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing of the request could be sent.
    Unsent,
    /// The peer's end came first.
    Eof,
    /// A reset came first.
    Reset,
}

/// What the end proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// Nobody asked.
    #[default]
    None,
    /// E0: no byte left this host.
    Unsent,
    /// E1: the peer answered our bytes with a reset and took none of them.
    Proven,
    /// E2: a reset, and no byte acknowledged. An application that read the request and aborted inside the time of a
    /// delayed acknowledgement gives the same picture.
    Likely,
    /// E3: bytes were acknowledged, or the peer may still read.
    Delivered,
}

impl Evidence {
    /// True where no application can have seen the request.
    #[must_use]
    pub const fn is_proof(self) -> bool {
        matches!(self, Self::Unsent | Self::Proven)
    }

    /// The cause on a reused connection.
    #[must_use]
    pub const fn failure(self) -> Failure {
        match self {
            Self::Unsent => Failure::StaleReuseUnsent,
            Self::Proven => Failure::StaleReuseProven,
            Self::Likely => Failure::StaleReuseLikely,
            Self::None | Self::Delivered => Failure::UpstreamClosedNoResponse,
        }
    }
}

/// What to make of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This.
    Evidence(Evidence),
    /// The peer's reset may still be on its way: ask again until so many microseconds have passed.
    AskAgain(u64),
}

/// Judges an end; `sent_before` is how many bytes were sent over the connection before this request.
///
/// `delivery` is `None` where the kernel cannot say: a Unix socket, whose peer leaves ECONNRESET where it closed with
/// unread bytes (E2), and an orderly end where it had read all (E3).
#[must_use]
pub fn examine(end: End, sent_before: u64, delivery: Option<Delivery>) -> Finding {
    let evidence = match (end, delivery) {
        (End::Unsent, _) => Evidence::Unsent,
        (End::Eof, None) => Evidence::Delivered,
        (_, Some(delivery)) if delivery.acked_bytes > sent_before + SYN_BYTES => Evidence::Delivered,
        (End::Reset, _) => Evidence::Likely,
        (End::Eof, Some(Delivery { state: State::Close, .. })) => Evidence::Proven,
        (End::Eof, Some(delivery)) => {
            return Finding::AskAgain(RESET_WAIT_US_MIN.max(2 * u64::from(delivery.round_trip_us)));
        }
    };
    Finding::Evidence(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(state: State, acked_bytes: u64) -> Option<Delivery> {
        Delivery { state, acked_bytes, round_trip_us: 40 }.into()
    }

    #[test]
    fn only_an_end_followed_by_a_reset_with_nothing_acknowledged_is_proof() {
        let is = |end, delivery, evidence| assert_eq!(examine(end, 500, delivery), Finding::Evidence(evidence));
        is(End::Unsent, None, Evidence::Unsent);
        is(End::Eof, delivery(State::Close, 501), Evidence::Proven);
        is(End::Eof, delivery(State::Close, 502), Evidence::Delivered);
        is(End::Eof, delivery(State::CloseWait, 600), Evidence::Delivered);
        is(End::Reset, delivery(State::Close, 501), Evidence::Likely);
        is(End::Reset, delivery(State::Close, 502), Evidence::Delivered);
        is(End::Eof, None, Evidence::Delivered);
        is(End::Reset, None, Evidence::Likely);
        assert!(!Evidence::Likely.is_proof() && !Evidence::Delivered.is_proof() && !Evidence::None.is_proof());
    }

    #[test]
    fn a_reset_on_its_way_is_waited_for() {
        assert_eq!(examine(End::Eof, 500, delivery(State::CloseWait, 501)), Finding::AskAgain(5_000));
        let far = Delivery { state: State::CloseWait, acked_bytes: 501, round_trip_us: 80_000 };
        assert_eq!(examine(End::Eof, 500, Some(far)), Finding::AskAgain(160_000));
    }
}
