//! The listening sockets of the process: what to bind for a new snapshot and what to let go.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::listeners::PortUse;
use crate::config::problem::Problem;
use crate::config::source::Source;
use crate::mailbox::Acceptor;
use crate::snapshot::{Label, Snapshot, SocketAccess};
use crate::sys::socket::{self, has_no_family};
use crate::units::ListenAddress;

/// How long another process may take to let go of an address when this one starts: one that was killed is gone before its rings
/// are, and they hold the sockets.
const LET_GO: Duration = Duration::from_secs(2);
/// How often it is tried.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Binds what is to be bound at start. An address that is taken, as `reason` says of the error, is tried again for a while.
///
/// # Errors
/// Those of `bind`, once that while is over.
pub async fn once_free<T, E>(
    reason: impl Fn(&E) -> &io::Error,
    mut bind: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let until = tokio::time::Instant::now() + LET_GO;
    loop {
        match bind() {
            Err(error) if reason(&error).kind() == io::ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// What is bound, by label.
#[derive(Debug, Default)]
pub struct Bound {
    addresses: HashMap<Label, ListenAddress>,
}

/// What changes with a snapshot. Nothing is bound or let go until [`Bound::take`].
#[derive(Debug, Default)]
pub struct Change {
    /// For each new listener, its sockets by worker.
    pub added: Vec<(Label, Vec<Vec<Acceptor>>)>,
    /// Listeners that are gone, or have another address now.
    pub removed: Vec<Label>,
    addresses: HashMap<Label, ListenAddress>,
    /// Unix sockets that stay, and who may connect from now on.
    access: Vec<(PathBuf, SocketAccess)>,
    /// Unix sockets that wait beside the ones that they take the place of.
    beside: Beside,
}

/// Unix sockets under names of their own: where they are, and where they belong.
#[derive(Debug, Default)]
struct Beside(Vec<(PathBuf, PathBuf)>);

impl Drop for Beside {
    fn drop(&mut self) {
        // The change was not taken: what is served goes on where it was.
        for (beside, _) in &self.0 {
            let _ = std::fs::remove_file(beside);
        }
    }
}

impl Bound {
    /// Binds what a snapshot needs and is not bound yet.
    ///
    /// # Errors
    /// The name of the listener and the error; nothing is bound then.
    pub fn prepare(&self, snapshot: &Snapshot, workers: usize) -> Result<Change, (String, io::Error)> {
        let mut change = Change::default();
        for entrance in &snapshot.listeners {
            let listener = &entrance.listener;
            let address = &listener.spec.address;
            change.addresses.insert(listener.label, address.clone());
            if self.addresses.get(&listener.label) == Some(address) {
                if let ListenAddress::Unix(path) = address {
                    change.access.push((path.clone(), listener.access));
                }
                continue;
            }
            let bound = if let ListenAddress::Unix(path) = address
                && self.has(address)
            {
                // A listener of another name has the path until this change is taken.
                let beside = path.with_added_extension("next");
                let bound = bind_unix(&beside, listener.access, workers);
                if bound.is_ok() {
                    change.beside.0.push((beside, path.clone()));
                }
                bound
            } else {
                bind((address, listener.access), workers, &|socket| self.check(socket, listener.spec.port_use))
            };
            change.added.push((listener.label, bound.map_err(|error| (listener.name.to_string(), error))?));
        }
        let stays = |label: &Label| self.addresses.get(label) == change.addresses.get(label);
        change.removed = self.addresses.keys().filter(|label| !stays(label)).copied().collect();
        Ok(change)
    }

    /// Takes a change as done; files of Unix sockets that are gone with it are removed.
    pub fn take(&mut self, change: &mut Change) {
        let before = std::mem::replace(&mut self.addresses, std::mem::take(&mut change.addresses));
        before.values().filter(|address| !self.has(address)).for_each(remove_file);
        for (path, access) in change.access.drain(..) {
            if let Err(error) = socket::give_access(&path, access.mode, access.group) {
                tracing::error!(%error, path = %path.display(), "who may connect to a Unix socket cannot be changed");
            }
        }
        for (beside, path) in change.beside.0.drain(..) {
            // At once, so that there is no moment without the one or the other.
            if let Err(error) = std::fs::rename(&beside, &path) {
                tracing::error!(%error, path = %path.display(), "a Unix socket cannot take its place");
            }
        }
    }

    fn has(&self, address: &ListenAddress) -> bool {
        self.addresses.values().any(|bound| bound == address)
    }

    /// Fails where another process listens on an address, unless that is agreed.
    fn check(&self, address: SocketAddr, port: PortUse) -> io::Result<()> {
        if address.port() == 0 || self.has_port(&address) {
            return Ok(());
        }
        match port {
            PortUse::Alone => socket::check_free(address),
            PortUse::Shared => socket::check_shared(address),
        }
    }

    /// True where this process listens on the port already, be it on another address: `check_free` would find our own
    /// socket.
    fn has_port(&self, address: &SocketAddr) -> bool {
        self.addresses.values().flat_map(ListenAddress::sockets).any(|bound| bound.port() == address.port())
    }

    /// Removes the files of Unix sockets, at the end of the process.
    pub fn remove_files(&self) {
        self.addresses.values().for_each(remove_file);
    }
}

fn remove_file(address: &ListenAddress) {
    if let ListenAddress::Unix(path) = address {
        // It may be gone already, which is what is wanted.
        let _ = std::fs::remove_file(path);
    }
}

/// The sockets of one listener, by worker. A host without IPv6 serves `":80"` over IPv4 alone.
fn bind(
    (address, access): (&ListenAddress, SocketAccess),
    workers: usize,
    check: &dyn Fn(SocketAddr) -> io::Result<()>,
) -> io::Result<Vec<Vec<Acceptor>>> {
    if let ListenAddress::Unix(path) = address {
        return bind_unix(path, access, workers);
    }
    let mut sockets: Vec<Vec<Acceptor>> = (0..workers).map(|_| Vec::new()).collect();
    for socket in address.sockets() {
        match check(socket) {
            Err(error) if has_no_family(&error) && matches!(address, ListenAddress::Port(_)) => continue,
            other => other?,
        }
        for sockets in &mut sockets {
            sockets.push(Acceptor::Tcp(socket::listen_tcp(socket)?));
        }
    }
    if sockets.iter().any(Vec::is_empty) {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    Ok(sockets)
}

fn bind_unix(path: &Path, access: SocketAccess, workers: usize) -> io::Result<Vec<Vec<Acceptor>>> {
    let listener = socket::listen_unix(path, access.mode, access.group)?;
    (0..workers).map(|_| Ok(vec![Acceptor::Unix(listener.try_clone()?)])).collect()
}

/// What is wrong where the socket of a listener cannot be bound.
pub(super) fn problem(source: &Source, (name, error): &(String, io::Error)) -> Problem {
    source.problem(&format!("listeners.{name}.address"), format!("cannot listen: {error}"), remedy(error))
}

/// What to do where a socket cannot be bound; empty where nothing special is known.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "end what listens there, or choose another address; `port_use = \"shared\"` of a listener lets an old and a new process have it together"
        }
        Some(libc::EACCES) => {
            "ports below 1024 need CAP_NET_BIND_SERVICE, the folder of a Unix socket the right to write there"
        }
        Some(libc::EPERM) => "only a member of a group, or root, can give it a socket",
        Some(libc::EADDRNOTAVAIL) => "no interface of this host has this address",
        _ => "",
    }
}
