//! Something that no log and no message may show.

/// A secret: it is itself, and shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden<T>(pub T);

impl Hidden<[u8; 32]> {
    /// A key that nobody else has.
    #[must_use]
    pub fn random() -> Self {
        let mut key = [0; 32];
        for part in key.as_chunks_mut::<8>().0 {
            *part = fastrand::u64(..).to_be_bytes();
        }
        // Better than that where the system gives it, which it does.
        let _ = aws_lc_rs::rand::fill(&mut key);
        Self(key)
    }
}

impl<T> std::fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Hidden("a password")), "(hidden)");
    }
}
