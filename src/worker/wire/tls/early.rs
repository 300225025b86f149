//! Requests that come before the handshake is over (0-RTT, RFC 8446 §2.3): whoever recorded them could send them again, so
//! what is done with them depends on whether it is over by then (RFC 8470).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustls::Connection;

/// The rest of a handshake.
#[derive(Debug, Default)]
pub(crate) struct Early {
    is_over: Cell<bool>,
    /// Exchanges that wait for the end of it.
    wakers: RefCell<Vec<Waker>>,
}

impl Early {
    /// `None` where the client sent nothing early, or it was not taken.
    pub(super) fn of(connection: &mut Connection) -> Option<Rc<Self>> {
        match connection {
            Connection::Server(server) => server.early_data().map(|_| Rc::default()),
            Connection::Client(_) => None,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// The handshake is over, so the client is there now and what it sent early is no replay.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Ready once it is over.
    pub(crate) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Forgets a task that waits no more.
    pub(crate) fn forget(&self, cx: &Context<'_>) {
        self.wakers.borrow_mut().retain(|waker| !waker.will_wake(cx.waker()));
    }
}
