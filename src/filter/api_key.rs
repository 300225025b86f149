//! `api_key`: clients with a key, in a field, a parameter or a cookie. Keys are kept as hashes, and compared by them.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Notes, Verdict};
use super::edits::FieldEdits;
use super::headers::check_name;
use crate::failure::Failure;
use crate::proto::h1::field::is_token;
use crate::proto::h1::parameters::{argument, bearer, cookie};
use crate::proto::h1::request::RequestHead;

/// Lets those in who show a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Names with their keys: the key itself, or `"sha256:"` and its SHA-256 in hexadecimal digits.
    pub keys: BTreeMap<String, String>,
    /// The field that has it; `Authorization` with `Bearer` before it, too. `X-API-Key` where nothing else is written.
    #[serde(default)]
    pub header: Option<String>,
    /// The parameter of the query that has it, in place of a field. It is in logs then.
    #[serde(default)]
    pub query: Option<String>,
    /// The cookie that has it, in place of a field.
    #[serde(default)]
    pub cookie: Option<String>,
    /// The field in which the upstream gets the name of the key; a client's own is taken away.
    #[serde(default)]
    pub name_header: Option<String>,
    /// Whether the upstream gets the field with the key as well.
    #[serde(default)]
    pub keep: bool,
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledApiKey {
    /// Names by the hash of their key: who asks for a hash learns nothing of keys from how long it takes.
    keys: HashMap<[u8; 32], Box<[u8]>>,
    place: KeyPlace,
    name_header: Option<Box<[u8]>>,
    keeps: bool,
}

#[derive(Clone, Debug)]
enum KeyPlace {
    Header(Box<[u8]>),
    Query(Box<[u8]>),
    Cookie(Box<[u8]>),
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// The hash that stands in hexadecimal digits.
fn hash_of(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let pairs = digits.as_bytes().as_chunks::<2>();
    if pairs.0.len() != 32 || !pairs.1.is_empty() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(pairs.0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

impl ApiKey {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledApiKey> {
        let mut keys = HashMap::new();
        for (name, key) in &self.keys {
            let hash = match key.strip_prefix("sha256:") {
                Some(digits) => hash_of(digits),
                None => Some(sha256(key.as_bytes())).filter(|_| key.len() >= 16),
            };
            let Some(hash) = hash else {
                let remedy = "write a key of 16 characters at least, or sha256: and 64 hexadecimal digits";
                place.fault(format!("the key of `{name}` is none"), remedy);
                continue;
            };
            if keys.insert(hash, name.as_bytes().into()).is_some() {
                place.fault(format!("`{name}` has the key of another"), "give each a key of its own");
            }
        }
        if self.keys.is_empty() {
            place.fault("there is no key, so nobody could get in", "write one");
        }
        let bytes = |text: &String| text.as_bytes().into();
        let key_place = match (&self.header, &self.query, &self.cookie) {
            (None, None, None) => KeyPlace::Header(b"x-api-key"[..].into()),
            (Some(name), None, None) => KeyPlace::Header(bytes(name)),
            (None, Some(name), None) => KeyPlace::Query(bytes(name)),
            (None, None, Some(name)) => KeyPlace::Cookie(bytes(name)),
            _ => {
                place.fault("several places are named", "write one of `header`, `query` and `cookie`");
                return None;
            }
        };
        for name in self.header.iter().chain(&self.cookie).filter(|name| !is_token(name.as_bytes())) {
            place.fault(format!("`{name}` is not a name"), "");
        }
        self.name_header.iter().for_each(|name| check_name(name, place));
        (!place.has_faults()).then(|| CompiledApiKey {
            keys,
            place: key_place,
            name_header: self.name_header.as_ref().map(bytes),
            keeps: self.keep,
        })
    }
}

impl CompiledApiKey {
    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.name_header.iter().for_each(|name| edits.take_away(name));
    }

    pub(super) fn on_request(&self, head: &RequestHead, notes: &mut Notes) -> Verdict<'_> {
        let edits = &mut notes.edits.request;
        self.forget(edits);
        let shown = match &self.place {
            KeyPlace::Header(name) => head.value(name).map(|value| sha256(bearer(&value))),
            KeyPlace::Query(name) => argument(head, name).map(sha256),
            KeyPlace::Cookie(name) => cookie(head, name).map(sha256),
        };
        let Some(name) = shown.and_then(|hash| self.keys.get(&hash)) else {
            return Verdict::fail(Failure::AuthRequired("key"));
        };
        if let Some(field) = &self.name_header {
            edits.add(field, name.clone());
        }
        if let (KeyPlace::Header(field), false) = (&self.place, self.keeps) {
            edits.take_away(field);
        }
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, told};

    #[test]
    fn a_key_opens_where_it_is_asked_for() {
        let hash = "sha256:9f735e0df9a1ddc702bf0a1a7b83033f9f7153a00c29de82cedadc9957289b05";
        let filter = |place: &str| {
            format!("[{{ api_key = {{ keys = {{ a = \"0123456789abcdef\", b = \"{hash}\" }} {place} }} }}]")
        };
        let ask = |place: &str, target: &str, field: &str| {
            told(&filter(place), &format!("GET {target} HTTP/1.1\nHost: a\n{field}"))
        };
        for (place, target, field, expected) in [
            ("", "/", "X-API-Key: 0123456789abcdef\n", "passes []"),
            ("", "/", "x-api-key: testpassword\n", "passes []"),
            ("", "/", "X-API-Key: 0123456789abcdeF\n", "auth_required:key []"),
            ("", "/", "", "auth_required:key []"),
            ("", "/?x-api-key=0123456789abcdef", "", "auth_required:key []"),
            (", header = \"Authorization\"", "/", "Authorization: Bearer 0123456789abcdef\n", "passes []"),
            (", query = \"k\"", "/?a=b&k=0123456789abcdef", "", "passes []"),
            (", query = \"k\"", "/?kk=0123456789abcdef", "", "auth_required:key []"),
            (", cookie = \"k\"", "/", "Cookie: a=b; k=0123456789abcdef\n", "passes []"),
        ] {
            assert_eq!(ask(place, target, field), expected, "{place} {target} {field}");
        }
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        for filter in [
            "{ keys = {} }",
            "{ keys = { a = \"short\" } }",
            "{ keys = { a = \"sha256:00\" } }",
            "{ keys = { a = \"0123456789abcdef\" }, query = \"a\", cookie = \"b\" }",
        ] {
            assert_eq!(compiled(&format!("[{{ api_key = {filter} }}]")).1.len(), 1, "{filter}");
        }
    }
}
