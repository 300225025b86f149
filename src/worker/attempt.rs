//! One attempt to have a request answered by one endpoint, and what it says of that endpoint.

use super::admit::Elsewhere;
use super::connect::{To, Wish, obtain};
use super::ends::Inlet;
use super::exchange::Exchange;
use super::forward::{Delivered, Discards, Forward, Upload};
use super::gate::Permit;
use super::h2::upstream::Keep;
use super::io::{Receive as _, Transport};
use super::link::Link;
use super::live::LiveService;
use super::pool::{Endpoint, Upstream};
use super::timer::Patience;
use super::{Worker, revive};
use crate::config::services::Protocol;
use crate::failure::{Failure, Phase};
use crate::filter::forwarded::{Hop, is_trusted, put_request_head};
use crate::limits::{ADDED_FIELDS_BYTES, BODY_BUFFER_BYTES};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::record::Attempt;
use crate::snapshot::{Address, Host, Route, Service};
use crate::upstream::evidence::{Delivery, End, Evidence, Finding, State, examine};

/// How long to wait before it is asked again whether a reset came, in milliseconds.
const ASK_AGAIN_MS: u64 = 1;

/// What one exchange goes to, in all its attempts.
#[derive(Debug)]
pub(super) struct Destination<'a, T: Transport> {
    /// The route.
    pub route: &'a Route,
    /// The service.
    pub service: &'a Service,
    /// Its state.
    pub live: &'a LiveService<T>,
    /// The request's hash, for balances that go by one.
    pub hash: u64,
    /// True for a request of gRPC.
    pub is_grpc: bool,
    /// When the whole must be over, in milliseconds of the coarse clock.
    pub total_at_ms: Option<u64>,
}

/// What may be done in one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Which connection will do.
    pub wish: Wish,
    /// A 408 that answers an idle connection may be thrown away.
    pub may_discard_timeout: bool,
    /// A status that `retry.on_status` lists may be thrown away.
    pub may_discard_status: bool,
}

impl<T: Transport> Exchange<'_, T> {
    /// Sends the request to the endpoint of the permit and passes the response on.
    ///
    /// # Errors
    /// The attempt as it is recorded.
    pub(super) async fn attempt(
        &mut self,
        client: &mut Link<T>,
        head: &RequestHead,
        to: &Destination<'_, T>,
        permit: &Permit<T>,
        terms: Terms,
    ) -> Result<(Delivered, Upstream<T>), Box<Attempt>> {
        let is_first = self.record.attempts == 0;
        let started_us = if is_first { self.record.times.admitted_us } else { self.worker.transport.now_us() };
        self.record.times.attempted_us = started_us;
        let endpoint = &permit.endpoint;
        self.progress.begin_attempt();
        self.record.attempts += 1;
        let wish = (terms.wish, head.upgrade().is_some());
        let mut upstream = match self.connect(client, endpoint, to, wish).await {
            Ok(upstream) => upstream,
            Err(failure) => {
                let failed = self.failed(failure, started_us);
                self.note_attempt(to, permit, &failed);
                return Err(Box::new(failed));
            }
        };
        let outcome = self.forward(client, &mut upstream, head, to, (permit, terms)).await;
        upstream.sent_bytes += self.progress.sent_bytes.get();
        match outcome {
            Ok(delivered) => {
                if self.progress.status.get() >= 500 && to.service.ejection.has_server_errors {
                    self.eject(to, permit, Failure::UpstreamStatus);
                }
                Ok((delivered, upstream))
            }
            Err(failure) => {
                let mut failed = self.failed(failure, started_us);
                self.find_evidence(&upstream, &mut failed).await;
                self.note_connection(endpoint, &upstream, &failed);
                self.note_attempt(to, permit, &failed);
                Err(Box::new(failed))
            }
        }
    }

    async fn connect(
        &mut self,
        client: &Link<T>,
        endpoint: &Endpoint<T>,
        to: &Destination<'_, T>,
        (wish, is_upgrade): (Wish, bool),
    ) -> Result<Upstream<T>, Failure> {
        self.progress.phase.set(Phase::Connect);
        let patience = Patience { timer: &client.timer, total_at_ms: to.total_at_ms };
        let (tls, connect_ms) = (to.service.tls.as_deref(), to.service.timeouts.connect_ms);
        let dial = To {
            name: self.endpoint_name(to.service),
            tls,
            // The rules of HTTP/2 for other protocols (RFC 8441) few upstreams follow.
            protocol: if is_upgrade { Protocol::Http1 } else { to.service.protocol },
            keep: Keep {
                idle_ms: to.service.reuse.idle_ms_max,
                ping_ms: to.service.ping_ms,
                scheme: if tls.is_some() { "https" } else { "http" },
            },
            reuse: to.service.reuse,
            connect_ms,
        };
        let obtained = obtain(self.worker, endpoint, &patience, &dial, wish).await;
        self.record.times.connected_us = self.worker.transport.now_us();
        let (upstream, connection) = obtained.map_err(|(failure, errno)| {
            self.record.connection = crate::record::Connection::default();
            self.progress.errno.set(errno);
            failure
        })?;
        self.record.connection = connection;
        Ok(upstream)
    }

    async fn forward(
        &mut self,
        client: &mut Link<T>,
        upstream: &mut Upstream<T>,
        head: &RequestHead,
        to: &Destination<'_, T>,
        (permit, terms): (&Permit<T>, Terms),
    ) -> Result<Delivered, Failure> {
        let rest = match head.framing() {
            Framing::None => 0,
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Framing::Chunked | Framing::UntilClose => BODY_BUFFER_BYTES,
        };
        let length = (head.bytes().len() + ADDED_FIELDS_BYTES).saturating_add(rest);
        let mut out = self.worker.spares.buffer(length.min(BODY_BUFFER_BYTES));
        let name = self.endpoint_name(to.service);
        put_request_head(&mut out, head, &self.hop(to.service, &permit.endpoint, name), &to.route.filters);
        out.extend_from_slice(self.held.borrow().bytes());
        let elsewhere = terms.may_discard_status.then(|| Elsewhere {
            service: to.service,
            live: to.live,
            busy_max: self.live.snapshot.part_of(to.service.limits.endpoint_in_flight),
            tried: &self.record.failed,
            here: self.record.endpoint,
        });
        let forward = Forward {
            worker: self.worker,
            listener: self.listener,
            service: to.service,
            filters: &to.route.filters,
            head,
            total_at_ms: to.total_at_ms,
            is_secure: self.record.tls.is_some(),
            is_grpc: to.is_grpc,
            is_last: self.is_last,
            is_reused: self.record.connection.is_reused,
            is_stream: upstream.link.receiver.is_stream(),
            idle_us: self.record.connection.idle_us,
            sent_before: upstream.sent_bytes,
            held: &self.held,
            discards: Discards { idle_timeout: terms.may_discard_timeout, elsewhere },
            permit,
            admission: &self.admission,
            progress: &self.progress,
        };
        let delivered = forward.run(client, &mut upstream.link, &mut self.body, &mut out).await;
        self.worker.spares.put_buffer(out);
        delivered
    }

    fn hop<'h>(&'h self, service: &'h Service, endpoint: &Endpoint<T>, name: &'h str) -> Hop<'h> {
        Hop {
            peer: self.peer.address,
            is_trusted: is_trusted(&self.listener.trusted, self.peer.address),
            scheme: self.scheme(),
            client_certificate: self.record.tls.as_deref().and_then(|facts| facts.client.as_deref()),
            is_early: self.record.is_early,
            port: self.listener.port,
            request_id: self.record.request_id,
            forwarded: self.listener.forwarded,
            via: self.listener.via,
            fallback_host: if matches!(endpoint.address, Address::Unix(_)) { b"localhost" } else { name.as_bytes() },
            host: match (&service.host, &endpoint.address) {
                (Host::Keep, _) => None,
                (Host::Name(name), _) => Some(name),
                (Host::Endpoint, Address::Tcp(_)) => Some(name.as_bytes()),
                (Host::Endpoint, Address::Unix(_)) => Some(b"localhost"),
            },
        }
    }

    /// The endpoint by the snapshot's name: as it was written, not as it was resolved.
    fn endpoint_name<'s>(&self, service: &'s Service) -> &'s str {
        self.record.endpoint.and_then(|at| service.endpoints.get(at)).map_or("", |endpoint| &endpoint.name)
    }

    /// The attempt as it is recorded.
    fn failed(&self, failure: Failure, started_us: u64) -> Attempt {
        Attempt {
            endpoint: self.record.endpoint,
            failure,
            evidence: Evidence::None,
            state: State::Unknown,
            acked_bytes: None,
            connection: self.record.connection,
            errno: self.progress.errno.get(),
            sent_bytes: self.progress.sent_bytes.get(),
            took_us: self.worker.transport.now_us().saturating_sub(started_us),
        }
    }

    /// Asks the kernel what became of a request that got no byte of response.
    async fn find_evidence(&self, upstream: &Upstream<T>, failed: &mut Attempt) {
        let end = match failed.failure {
            Failure::StaleReuseUnsent => End::Unsent,
            Failure::UpstreamClosedNoResponse | Failure::UpstreamResetDuringSend | Failure::UpstreamUnsolicited => {
                let is_unsent = self.progress.upload.get() == Upload::Broken(Failure::StaleReuseUnsent);
                // Where the peer's end came first, the kernel makes EPIPE of the reset that follows it. Any other error, a
                // timeout among them, is none of the peer's words.
                match failed.errno {
                    _ if is_unsent => End::Unsent,
                    0 | libc::EPIPE => End::Eof,
                    _ => End::Reset,
                }
            }
            Failure::H2Refused | Failure::H2GoawayUnprocessed => {
                failed.evidence = Evidence::Proven;
                return;
            }
            // After the handshake: the request may have been read.
            Failure::H2Reset(_) | Failure::UpstreamTls(_) => {
                failed.evidence = Evidence::Delivered;
                return;
            }
            _ => return,
        };
        if self.progress.has_response_bytes.get() && failed.failure != Failure::UpstreamUnsolicited {
            // It had begun to answer.
            failed.evidence = Evidence::Delivered;
            return;
        }
        // What this attempt sent was added already.
        let sent_before = upstream.sent_bytes - self.progress.sent_bytes.get();
        let (evidence, delivery) = Box::pin(examine_end(self.worker, &upstream.link.receiver, end, sent_before)).await;
        failed.evidence = evidence;
        if let Some(delivery) = delivery {
            failed.state = delivery.state;
            failed.acked_bytes = Some(delivery.acked_bytes);
        }
        let is_plain = failed.failure == Failure::UpstreamClosedNoResponse;
        if failed.connection.is_reused
            && (is_plain || evidence.is_proof())
            && failed.failure != Failure::UpstreamUnsolicited
        {
            failed.failure = evidence.failure();
        }
    }

    /// What the end of a reused connection says of the endpoint's habit.
    fn note_connection(&self, endpoint: &Endpoint<T>, upstream: &Upstream<T>, failed: &Attempt) {
        if upstream.link.receiver.is_stream() {
            // A connection of many streams ends by its own rules.
            if matches!(failed.failure, Failure::UpstreamHeaderTimeout | Failure::UpstreamSendTimeout) {
                upstream.link.receiver.distrust();
            }
            return;
        }
        if failed.failure == Failure::UpstreamUnsolicited {
            endpoint.habit.borrow_mut().speaks_unasked();
        }
        if failed.evidence != Evidence::None && failed.connection.is_reused {
            endpoint.note_failed_reuse(self.worker, upstream, failed.connection.idle_us);
        } else if failed.evidence != Evidence::None {
            endpoint.habit.borrow_mut().fails_fresh();
        } else if upstream.is_trial {
            endpoint.habit.borrow_mut().drops_trial();
        }
    }

    /// Counts against the endpoint what is the endpoint's fault. A failure of a reused connection is none, for an
    /// endpoint may close what it likes; neither is one of the client, the request or this host.
    fn note_attempt(&self, to: &Destination<'_, T>, permit: &Permit<T>, failed: &Attempt) {
        if failed.failure.is_client_fault() {
            return;
        }
        self.worker.metrics.borrow_mut().count_failed(to.service.label, failed.failure.row().cause);
        let is_fault = match failed.failure {
            Failure::ConnectRefused
            | Failure::ConnectUnreachable
            | Failure::ConnectTimeout
            | Failure::UpstreamTls(_) => true,
            Failure::UpstreamHeaderTimeout
            | Failure::UpstreamSendTimeout
            | Failure::UpstreamClosedNoResponse
            | Failure::UpstreamResetDuringSend => !failed.connection.is_reused,
            Failure::UpstreamStatus => to.service.ejection.has_server_errors && self.progress.status.get() >= 500,
            _ => false,
        };
        if is_fault {
            self.eject(to, permit, failed.failure);
        }
    }

    /// Counts a failure, which may leave the endpoint out for a while.
    fn eject(&self, to: &Destination<'_, T>, permit: &Permit<T>, failure: Failure) {
        revive::note_failure(self.worker, (to.service, to.live), &permit.endpoint, failure, permit.began_ms);
    }
}

/// Judges the end of a connection that brought no response; waits a moment for a reset that may be on its way.
pub(super) async fn examine_end<T: Transport>(
    worker: &Worker<T>,
    receiver: &Inlet<T>,
    end: End,
    sent_before: u64,
) -> (Evidence, Option<Delivery>) {
    let began_us = worker.transport.now_us();
    loop {
        let delivery = receiver.delivery();
        match examine(end, sent_before, delivery) {
            Finding::Evidence(evidence) => return (evidence, delivery),
            Finding::AskAgain(wait_us) if worker.transport.now_us().saturating_sub(began_us) < wait_us => {
                worker.transport.sleep(ASK_AGAIN_MS).await;
            }
            Finding::AskAgain(_) => return (Evidence::Delivered, delivery),
        }
    }
}
