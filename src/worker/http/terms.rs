//! How a response is framed for its client, and whether its connection goes on.

use super::super::engine::Transport;
use super::progress::Expectation;
use super::transfer::Transfer;
use crate::encode::response::{Persistence, ResponseTerms, UpstreamResponse};
use crate::limits::DRAIN_BYTES_MAX;
use crate::proto::h1::field::Known;
use crate::proto::h1::framing::Framing;
use crate::proto::h2::is_grpc;
use crate::proto::version::Version;

/// How the response goes to this client: the one place where keep-alive is decided.
pub(super) fn terms<T: Transport>(
    transfer: &Transfer<'_, T>,
    UpstreamResponse { head, bytes }: UpstreamResponse<'_>,
    is_compressed: bool,
) -> ResponseTerms {
    let Transfer { account, progress, head: request, is_last, .. } = *transfer;
    let is_modern = request.version() != Version::Http10;
    // An answer that is not gRPC, such as an error page, goes to a client of gRPC-web unchanged.
    let content_type = head.known(Known::ContentType, bytes).unwrap_or_default();
    let grpc_web = request.grpc_web().filter(|_| is_grpc(content_type));
    let framing = match head.framing() {
        // Nobody knows how long it becomes.
        Framing::Length(1..) if is_compressed => Framing::Chunked,
        // gRPC-web makes the body longer than the upstream's length.
        Framing::Length(1..) if grpc_web.is_some() && is_modern => Framing::Chunked,
        Framing::Length(1..) if grpc_web.is_some() => Framing::UntilClose,
        Framing::Chunked | Framing::UntilClose if is_modern => Framing::Chunked,
        Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
        framing @ (Framing::None | Framing::Length(_)) => framing,
    };
    // A client that still waits for 100 may send the body or leave it out: nobody knows what comes next.
    let is_ambiguous = request.expects_continue() && progress.expectation.get() != Expectation::Met;
    // An early answer: what is left of the body is thrown away within a bound, beyond which the connection ends.
    let is_read = progress.is_body_received.get()
        || matches!(request.framing(), Framing::Length(length)
                if length.saturating_sub(account.request_bytes()) <= DRAIN_BYTES_MAX);
    let keep_alive = request.wants_keep_alive()
        && !is_last
        && framing != Framing::UntilClose
        && !is_ambiguous
        && is_read
        && !progress.has_client_finished.get();
    ResponseTerms {
        framing,
        persistence: match (keep_alive, is_modern) {
            (false, _) => Persistence::Close,
            (true, true) => Persistence::KeepAlive,
            (true, false) => Persistence::SaysKeepAlive,
        },
        passes_length: (request.method() == b"HEAD" || head.status() == 304) && !is_compressed,
        grpc_web,
        now: head.known(Known::Date, bytes).is_none().then(|| transfer.kit().transport.wall()),
    }
}
