//! How many at once: a number for each key, exactly for the whole process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::table::{Eviction, SharedTable};

/// What a zone counts, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightTerms {
    /// Requests at once.
    pub max: u32,
    /// By what requests are told apart, as it was written.
    pub key: (String, u8),
    /// Keys at most.
    pub keys: usize,
}

/// The counters of one zone, of the whole process.
#[derive(Debug)]
pub struct InFlightZone {
    terms: InFlightTerms,
    table: SharedTable,
}

/// One of those in flight, until this is dropped.
#[derive(Debug)]
pub struct InFlightPlace {
    zone: Arc<InFlightZone>,
    /// The counter that it was counted in: it is given back there, whosever the counter is by then, so that none is ever lost.
    at: [usize; 2],
}

impl InFlightZone {
    /// Counters that nothing was counted in.
    #[must_use]
    pub fn new(terms: InFlightTerms) -> Self {
        let table = SharedTable::new(terms.keys);
        Self { terms, table }
    }

    /// True where it counts so.
    #[must_use]
    pub fn is_of(&self, terms: &InFlightTerms) -> bool {
        self.terms == *terms
    }

    /// Takes a place for this key; `None` where there is none.
    #[must_use]
    pub fn take(self: &Arc<Self>, key: &[u8]) -> Option<InFlightPlace> {
        let max = u64::from(self.terms.max);
        let at = self.table.place_of(key, Eviction::IfZero)?;
        let count = self.table.at(at)?;
        let more = |count: u64| (count < max).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(InFlightPlace { zone: Arc::clone(self), at })
    }
}

impl Drop for InFlightPlace {
    fn drop(&mut self) {
        if let Some(count) = self.zone.table.at(self.at) {
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        }
    }
}
