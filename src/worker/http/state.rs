//! What is known of one request while it is answered, and how its answer ends.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::engine::{Receive as _, Transport};
use super::super::host::Worker;
use super::super::kit::Kit;
use super::super::live::LiveRoute;
use super::super::upstreams::admit::Admission;
use super::super::upstreams::bound::BoundConnection;
use super::super::upstreams::watch::Watch;
use super::super::wire::ends::Inlet;
use super::super::wire::tls::early::Early;
use super::account::Account;
use super::held::{Copies, Held, RequestBody};
use super::progress::Progress;
use crate::config::listeners::HalfClose;
use crate::encode::hop::Hop;
use crate::failure::{Failure, Phase};
use crate::filter::Chain;
use crate::filter::context::{Context as FilterContext, Refusal};
use crate::filter::counters::in_flight::InFlightPlace;
use crate::filter::edits::Edits;
use crate::proto::gateway::script::Script;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::{Listener, Service};
use crate::sys::clock::unix_s;
use crate::upstream::sticky::Tie;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come.
    KeepAlive,
    /// It closes.
    Close,
    /// It closes once the client has had time to read the answer.
    Linger,
    /// It goes on in HTTP/2.
    Http2,
}

/// How `run` came to its end where nothing failed.
pub(super) enum Ending {
    /// The whole answer went out; true where the connection may stay open.
    Answered(bool),
    /// The connection was handed to another protocol and is over.
    Tunnelled,
}

/// What filters found for one exchange: it holds for the answer, whoever gives it.
#[derive(Debug, Default)]
pub(super) struct Filtered {
    /// What changes in fields, where that is more than the route changes for all.
    pub edits: Option<Edits>,
    /// The position of the target, where it came as far.
    pub target: Option<usize>,
    /// Why it is refused.
    pub refusal: Option<Box<Refusal>>,
    /// Its places among those in flight, given back with this.
    pub _places: Vec<InFlightPlace>,
}

/// One request. All that changes in it belongs to one task, so cells do.
#[derive(Debug)]
pub(super) struct Exchange<'a, T: Transport> {
    pub worker: &'a Rc<Worker<T>>,
    pub listener: &'a Listener,
    pub hop: Hop<'a>,
    pub is_last: bool,
    /// The port that the connection came from.
    pub client_port: u16,
    /// The rest of the handshake, where the request came before it.
    pub early: Option<&'a Early>,
    /// True where it is sent on before that handshake is over.
    pub is_early: Cell<bool>,
    /// True for a request of gRPC, once filters have seen it.
    pub is_grpc: Cell<bool>,
    pub progress: Progress,
    pub body: RefCell<RequestBody>,
    pub held: RefCell<Held>,
    /// The length of the request body, once all of it is held and the head does not say it.
    pub body_length: Cell<Option<u64>>,
    /// The upstream connection that is this client's alone.
    pub bound: RefCell<Option<Box<BoundConnection<T>>>>,
    /// What the circuit breaker waits to hear.
    pub admission: RefCell<Option<Admission<T>>>,
    pub route: OnceCell<Rc<LiveRoute<T>>>,
    pub service: OnceCell<Arc<Service>>,
    /// The script of a FastCGI server that it names.
    pub script: OnceCell<Box<Script>>,
    /// What its filters found, where it has any.
    pub filtered: OnceCell<Box<Filtered>>,
    /// Copies of it that wait to be sent.
    pub copies: RefCell<Option<Box<Copies>>>,
    pub account: Account,
}

impl<T: Transport> Exchange<'_, T> {
    /// The tools of the worker.
    pub(super) fn kit(&self) -> &Rc<Kit<T>> {
        &self.worker.kit
    }

    /// What this hop knows of the request.
    pub(super) fn hop(&self) -> Hop<'_> {
        Hop { is_early: self.is_early.get(), ..self.hop }
    }

    /// What filters change in fields; what those of the listener change where there is no route.
    pub(super) fn edits(&self) -> &Edits {
        let of_route = || self.route.get().map(|route| &route.route.chain.edits);
        let own = self.filtered.get().and_then(|filtered| filtered.edits.as_ref());
        own.or_else(of_route).unwrap_or(&self.listener.chain.edits)
    }

    /// The largest request body, in bytes; `None` for no limit.
    pub(super) fn body_max(&self) -> Option<u64> {
        let of_route = self.route.get().and_then(|route| route.route.body_max);
        of_route.unwrap_or(self.listener.spec.body_max).limit_bytes()
    }

    /// What ties the request to an endpoint of this service.
    pub(super) fn tie(&self, service: &Service, head: &RequestHead) -> Tie {
        service.sticky().map_or(Tie::None, |(sticky, tokens)| sticky.tie(tokens, head, || self.kit().random_u128()))
    }

    /// The service of the target at this position, where it is an application server.
    pub(super) fn gateway(&self, target: usize) -> Option<Arc<Service>> {
        let service = self.route.get().and_then(|route| route.services.get(target)?.as_ref())?;
        let members = service.members();
        members.service.gateway.is_some().then(|| Arc::clone(&members.service))
    }

    /// Bytes of the request body that is to be read whole; `None` where it streams.
    pub(super) fn buffer_max(&self) -> Option<u64> {
        self.chains()?.into_iter().filter_map(Chain::buffer).min()
    }

    /// What filters know of the request beside its head.
    pub(super) fn context(&self, chain: &Chain) -> FilterContext<'_> {
        let transport = &self.kit().transport;
        FilterContext {
            client: self.hop.client,
            client_port: self.client_port,
            scheme: self.hop.asked.scheme,
            port: self.hop.asked.port,
            is_trusted: self.hop.is_trusted,
            tls: self.account.tls(),
            route: self.route.get().map_or("", |route| &route.route.name),
            request_id: self.hop.request_id,
            keeps_id: self.hop.keeps_id,
            now_us: transport.now_us(),
            unix_s: if chain.reads_time() { u64::try_from(unix_s(transport.wall())).unwrap_or_default() } else { 0 },
        }
    }

    /// The chains of filters that it meets, of its listener, its route and its target; `None` where none of them does anything but
    /// what [`Self::edits`] says.
    pub(super) fn chains(&self) -> Option<[&Chain; 3]> {
        const NONE: &Chain = &Chain::NONE;
        let filtered = self.filtered.get()?;
        let route = self.route.get().map(|route| &*route.route);
        let target = route.and_then(|route| route.targets.get(filtered.target?));
        let of_route = route.map_or(NONE, |route| &route.chain);
        Some([&self.listener.chain, of_route, target.map_or(NONE, |target| &target.chain)])
    }
}

/// Watches a client whose request waits in the queue: one that is known to have left is given no room.
pub(super) struct ClientWatch<'a, T: Transport> {
    pub receiver: &'a mut Inlet<T>,
    pub inbox: &'a mut Vec<u8>,
    pub half_close: HalfClose,
    pub progress: &'a Progress,
}

/// What a receive from a client says that brought no bytes, where its request is whole: it waits for the answer, or has left.
pub(super) fn has_finished(received: &io::Result<usize>, half_close: HalfClose) -> bool {
    let is_end = match received {
        Ok(_) => true,
        // TLS that ends without saying so could hide a part of a request, and this one is whole.
        Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
    };
    is_end && half_close == HalfClose::Answer
}

impl<T: Transport> Watch for ClientWatch<'_, T> {
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        // Bytes that are here already belong to the body or the next request. A connection that has ended is not asked again: it
        // would answer at once, for ever.
        if self.inbox.is_empty()
            && !self.progress.has_client_finished.get()
            && let Poll::Ready(received) = self.receiver.poll_receive(self.inbox, cx)
            && !matches!(received, Ok(bytes) if bytes > 0)
        {
            if !has_finished(&received, self.half_close) {
                return Poll::Ready(Failure::ClientClosed(Phase::Queue));
            }
            self.progress.has_client_finished.set(true);
        }
        Poll::Pending
    }
}
