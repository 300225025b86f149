//! The seam: the only sockets, the only clock, the only chance of the data plane.
//!
//! `ring` implements it on monoio; tests implement it in memory, with virtual time and seeds.

pub mod engine;
pub mod ring;

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use crate::snapshot::Address;

/// What an engine gives to a worker.
pub trait Transport: Clone + std::fmt::Debug + 'static {
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
pub trait Receive: std::fmt::Debug + 'static {
    /// Receives bytes to the end of `inbox`, as many as its spare capacity holds; `Ok(0)` is the peer's end.
    ///
    /// The operation outlives the call: while it is in flight `inbox` is empty and its bytes are with the
    /// operation, and the next call, by whichever task, goes on with it. So a wait may be abandoned without
    /// losing a byte, and an operation armed while a connection was idle is the next message's first receive.
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;
}

/// The sending half of a connection.
pub trait Transmit: std::fmt::Debug + 'static {
    /// Sends `out[from..]`, or a first part of it, and says how many bytes. `out` must be the same until it is
    /// ready; while it is pending, `out` is empty and its bytes are with the operation.
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Tells the peer that nothing more comes.
    fn finish(&mut self);

    /// Resets the connection: an end that no peer takes for an orderly one.
    fn reset(&mut self);
}

/// [`Receive::poll_receive`] as a future.
///
/// # Errors
/// Those of the connection.
pub async fn receive(receiver: &mut impl Receive, inbox: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| receiver.poll_receive(inbox, cx)).await
}

/// [`Transmit::poll_send`] as a future.
///
/// # Errors
/// Those of the connection; `WriteZero` where it takes nothing.
pub async fn send(sender: &mut impl Transmit, out: &mut Vec<u8>, from: usize) -> io::Result<usize> {
    match poll_fn(|cx| sender.poll_send(out, from, cx)).await {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    }
}

/// Runs a future to its end or its panic.
///
/// # Errors
/// What the panic carried.
pub async fn caught<F: Future>(future: F) -> std::thread::Result<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
