//! Tickets by a key that is given: those of other hosts with the same one are good, and those of a process before this one.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{Context, SHA256};
use rustls::server::ProducesTickets;

/// The fewest bytes that a key is made of: those of nginx's shorter files.
const SECRET_BYTES_MIN: usize = 48;
/// Bytes of a nonce of AES-GCM.
const NONCE_BYTES: usize = 12;
/// How long clients may keep a ticket, in seconds: half a day, as those by keys of the process.
const LIFETIME_S: u32 = 12 * 3_600;

/// A key for tickets. It is told from others by what it is, but never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey([u8; 32]);

impl TicketKey {
    /// Of these bytes; `None` where they are too few.
    #[must_use]
    pub fn of(secret: &[u8]) -> Option<Self> {
        (secret.len() >= SECRET_BYTES_MIN).then(|| Self(hash(b"ringress tickets", secret)))
    }

    /// The one for the tickets of a policy: those of a client of which nothing was asked are no good where a certificate is.
    #[must_use]
    pub fn of_policy(&self, policy: &str) -> Self {
        Self(hash(&self.0, policy.as_bytes()))
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = hash(b"ringress told", &self.0);
        write!(f, "TicketKey({:02x?})", &told[..8])
    }
}

fn hash(purpose: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(purpose);
    context.update(secret);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Tickets by it.
#[derive(Debug)]
pub struct KeyedTickets(RandomizedNonceKey);

impl KeyedTickets {
    /// # Errors
    /// A key that the library does not take, which is none of ours.
    pub fn new(key: &TicketKey) -> Result<Self, rustls::Error> {
        let made = RandomizedNonceKey::new(&AES_256_GCM, &key.0);
        made.map(Self).map_err(|_| rustls::Error::General("the key for tickets is not taken".to_owned()))
    }
}

impl ProducesTickets for KeyedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([&nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = cipher.split_first_chunk::<NONCE_BYTES>()?;
        let mut sealed = sealed.to_vec();
        let plain = self.0.open_in_place(Nonce::from(nonce), Aad::empty(), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_the_same_key_are_good_and_no_others() {
        let tickets = |byte: u8| KeyedTickets::new(&TicketKey::of(&[byte; 80]).unwrap()).unwrap();
        let ticket = tickets(1).encrypt(b"session").unwrap();
        assert_eq!(tickets(1).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(2).decrypt(&ticket), None);
        assert_eq!(tickets(1).decrypt(&ticket[1..]), None);
        assert_eq!(tickets(1).decrypt(b"x"), None);
        let of_policy = |policy| KeyedTickets::new(&TicketKey::of(&[1; 80]).unwrap().of_policy(policy)).unwrap();
        let ticket = of_policy("nothing is asked").encrypt(b"session").unwrap();
        assert_eq!(of_policy("a certificate is asked").decrypt(&ticket), None);
        assert!(of_policy("nothing is asked").decrypt(&ticket).is_some());
        assert_ne!(tickets(1).encrypt(b"session"), tickets(1).encrypt(b"session"));
        assert_eq!(TicketKey::of(&[1; 47]), None);
        let [one, other] = [1, 2].map(|byte| format!("{:?}", TicketKey::of(&[byte; 48]).unwrap()));
        assert_ne!(one, other);
    }
}
