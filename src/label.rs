//! Names as numbers, which are never given twice.

use std::collections::HashMap;
use std::sync::Arc;

/// A name as a number that stays the same from one snapshot to the next, and is never another name's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(u32);

impl Label {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The names of what is configured, or was not long ago. Number 0 is the empty name.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    names: HashMap<Label, Arc<str>>,
    known: HashMap<Arc<str>, Label>,
    latest: u32,
}

impl Labels {
    /// The label of a name, new if need be.
    pub fn label(&mut self, name: &str) -> Label {
        if let Some(label) = self.known(name) {
            return label;
        }
        // Four thousand million names are more than a process meets.
        self.latest = self.latest.saturating_add(1);
        let (label, name): (_, Arc<str>) = (Label(self.latest), name.into());
        self.names.insert(label, Arc::clone(&name));
        self.known.insert(name, label);
        label
    }

    /// The label of a name that has one.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Label> {
        if name.is_empty() { Some(Label::default()) } else { self.known.get(name).copied() }
    }

    /// The name of a label; empty where it is forgotten.
    #[must_use]
    pub fn name(&self, label: Label) -> &str {
        self.names.get(&label).map_or("", |name| name)
    }

    /// All labels but that of the empty name.
    pub fn all(&self) -> impl Iterator<Item = Label> {
        self.names.keys().copied()
    }

    /// Forgets labels and their names.
    pub fn forget(&mut self, labels: &[Label]) {
        for label in labels {
            if let Some(name) = self.names.remove(label) {
                self.known.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_never_given_to_another_name() {
        let mut labels = Labels::default();
        let (first, second) = (labels.label("a"), labels.label("b"));
        assert_eq!((labels.label("a"), labels.name(second)), (first, "b"));
        assert_eq!((labels.label(""), labels.name(Label::default())), (Label::default(), ""));
        labels.forget(&[first]);
        assert_eq!((labels.name(first), labels.known("a")), ("", None));
        let again = labels.label("a");
        assert!(again != first && again != second);
        assert_eq!(labels.all().count(), 2);
    }
}
