//! The two halves of a connection on monoio.
//!
//! monoio's futures own the buffer and borrow the socket, and dropping one loses what it received. So each half
//! of a connection lives in a small coroutine that is never dropped between two operations: whoever waits polls
//! it, and a mailbox of one buffer passes between them. It is allocated once for a connection, not for a request.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, Splitable};

use super::{Receive, Transmit, make_room};
use crate::sys;
use crate::upstream::evidence::{Delivery, Peek};

/// Numbers the receives of upstream connections as they begin. The ring submits them in that order, all in one system call,
/// and a receive whose bytes are there completes within that call. So once any of them has completed, the kernel has looked
/// at the sockets of all that began before it.
#[derive(Debug, Default)]
pub(super) struct Looks {
    begun: Cell<u64>,
    completed: Cell<u64>,
}

/// Both halves of a connection.
pub(super) fn split<S>(stream: S) -> (RingReceiver, RingSender)
where
    S: Splitable + AsRawFd,
    S::OwnedRead: AsyncReadRent + 'static,
    S::OwnedWrite: AsyncWriteRent + 'static,
{
    let fd = stream.as_raw_fd();
    let (reader, writer) = stream.into_split();
    let inbound: Rc<MailCell> = Rc::default();
    let outbound: Rc<MailCell> = Rc::default();
    let operations: Operations = Box::pin(receive_all(reader, Rc::clone(&inbound)));
    let receiver = RingReceiver { operations, mailbox: inbound, fd, is_local: false, looks: None, number: 0 };
    let operations: Operations = Box::pin(send_all(writer, Rc::clone(&outbound)));
    (receiver, RingSender { operations, mailbox: outbound, fd })
}

/// What passes between a half and its coroutine.
#[derive(Default)]
enum Mail {
    /// Nothing: no operation is asked for.
    #[default]
    Empty,
    /// An operation is asked for, from this position of the buffer.
    Asked(Vec<u8>, usize),
    /// The coroutine has the buffer.
    InFlight,
    /// The operation is complete.
    Done(io::Result<usize>, Vec<u8>),
}

type MailCell = Cell<Mail>;

async fn asked(mailbox: &MailCell) -> (Vec<u8>, usize) {
    poll_fn(|_| match mailbox.take() {
        Mail::Asked(buffer, from) => {
            mailbox.set(Mail::InFlight);
            Poll::Ready((buffer, from))
        }
        // `poll_operation` asks and then polls this coroutine at once, so no waker is kept.
        other @ (Mail::Empty | Mail::InFlight | Mail::Done(..)) => {
            mailbox.set(other);
            Poll::Pending
        }
    })
    .await
}

async fn receive_all(mut reader: impl AsyncReadRent, mailbox: Rc<MailCell>) {
    loop {
        let (mut buffer, from) = asked(&mailbox).await;
        make_room(&mut buffer);
        let (result, buffer) = reader.read(buffer.slice_mut(from..)).await;
        mailbox.set(Mail::Done(result, buffer.into_inner()));
    }
}

async fn send_all(mut writer: impl AsyncWriteRent, mailbox: Rc<MailCell>) {
    loop {
        let (buffer, from) = asked(&mailbox).await;
        let (result, buffer) = writer.write(buffer.slice(from..)).await;
        mailbox.set(Mail::Done(result, buffer.into_inner()));
    }
}

/// The operations of one half, one after the other. `dyn`, for the coroutine's type has no name; one allocation for
/// a connection.
type Operations = Pin<Box<dyn Future<Output = ()>>>;

/// Begins an operation unless one is in flight or complete, polls the coroutine once, and takes the result where there is
/// one. Between two calls the buffer lies in the mailbox: a wait that is dropped loses nothing, and the next call goes on.
fn poll_operation(
    operations: &mut Operations,
    mailbox: &MailCell,
    buffer: &mut Vec<u8>,
    from: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mail = mailbox.take();
    mailbox.set(if matches!(mail, Mail::Empty) { Mail::Asked(std::mem::take(buffer), from) } else { mail });
    let _ = operations.as_mut().poll(cx);
    match mailbox.take() {
        Mail::Done(result, done) => {
            *buffer = done;
            Poll::Ready(result)
        }
        other @ (Mail::Empty | Mail::Asked(..) | Mail::InFlight) => {
            mailbox.set(other);
            Poll::Pending
        }
    }
}

/// The receiving half.
pub struct RingReceiver {
    operations: Operations,
    mailbox: Rc<MailCell>,
    fd: RawFd,
    /// There is no TCP in it.
    pub(super) is_local: bool,
    /// For upstream connections on io_uring, with the number of the latest receive.
    looks: Option<Rc<Looks>>,
    number: u64,
}

impl RingReceiver {
    /// Numbers its receives from now on, so that [`Receive::is_seen`] can answer.
    pub(super) fn count(&mut self, looks: Rc<Looks>) {
        self.looks = Some(looks);
    }

    /// No operation is in flight.
    fn is_free(&self) -> bool {
        let mail = self.mailbox.take();
        let is_free = matches!(mail, Mail::Empty);
        self.mailbox.set(mail);
        is_free
    }
}

impl Receive for RingReceiver {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let from = inbox.len();
        if self.looks.is_some() && self.is_free() {
            self.number = self.looks.as_ref().map_or(0, |looks| looks.begun.replace(looks.begun.get() + 1) + 1);
        }
        let polled = poll_operation(&mut self.operations, &self.mailbox, inbox, from, cx);
        if let (Some(looks), true) = (&self.looks, polled.is_ready()) {
            looks.completed.set(looks.completed.get().max(self.number));
        }
        polled
    }

    fn is_seen(&self) -> bool {
        self.looks.as_ref().is_some_and(|looks| self.number < looks.completed.get())
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        if self.is_free() { sys::socket::receive_at_once(self.fd, inbox) } else { 0 }
    }

    fn peek(&self) -> Peek {
        sys::socket::peek(self.fd)
    }

    fn delivery(&self) -> Option<Delivery> {
        sys::socket::delivery(self.fd)
    }

    fn acknowledge(&self) {
        if !self.is_local {
            sys::socket::acknowledge(self.fd);
        }
    }
}

/// The sending half.
pub struct RingSender {
    operations: Operations,
    mailbox: Rc<MailCell>,
    fd: RawFd,
}

impl Transmit for RingSender {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_operation(&mut self.operations, &self.mailbox, out, from, cx)
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        sys::socket::shutdown_send(self.fd);
        Poll::Ready(())
    }

    fn reset(&mut self) {
        sys::socket::reset(self.fd);
    }
}

impl std::fmt::Debug for RingReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingReceiver")
    }
}

impl std::fmt::Debug for RingSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingSender")
    }
}
