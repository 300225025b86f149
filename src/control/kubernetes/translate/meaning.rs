//! Whether an annotation of another controller means here what it means there.

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
