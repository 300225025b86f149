//! What filters of a configuration share, and keep from one publication to the next: counters by name, and names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use super::counters::in_flight::{InFlightTerms, InFlightZone};
use super::counters::rate::{RateTerms, RateZone};
use super::fetch_source::FetchSource;
use crate::label::Label;
use crate::units::Material;
use crate::units::hidden::Hidden;

/// What filters share.
#[derive(Debug, Default)]
pub struct SharedParts {
    rates: Zones<RateZone>,
    in_flight: Zones<InFlightZone>,
    fetched: HashMap<FetchSource, Arc<[u8]>>,
    wanted: HashSet<FetchSource>,
    words: HashSet<&'static str>,
    services: HashMap<Arc<str>, Label>,
    /// Those of them that do not speak HTTP.
    gateways: HashSet<Label>,
    secret: ProcessSecret,
    materials: BTreeMap<Material, Result<Arc<[u8]>, String>>,
}

/// Random bytes that this process alone has, for as long as it lives.
#[derive(Debug)]
struct ProcessSecret(Hidden<[u8; 32]>);

impl Default for ProcessSecret {
    fn default() -> Self {
        Self(Hidden::random())
    }
}

/// Counters by name.
#[derive(Debug)]
struct Zones<Z> {
    /// Those that this configuration names.
    named: HashMap<String, Arc<Z>>,
    /// All that somebody has, whichever configuration made them: one that was refused must not put those aside that are in use.
    known: HashMap<String, Vec<Weak<Z>>>,
}

impl<Z> Default for Zones<Z> {
    fn default() -> Self {
        Self { named: HashMap::new(), known: HashMap::new() }
    }
}

impl<Z> Zones<Z> {
    fn begin(&mut self) {
        self.named.clear();
        self.known.values_mut().for_each(|zones| zones.retain(|zone| zone.strong_count() > 0));
        self.known.retain(|_, zones| !zones.is_empty());
    }

    fn zone(&mut self, name: &str, is_alike: impl Fn(&Z) -> bool, fresh: impl FnOnce() -> Z) -> Option<Arc<Z>> {
        if let Some(zone) = self.named.get(name) {
            return is_alike(zone).then(|| Arc::clone(zone));
        }
        let known = self.known.entry(name.to_owned()).or_default();
        // The oldest: it is the one that is in use.
        let alike = known.iter().filter_map(Weak::upgrade).find(|zone| is_alike(zone));
        let zone = alike.unwrap_or_else(|| {
            let zone = Arc::new(fresh());
            known.push(Arc::downgrade(&zone));
            zone
        });
        self.named.insert(name.to_owned(), Arc::clone(&zone));
        Some(zone)
    }

    fn claim(&mut self, name: &str, zone: &Arc<Z>) -> bool {
        Arc::ptr_eq(self.named.entry(name.to_owned()).or_insert_with(|| Arc::clone(zone)), zone)
    }
}

impl SharedParts {
    /// Another configuration is compiled: what it does not name again is let go.
    pub fn begin(&mut self, materials: BTreeMap<Material, Result<Arc<[u8]>, String>>) {
        self.rates.begin();
        self.in_flight.begin();
        self.wanted.clear();
        self.services.clear();
        self.gateways.clear();
        self.materials = materials;
    }

    /// There is a service of this name; `is_gateway` where it does not speak HTTP.
    pub fn put_service(&mut self, name: &Arc<str>, label: Label, is_gateway: bool) {
        self.services.insert(Arc::clone(name), label);
        if is_gateway {
            self.gateways.insert(label);
        }
    }

    /// True where the service of this label does not speak HTTP.
    pub(super) fn is_gateway(&self, label: Label) -> bool {
        self.gateways.contains(&label)
    }

    /// The label of a service.
    pub(super) fn service(&self, name: &str) -> Option<Label> {
        self.services.get(name).copied()
    }

    /// Random bytes that this process alone has.
    pub(super) const fn process_secret(&self) -> &[u8; 32] {
        &self.secret.0.0
    }

    /// Bytes that a filter names.
    ///
    /// # Errors
    /// Why they could not be read.
    pub fn material(&self, material: &Material) -> Result<Arc<[u8]>, String> {
        self.materials.get(material).cloned().unwrap_or_else(|| Err("it was not read".to_owned()))
    }

    /// The counters of this name, which go on where they count as before; `None` where the same configuration has others of that
    /// name, which count otherwise.
    pub(super) fn rate_zone(&mut self, name: &str, terms: RateTerms) -> Option<Arc<RateZone>> {
        self.rates.zone(name, |zone| zone.is_of(&terms), || RateZone::new(terms.clone()))
    }

    /// The same for requests in flight.
    pub(super) fn in_flight_zone(&mut self, name: &str, terms: InFlightTerms) -> Option<Arc<InFlightZone>> {
        self.in_flight.zone(name, |zone| zone.is_of(&terms), || InFlightZone::new(terms.clone()))
    }

    /// What the control plane shall fetch from there; `None` until it was fetched once.
    pub(super) fn fetched(&mut self, source: FetchSource) -> Option<Arc<[u8]>> {
        let known = self.known(&source);
        self.wanted.insert(source);
        known
    }

    /// The same, for those who only look.
    #[must_use]
    pub fn known(&self, source: &FetchSource) -> Option<Arc<[u8]>> {
        self.fetched.get(source).cloned()
    }

    /// Something was fetched: what is compiled from now on has it. True where it is another than before.
    pub fn put_fetched(&mut self, source: FetchSource, bytes: Arc<[u8]>) -> bool {
        let before = self.fetched.insert(source, Arc::clone(&bytes));
        before.is_none_or(|before| before != bytes)
    }

    /// What this configuration wants to be fetched; all else is forgotten.
    #[must_use]
    pub fn wanted(&mut self) -> Vec<FetchSource> {
        let Self { wanted, fetched, .. } = self;
        fetched.retain(|source, _| wanted.contains(source));
        wanted.iter().cloned().collect()
    }

    /// A filter that is kept as it was names its counters again; false where others have that name by now.
    pub(super) fn claim_rate(&mut self, name: &str, zone: &Arc<RateZone>) -> bool {
        self.rates.claim(name, zone)
    }

    /// The same for requests in flight.
    pub(super) fn claim_in_flight(&mut self, name: &str, zone: &Arc<InFlightZone>) -> bool {
        self.in_flight.claim(name, zone)
    }

    /// A name as causes carry it. Each name takes its bytes once for as long as the process lives: names come from
    /// configurations, never from clients.
    pub(super) fn word(&mut self, name: &str) -> &'static str {
        if let Some(known) = self.words.get(name) {
            return known;
        }
        let word: &'static str = Box::leak(name.to_owned().into_boxed_str());
        self.words.insert(word);
        word
    }
}
