//! Regular expressions of the paths of one host, in sets: one pass over a path tells which match.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::limits::{REGEX_SET_BYTES_MAX, REGEX_SETS_MAX};

/// Expressions in sets, mostly in one. Those for which there is no room are in none.
#[derive(Debug, Default)]
pub(super) struct ExpressionSets {
    /// Each with the position of its first expression.
    sets: Vec<(usize, RegexSet)>,
    /// How many expressions are in sets, from the first on.
    count: usize,
}

impl ExpressionSets {
    fn new(patterns: &[String]) -> Self {
        let mut built = Self::default();
        while let Some(rest) = patterns.get(built.count..).filter(|rest| !rest.is_empty()) {
            // Half as many, until they fit.
            let counts = std::iter::successors(Some(rest.len()), |count| (*count > 1).then(|| count.div_ceil(2)));
            let set = |count: usize| {
                let set = RegexSetBuilder::new(rest.iter().take(count)).size_limit(REGEX_SET_BYTES_MAX).build();
                set.ok().map(|set| (count, set))
            };
            let Some((count, set)) = counts.take_while(|_| built.sets.len() < REGEX_SETS_MAX).find_map(set) else {
                break;
            };
            built.sets.push((built.count, set));
            built.count += count;
        }
        built
    }

    /// How many expressions are in sets, from the first on.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The positions of those that match a path, in their order.
    pub(super) fn matching<'m>(&'m self, path: &'m [u8]) -> impl Iterator<Item = usize> + 'm {
        self.sets.iter().flat_map(move |(offset, set)| set.matches(path).into_iter().map(move |at| offset + at))
    }
}

/// The sets that some table has: a change of others' routes builds none of them again.
#[derive(Debug, Default)]
pub struct KnownExpressions(HashMap<Vec<String>, Weak<ExpressionSets>>);

impl KnownExpressions {
    /// The sets of these expressions.
    pub(super) fn sets(&mut self, patterns: Vec<String>) -> Arc<ExpressionSets> {
        if let Some(known) = self.0.get(&patterns).and_then(Weak::upgrade) {
            return known;
        }
        let built = Arc::new(ExpressionSets::new(&patterns));
        self.0.insert(patterns, Arc::downgrade(&built));
        built
    }

    /// Forgets those that no table has any more.
    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, sets| sets.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_built_once_for_as_long_as_somebody_has_them() {
        let mut known = KnownExpressions::default();
        let patterns = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let first = known.sets(patterns(["^/a", "^/b"]));
        assert!(Arc::ptr_eq(&first, &known.sets(patterns(["^/a", "^/b"]))));
        assert!(!Arc::ptr_eq(&first, &known.sets(patterns(["^/b", "^/a"]))), "their order counts");
        assert_eq!((first.count(), first.matching(b"/b").collect::<Vec<_>>()), (2, vec![1]));
        known.forget_unused();
        assert_eq!(known.0.len(), 1);
        drop(first);
        known.forget_unused();
        assert!(known.0.is_empty());
    }
}
