//! Whether an annotation of another controller means here what it means there.

use super::{nginx, traefik};
use crate::config::kubernetes::Dialect;

/// What becomes of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The same.
    Same,
    /// Nearly the same; in what it differs.
    Differs(&'static str),
    /// It is refused; why.
    Refused(&'static str),
    /// There is nothing to do; why.
    Nothing(&'static str),
}

impl Meaning {
    /// In words, and how or why.
    #[must_use]
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Same => ("as before", ""),
            Self::Differs(how) => ("differs", how),
            Self::Refused(why) => ("refused", why),
            Self::Nothing(why) => ("nothing to do", why),
        }
    }

    /// As a cell of a table.
    #[must_use]
    pub fn cell(self) -> String {
        let (word, how) = self.words();
        if how.is_empty() { word.to_owned() } else { format!("{word}: {how}") }
    }
}

/// What becomes of an annotation by its whole name; `None` where it is none of this dialect's, `Some(None)` where only its prefix is.
#[must_use]
pub fn meaning(dialect: Dialect, key: &str) -> Option<Option<Meaning>> {
    match dialect {
        Dialect::Ringress => None,
        Dialect::IngressNginx => {
            let name = key.strip_prefix(nginx::rows::PREFIX)?;
            Some(nginx::rows::row_of(name).map(|row| row.meaning))
        }
        Dialect::Traefik1 => {
            let row = traefik::rows::row_of_key(key);
            let is_of = traefik::rows::PREFIXES.iter().any(|prefix| key.starts_with(prefix));
            (is_of || row.is_some()).then_some(row.map(|row| row.meaning))
        }
    }
}
