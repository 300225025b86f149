//! Requests that come before the handshake is over (0-RTT, RFC 8446 §2.3): whoever recorded them could send them again, so
//! what is done with them depends on whether it is over by then (RFC 8470).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustls::Connection;

use super::super::ends::Inlet;
use super::super::io::Transport;
use super::super::link::Link;
use super::super::timer::Expired;
use super::ends::Heard;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Until {
    /// The end of the handshake.
    Over,
    /// That, or bytes of a request.
    Request,
}

/// The rest of a handshake.
#[derive(Debug, Default)]
pub(in super::super) struct Early {
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

    pub(in super::super) const fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// The client has shown that it is there now.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits as long as the link's timer runs; what comes meanwhile is put into the inbox.
    pub(in super::super) async fn wait<T: Transport>(
        &self,
        link: &mut Link<T>,
        until: Until,
    ) -> Result<io::Result<()>, Expired> {
        let Link { receiver, inbox, timer, .. } = link;
        let waited = poll_fn(|cx| match receiver {
            Inlet::Tls(inlet) => {
                while !self.is_over() && (until == Until::Over || inbox.is_empty()) {
                    if ready!(inlet.poll_records(inbox, cx))? == Heard::End {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Poll::Ready(Ok(()))
            }
            // Its connection is driven by another task.
            Inlet::Stream(inlet) => match self.poll_over(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => inlet.poll_reset(cx).map(Err),
            },
            Inlet::Plain(_) | Inlet::Request(_) => Poll::Ready(Ok(())),
        });
        let outcome = timer.guard(waited).await;
        poll_fn(|cx| {
            self.wakers.borrow_mut().retain(|waker| !waker.will_wake(cx.waker()));
            Poll::Ready(())
        })
        .await;
        outcome
    }
}
