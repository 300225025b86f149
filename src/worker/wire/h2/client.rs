//! One HTTP/2 connection to an upstream: how it begins, how it is kept, how it ends.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, Connection};
use h2::{Ping, PingPong};

use super::super::connection::ConnectionEnds;
use super::carrier::{Carrier, Multiplex};
use super::pipe::Pipe;
use crate::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_HEADER_LIST_BYTES_MAX, H2_SEND_BUFFER_BYTES, H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX,
};
use crate::timeouts::Timeout;
use crate::worker::engine::Transport;
use crate::worker::kit::Kit;
use crate::worker::time::timer::Timer;

/// How a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// How long without a request, in milliseconds.
    pub idle_ms: u64,
    /// How often a peer with requests is asked whether it is there, in milliseconds.
    pub ping_ms: Option<u64>,
}

/// Begins HTTP/2 over a connection and adds it to those of its peer.
pub(crate) async fn begin<T: Transport>(
    kit: &Rc<Kit<T>>,
    multiplex: &Multiplex,
    ends: ConnectionEnds<T>,
    inbox: Vec<u8>,
    keep: Keep,
) -> io::Result<Rc<Carrier>> {
    let pipe = Pipe::new(kit.transport.clone(), ends, inbox, None);
    let mut builder = Builder::new();
    builder
        .initial_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(H2_HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(H2_SEND_BUFFER_BYTES)
        .initial_max_send_streams(H2_STREAMS_MAX as usize)
        .enable_push(false);
    let (sender, mut connection) = builder.handshake::<_, Bytes>(pipe).await.map_err(io::Error::other)?;
    let ping_pong = connection.ping_pong();
    let carrier = Carrier::new(sender, kit.transport.coarse_ms());
    multiplex.add(&carrier);
    let mut driver = ClientDriver {
        timer: kit.timer(),
        kit: Rc::clone(kit),
        carrier: Some(Rc::clone(&carrier)),
        keep,
        ping_pong,
        connection: Box::pin(connection),
        waiting: ClientWait::Nothing,
    };
    kit.transport.spawn(poll_fn(move |cx| driver.poll(cx)));
    Ok(carrier)
}

/// What a connection's timer runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientWait {
    Nothing,
    /// A request.
    Idle,
    /// The time for a PING.
    Ping,
    /// The answer to one.
    Pong,
    /// The end of the connection, which has been given up.
    End,
}

/// One connection's task.
struct ClientDriver<T: Transport> {
    timer: Timer<T>,
    kit: Rc<Kit<T>>,
    /// `None` once no further request goes over it: the connection then ends with its last one.
    carrier: Option<Rc<Carrier>>,
    keep: Keep,
    ping_pong: Option<PingPong>,
    connection: Pin<Box<Connection<Pipe<T>, Bytes>>>,
    waiting: ClientWait,
}

impl<T: Transport> ClientDriver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_pong = self.waiting == ClientWait::Pong
            && self.ping_pong.as_mut().is_some_and(|ping_pong| ping_pong.poll_pong(cx).is_ready());
        if is_pong {
            self.waiting = ClientWait::Nothing;
        }
        if self.connection.as_mut().poll(cx).is_ready() {
            self.give_up();
            return Poll::Ready(());
        }
        // After a GOAWAY those that it spares go on, and no other begins.
        let is_going = |one: &Rc<Carrier>| match one.sender() {
            Some(mut sender) => matches!(sender.poll_ready(cx), Poll::Ready(Err(_))),
            None => true,
        };
        if self.carrier.as_ref().is_some_and(is_going) {
            self.give_up();
        }
        self.arm(cx);
        while self.timer.poll_expired(cx).is_some() {
            match self.waiting {
                ClientWait::Ping
                    if self.ping_pong.as_mut().is_some_and(|one| one.send_ping(Ping::opaque()).is_ok()) =>
                {
                    self.waiting = ClientWait::Pong;
                    self.timer.arm_row(Timeout::UpstreamPong);
                }
                ClientWait::Idle => {
                    self.give_up();
                    self.waiting = ClientWait::End;
                    self.timer.arm_row(Timeout::Linger);
                }
                // Nobody is there: its requests learn of it as of a connection that ends.
                ClientWait::Ping | ClientWait::Pong | ClientWait::End => {
                    self.give_up();
                    return Poll::Ready(());
                }
                ClientWait::Nothing => break,
            }
            if self.connection.as_mut().poll(cx).is_ready() {
                self.give_up();
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Lets nobody else use the connection.
    fn give_up(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.close();
        }
    }

    /// Starts the timer anew where something else is waited for.
    fn arm(&mut self, cx: &Context<'_>) {
        let Some(carrier) = &self.carrier else { return };
        carrier.put_driver(cx.waker());
        let waiting = match self.waiting {
            ClientWait::Pong | ClientWait::End => return,
            ClientWait::Nothing | ClientWait::Idle | ClientWait::Ping if !carrier.is_busy() => ClientWait::Idle,
            ClientWait::Nothing | ClientWait::Idle | ClientWait::Ping if self.keep.ping_ms.is_some() => {
                ClientWait::Ping
            }
            ClientWait::Nothing | ClientWait::Idle | ClientWait::Ping => ClientWait::Nothing,
        };
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        match waiting {
            ClientWait::Idle => {
                carrier.note_idle(self.kit.transport.now_us());
                self.timer.arm(Timeout::UpstreamIdle, Some(self.keep.idle_ms));
            }
            ClientWait::Ping => self.timer.arm(Timeout::UpstreamPing, self.keep.ping_ms),
            ClientWait::Nothing | ClientWait::Pong | ClientWait::End => self.timer.disarm(),
        }
    }
}
