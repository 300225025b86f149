//! Connections in memory that take and give everything at once: what is left is the proxy's own work.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, ready};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use ringress::snapshot::Address;
use ringress::upstream::evidence::{Delivery, Peek};
use ringress::worker::engine::{Receive, Socket, Transmit, Transport, make_room};

type Pipe = Rc<RefCell<Vec<u8>>>;

/// The engine. Its clock goes on by half a millisecond with each look, so that connections soon are old enough for reuse; its tasks are never run, for none is needed.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    now_us: Rc<Cell<u64>>,
    /// The far end of the upstream connection.
    pub origin: FarEnd,
}

/// What the other side of a connection reads and writes.
#[derive(Clone, Debug, Default)]
pub struct FarEnd {
    /// Bytes that the proxy sent.
    pub sent: Pipe,
    /// Bytes that the proxy will receive.
    pub coming: Pipe,
}

impl FarEnd {
    /// The proxy's side.
    pub fn socket(&self) -> Socket<Memory> {
        let receiver = Receiver { coming: Rc::clone(&self.coming), in_flight: None };
        Socket { receiver, sender: Sender { sent: Rc::clone(&self.sent) } }
    }
}

impl Transport for Memory {
    type Receiver = Receiver;
    type Sender = Sender;

    fn now_us(&self) -> u64 {
        self.now_us.set(self.now_us.get() + 500);
        self.now_us.get()
    }

    fn coarse_ms(&self) -> u64 {
        1 + self.now_us.get() / 1_000
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn random(&self) -> u64 {
        self.now_us.get().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(task);
    }

    fn sleep(&self, _ms: u64) -> impl Future<Output = ()> {
        pending()
    }

    fn connect(&self, _to: &Address) -> impl Future<Output = io::Result<Socket<Self>>> {
        ready(Ok(self.origin.socket()))
    }
}

#[derive(Debug)]
pub struct Receiver {
    coming: Pipe,
    in_flight: Option<Vec<u8>>,
}

impl Receive for Receiver {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, _cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = self.in_flight.take().unwrap_or_else(|| std::mem::take(inbox));
        make_room(&mut buffer);
        let mut coming = self.coming.borrow_mut();
        if coming.is_empty() {
            self.in_flight = Some(buffer);
            return Poll::Pending;
        }
        let bytes = coming.len().min(buffer.capacity() - buffer.len());
        buffer.extend(coming.drain(..bytes));
        *inbox = buffer;
        Poll::Ready(Ok(bytes))
    }

    fn is_seen(&self) -> bool {
        true
    }

    fn peek(&self) -> Peek {
        Peek::Quiet
    }

    fn delivery(&self) -> Option<Delivery> {
        None
    }
}

#[derive(Debug)]
pub struct Sender {
    sent: Pipe,
}

impl Transmit for Sender {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, _cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.sent.borrow_mut().extend_from_slice(&out[from..]);
        Poll::Ready(Ok(out.len() - from))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn reset(&mut self) {}
}
