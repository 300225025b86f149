//! The signals that the process listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::signals::let_through;

/// The signals that this program knows. They are held from the first instruction on (`sys/signals.rs`) and come when this is made, so that
/// none ends a process which has not got to it yet.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
    user2: Signal,
}

/// What a signal says.
pub(super) enum Told {
    End(&'static str),
    Reload,
    ReopenLog,
    Upgrade,
}

impl Signals {
    /// Receives them from now on.
    ///
    /// # Errors
    /// Where signals cannot be received.
    pub fn new() -> std::io::Result<Self> {
        let signals = Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        };
        let_through()?;
        Ok(signals)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user1.recv() => Told::ReopenLog,
            _ = self.user2.recv() => Told::Upgrade,
        }
    }

    /// A signal that ends the process before it is ready. Any other waits until it is.
    pub async fn early_end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The next signal that ends the process.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            if let Told::End(name) = self.next().await {
                return name;
            }
        }
    }
}
