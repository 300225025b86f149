//! Shows a request to the filters of its route, and keeps what they found for the exchange.

use super::super::engine::Transport;
use super::state::Exchange;
use crate::failure::Failure;
use crate::filter::Chain;
use crate::filter::context::{Answer, Context, Notes, Verdict};
use crate::proto::h1::request::RequestHead;
use crate::sys::clock::unix_s;

/// Shows the request to a chain: gives the answer where a filter answers it.
///
/// # Errors
/// A filter refuses it; what it says beside the cause is in [`Exchange::refusal`].
pub(super) fn apply<'c, T: Transport>(
    exchange: &Exchange<'_, T>,
    chain: &'c Chain,
    head: &mut RequestHead,
) -> Result<Option<Answer<'c>>, Failure> {
    if chain.is_empty() {
        return Ok(None);
    }
    let mut notes = Notes::default();
    let verdict = chain.on_request(head, &context(exchange, chain), &mut notes);
    keep(exchange, notes);
    match verdict {
        Verdict::Pass => Ok(None),
        Verdict::Answer(answer) => Ok(Some(answer)),
        Verdict::Refuse(refusal) => {
            let failure = refusal.failure;
            let _ = exchange.refusal.set(refusal);
            Err(failure)
        }
    }
}

/// What filters know of the request beside its head.
fn context<'e, T: Transport>(exchange: &'e Exchange<'_, T>, chain: &Chain) -> Context<'e> {
    let transport = &exchange.kit().transport;
    Context {
        client: exchange.hop.client,
        client_port: exchange.client_port,
        scheme: exchange.hop.asked.scheme,
        port: exchange.hop.asked.port,
        is_trusted: exchange.hop.is_trusted,
        tls: exchange.account.tls(),
        route: exchange.route.get().map_or("", |route| &route.route.name),
        request_id: exchange.hop.request_id,
        now_us: transport.now_us(),
        unix_s: if chain.reads_time() { u64::try_from(unix_s(transport.wall())).unwrap_or_default() } else { 0 },
    }
}

/// Keeps what filters found, whatever became of the request: it holds for the answer of ours, too.
fn keep<T: Transport>(exchange: &Exchange<'_, T>, notes: Notes) {
    if !notes.places.is_empty() {
        exchange.places.borrow_mut().extend(notes.places);
    }
    if !notes.edits.is_empty() {
        let mut edits = exchange.edits().clone();
        edits.extend(notes.edits);
        let _ = exchange.own_edits.set(Box::new(edits));
    }
}
