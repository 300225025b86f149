//! What a service manager hears of this process (sd_notify(3)): ready, reloading, stopping, alive.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Interval;

use crate::mailbox::{Mailbox, Order};
use crate::sys::clock::monotonic_us;

/// The service manager, if there is one that listens.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Twice as often as it wants to hear that this process is alive.
    beats: Option<Interval>,
    /// Workers that were asked last whether they are, and how many have answered.
    asked: usize,
    answers: Arc<AtomicUsize>,
}

impl Supervisor {
    /// The one that the environment names: by a path, or after `@` by an abstract name.
    pub(super) fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| reach(&name).inspect_err(warn).ok());
        let text = |name| std::env::var(name).ok();
        let is_ours = text("WATCHDOG_PID").is_none_or(|id| id == std::process::id().to_string());
        let watchdog_us = text("WATCHDOG_USEC").and_then(|us| us.parse().ok()).filter(|us| *us > 1 && is_ours);
        let beats = watchdog_us.map(|us: u64| tokio::time::interval(Duration::from_micros(us / 2)));
        Self { socket, beats, asked: 0, answers: Arc::default() }
    }

    /// All is set up.
    pub(super) fn ready(&self) {
        self.say("READY=1");
    }

    /// A new configuration is read; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Ends when [`Self::beat`] is due; never where nobody watches. May be abandoned and called again.
    pub(super) async fn next_beat(&mut self) {
        match &mut self.beats {
            Some(beats) => _ = beats.tick().await,
            None => std::future::pending().await,
        }
    }

    /// Tells that this process is alive, if all workers have answered since the last time, and asks them again.
    pub(super) fn beat(&mut self, mailboxes: &[Mailbox]) {
        if self.answers.load(Ordering::Relaxed) < self.asked {
            return;
        }
        self.say("WATCHDOG=1");
        // Late answers to older questions count for nothing.
        self.answers = Arc::default();
        self.asked = mailboxes.len();
        for mailbox in mailboxes {
            mailbox.give(Order::Beat(Arc::clone(&self.answers)));
        }
    }

    /// A manager that does not listen any more is no reason to do anything else.
    fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

fn reach(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn warn(error: &std::io::Error) {
    tracing::warn!(%error, "NOTIFY_SOCKET names no socket; the service manager hears nothing");
}
