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
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::compile::{Resolved, TimedOut};

/// Names with a shorter time to live are asked for this often all the same.
const SHORTEST: Duration = Duration::from_secs(1);
/// Names with a longer time to live are asked for this often all the same.
const LONGEST: Duration = Duration::from_secs(300);
/// How long after its first failure a name is asked for again; twice as long after each that follows.
const RETRY: Duration = Duration::from_secs(5);
/// How long at most.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Failures in a row between two lines of the log: the first is told, then the one after so many, then so many times more.
const TOLD_FACTOR: u32 = 8;
/// How long one name is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct ResolvedName {
    addresses: Vec<IpAddr>,
    has_timed_out: bool,
    due: Instant,
    /// Failures in a row, and how many there are when it is told next.
    failures: u32,
    told_at: u32,
}

impl ResolvedName {
    /// One that is due, and of which nothing is known.
    fn unknown() -> Self {
        Self { addresses: Vec::new(), has_timed_out: false, due: Instant::now(), failures: 0, told_at: 1 }
    }
}

/// What a look-up gave: addresses and until when they hold.
type Resolution = Result<(Vec<IpAddr>, Instant), LookUpError>;

/// Why a name did not resolve.
#[derive(Debug)]
enum LookUpError {
    TimedOut,
    /// NXDOMAIN.
    NoName,
    /// The name is there and has neither A nor AAAA.
    NoAddress,
    /// No name server could be asked, or none had an answer.
    NoServer,
    Other(String),
}

/// What names resolved to.
#[derive(Debug)]
pub struct Resolver {
    client: Option<TokioResolver>,
    entries: HashMap<Arc<str>, ResolvedName>,
    /// Look-ups of names that are due, in the background.
    asked: JoinSet<(Arc<str>, Resolution)>,
}

impl Resolver {
    /// With the system's configuration; where it cannot be read, with the hosts file alone.
    #[must_use]
    pub fn of_system() -> Self {
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the resolver's configuration cannot be read; names come from the hosts file");
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        let client = builder.build().inspect_err(|error| tracing::error!(%error, "names cannot be resolved")).ok();
        Self { client, entries: HashMap::new(), asked: JoinSet::new() }
    }

    /// What is known now.
    #[must_use]
    pub fn resolved(&self) -> Resolved {
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
    pub async fn learn(&mut self, names: impl Iterator<Item = &Arc<str>>) {
        let mut tasks = JoinSet::new();
        for name in names.filter(|name| !self.entries.contains_key(*name)) {
            tasks.spawn(look_up(self.client.clone(), Arc::clone(name)));
        }
        while let Some(Ok((name, answer))) = tasks.join_next().await {
            self.entries.insert(Arc::clone(&name), ResolvedName::unknown());
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
                if entry.failures > 0 || is_changed && !entry.addresses.is_empty() {
                    let (from, to) = (in_words(&entry.addresses), in_words(&addresses));
                    tracing::info!(name, from, to, failures = entry.failures, "the name resolves");
                }
                (entry.failures, entry.told_at) = (0, 1);
                entry.addresses = addresses;
                is_changed
            }
            Err(error) => {
                entry.failures = entry.failures.saturating_add(1);
                let wait = RETRY.saturating_mul(1 << (entry.failures - 1).min(8)).min(RETRY_MAX);
                entry.due = Instant::now() + wait;
                let has_timed_out = matches!(error, LookUpError::TimedOut);
                let is_news = entry.has_timed_out != has_timed_out && entry.addresses.is_empty();
                entry.has_timed_out = has_timed_out;
                if entry.failures >= entry.told_at {
                    entry.told_at = entry.failures.saturating_mul(TOLD_FACTOR);
                    let (reason, kept, failures) = (error.in_words(), in_words(&entry.addresses), entry.failures);
                    let then = if entry.addresses.is_empty() {
                        "its endpoints take no requests until it does"
                    } else {
                        "its last addresses are kept"
                    };
                    let again_s = wait.as_secs();
                    tracing::warn!(name, reason, failures, kept, again_s, "the name does not resolve; {then}");
                }
                // What requests are told depends on why.
                is_news
            }
        }
    }
}

impl LookUpError {
    /// For people.
    fn in_words(&self) -> &str {
        match self {
            Self::TimedOut => "no name server answered in time",
            Self::NoName => "there is no such name",
            Self::NoAddress => "the name has no address",
            Self::NoServer => "no name server could be asked, or none had an answer",
            Self::Other(error) => error,
        }
    }
}

/// Addresses in one word; `none` where there are none.
fn in_words(addresses: &[IpAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    if addresses.is_empty() { "none".to_owned() } else { addresses.join(",") }
}

fn told_by(error: &NetError) -> LookUpError {
    let is_empty = |error: &NetError| matches!(error, NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError);
    if matches!(error, NetError::Timeout) {
        LookUpError::TimedOut
    } else if error.is_nx_domain() {
        LookUpError::NoName
    } else if is_empty(error) {
        LookUpError::NoAddress
    } else if matches!(error, NetError::Dns(_) | NetError::NoConnections | NetError::Io(_)) {
        LookUpError::NoServer
    } else {
        LookUpError::Other(error.to_string())
    }
}

async fn look_up(resolver: Option<TokioResolver>, name: Arc<str>) -> (Arc<str>, Resolution) {
    let Some(resolver) = resolver else { return (name, Err(LookUpError::Other("there is no resolver".to_owned()))) };
    let answer = match tokio::time::timeout(PATIENCE, resolver.lookup_ip(&*name)).await {
        Err(_) => Err(LookUpError::TimedOut),
        Ok(Err(error)) => Err(told_by(&error)),
        Ok(Ok(found)) => Ok((found.iter().collect(), Instant::from_std(found.as_lookup().valid_until()))),
    };
    (name, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_resolve_is_asked_for_ever_less_often_and_told_even_less() {
        let name: Arc<str> = "a.test".into();
        let mut resolver = Resolver { client: None, entries: HashMap::new(), asked: JoinSet::new() };
        let known =
            ResolvedName { addresses: Vec::new(), has_timed_out: false, due: Instant::now(), failures: 0, told_at: 1 };
        resolver.entries.insert(Arc::clone(&name), known);
        let mut told = Vec::new();
        let mut waits = Vec::new();
        for failure in 1..=100_u32 {
            let before = resolver.entries[&name].told_at;
            assert!(!resolver.take(&name, Err(LookUpError::NoName)), "nothing is new");
            let entry = &resolver.entries[&name];
            waits.push((entry.due - Instant::now()).as_secs_f64().round());
            if entry.told_at != before {
                told.push(failure);
            }
        }
        assert_eq!(waits[..5], [5.0, 10.0, 20.0, 30.0, 30.0]);
        assert_eq!(told, [1, 8, 64]);
        let until = Instant::now() + SHORTEST;
        assert!(resolver.take(&name, Ok((vec![[127, 0, 0, 1].into()], until))));
        let entry = &resolver.entries[&name];
        assert_eq!((entry.failures, entry.told_at), (0, 1));
        assert!(!resolver.take(&name, Err(LookUpError::TimedOut)), "the last addresses are kept");
        assert_eq!(resolver.resolved()[&name], Ok(vec![[127, 0, 0, 1].into()]));
    }
}
