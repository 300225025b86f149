//! The seam between the data plane and the kernel: its only sockets, its only clock, its only source of random numbers.
//!
//! `ring` implements it on monoio; tests implement it in memory, with virtual time and seeds.

pub mod half;
pub mod ring;
pub mod select;

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use crate::limits::{BODY_BUFFER_BYTES, HEAD_BUFFER_BYTES};
use crate::snapshot::Address;
use crate::upstream::evidence::{Delivery, Peek};

/// What an engine gives to a worker.
pub trait Transport: Clone + std::fmt::Debug + Unpin + 'static {
    /// The receiving half of a connection.
    type Receiver: Receive;
    /// The sending half of a connection.
    type Sender: Transmit;

    /// The monotonic clock in microseconds, from 1.
    fn now_us(&self) -> u64;

    /// The monotonic clock in milliseconds, cheap and some milliseconds coarse. Not to be compared with
    /// [`Self::now_us`].
    fn coarse_ms(&self) -> u64;

    /// The time of day.
    fn wall(&self) -> SystemTime;

    /// A random number, uniform over `u64`.
    fn random(&self) -> u64;

    /// Runs a task on this worker. A panic ends that task alone.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Waits.
    fn sleep(&self, ms: u64) -> impl Future<Output = ()>;

    /// Opens a connection.
    fn connect(&self, to: &Address) -> impl Future<Output = io::Result<Socket<Self>>>;
}

/// A connection: two halves that may be used at once. It closes when both are dropped.
#[derive(Debug)]
pub struct Socket<T: Transport> {
    /// What comes in.
    pub receiver: T::Receiver,
    /// What goes out.
    pub sender: T::Sender,
}

/// The receiving half of a connection.
pub trait Receive: std::fmt::Debug + Unpin + 'static {
    /// Receives bytes to the end of `inbox`, as many as its spare capacity holds; `Ok(0)` is the peer's end. An
    /// inbox without room gets some by [`make_room`] when an operation begins, and only then.
    ///
    /// The operation outlives the call: while it is in flight `inbox` is empty and its bytes are with the
    /// operation, and the next call, by whichever task, goes on with it. So a wait may be abandoned without
    /// losing a byte, and an operation armed while a connection was idle is the next message's first receive.
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Receives what is there already into the spare capacity of `inbox`, without waiting, and returns how many bytes; 0
    /// where there is nothing, and for an end or an error, which the next receive reports. No receive may be in flight.
    /// Where the first part of a body just came, this spares an operation.
    fn receive_at_once(&mut self, _inbox: &mut Vec<u8>) -> usize {
        0
    }

    /// Whether the kernel has looked at the socket since the receive in flight began: what had come by then would have
    /// completed it. `false` where the engine cannot say.
    fn is_seen(&self) -> bool {
        false
    }

    /// Asks the kernel what the socket holds: a receive may be complete without the engine having seen its completion yet.
    fn peek(&self) -> Peek;

    /// What the kernel knows of the delivery of what was sent; `None` where it cannot say.
    fn delivery(&self) -> Option<Delivery>;

    /// Has the kernel acknowledge at once what has come and what comes next.
    fn acknowledge(&self) {}
}

/// The sending half of a connection.
pub trait Transmit: std::fmt::Debug + Unpin + 'static {
    /// Sends `out[from..]`, or a first part of it, and says how many bytes. `out` must be the same until it is
    /// ready; while it is pending, `out` is empty and its bytes are with the operation.
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Tells the peer that nothing more comes. No send may be in flight.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Resets the connection: an end that no peer takes for an orderly one.
    fn reset(&mut self);
}

/// Doubles a buffer that is full, within the sizes that spare buffers have.
pub fn make_room(inbox: &mut Vec<u8>) {
    if inbox.capacity() == inbox.len() {
        inbox.reserve(inbox.len().clamp(HEAD_BUFFER_BYTES, BODY_BUFFER_BYTES));
    }
}

/// [`Receive::poll_receive`] as a future. A plain value: an `async fn` would store its arguments twice, and these
/// futures are what an idle connection consists of.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Receiving<'a, R> {
    receiver: &'a mut R,
    inbox: &'a mut Vec<u8>,
}

/// Receives once.
pub const fn receive<'a, R: Receive>(receiver: &'a mut R, inbox: &'a mut Vec<u8>) -> Receiving<'a, R> {
    Receiving { receiver, inbox }
}

impl<R: Receive> Future for Receiving<'_, R> {
    type Output = io::Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.receiver.poll_receive(this.inbox, cx)
    }
}

/// [`Transmit::poll_send`] as a future; `WriteZero` where the connection takes nothing.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Sending<'a, S> {
    sender: &'a mut S,
    out: &'a mut Vec<u8>,
    from: usize,
}

/// Sends once.
pub const fn send<'a, S: Transmit>(sender: &'a mut S, out: &'a mut Vec<u8>, from: usize) -> Sending<'a, S> {
    Sending { sender, out, from }
}

impl<S: Transmit> Future for Sending<'_, S> {
    type Output = io::Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.sender.poll_send(this.out, this.from, cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other @ (Poll::Ready(_) | Poll::Pending) => other,
        }
    }
}

/// Tells the peer that nothing more comes.
pub fn finish<S: Transmit>(sender: &mut S) -> impl Future<Output = ()> {
    poll_fn(|cx| sender.poll_finish(cx))
}

/// Runs a future to its end or its panic. It is pinned by the caller: taken by value it would be stored twice.
///
/// # Errors
/// What the panic carried.
pub fn caught<F: Future>(mut future: Pin<&mut F>) -> impl Future<Output = std::thread::Result<F::Output>> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
}
