//! Texts that clients carry for us and can neither read nor change: AES-256-GCM.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Seals and opens texts.
pub struct Sealer {
    /// The first one seals; all of them open.
    keys: Vec<RandomizedNonceKey>,
    /// For whom: what was sealed for another client is nothing here.
    whose: String,
}

/// Never the keys.
impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl Sealer {
    /// One with a key for each of these secrets; `None` without any.
    #[must_use]
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>, whose: String) -> Option<Self> {
        let key = |secret: &[u8]| {
            let hash = digest(&SHA256, &[b"ringress session\n", secret].concat());
            RandomizedNonceKey::new(&AES_256_GCM, hash.as_ref()).ok()
        };
        let keys: Vec<_> = secrets.into_iter().filter_map(key).collect();
        (!keys.is_empty()).then_some(Self { keys, whose })
    }

    fn aad(&self, purpose: &str) -> Aad<Vec<u8>> {
        Aad::from(format!("{purpose}\n{}", self.whose).into_bytes())
    }

    /// The sealed text, of letters, digits, `-` and `_`; `None` where there is no randomness.
    #[must_use]
    pub fn seal(&self, purpose: &str, text: &[u8]) -> Option<String> {
        let mut sealed = text.to_vec();
        let nonce = self.keys.first()?.seal_in_place_append_tag(self.aad(purpose), &mut sealed).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &sealed].concat()))
    }

    /// What was sealed for this purpose; `None` for anything else.
    #[must_use]
    pub fn open(&self, purpose: &str, text: &[u8]) -> Option<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut opened = sealed.to_vec();
            let length = key.open_in_place(nonce, self.aad(purpose), &mut opened).ok()?.len();
            opened.truncate(length);
            Some(opened)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_by_a_known_secret_for_the_purpose_is_opened() {
        let sealer = |secrets: &[&'static [u8]]| Sealer::new(secrets.iter().copied(), "me".to_owned()).unwrap();
        let old = sealer(&[b"old"]);
        let sealed = old.seal("session", b"text").unwrap();
        assert_ne!(sealed, old.seal("session", b"text").unwrap(), "no two are alike");
        for (secrets, opened) in
            [(&[&b"old"[..]][..], true), (&[b"new", b"old"], true), (&[b"new"], false), (&[b"old", b"new"], true)]
        {
            assert_eq!(sealer(secrets).open("session", sealed.as_bytes()).is_some(), opened, "{secrets:?}");
        }
        assert_eq!(old.open("session", sealed.as_bytes()).unwrap(), b"text");
        assert!(old.open("state", sealed.as_bytes()).is_none(), "of another purpose");
        let other = Sealer::new([&b"old"[..]], "other".to_owned()).unwrap();
        assert!(other.open("session", sealed.as_bytes()).is_none(), "of another client");
        for at in 0..sealed.len() {
            let mut broken = sealed.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            assert!(old.open("session", &broken).is_none_or(|text| text == b"text" && at + 1 == sealed.len()), "{at}");
        }
        for text in ["", "A", "AAAAAAAAAAAAAAAA", "\u{e9}"] {
            assert!(old.open("session", text.as_bytes()).is_none());
        }
        assert!(Sealer::new([], String::new()).is_none());
    }
}
