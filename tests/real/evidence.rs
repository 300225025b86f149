//! What the kernel proves of a request on a connection that was closing: real sockets on the real ring, with an
//! engine that is blind to an end until it has sent something, as if the end were still on its way.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use ringress::config::document::Syntax;
use ringress::config::{EngineChoice, Source};
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::mailbox::Acceptor;
use ringress::snapshot::{Address, Peer, Snapshot};
use ringress::upstream::evidence::{Delivery, Peek};
use ringress::worker::engine::half::{RingReceiver, RingSender};
use ringress::worker::engine::ring::Ring;
use ringress::worker::engine::select::run;
use ringress::worker::engine::{Receive, Socket, Transmit, Transport, receive, send};
use ringress::worker::http::serve::serve;
use ringress::worker::{Worker, WorkerSettings};

use crate::support::origin::{fill, read_head, reply};
use crate::support::{Origin, PATIENCE, eventually};

/// What came while nothing had been sent since.
#[derive(Debug, Default)]
struct Hidden {
    result: Option<(io::Result<usize>, Vec<u8>)>,
    has_sent: bool,
    /// Bytes are hidden, too.
    hides_bytes: bool,
    waker: Option<Waker>,
}

/// The ring, blind.
#[derive(Clone, Debug)]
struct Blind(Ring);

#[derive(Debug)]
struct BlindReceiver(RingReceiver, Rc<RefCell<Hidden>>);

#[derive(Debug)]
struct BlindSender(RingSender, Rc<RefCell<Hidden>>);

impl Transport for Blind {
    type Receiver = BlindReceiver;
    type Sender = BlindSender;

    fn now_us(&self) -> u64 {
        self.0.now_us()
    }

    fn coarse_ms(&self) -> u64 {
        self.0.coarse_ms()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.spawn(task);
    }

    async fn sleep(&self, ms: u64) {
        self.0.sleep(ms).await;
    }

    async fn connect(&self, to: &Address) -> io::Result<Socket<Self>> {
        self.0.connect(to).await.map(|socket| blind(socket, true))
    }
}

fn blind(socket: Socket<Ring>, hides_bytes: bool) -> Socket<Blind> {
    let hidden = Rc::new(RefCell::new(Hidden { hides_bytes, ..Hidden::default() }));
    Socket { receiver: BlindReceiver(socket.receiver, Rc::clone(&hidden)), sender: BlindSender(socket.sender, hidden) }
}

impl Receive for BlindReceiver {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut hidden = self.1.borrow_mut();
        if hidden.result.is_none() {
            match self.0.poll_receive(inbox, cx) {
                Poll::Ready(Ok(bytes)) if bytes > 0 && (hidden.has_sent || !hidden.hides_bytes) => {
                    hidden.has_sent = false;
                    return Poll::Ready(Ok(bytes));
                }
                Poll::Ready(end) => hidden.result = Some((end, std::mem::take(inbox))),
                Poll::Pending => return Poll::Pending,
            }
        }
        if !hidden.has_sent {
            hidden.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (came, buffer) = hidden.result.take().unwrap();
        *inbox = buffer;
        hidden.has_sent = false;
        Poll::Ready(came)
    }

    fn peek(&self) -> Peek {
        Peek::Quiet
    }

    fn delivery(&self) -> Option<Delivery> {
        self.0.delivery()
    }
}

impl Transmit for BlindSender {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sent = self.0.poll_send(out, from, cx);
        if sent.is_ready() {
            let mut hidden = self.1.borrow_mut();
            hidden.has_sent = true;
            hidden.waker.take().into_iter().for_each(Waker::wake);
        }
        sent
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_finish(cx)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

fn snapshot(origin: SocketAddr) -> Arc<Snapshot> {
    let text = format!(
        "[listeners.l]\naddress = ':1'\n[[routes]]\nname = 'r'\nservice = 's'\n[services.s]\nendpoints = ['{origin}']\n"
    );
    let source = Source::parse(&text, Syntax::Toml, Path::new("test"), &|_| None).unwrap();
    Arc::new(compile(&source, &Resolved::new(), &mut Kept::default(), 1).unwrap().snapshot)
}

/// Proves that the origin keeps connections, lets it end the one in the pool without being seen, and sends a request
/// of this method; the answer, and the causes of attempts that failed.
fn race(engine: EngineChoice, origin: &Origin, method: &str) -> (String, Vec<String>) {
    let snapshot = snapshot(origin.address);
    let request = format!("{method} /raced HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    run(engine, async |ring: Ring, _| {
        let worker = Worker::new(Blind(ring.clone()), WorkerSettings::alone(10));
        worker.publish(&snapshot);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut client = ring.adopt(ours).unwrap();
        let theirs = blind(ring.adopt(theirs).unwrap(), false);
        ring.spawn(serve(worker.clone(), theirs, Peer::LOCAL, snapshot.listeners[0].listener.label));
        for target in ["/1", "/2", "/last"] {
            ask(&mut client, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            // Longer than the margin that a request which must not be repeated needs.
            ring.sleep(60).await;
            ask(&mut client, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        }
        ring.sleep(20).await;
        let answer = ask(&mut client, request.clone()).await;
        let report = worker.report("", 0);
        (answer, report.metrics.failed_causes().map(str::to_owned).collect())
    })
    .unwrap()
}

async fn ask(client: &mut Socket<Ring>, request: String) -> String {
    let mut out = request.into_bytes();
    let length = out.len();
    assert_eq!(send(&mut client.sender, &mut out, 0).await.unwrap(), length);
    let mut inbox = Vec::with_capacity(4_096);
    while !inbox.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(receive(&mut client.receiver, &mut inbox).await.unwrap() > 0);
    }
    String::from_utf8(inbox).unwrap()
}

/// An origin that does `last` to the connection on which it has answered `/last` twice.
fn origin(last: impl Fn(&mut std::net::TcpStream) + Send + Sync + 'static) -> Origin {
    Origin::raw(move |stream, seen, connection| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut buffer, mut lasts) = (Vec::new(), 0);
        while let Some(mut request) = read_head(stream, &mut buffer) {
            request.connection = connection;
            crate::support::origin::read_body(stream, &mut buffer, &mut request);
            let is_last = request.target() == "/last";
            seen.lock().unwrap().push(request);
            reply(stream, b"answer");
            lasts += usize::from(is_last);
            if lasts == 2 {
                return last(stream);
            }
        }
    })
}

fn executions(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| request.target() == "/raced").count()
}

const ENGINES: [EngineChoice; 2] = [EngineChoice::IoUring, EngineChoice::Epoll];

#[test]
fn a_post_on_a_connection_that_was_just_closed_is_proven_unread_and_sent_again() {
    for engine in ENGINES {
        let origin = origin(|_| {});
        let (answer, failed) = race(engine, &origin, "POST");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{engine:?} {answer} {failed:?}");
        assert_eq!(failed, ["stale_reuse_proven"]);
        assert_eq!(executions(&origin), 1);
        assert_eq!(origin.requests().last().unwrap().body, b"body", "the body was held");
    }
}

#[test]
fn a_post_of_which_nothing_could_be_sent_is_sent_again() {
    for engine in ENGINES {
        let origin = origin(|stream| socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap());
        let (answer, failed) = race(engine, &origin, "POST");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{engine:?} {answer} {failed:?}");
        assert_eq!(failed, ["stale_reuse_unsent"]);
        assert_eq!(executions(&origin), 1);
    }
}

#[test]
fn a_post_that_a_half_closed_upstream_has_read_is_not_sent_again_and_a_get_is() {
    for engine in ENGINES {
        for (method, status) in [("POST", "502 Bad Gateway"), ("PUT", "200 OK")] {
            let origin = origin(|stream| {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut buffer = Vec::new();
                while fill(stream, &mut buffer) {}
                assert!(buffer.ends_with(b"body"), "it did come");
            });
            let (answer, failed) = race(engine, &origin, method);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{engine:?} {method} {answer} {failed:?}");
            assert_eq!(failed, ["upstream_closed_no_response"]);
        }
    }
}

#[test]
fn a_reset_without_an_end_is_no_proof() {
    for engine in ENGINES {
        for (method, status) in [("POST", "502 Bad Gateway"), ("DELETE", "200 OK")] {
            let origin = origin(|stream| {
                // Not read, though it came.
                let _ = stream.peek(&mut [0]);
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
            });
            let (answer, failed) = race(engine, &origin, method);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{engine:?} {method} {answer} {failed:?}");
            // Which of the two depends on whether the kernel had acknowledged the bytes at once.
            let is_known = failed == ["stale_reuse_likely"] || failed == ["upstream_closed_no_response"];
            assert!(is_known, "{failed:?}");
            eventually("it is closed", || origin.open() <= 1);
        }
    }
}

#[test]
fn a_second_answer_that_is_read_behind_the_next_request_is_not_its_answer() {
    for engine in ENGINES {
        for (method, expected) in [("PUT", "HTTP/1.1 200 "), ("POST", "HTTP/1.1 502 ")] {
            let origin = origin(|stream| {
                // Behind the answer before it, and before the next request.
                std::thread::sleep(Duration::from_millis(5));
                reply(stream, b"forged");
                // Never read: nothing is acknowledged before the kernel's delay is over.
                std::thread::sleep(Duration::from_millis(500));
            });
            let (answer, failed) = race(engine, &origin, method);
            assert!(
                answer.starts_with(expected) && !answer.contains("forged"),
                "{engine:?} {method} {answer} {failed:?}"
            );
            assert_eq!(failed, ["upstream_unsolicited"]);
        }
    }
}

#[test]
fn the_unsolicited_408_of_an_idle_connection_is_not_the_answer() {
    for engine in ENGINES {
        for method in ["POST", "GET"] {
            let origin = origin(|stream| {
                // It comes while the request is on its way, as the blind engine sees it.
                let mut buffer = Vec::new();
                fill(stream, &mut buffer);
                let _ =
                    stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            });
            let (answer, failed) = race(engine, &origin, method);
            // The origin's kernel has the bytes of a POST: nobody can say that they were not read, so its word stands.
            let expected = if method == "POST" { "HTTP/1.1 408 " } else { "HTTP/1.1 200 " };
            assert!(answer.starts_with(expected), "{engine:?} {method} {answer} {failed:?}");
            assert_eq!(failed, if method == "GET" { &["upstream_unsolicited"][..] } else { &[] });
        }
    }
}

/// Connections that a second run accepts on a listener on which a first run had armed its accepts and panicked.
fn accepted_after_a_panic(engine: EngineChoice, connections: usize) -> usize {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (armed, is_armed) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let accept = |panics: bool| {
            let acceptor = Acceptor::Tcp(listener.try_clone().unwrap());
            let armed = armed.clone();
            run(engine, async move |ring: Ring, _| {
                let (listening, count) = (Rc::new(ring.listener(acceptor).unwrap()), Rc::new(RefCell::new(0)));
                for _ in 0..4 {
                    let (listening, count) = (Rc::clone(&listening), Rc::clone(&count));
                    ring.spawn(async move {
                        while listening.accept().await.is_ok() {
                            *count.borrow_mut() += 1;
                        }
                    });
                }
                ring.sleep(50).await;
                assert!(!panics, "the worker panics");
                armed.send(()).unwrap();
                for _ in 0..100 {
                    ring.sleep(20).await;
                    if *count.borrow() == connections {
                        break;
                    }
                }
                *count.borrow()
            })
        };
        let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| accept(true)));
        assert!(first.is_err());
        accept(false).unwrap()
    });
    is_armed.recv().unwrap();
    let clients: Vec<_> = (0..connections).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let accepted = worker.join().unwrap();
    drop(clients);
    accepted
}

#[test]
fn what_was_armed_when_a_worker_panicked_swallows_no_connection() {
    for engine in ENGINES {
        assert_eq!(accepted_after_a_panic(engine, 50), 50, "{engine:?}");
    }
}
