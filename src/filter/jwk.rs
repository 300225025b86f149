//! Keys of a JWK set (RFC 7517, RFC 7518, RFC 8037), and what they verify.

use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An algorithm of signatures (RFC 7518 §3.1, RFC 8037 §3.1). `none` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA with PKCS #1 and SHA-256.
    RS256,
    /// RSA with PKCS #1 and SHA-384.
    RS384,
    /// RSA with PKCS #1 and SHA-512.
    RS512,
    /// RSA with PSS and SHA-256.
    PS256,
    /// RSA with PSS and SHA-384.
    PS384,
    /// RSA with PSS and SHA-512.
    PS512,
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// ECDSA over P-384 with SHA-384.
    ES384,
    /// EdDSA over Curve25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDsa,
    ];

    /// The one of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name that tokens say.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::HS256 => Some(hmac::HMAC_SHA256),
            Self::HS384 => Some(hmac::HMAC_SHA384),
            Self::HS512 => Some(hmac::HMAC_SHA512),
            Self::RS256
            | Self::RS384
            | Self::RS512
            | Self::PS256
            | Self::PS384
            | Self::PS512
            | Self::ES256
            | Self::ES384
            | Self::EdDsa => None,
        }
    }

    const fn rsa(self) -> Option<&'static signature::RsaParameters> {
        match self {
            Self::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::HS256 | Self::HS384 | Self::HS512 | Self::ES256 | Self::ES384 | Self::EdDsa => None,
        }
    }
}

/// A key, and what tokens it is for.
#[derive(Clone)]
pub struct VerifyingKey {
    id: Option<String>,
    /// The one algorithm that it is for, where it says so.
    only: Option<Algorithm>,
    kind: KeyKind,
}

#[derive(Clone)]
enum KeyKind {
    Secret(Vec<u8>),
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Never the key itself.
impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The bytes of a text in Base64 of URLs without padding (RFC 7515 §2).
#[must_use]
pub fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// The keys of a set that are for signatures and of a kind that is known.
///
/// # Errors
/// What is wrong with the set, or that there is no such key.
pub fn keys_of(set: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    listed_keys(&serde_json::from_slice(set).map_err(|error| format!("it is no JSON: {error}"))?)
}

/// The keys of a set that was fetched, which is everybody's to read: a secret in it is none.
///
/// # Errors
/// As [`keys_of`].
pub fn public_keys(set: &Value) -> Result<Vec<VerifyingKey>, String> {
    let mut keys = listed_keys(set)?;
    keys.retain(|key| !matches!(key.kind, KeyKind::Secret(_)));
    if keys.is_empty() {
        Err("all of its keys are secrets, which everybody can read there".to_owned())
    } else {
        Ok(keys)
    }
}

/// The public keys of a set that was fetched.
///
/// # Errors
/// As [`keys_of`].
pub fn public_keys_of(set: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    public_keys(&serde_json::from_slice(set).map_err(|error| format!("it is no JSON: {error}"))?)
}

fn listed_keys(set: &Value) -> Result<Vec<VerifyingKey>, String> {
    let listed = set.get("keys").and_then(Value::as_array).ok_or("it has no list of `keys`")?;
    let keys: Vec<_> = listed.iter().filter_map(VerifyingKey::of).collect();
    if keys.is_empty() { Err("none of its keys is for signatures of a known kind".to_owned()) } else { Ok(keys) }
}

impl VerifyingKey {
    /// A secret that both sides have.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        Self { id: None, only: None, kind: KeyKind::Secret(secret.to_vec()) }
    }

    fn of(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| decoded(text.as_bytes()));
        if text("use").is_some_and(|used| used != "sig") {
            return None;
        }
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // Both in full length (RFC 7518 §6.2.1.2), behind the sign of an uncompressed point.
            (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
        };
        let kind = match (text("kty")?, text("crv")) {
            ("RSA", _) => KeyKind::Rsa(bytes("n")?, bytes("e")?),
            ("EC", Some("P-256")) => KeyKind::P256(point(32)?),
            ("EC", Some("P-384")) => KeyKind::P384(point(48)?),
            ("OKP", Some("Ed25519")) => KeyKind::Ed25519(bytes("x")?),
            // As long as the shortest hash of these algorithms (RFC 7518 §3.2).
            ("oct", _) => KeyKind::Secret(bytes("k").filter(|secret| secret.len() >= 32)?),
            _ => return None,
        };
        let only = match text("alg") {
            None => None,
            Some(name) => Some(Algorithm::of(name)?),
        };
        Some(Self { id: text("kid").map(str::to_owned), only, kind })
    }

    /// True where it is of the algorithm's kind: a public key is never taken for a secret.
    #[must_use]
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        let is_of_kind = match &self.kind {
            KeyKind::Secret(_) => algorithm.hmac().is_some(),
            KeyKind::Rsa(..) => algorithm.rsa().is_some(),
            KeyKind::P256(_) => algorithm == Algorithm::ES256,
            KeyKind::P384(_) => algorithm == Algorithm::ES384,
            KeyKind::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        is_of_kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// True where a token that names this key, or none, may be of it.
    #[must_use]
    pub fn may_be(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(named)) => own == named,
            (None, _) | (_, None) => true,
        }
    }

    /// True where the signature of these bytes is of this key.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], shown: &[u8]) -> bool {
        let by = |parameters: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(parameters, key).verify(signed, shown).is_ok()
        };
        match &self.kind {
            KeyKind::Secret(secret) => {
                algorithm.hmac().is_some_and(|hash| hmac::verify(&hmac::Key::new(hash, secret), signed, shown).is_ok())
            }
            KeyKind::Rsa(n, e) => algorithm.rsa().is_some_and(|parameters| {
                signature::RsaPublicKeyComponents { n, e }.verify(parameters, signed, shown).is_ok()
            }),
            KeyKind::P256(point) => by(&signature::ECDSA_P256_SHA256_FIXED, point),
            KeyKind::P384(point) => by(&signature::ECDSA_P384_SHA384_FIXED, point),
            KeyKind::Ed25519(key) => by(&signature::ED25519, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_for_algorithms_of_their_kind_alone() {
        let set = br#"{"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "kid": "a"}, {"kty": "RSA", "n": "AAAA", "e": "AQAB", "alg": "RS256"},
            {"kty": "RSA", "n": "AAAA", "e": "AQAB", "use": "enc"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "new"}, 7]}"#;
        let keys = keys_of(set).unwrap();
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert!(keys[0].is_for(Algorithm::HS256) && !keys[0].is_for(Algorithm::RS256));
        assert!(
            keys[1].is_for(Algorithm::RS256) && !keys[1].is_for(Algorithm::PS256) && !keys[1].is_for(Algorithm::HS256)
        );
        assert!(
            keys[0].may_be(None)
                && keys[0].may_be(Some("a"))
                && !keys[0].may_be(Some("b"))
                && keys[1].may_be(Some("b"))
        );
        for set in ["", "[]", "{}", "{\"keys\": []}", "{\"keys\": [{\"kty\": \"RSA\"}]}"] {
            assert!(keys_of(set.as_bytes()).is_err(), "{set}");
        }
        assert_eq!(Algorithm::of("none"), None);
        assert_eq!(Algorithm::of("rs256"), None);
    }
}
