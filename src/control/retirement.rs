//! What publications leave behind: old parts that workers may still hold, and names that are gone.
//!
//! The control plane lets go of an old part last, so that freeing ten thousand routes stalls no worker. A name keeps its
//! label and its series for an hour, so that what comes back soon goes on counting.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::snapshot::{Label, Labels, Snapshot};

/// How long a name that is gone keeps its label and its series.
const LABEL_KEPT: Duration = Duration::from_hours(1);

/// Old parts, each kept until nobody else has it.
#[derive(Default)]
pub(super) struct Retired(Vec<Arc<dyn Any + Send + Sync>>);

impl Retired {
    /// Takes `before`, with its services and tables that `now` does not have: what is large, and what workers hold.
    pub(super) fn take(&mut self, before: &Arc<Snapshot>, now: &Snapshot) {
        fn pointers<T>(parts: impl Iterator<Item = T>, of: impl Fn(T) -> usize) -> HashSet<usize> {
            parts.map(of).collect()
        }
        let kept = pointers(now.services.iter(), |service| Arc::as_ptr(service).addr());
        let gone = before.services.iter().filter(|service| !kept.contains(&Arc::as_ptr(service).addr()));
        self.0.extend(gone.map(|service| Arc::clone(service) as Arc<dyn Any + Send + Sync>));
        let kept = pointers(now.listeners.iter(), |entrance| Arc::as_ptr(&entrance.table).addr());
        let gone = before.listeners.iter().filter(|entrance| !kept.contains(&Arc::as_ptr(&entrance.table).addr()));
        self.0.extend(gone.map(|entrance| Arc::clone(&entrance.table) as Arc<dyn Any + Send + Sync>));
        self.0.push(Arc::clone(before) as Arc<dyn Any + Send + Sync>);
    }

    /// Takes one service that another took the place of.
    pub(super) fn take_part(&mut self, part: Arc<dyn Any + Send + Sync>) {
        self.0.push(part);
    }

    /// Frees what nobody else has any more; whether there was anything.
    pub(super) fn free(&mut self) -> bool {
        let before = self.0.len();
        // A snapshot holds the parts: freed first, it leaves them with one owner.
        while let Some(at) = self.0.iter().rposition(|part| Arc::strong_count(part) == 1) {
            self.0.swap_remove(at);
        }
        self.0.len() < before
    }
}

/// Since when names are gone.
#[derive(Debug, Default)]
pub(super) struct Gone(HashMap<Label, Instant>);

impl Gone {
    /// The labels that are gone for long enough to be forgotten, of all that there are.
    pub(super) fn due(&mut self, labels: &Labels, snapshot: &Snapshot, now: Instant) -> Vec<Label> {
        let used: HashSet<Label> = (snapshot.listeners.iter().map(|entrance| entrance.listener.label))
            .chain(snapshot.routes.iter().map(|route| route.label))
            .chain(snapshot.services.iter().map(|service| service.label))
            .collect();
        self.0.retain(|label, _| !used.contains(label));
        for label in labels.all().filter(|label| !used.contains(label)) {
            self.0.entry(label).or_insert(now);
        }
        let is_due = |since: &Instant| now.duration_since(*since) >= LABEL_KEPT;
        let due: Vec<_> = self.0.iter().filter(|(_, since)| is_due(since)).map(|(label, _)| *label).collect();
        due.iter().for_each(|label| _ = self.0.remove(label));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_list::SharedList;
    use crate::snapshot::{Entrance, RouteTable, SocketAccess};

    #[test]
    fn a_name_is_forgotten_an_hour_after_it_went_unless_it_came_back() {
        let (mut labels, mut gone) = (Labels::default(), Gone::default());
        let (here, there) = (labels.label("here"), labels.label("there"));
        let mut snapshot = Snapshot::default();
        let start = tokio::time::Instant::now().into_std();
        let minutes = |minutes: u64| start + Duration::from_mins(minutes);
        assert!(gone.due(&labels, &snapshot, minutes(0)).is_empty());
        let service = |label| crate::snapshot::Service {
            name: "".into(),
            label,
            spec: Arc::new(serde_json::from_str("{}").unwrap()),
            endpoints: Vec::new(),
            unresolved: None,
            tls: None,
            ring: None,
            hash_key: None,
            gateway: None,
            tokens: None,
            counts: Arc::default(),
        };
        snapshot.services = std::iter::once(Arc::new(service(there))).collect();
        assert!(gone.due(&labels, &snapshot, minutes(59)).is_empty());
        assert_eq!(gone.due(&labels, &snapshot, minutes(60)), [here]);
        snapshot.services = SharedList::default();
        assert!(gone.due(&labels, &snapshot, minutes(61)).iter().all(|label| *label != there), "it was here till now");
        assert!(gone.due(&labels, &snapshot, minutes(121)).contains(&there));
    }

    #[test]
    fn a_part_is_freed_when_the_last_other_owner_has_let_go() {
        let listener = |label| {
            Arc::new(crate::snapshot::Listener {
                chain: crate::filter::Chain::default(),
                filters: Vec::new(),
                filters_print: 0,
                name: "".into(),
                label,
                spec: Arc::new(serde_json::from_str("{\"address\": \":80\"}").unwrap()),
                port: 80,
                access: SocketAccess::default(),
                tls: None,
            })
        };
        let table: Arc<RouteTable> = Arc::default();
        let held = Arc::downgrade(&table);
        let entrance = Entrance { listener: listener(Label::default()), table: Arc::clone(&table) };
        let before = Arc::new(Snapshot { listeners: vec![entrance], ..Snapshot::default() });
        let mut retired = Retired::default();
        retired.take(&before, &Snapshot::default());
        drop(before);
        retired.free();
        assert!(held.upgrade().is_some(), "a worker has it");
        drop(table);
        retired.free();
        assert!(held.upgrade().is_none());
        assert!(retired.0.is_empty());
    }
}
