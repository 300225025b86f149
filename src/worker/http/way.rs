//! Finds the way of a request: its route, its target, and what the filters of its listener, its route and its target say of it.

use std::borrow::Cow;
use std::rc::Rc;

use super::super::engine::Transport;
use super::super::live::LiveRoute;
use super::super::upstreams::service::LiveService;
use super::super::wire::link::Link;
use super::buffered::read_whole;
use super::question::{ask_question, told};
use super::state::{Exchange, Filtered};
use crate::failure::Failure;
use crate::filter::Chain;
use crate::filter::context::{Answer, Notes, Refusal, Verdict};
use crate::filter::edits::Edits;
use crate::filter::errand::{Errand, FoundOut, Question};
use crate::proto::h1::request::RequestHead;
use crate::sys::clock::unix_s;

/// Where a request goes next.
pub(super) enum Passage<'e> {
    /// Back to its client, with this answer.
    Answer(Answer<'e>),
    /// To the target at this position.
    Target(usize),
}

/// Finds the way of a request. Its filters are asked where it has any, and what they find is kept.
pub(super) async fn find_way<'e, T: Transport>(
    exchange: &'e Exchange<'_, T>,
    found: Result<Rc<LiveRoute<T>>, Failure>,
    client: &mut Link<T>,
    head: &mut RequestHead,
) -> Result<Passage<'e>, Failure> {
    match found {
        Ok(found) if found.route.is_plain && exchange.listener.chain.has_no_effect() => {
            let live = enter(exchange, found, head)?;
            match last_recipient(head) {
                Some(answer) => Ok(Passage::Answer(answer)),
                None => choose(exchange, live, head).map(Passage::Target),
            }
        }
        // What this worker has no room for costs nobody anything.
        Err(failure @ Failure::LocalResource(_)) => Err(failure),
        found @ (Ok(_) | Err(_)) => match begin(exchange, found, head) {
            Turn::Done(way) => way,
            // Boxed, like all that is rare and large.
            Turn::Asks(filtering, errand) => Box::pin(find_out_way(exchange, *filtering, errand, (client, head))).await,
        },
    }
}

/// How far filters came without waiting.
enum Turn<'e, F> {
    /// This is the way.
    Done(Result<Passage<'e>, Failure>),
    /// One of them asks.
    Asks(F, Errand),
}

/// Shows the request to its filters until one of them asks. No future: most filters never do.
fn begin<'e, T: Transport>(
    exchange: &'e Exchange<'_, T>,
    found: Result<Rc<LiveRoute<T>>, Failure>,
    head: &mut RequestHead,
) -> Turn<'e, Box<Filtering<T>>> {
    let mut filtering = Filtering { found: Some(found), ..Filtering::default() };
    match filtering.advance(exchange, None, head) {
        Turn::Done(way) => {
            filtering.keep(exchange);
            Turn::Done(way)
        }
        Turn::Asks((), errand) => Turn::Asks(Box::new(filtering), errand),
    }
}

/// Finds out what filters ask, until they know the way.
async fn find_out_way<'e, T: Transport>(
    exchange: &'e Exchange<'_, T>,
    mut filtering: Filtering<T>,
    mut errand: Errand,
    (client, head): (&mut Link<T>, &mut RequestHead),
) -> Result<Passage<'e>, Failure> {
    // Each filter asks once at most.
    let way = loop {
        let turn = match errand {
            Errand::Password { hash, password } => {
                let is_right = exchange.worker.passwords.verify(exchange.kit(), hash, password).await;
                filtering.advance(exchange, Some(&FoundOut::Password(is_right)), head)
            }
            Errand::Ask(mut question) => {
                if let Err(failure) = take_body(exchange, client, head, &mut question).await {
                    break Err(failure);
                }
                let reply = ask_question(exchange.worker, *question).await;
                let found = FoundOut::Reply(reply.as_ref().map(|reply| told(reply)).map_err(|failure| *failure));
                filtering.advance(exchange, Some(&found), head)
            }
        };
        match turn {
            Turn::Done(way) => break way,
            Turn::Asks((), next) => errand = next,
        }
    };
    filtering.keep(exchange);
    way
}

/// Gives a question the request's body where it asks for that: it is read whole, and held for the upstream.
async fn take_body<T: Transport>(
    exchange: &Exchange<'_, T>,
    client: &mut Link<T>,
    head: &RequestHead,
    question: &mut Question,
) -> Result<(), Failure> {
    let Some(max) = question.client_body_max.filter(|_| !head.framing().is_empty()) else { return Ok(()) };
    if exchange.body_length.get().is_none() {
        read_whole(exchange, client, head, max).await?;
    }
    let held = exchange.held.borrow();
    if held.bytes().len() as u64 > max {
        return Err(Failure::ClientBodyTooLarge);
    }
    question.body.extend_from_slice(held.bytes());
    Ok(())
}

/// The route of the request, once it is known that the request may come to it.
fn enter<'e, T: Transport>(
    exchange: &'e Exchange<'_, T>,
    found: Rc<LiveRoute<T>>,
    head: &RequestHead,
) -> Result<&'e LiveRoute<T>, Failure> {
    let live = exchange.route.get_or_init(|| found);
    exchange.account.note_route(live.route.label);
    check_name(exchange, head)?;
    Ok(live)
}

/// Refuses a misdirected request: the connection was accepted under the TLS policy of one name, and the host of the request
/// has another policy, or the same name has another one since a reload (421, RFC 9110 §15.5.20).
fn check_name<T: Transport>(exchange: &Exchange<'_, T>, head: &RequestHead) -> Result<(), Failure> {
    let Some(tls) = &exchange.listener.tls else { return Ok(()) };
    // A connection without TLS, from before a reload gave TLS to the listener, may carry no further request.
    let facts = exchange.account.tls().ok_or(Failure::Misdirected)?;
    let meant = tls.policy(std::str::from_utf8(head.host()).ok()).map(|policy| policy.print);
    // What was shown has come to its end: a new connection must show something new.
    let is_over = facts.client_until_s.is_some_and(|until_s| until_s <= unix_s(exchange.kit().transport.wall()));
    if meant == Some(facts.policy) && !is_over { Ok(()) } else { Err(Failure::Misdirected) }
}

/// The answer to a request that may go no further (RFC 9110 §7.6.2). TRACE is not reflected: it would show what trusted hops added.
fn last_recipient(head: &RequestHead) -> Option<Answer<'static>> {
    if head.forwards_left() != Some(0) {
        return None;
    }
    let status = if head.method() == b"OPTIONS" { 204 } else { 405 };
    Some(Answer { status, fields: vec![(b"Allow", Cow::Borrowed(b"OPTIONS"))], body: Cow::Borrowed(b"") })
}

/// The target of the request: by the rules of its route, by what ties the client to one of them, or by chance.
fn choose<T: Transport>(exchange: &Exchange<'_, T>, live: &LiveRoute<T>, head: &RequestHead) -> Result<usize, Failure> {
    let choice = &live.route.choice;
    if choice.is_single() {
        return Ok(0);
    }
    let own = || {
        let is_own = |(at, service): (usize, &Option<Rc<LiveService<T>>>)| {
            let members = service.as_ref().filter(|_| choice.takes(at))?.members();
            let (sticky, tokens) = members.service.sticky()?;
            sticky.knows(tokens, head).then_some(at)
        };
        live.services.iter().enumerate().find_map(is_own)
    };
    let by_weight = || choice.by_weight(exchange.kit().transport.random());
    choice.by_rule(head).or_else(own).or_else(by_weight).ok_or(Failure::NoEndpoints)
}

/// Whose filters a request is at.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Listener,
    Route,
    Target(usize),
}

/// What filters of one exchange have found so far.
#[derive(Debug)]
struct Filtering<T: Transport> {
    /// The route, until the request has entered it.
    found: Option<Result<Rc<LiveRoute<T>>, Failure>>,
    stage: Stage,
    notes: Notes,
    refusal: Option<Box<Refusal>>,
}

impl<T: Transport> Default for Filtering<T> {
    fn default() -> Self {
        Self { found: None, stage: Stage::default(), notes: Notes::default(), refusal: None }
    }
}

impl<T: Transport> Filtering<T> {
    /// Shows the request to the filters of its listener, its route and its target, which is chosen among them. `found` is what the filter
    /// that asked is told.
    fn advance<'e>(
        &mut self,
        exchange: &'e Exchange<'_, T>,
        mut found: Option<&FoundOut<'_>>,
        head: &mut RequestHead,
    ) -> Turn<'e, ()> {
        loop {
            let chain = match self.chain(exchange) {
                Ok(chain) => chain,
                Err(failure) => return Turn::Done(Err(failure)),
            };
            let verdict = match found.take() {
                Some(found) => chain.go_on(found, head, &exchange.context(chain), &mut self.notes),
                None if chain.is_empty() => Verdict::Pass,
                None => chain.on_request(head, &exchange.context(chain), &mut self.notes),
            };
            match verdict {
                Verdict::Pass => {}
                Verdict::Ask(errand) => return Turn::Asks((), errand),
                Verdict::Answer(answer) => return Turn::Done(Ok(Passage::Answer(answer))),
                Verdict::Refuse(refusal) => {
                    let failure = refusal.failure;
                    self.refusal = Some(refusal);
                    return Turn::Done(Err(failure));
                }
            }
            match self.pass(exchange, head) {
                Ok(None) => {}
                Ok(Some(passage)) => return Turn::Done(Ok(passage)),
                Err(failure) => return Turn::Done(Err(failure)),
            }
        }
    }

    /// The chain that the request is at.
    fn chain<'e>(&self, exchange: &'e Exchange<'_, T>) -> Result<&'e Chain, Failure> {
        let route = || exchange.route.get().map(|live| &live.route).ok_or(Failure::NoRoute);
        match self.stage {
            Stage::Listener => Ok(&exchange.listener.chain),
            Stage::Route => Ok(&route()?.chain),
            Stage::Target(at) => route()?.targets.get(at).map(|target| &target.chain).ok_or(Failure::NoRoute),
        }
    }

    /// A chain lets the request pass: to the next one, or to where it is known to go.
    fn pass<'e>(
        &mut self,
        exchange: &'e Exchange<'_, T>,
        head: &mut RequestHead,
    ) -> Result<Option<Passage<'e>>, Failure> {
        match self.stage {
            Stage::Listener => {
                enter(exchange, self.found.take().unwrap_or(Err(Failure::NoRoute))?, head)?;
                self.stage = Stage::Route;
                Ok(last_recipient(head).map(Passage::Answer))
            }
            Stage::Route => {
                let live = exchange.route.get().ok_or(Failure::NoRoute)?;
                self.stage = Stage::Target(choose(exchange, live, head)?);
                Ok(None)
            }
            Stage::Target(at) => Ok(Some(Passage::Target(at))),
        }
    }

    /// Keeps what was found.
    fn keep(self, exchange: &Exchange<'_, T>) {
        let Self { notes: Notes { edits: own, places, .. }, stage, refusal, .. } = self;
        let target = if let Stage::Target(at) = stage { Some(at) } else { None };
        let of_listener = &exchange.listener.chain.edits;
        let route = exchange.route.get().map(|route| &*route.route);
        let of_target = route.and_then(|route| route.targets.get(target?)).map(|target| &target.chain.edits);
        let is_alike =
            own.is_empty() && of_target.is_none_or(Edits::is_empty) && (of_listener.is_empty() || route.is_none());
        let edits = (!is_alike).then(|| {
            let mut all = of_listener.clone();
            let more = route.map(|route| &route.chain.edits).into_iter().chain(of_target);
            more.cloned().chain([own]).for_each(|more| all.extend(more));
            all
        });
        let _ = exchange.filtered.set(Box::new(Filtered { edits, target, refusal, _places: places }));
    }
}
