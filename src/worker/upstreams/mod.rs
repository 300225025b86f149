//! Gives a connection for a service and hears how it ended: breaker, queue, choice of an endpoint, pools, evidence.
//!
//! Whoever needs an upstream goes through it: an exchange, a request of our own, a connection without requests. It knows
//! no request and no client but a [`watch::Watch`] over somebody who may leave while he waits.
//! The way: [`admit::Destination::ask_breaker`] → [`admit::Destination::admit_at_once`], or [`admit::Destination::queue`]
//! → [`attempts::attempts`], each of which goes [`connect::connect`] → what was to be done → [`outcome::succeeds`] or
//! [`outcome::fails`], and [`outcome::release`].

pub(crate) mod admit;
pub(crate) mod attempts;
pub(crate) mod bound;
pub(crate) mod connect;
pub(crate) mod endpoint;
pub(crate) mod gate;
pub(crate) mod outcome;
mod revive;
pub(crate) mod service;
pub(crate) mod watch;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::path::Path;
    use std::rc::Rc;
    use std::sync::Arc;

    use super::super::engine::ring::Ring;
    use super::super::engine::select::run;
    use super::super::engine::{Socket, Transport};
    use super::super::kit::Kit;
    use super::super::time::timer::Deadline;
    use super::super::wire::connection::plain;
    use super::super::wire::ends::of_connection;
    use super::super::wire::link::Link;
    use super::super::wire::tunnel::{TunnelBytes, carry};
    use super::admit::Destination;
    use super::attempts::{Asker, attempts};
    use super::connect::connect;
    use super::endpoint::UpstreamConnection;
    use super::gate::Permit;
    use super::outcome;
    use super::service::LiveService;
    use super::watch::Nobody;
    use crate::config::document::Syntax;
    use crate::config::{EngineChoice, Source};
    use crate::control::compile::{Kept, Resolved, compile};
    use crate::failure::Failure;
    use crate::limits::BODY_BUFFER_BYTES;
    use crate::mailbox::{Acceptor, Bells};
    use crate::upstream::attempts::{Attempts, FailedAttempt, RequestKind, Reuse, Standpoint};

    // A relay for TCP: a connection to an endpoint of a service is all that it asks for.

    struct Relay<'a, T: Transport> {
        kit: &'a Rc<Kit<T>>,
        to: &'a Destination<T>,
        deadline: Deadline<'a, T>,
    }

    impl<T: Transport> Asker<T> for Relay<'_, T> {
        type Answer = UpstreamConnection<T>;

        fn kind(&self) -> RequestKind {
            RequestKind { is_idempotent: true, is_upgrade: true, is_holdable: true }
        }

        fn standpoint(&self) -> Standpoint {
            Standpoint { has_client_bytes: false, is_body_held: true, is_late: false }
        }

        async fn attempt(&mut self, permit: &Permit<T>, _: &Attempts) -> Result<Self::Answer, Box<FailedAttempt>> {
            let connected = connect(self.kit, self.to, permit, &self.deadline, (Reuse::Fresh, true)).await;
            let error = match connected {
                Ok((upstream, _)) => return Ok(upstream),
                Err(error) => error,
            };
            let failed = FailedAttempt { errno: error.errno, ..FailedAttempt::new(permit.at, error.failure) };
            outcome::fails_to_connect(self.kit, self.to, permit, &failed);
            Err(Box::new(failed))
        }

        async fn queue(&mut self, tried: &[usize]) -> Result<Permit<T>, Failure> {
            self.to.queue(self.kit, tried, &mut Nobody, &self.deadline).await
        }

        async fn pause(&mut self, ms: u64) -> Result<(), Failure> {
            self.to.pause(ms, &mut Nobody, &self.deadline).await
        }
    }

    async fn relay<T: Transport>(
        kit: Rc<Kit<T>>,
        service: Rc<LiveService<T>>,
        client: Socket<T>,
    ) -> Result<(u64, u64), Failure> {
        let to = Destination::new(&service, 0, None);
        let timer = kit.timer();
        let mut relay = Relay { kit: &kit, to: &to, deadline: Deadline { timer: &timer, total_at_ms: None } };
        let permit = match to.admit_at_once(&kit) {
            Some(admitted) => admitted?,
            None => relay.queue(&[]).await?,
        };
        let (mut upstream, _permit) = attempts(&kit, &to, &mut relay, permit).await?;
        let mut client = Link::new(of_connection(plain(client)), kit.buffers.buffer(BODY_BUFFER_BYTES), kit.timer());
        let carried = TunnelBytes::default();
        carry(&mut client, &mut upstream.link, (to.timeouts(), &kit.buffers), &carried).await?;
        Ok((carried.up.get(), carried.down.get()))
    }

    #[test]
    fn a_relay_for_tcp_needs_nothing_of_http() {
        for engine in [EngineChoice::Auto, EngineChoice::Epoll] {
            // The first endpoint refuses: the other one is tried.
            let echo = TcpListener::bind("127.0.0.1:0").unwrap();
            let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let text = format!(
                "[listeners.a]\naddress = '127.0.0.1:1'\n[[routes]]\nname = 'r'\nservice = 's'\n[services.s]\n\
                 endpoints = ['{refused}', '{}']\nlimits = {{ in_flight = 1, queue = 1 }}\n",
                echo.local_addr().unwrap()
            );
            let source = Source::parse(&text, Syntax::Toml, Path::new("relay"), &|_| None).unwrap();
            let snapshot = compile(&source, &Resolved::new(), &mut Kept::default(), 1).unwrap().snapshot;
            let echoing = std::thread::spawn(move || {
                for _ in 0..2 {
                    let (mut stream, _) = echo.accept().unwrap();
                    let mut text = Vec::new();
                    stream.read_to_end(&mut text).unwrap();
                    stream.write_all(&text).unwrap();
                }
            });
            let front = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = front.local_addr().unwrap();
            let client = std::thread::spawn(move || {
                [(); 2].map(|()| {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&vec![7; 300_000]).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut text = Vec::new();
                    stream.read_to_end(&mut text).unwrap();
                    text.len()
                })
            });
            let carried = run(engine, async |ring: Ring, _| {
                let kit = Kit::new(ring.clone(), 0, Bells::default());
                let service = LiveService::new(snapshot.services.get(0).unwrap(), 0, 0);
                let listener = ring.listener(Acceptor::Tcp(front)).unwrap();
                let mut carried = Vec::new();
                for _ in 0..2 {
                    let (client, _) = listener.accept().await.unwrap();
                    carried.push(relay(Rc::clone(&kit), Rc::clone(&service), client).await);
                    assert_eq!(service.gate.in_flight(), 0, "the place is given back");
                }
                carried
            });
            assert_eq!(carried.unwrap(), [Ok((300_000, 300_000)), Ok((300_000, 300_000))]);
            assert_eq!(client.join().unwrap(), [300_000, 300_000]);
            echoing.join().unwrap();
            assert_eq!(Arc::strong_count(snapshot.services.get(0).unwrap()), 1, "nobody keeps the service");
        }
    }
}
