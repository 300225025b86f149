//! Resolves names of endpoints, again when their time to live is over, away from the workers.
//!
//! A name that stops resolving keeps its last addresses: better an address that may be old than none.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::Instant;

use super::compile::Resolved;

/// Names with a shorter time to live are asked for this often all the same.
const SHORTEST: Duration = Duration::from_secs(1);
/// Names with a longer time to live are asked for this often all the same.
const LONGEST: Duration = Duration::from_secs(300);
/// How long after a failure a name is asked for again.
const RETRY: Duration = Duration::from_secs(5);
/// How long one name is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

struct Entry {
    addresses: Vec<IpAddr>,
    due: Instant,
}

/// What names resolved to.
pub(super) struct Resolver {
    resolver: Option<TokioResolver>,
    entries: HashMap<Arc<str>, Entry>,
}

impl Resolver {
    /// With the system's configuration; where it cannot be read, with the hosts file alone.
    pub(super) fn new() -> Self {
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the resolver's configuration cannot be read; names come from the hosts file");
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        let resolver = builder.build().inspect_err(|error| tracing::error!(%error, "names cannot be resolved")).ok();
        Self { resolver, entries: HashMap::new() }
    }

    /// What is known now.
    pub(super) fn resolved(&self) -> Resolved {
        let known = self.entries.iter().filter(|(_, entry)| !entry.addresses.is_empty());
        known.map(|(name, entry)| (Arc::clone(name), entry.addresses.clone())).collect()
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.due).min()
    }

    /// Asks for the names that are new or due, all at once; names that are not wanted are forgotten.
    /// True where an address came or went.
    pub(super) async fn refresh(&mut self, names: &BTreeSet<Arc<str>>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|name, _| names.contains(name));
        let mut is_changed = self.entries.len() != before;
        let now = Instant::now();
        let is_due = |name: &&Arc<str>| self.entries.get(*name).is_none_or(|entry| entry.due <= now);
        let due: Vec<_> = names.iter().filter(is_due).cloned().collect();
        let mut tasks = tokio::task::JoinSet::new();
        for name in due {
            let resolver = self.resolver.clone();
            tasks.spawn(async move {
                let found = look_up(resolver, &name).await;
                (name, found)
            });
        }
        while let Some(Ok((name, found))) = tasks.join_next().await {
            is_changed |= self.take(name, found);
        }
        is_changed
    }

    fn take(&mut self, name: Arc<str>, found: Result<(Vec<IpAddr>, Instant), String>) -> bool {
        let entry = self
            .entries
            .entry(Arc::clone(&name))
            .or_insert_with(|| Entry { addresses: Vec::new(), due: Instant::now() });
        match found {
            Ok((mut addresses, until)) => {
                // Servers rotate the order; only the set matters.
                addresses.sort_unstable();
                addresses.dedup();
                let now = Instant::now();
                entry.due = until.clamp(now + SHORTEST, now + LONGEST);
                let is_changed = entry.addresses != addresses;
                entry.addresses = addresses;
                is_changed
            }
            Err(error) => {
                entry.due = Instant::now() + RETRY;
                let kept = entry.addresses.len();
                tracing::warn!(name = &*name, error, kept, "the name does not resolve; its last addresses are kept");
                false
            }
        }
    }
}

async fn look_up(resolver: Option<TokioResolver>, name: &str) -> Result<(Vec<IpAddr>, Instant), String> {
    let resolver = resolver.ok_or("there is no resolver")?;
    let answer = tokio::time::timeout(PATIENCE, resolver.lookup_ip(name)).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let until = Instant::from_std(answer.as_lookup().valid_until());
    Ok((answer.iter().collect(), until))
}
