//! Password hashes as `htpasswd` and others write them: bcrypt, SHA-crypt, apr1, SHA-1, and plain text.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use sha1::Sha1;

/// What a hash is, by its first characters; `None` for one that nothing here verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// `$2a$`, `$2b$`, `$2y$`: htpasswd -B.
    Bcrypt,
    /// `$5$`, `$6$`: SHA-crypt, htpasswd -2 and -5.
    ShaCrypt,
    /// `$apr1$`: htpasswd -m.
    Apr1,
    /// `{SHA}`: htpasswd -s.
    Sha1,
    /// `{PLAIN}`.
    Plain,
}

impl HashKind {
    /// The kind of a hash.
    #[must_use]
    pub fn of(hash: &str) -> Option<Self> {
        let begins = |start: &str| hash.starts_with(start);
        if begins("$2a$") || begins("$2b$") || begins("$2y$") {
            Some(Self::Bcrypt)
        } else if begins("$5$") || begins("$6$") {
            Some(Self::ShaCrypt)
        } else if begins("$apr1$") {
            Some(Self::Apr1)
        } else if begins("{SHA}") {
            Some(Self::Sha1)
        } else if begins("{PLAIN}") {
            Some(Self::Plain)
        } else {
            None
        }
    }

    /// True where it takes so long to compute, from a third of a millisecond to seconds, that no worker may do it.
    #[must_use]
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Bcrypt | Self::ShaCrypt | Self::Apr1)
    }
}

/// True where the hash is of this password. What differs takes as long as what does not.
#[must_use]
pub fn verify(hash: &str, password: &[u8]) -> bool {
    match HashKind::of(hash) {
        None => false,
        Some(HashKind::Bcrypt) => bcrypt::verify(password, hash).unwrap_or(false),
        Some(HashKind::ShaCrypt) => ShaCrypt::default().verify_password(password, hash).is_ok(),
        Some(HashKind::Apr1) => {
            let salt = hash["$apr1$".len()..].split('$').next().unwrap_or_default();
            let salt = &salt.as_bytes()[..salt.len().min(8)];
            are_equal(apr1(password, salt).as_bytes(), hash.as_bytes())
        }
        Some(HashKind::Sha1) => {
            let digest = BASE64_STANDARD.encode(Sha1::digest(password));
            are_equal(digest.as_bytes(), &hash.as_bytes()["{SHA}".len()..])
        }
        Some(HashKind::Plain) => are_equal(password, &hash.as_bytes()["{PLAIN}".len()..]),
    }
}

/// Compares in a time that tells nothing but the lengths.
#[must_use]
pub fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && std::hint::black_box(one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

/// Apache's MD5: the crypt of FreeBSD with another magic word (`apr_md5_encode`).
fn apr1(password: &[u8], salt: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let alternate = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(b"$apr1$").chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        first.update(&alternate[..left.min(16)]);
        left = left.saturating_sub(16);
    }
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { &[0] } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1_000 {
        let mut next = Md5::new();
        let parts = [password, &digest[..]];
        next.update(parts[usize::from(round % 2 == 0)]);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(parts[usize::from(round % 2 == 1)]);
        digest = next.finalize();
    }
    let mut text = format!("$apr1${}$", String::from_utf8_lossy(salt));
    let mut put = |value: u32, length: u32| {
        text.extend((0..length).map(|at| char::from(DIGITS[(value >> (6 * at)) as usize & 63])));
    };
    for at in 0..5_usize {
        let last = if at == 4 { 5 } else { at + 12 };
        put(u32::from(digest[at]) << 16 | u32::from(digest[at + 6]) << 8 | u32::from(digest[last]), 4);
    }
    put(u32::from(digest[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_htpasswd_writes_is_verified() {
        // Each as htpasswd of Apache 2.4 and `openssl passwd` write it for `secret`.
        for hash in [
            "$apr1$RFQdFSBD$kJ.G0Cj4C9fnG5.ldwWaz/",
            "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
            "$5$pA1k.8eTjYxwfC0b$hDZwXZpxUEXDMO961.UX8dPkn0xnPToD7qmqUzBlR.7",
            "$6$bIyOZP49YjlbfFU6$P/L1cdzJn9qeTa6LAm5/3tFLsb4CPhpsCxkN4mSp0TJgnp7yZ3xS3VIFHV2P0offR13fZCTnHcDVP7I4gwM4q/",
            "$2y$05$VEJCVUhbx9QZ7PvT08PBcuTHmEN5fju6ZwXWkzKwYDQiTst7NXEQW",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{PLAIN}secret",
        ] {
            assert!(verify(hash, b"secret") && !verify(hash, b"wrong") && !verify(hash, b""), "{hash}");
        }
        let hash = apr1(b"a password longer than sixteen bytes", b"saltsalt");
        assert!(verify(&hash, b"a password longer than sixteen bytes") && !verify(&hash, b"another"));
        for text in ["", "secret", "$1$x$y", "{SSHA}x", "rqXexS6ZhobKA"] {
            assert_eq!(HashKind::of(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_broken_lets_nobody_in() {
        for hash in
            ["$2y$05$short", "$5$", "$6$rounds=x$y$z", "$apr1$", "$apr1$salt", "{SHA}", "$2b$99$xxxxxxxxxxxxxxxxxxxxxx"]
        {
            assert!(!verify(hash, b"") && !verify(hash, b"secret"), "{hash}");
        }
    }
}
