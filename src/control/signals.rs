//! The signals that the process listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that this program knows. Made before anything else: until then each of them ends the process.
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
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
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

    /// The next signal that ends the process.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            if let Told::End(name) = self.next().await {
                return name;
            }
        }
    }
}
