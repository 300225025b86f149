//! What TLS keeps from one snapshot to the next: ticket keys, sessions, certificates of our own, and what did not change.

use std::collections::HashMap;
use std::sync::Arc;

use crate::tls::client::ClientTls;
use crate::tls::identity::{Identity, IdentityFault};
use crate::tls::server::{Resumption, ServerTls};

/// What outlives a snapshot, so that a reload costs nobody a handshake.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// What resumes sessions, by listener and by what is asked of clients.
    resumption: HashMap<String, Resumption>,
    /// The certificate of listeners that were given none.
    self_signed: Option<Identity>,
    /// TLS of services, by what it was made of: a service that stays as it was keeps its connections and sessions.
    clients: HashMap<u64, Arc<ClientTls>>,
    /// TLS of listeners, likewise.
    servers: HashMap<u64, Arc<ServerTls>>,
}

impl Secrets {
    /// What resumes the sessions of a policy; `make` says how where that is new.
    pub(super) fn resumption(
        &mut self,
        policy: String,
        make: impl FnOnce() -> Result<Resumption, rustls::Error>,
    ) -> Result<Resumption, rustls::Error> {
        if let Some(resumption) = self.resumption.get(&policy) {
            return Ok(resumption.clone());
        }
        let resumption = make()?;
        self.resumption.insert(policy, resumption.clone());
        Ok(resumption)
    }

    /// The TLS of a listener whose inputs have this fingerprint.
    pub(super) fn server(&self, print: u64) -> Option<Arc<ServerTls>> {
        self.servers.get(&print).map(Arc::clone)
    }

    pub(super) fn put_server(&mut self, print: u64, tls: &Arc<ServerTls>) {
        self.servers.insert(print, Arc::clone(tls));
    }

    /// The TLS of services whose inputs have this fingerprint.
    pub(super) fn client(&self, print: u64) -> Option<Arc<ClientTls>> {
        self.clients.get(&print).map(Arc::clone)
    }

    pub(super) fn put_client(&mut self, print: u64, tls: &Arc<ClientTls>) {
        self.clients.insert(print, Arc::clone(tls));
    }

    /// Forgets what nothing that is published uses.
    pub(super) fn forget_unused(&mut self) {
        self.clients.retain(|_, tls| Arc::strong_count(tls) > 1);
        self.servers.retain(|_, tls| Arc::strong_count(tls) > 1);
        self.resumption.retain(|_, resumption| resumption.is_used());
    }

    pub(super) fn self_signed(&mut self) -> Result<Identity, IdentityFault> {
        if self.self_signed.is_none() {
            self.self_signed = Some(Identity::self_signed()?);
        }
        self.self_signed.clone().ok_or_else(|| IdentityFault::Key("none was made".to_owned()))
    }
}
