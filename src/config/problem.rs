//! A problem of a configuration: where it is, what it is and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<PathBuf>,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, dotted, with list positions as numbers from 0; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place.file.display())?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// The candidate nearest to `word`, where one is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_what_was_meant_and_nonsense_finds_nothing() {
        assert_eq!(nearest("servce", ["service", "paths"]), Some("service"));
        assert_eq!(nearest("adress", ["address", "timeouts"]), Some("address"));
        assert_eq!(nearest("zzzzzz", ["address", "timeouts"]), None);
    }
}
