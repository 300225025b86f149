//! A connection that many requests share: its protocol, and who is woken to send what they have put.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use crate::proto::h2::Role;
use crate::proto::h2::connection::Connection;
use crate::proto::h2::frame::ErrorCode;
use crate::proto::h2::stream::StreamKey;
use crate::proto::h2::window::WindowBudget;

/// A connection, shared by the task that has its socket and those that have its streams.
#[derive(Debug)]
pub(crate) struct Mux {
    connection: RefCell<Connection>,
    /// The task that has the socket.
    driver: RefCell<Option<Waker>>,
    /// It was woken, and has not run since.
    is_woken: Cell<bool>,
}

impl Mux {
    /// A connection that begins.
    pub(crate) fn new(role: Role, window_max: u32, budget: Rc<WindowBudget>) -> Rc<Self> {
        let connection = RefCell::new(Connection::new(role, window_max, budget));
        Rc::new(Self { connection, driver: RefCell::default(), is_woken: Cell::new(false) })
    }

    /// Does something with the connection; the frames that this puts leave with all others of the turn.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Connection) -> R) -> R {
        let mut connection = self.connection.borrow_mut();
        let done = act(&mut connection);
        if connection.writer().waiting() > 0 {
            self.wake();
        }
        done
    }

    /// Does something with the connection as the task that has its socket.
    pub(crate) fn drive<R>(&self, act: impl FnOnce(&mut Connection) -> R) -> R {
        act(&mut self.connection.borrow_mut())
    }

    /// The task that has the socket runs now, and is woken by `waker`.
    pub(crate) fn begin_turn(&self, waker: &Waker) {
        self.is_woken.set(false);
        let mut driver = self.driver.borrow_mut();
        match &mut *driver {
            Some(known) => known.clone_from(waker),
            None => *driver = Some(waker.clone()),
        }
    }

    /// Lets the task that has the socket run, once for all who ask.
    pub(crate) fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }
}

/// A stream, for as long as somebody holds it.
#[derive(Debug)]
pub(crate) struct HeldStream {
    pub mux: Rc<Mux>,
    pub key: StreamKey,
}

impl HeldStream {
    /// Resets it, where it is not over already.
    pub(crate) fn reset(&self, code: ErrorCode) {
        self.mux.with(|connection| connection.stream(self.key).reset(code));
    }
}

impl Drop for HeldStream {
    fn drop(&mut self) {
        self.mux.with(|connection| connection.stream(self.key).release());
        // An idle connection has a timer of its own.
        self.mux.wake();
    }
}
