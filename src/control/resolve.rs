//! Resolves names of endpoints, again when their time to live is over, away from the workers.
//!
//! A name that stops resolving keeps its last addresses: better an address that may be old than none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::compile::{Resolved, TimedOut};

/// Names with a shorter time to live are asked for this often all the same.
const SHORTEST: Duration = Duration::from_secs(1);
/// Names with a longer time to live are asked for this often all the same.
const LONGEST: Duration = Duration::from_secs(300);
/// How long after a failure a name is asked for again.
const RETRY: Duration = Duration::from_secs(5);
/// How long one name is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

struct ResolvedName {
    addresses: Vec<IpAddr>,
    has_timed_out: bool,
    due: Instant,
}

/// What a look-up gave: addresses and until when they hold.
type Resolution = Result<(Vec<IpAddr>, Instant), LookUpError>;

/// Why a name did not resolve.
enum LookUpError {
    TimedOut,
    Other(String),
}

/// What names resolved to.
pub(super) struct Resolver {
    client: Option<TokioResolver>,
    entries: HashMap<Arc<str>, ResolvedName>,
    /// Look-ups of names that are due, in the background.
    asked: JoinSet<(Arc<str>, Resolution)>,
}

impl Resolver {
    /// With the system's configuration; where it cannot be read, with the hosts file alone.
    pub(super) fn new() -> Self {
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the resolver's configuration cannot be read; names come from the hosts file");
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        let client = builder.build().inspect_err(|error| tracing::error!(%error, "names cannot be resolved")).ok();
        Self { client, entries: HashMap::new(), asked: JoinSet::new() }
    }

    /// What is known now.
    pub(super) fn resolved(&self) -> Resolved {
        let known = self.entries.iter().filter(|(_, entry)| !entry.addresses.is_empty() || entry.has_timed_out);
        known
            .map(|(name, entry)| {
                let addresses = (!entry.addresses.is_empty()).then(|| entry.addresses.clone());
                (Arc::clone(name), addresses.ok_or(TimedOut))
            })
            .collect()
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.due).min()
    }

    /// Asks for the names that are not known yet, all at once, and waits for the answers.
    pub(super) async fn learn(&mut self, names: impl Iterator<Item = &Arc<str>>) {
        let mut tasks = JoinSet::new();
        for name in names.filter(|name| !self.entries.contains_key(*name)) {
            tasks.spawn(look_up(self.client.clone(), Arc::clone(name)));
        }
        while let Some(Ok((name, answer))) = tasks.join_next().await {
            self.entries.insert(
                Arc::clone(&name),
                ResolvedName { addresses: Vec::new(), has_timed_out: false, due: Instant::now() },
            );
            self.take(&name, answer);
        }
    }

    /// Forgets all other names.
    pub(super) fn keep_only(&mut self, is_used: impl Fn(&Arc<str>) -> bool) {
        self.entries.retain(|name, _| is_used(name));
    }

    /// Asks for the names that are due, in the background: [`Self::answer`] brings what comes.
    pub(super) fn ask_due(&mut self) {
        let now = Instant::now();
        for (name, entry) in &mut self.entries {
            if entry.due <= now {
                // Not again while this look-up may be under way; its answer sets the real time.
                entry.due = now + 2 * PATIENCE;
                self.asked.spawn(look_up(self.client.clone(), Arc::clone(name)));
            }
        }
    }

    /// The next answer to [`Self::ask_due`]; the name, where an address of it came or went. May be abandoned and called
    /// again.
    pub(super) async fn answer(&mut self) -> Option<Arc<str>> {
        match self.asked.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, answer))) => self.take(&name, answer).then_some(name),
            Some(Err(_)) => None,
        }
    }

    fn take(&mut self, name: &str, answer: Resolution) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        match answer {
            Ok((mut addresses, until)) => {
                // Servers rotate the order; only the set matters.
                addresses.sort_unstable();
                addresses.dedup();
                let now = Instant::now();
                entry.due = until.clamp(now + SHORTEST, now + LONGEST);
                entry.has_timed_out = false;
                let is_changed = entry.addresses != addresses;
                entry.addresses = addresses;
                is_changed
            }
            Err(error) => {
                entry.due = Instant::now() + RETRY;
                entry.has_timed_out = matches!(error, LookUpError::TimedOut);
                let error = match error {
                    LookUpError::TimedOut => "no answer in time".to_owned(),
                    LookUpError::Other(error) => error,
                };
                tracing::warn!(
                    name,
                    error,
                    kept = entry.addresses.len(),
                    "the name does not resolve; its last addresses are kept"
                );
                false
            }
        }
    }
}

async fn look_up(resolver: Option<TokioResolver>, name: Arc<str>) -> (Arc<str>, Resolution) {
    let Some(resolver) = resolver else { return (name, Err(LookUpError::Other("there is no resolver".to_owned()))) };
    let answer = match tokio::time::timeout(PATIENCE, resolver.lookup_ip(&*name)).await {
        Err(_) => Err(LookUpError::TimedOut),
        Ok(Err(error)) => Err(LookUpError::Other(error.to_string())),
        Ok(Ok(found)) => Ok((found.iter().collect(), Instant::from_std(found.as_lookup().valid_until()))),
    };
    (name, answer)
}
