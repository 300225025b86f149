//! The listening sockets of the process: what to bind for a new snapshot and what to let go.

use std::collections::HashMap;
use std::io;

use crate::config::units::ListenAddress;
use crate::mailbox::Acceptor;
use crate::snapshot::{Label, Snapshot};
use crate::sys::socket;

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
}

impl Bound {
    /// Binds what a snapshot needs and is not bound yet.
    ///
    /// # Errors
    /// The name of the listener and the error; nothing is bound then.
    pub fn prepare(&self, snapshot: &Snapshot, workers: usize) -> Result<Change, (String, io::Error)> {
        let mut change = Change::default();
        for listener in &snapshot.listeners {
            let address = &listener.address;
            change.addresses.insert(listener.label, address.clone());
            if self.addresses.get(&listener.label) == Some(address) {
                continue;
            }
            let is_ours = self.addresses.values().any(|bound| bound == address);
            let sockets = bind(address, workers, is_ours).map_err(|error| (listener.name.to_string(), error))?;
            change.added.push((listener.label, sockets));
        }
        let stays = |label: &Label| self.addresses.get(label) == change.addresses.get(label);
        change.removed = self.addresses.keys().filter(|label| !stays(label)).copied().collect();
        Ok(change)
    }

    /// Takes a change as done.
    pub fn take(&mut self, change: &mut Change) {
        self.addresses = std::mem::take(&mut change.addresses);
    }

    /// Removes the files of Unix sockets, at the end of the process.
    pub fn remove_files(&self) {
        for address in self.addresses.values() {
            if let ListenAddress::Unix(path) = address {
                // It may be gone already, which is what is wanted.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// The sockets of one listener, by worker. A host without IPv6 serves `":80"` over IPv4 alone.
fn bind(address: &ListenAddress, workers: usize, is_ours: bool) -> io::Result<Vec<Vec<Acceptor>>> {
    if let ListenAddress::Unix(path) = address {
        let listener = socket::listen_unix(path)?;
        return (0..workers).map(|_| Ok(vec![Acceptor::Unix(listener.try_clone()?)])).collect();
    }
    let mut sockets: Vec<Vec<Acceptor>> = (0..workers).map(|_| Vec::new()).collect();
    for socket in address.sockets() {
        if !is_ours && socket.port() > 0 {
            match socket::check_free(socket) {
                Err(error) if has_no_family(&error) && matches!(address, ListenAddress::Port(_)) => continue,
                other => other?,
            }
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

fn has_no_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
