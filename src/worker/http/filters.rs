//! Shows a request to filters: those of its listener, of its route, and of the target that it gets; and keeps what they found for the
//! exchange.

use super::super::engine::Transport;
use super::state::Exchange;
use super::subrequest::ask;
use crate::encode::subrequest::Subrequest;
use crate::failure::Failure;
use crate::filter::Chain;
use crate::filter::context::{Answer, Context, Notes, Verdict};
use crate::filter::edits::Edits;
use crate::filter::errand::{Errand, FoundOut, Question, ServiceReply};
use crate::proto::h1::request::RequestHead;
use crate::sys::clock::unix_s;

/// What filters of one exchange have found so far.
#[derive(Debug, Default)]
pub(super) struct Filtering {
    notes: Notes,
}

impl Filtering {
    /// Shows the request to a chain: gives the answer where a filter answers it.
    ///
    /// # Errors
    /// A filter refuses it; what it says beside the cause is in [`Exchange::refusal`].
    pub(super) async fn apply<'c, T: Transport>(
        &mut self,
        exchange: &Exchange<'_, T>,
        chain: &'c Chain,
        head: &mut RequestHead,
    ) -> Result<Option<Answer<'c>>, Failure> {
        if chain.is_empty() {
            return Ok(None);
        }
        let mut verdict = chain.on_request(head, &context(exchange, chain), &mut self.notes);
        // Each filter asks once at most.
        while let Verdict::Ask(errand) = verdict {
            // Boxed, like all that is rare and large.
            verdict = Box::pin(self.find_out(exchange, chain, head, errand)).await;
        }
        match verdict {
            Verdict::Pass => Ok(None),
            Verdict::Answer(answer) => Ok(Some(answer)),
            Verdict::Refuse(refusal) => {
                let failure = refusal.failure;
                let _ = exchange.refusal.set(refusal);
                Err(failure)
            }
            Verdict::Ask(_) => Err(Failure::Internal("errand")),
        }
    }

    /// Finds out what a filter asks, and goes on with its chain.
    async fn find_out<'c, T: Transport>(
        &mut self,
        exchange: &Exchange<'_, T>,
        chain: &'c Chain,
        head: &mut RequestHead,
        errand: Errand,
    ) -> Verdict<'c> {
        match errand {
            Errand::Password { hash, password } => {
                let is_right = exchange.worker.passwords.verify(exchange.kit(), hash, password).await;
                let found = FoundOut::Password(is_right);
                chain.go_on(&found, head, &context(exchange, chain), &mut self.notes)
            }
            Errand::Ask(question) => {
                let Question { service, method, target, fields, body_max } = *question;
                let request = Subrequest { method, target, host: None, fields, body: Vec::new() };
                let reply = ask(exchange.worker, service, &request, body_max).await;
                let told = reply.as_ref().map(|reply| ServiceReply {
                    head: &reply.head,
                    bytes: &reply.head_bytes,
                    body: &reply.body,
                    is_whole: reply.is_whole,
                });
                let found = FoundOut::Reply(told.map_err(|failure| *failure));
                chain.go_on(&found, head, &context(exchange, chain), &mut self.notes)
            }
        }
    }

    /// Keeps what was found: it holds for the answer, whoever gives it.
    pub(super) fn keep<T: Transport>(self, exchange: &Exchange<'_, T>) {
        let Notes { edits, places, .. } = self.notes;
        if !places.is_empty() {
            *exchange.places.borrow_mut() = places;
        }
        let mut said = exchange.chains().into_iter().map(|chain| &chain.edits).filter(|edits| !edits.is_empty());
        let first = said.next();
        let second = said.next();
        let is_of_route_alone = second.is_none() && first.is_none_or(|first| std::ptr::eq(first, exchange.edits()));
        if edits.is_empty() && is_of_route_alone {
            return;
        }
        let mut all = first.cloned().unwrap_or(Edits::NONE);
        second.into_iter().chain(said).for_each(|more| all.extend(more.clone()));
        all.extend(edits);
        let _ = exchange.own_edits.set(Box::new(all));
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
