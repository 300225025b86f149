//! The paths of one host: exact, by regular expression, by prefix.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use regex::bytes::Regex;

use super::condition::Conditions;
use super::expressions::{ExpressionSets, KnownExpressions};
use crate::proto::h1::request::RequestHead;

/// Keys come from configurations, never from clients, so a fixed hash is no target.
pub(super) type Map<V> = HashMap<Box<[u8]>, V, FixedState>;

/// A condition on the normalised path.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path.
    Exact(Box<[u8]>),
    /// This path and what is below it; without a final slash, so empty for all.
    Prefix(Box<[u8]>),
    /// Paths whose bytes begin so.
    StartsWith(Box<[u8]>),
    /// Found in the path.
    Regex(Regex),
}

impl PathPattern {
    /// This path and no other.
    #[must_use]
    pub fn exact(path: &str) -> Self {
        Self::Exact(path.as_bytes().into())
    }

    /// This path and all below it, by whole elements; a final slash does not matter.
    #[must_use]
    pub fn prefix(path: &str) -> Self {
        Self::Prefix(path.trim_end_matches('/').as_bytes().into())
    }

    /// Paths whose bytes begin so.
    #[must_use]
    pub fn starts_with(start: &str) -> Self {
        Self::StartsWith(start.as_bytes().into())
    }

    /// A regular expression searched in the path.
    ///
    /// # Errors
    /// The message of the regex crate.
    pub fn regex(pattern: &str) -> Result<Self, String> {
        Regex::new(pattern).map(Self::Regex).map_err(|error| error.to_string())
    }
}

/// A route that still has conditions to meet.
#[derive(Debug)]
struct Candidate {
    route: usize,
    conditions: Arc<Conditions>,
}

/// Candidates in the order of their precedence.
type Candidates = Vec<Candidate>;

#[derive(Debug, Default)]
pub(super) struct PathTable {
    exact: Map<Candidates>,
    prefix: Map<Candidates>,
    prefix_bytes_max: usize,
    /// By the bytes that paths begin with.
    starts: Map<Candidates>,
    /// The lengths of those, the longest first.
    start_lengths: Vec<usize>,
    /// By regular expressions, in the order of their precedence.
    by_expression: Vec<Candidate>,
    /// Those expressions, until they are in sets.
    patterns: Vec<String>,
    /// Those sets; `None` where there is no expression.
    expressions: Option<Arc<ExpressionSets>>,
}

impl PathTable {
    pub(super) fn insert(&mut self, path: &PathPattern, route: usize, conditions: &Arc<Conditions>) {
        let candidate = Candidate { route, conditions: Arc::clone(conditions) };
        match path {
            PathPattern::Exact(path) => self.exact.entry(path.clone()).or_default().push(candidate),
            PathPattern::Prefix(prefix) => {
                self.prefix_bytes_max = self.prefix_bytes_max.max(prefix.len());
                self.prefix.entry(prefix.clone()).or_default().push(candidate);
            }
            PathPattern::StartsWith(start) => {
                if let Err(at) = self.start_lengths.binary_search_by(|known| start.len().cmp(known)) {
                    self.start_lengths.insert(at, start.len());
                }
                self.starts.entry(start.clone()).or_default().push(candidate);
            }
            PathPattern::Regex(regex) => {
                self.by_expression.push(candidate);
                self.patterns.push(regex.as_str().to_owned());
            }
        }
    }

    /// Puts the expressions into sets. The routes of those for which there is no room are put into `left_out`: a request that could be theirs
    /// gets one of them.
    pub(super) fn finish(&mut self, known: &mut KnownExpressions, left_out: &mut Vec<usize>) {
        if self.by_expression.is_empty() {
            return;
        }
        let sets = known.sets(std::mem::take(&mut self.patterns));
        left_out.extend(self.by_expression.iter().skip(sets.count()).map(|candidate| candidate.route));
        self.expressions = Some(sets);
    }

    pub(super) fn find(&self, head: &RequestHead) -> Option<usize> {
        // `OPTIONS *` asks about the server as a whole: only what matches every path matches it.
        let path = if head.path() == b"*" { b"" } else { head.path() };
        let first = |candidates: &Candidates| {
            candidates.iter().find(|candidate| candidate.conditions.are_met(head)).map(|candidate| candidate.route)
        };
        if let Some(route) = self.exact.get(path).and_then(first) {
            return Some(route);
        }
        if let Some(expressions) = &self.expressions {
            let matching = expressions.matching(path).chain(expressions.count()..self.by_expression.len());
            let mut candidates = matching.filter_map(|at| self.by_expression.get(at));
            if let Some(candidate) = candidates.find(|candidate| candidate.conditions.are_met(head)) {
                return Some(candidate.route);
            }
        }
        self.find_longest(path, first)
    }

    /// The longest beginning first, whichever of the two kinds it is; of the same length the one by whole elements.
    fn find_longest(&self, path: &[u8], first: impl Fn(&Candidates) -> Option<usize>) -> Option<usize> {
        if self.starts.is_empty() {
            return self.prefixes(path).find_map(|(_, candidates)| first(candidates));
        }
        let lengths = self.start_lengths.iter().filter(|length| **length <= path.len());
        let mut starts = lengths.filter_map(|length| Some((*length, self.starts.get(&path[..*length])?))).peekable();
        let mut prefixes = self.prefixes(path).peekable();
        loop {
            let is_start = match (starts.peek(), prefixes.peek()) {
                (Some((start, _)), Some((prefix, _))) => start > prefix,
                (start, _) => start.is_some(),
            };
            let (_, candidates) = if is_start { starts.next() } else { prefixes.next() }?;
            if let Some(route) = first(candidates) {
                return Some(route);
            }
        }
    }

    /// The prefixes of a path that are known, the longest first, each with its length. Only lengths up to the longest known one are
    /// tried, so that a long path of many elements costs no more than a short one.
    fn prefixes<'p>(&'p self, path: &'p [u8]) -> impl Iterator<Item = (usize, &'p Candidates)> {
        let trimmed = path.strip_suffix(b"/").unwrap_or(path);
        let window = &trimmed[..trimmed.len().min(self.prefix_bytes_max + 1)];
        let whole = (trimmed.len() <= self.prefix_bytes_max).then_some(trimmed.len());
        let cuts = memchr::memrchr_iter(b'/', window).filter(|at| *at < trimmed.len());
        let cuts = whole.into_iter().chain(cuts).take(if self.prefix.is_empty() { 0 } else { usize::MAX });
        cuts.filter_map(|at| Some((at, self.prefix.get(&trimmed[..at])?)))
    }
}
