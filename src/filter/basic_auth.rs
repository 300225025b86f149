//! `basic_auth`: users with passwords (RFC 7617). Slow hashes are computed off the workers.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Notes, Refusal, Verdict};
use super::edits::FieldEdits;
use super::errand::{Errand, FoundOut};
use super::passwords::{HashKind, verify};
use super::users::{UserTold, check_realm, realm, user_lines};
use crate::failure::Failure;
use crate::limits::PASSWORD_BYTES_MAX;
use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;
use crate::units::Material;

/// Asks for a user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// Users with the hashes of their passwords, as `htpasswd` writes them: `"name:$2y$…"`.
    #[serde(default)]
    pub users: Vec<String>,
    /// A file of such lines, which is read again when it changes.
    #[serde(default)]
    pub file: Option<Material>,
    /// What browsers show.
    #[serde(default = "realm")]
    pub realm: String,
    /// The field in which the upstream gets the user's name; a client's own is taken away.
    #[serde(default)]
    pub user_header: Option<String>,
    /// Whether the upstream gets the password as well, in `Authorization`.
    #[serde(default)]
    pub keep_authorization: bool,
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledBasicAuth {
    users: HashMap<Box<[u8]>, Arc<str>>,
    /// What a user that there is none of is compared with, so that it takes as long.
    decoy: Arc<str>,
    challenge: Vec<u8>,
    told: UserTold,
}

impl BasicAuth {
    /// The bytes that it names.
    pub(super) fn materials(&self) -> Vec<&Material> {
        self.file.iter().collect()
    }

    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledBasicAuth> {
        let mut users: HashMap<Box<[u8]>, Arc<str>> = HashMap::new();
        for line in user_lines(&self.users, self.file.as_ref(), place) {
            let Some((name, hash)) = line.split_once(':') else {
                place.fault("a user has no hash", "write name:hash, as htpasswd does");
                continue;
            };
            if HashKind::of(hash).is_none() {
                let remedy = "write it by htpasswd with -B, -5, -2, -m or -s, or {PLAIN} and the password itself";
                place.fault(format!("the hash of `{name}` is of no kind that is known"), remedy);
            }
            if users.insert(name.as_bytes().into(), hash.into()).is_some() {
                place.fault(format!("`{name}` stands there twice"), "leave one of them out");
            }
        }
        check_realm(&self.realm, place);
        let told = UserTold::compile(self.user_header.as_ref(), self.keep_authorization, place);
        let is_slow = |hash: &&Arc<str>| HashKind::of(hash).is_some_and(HashKind::is_slow);
        let slowest = users.values().find(is_slow).or_else(|| users.values().next());
        let decoy = slowest.cloned().unwrap_or_else(|| "{PLAIN}".into());
        (!place.has_faults()).then(|| CompiledBasicAuth {
            users,
            decoy,
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.realm).into_bytes(),
            told,
        })
    }
}

/// User and password that a request shows.
fn shown(head: &RequestHead) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = head.only(Known::Authorization)?;
    let (scheme, rest) = value.split_at_checked(6)?;
    let decoded = BASE64_STANDARD.decode(rest.trim_ascii()).ok().filter(|_| scheme.eq_ignore_ascii_case(b"basic "))?;
    let colon = memchr::memchr(b':', &decoded)?;
    // The work of some hashes grows with the square of the length.
    if decoded.len() - colon - 1 > PASSWORD_BYTES_MAX {
        return None;
    }
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

impl CompiledBasicAuth {
    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.told.forget(edits);
    }

    pub(super) fn on_request(&self, head: &RequestHead, notes: &mut Notes) -> Verdict<'_> {
        self.forget(&mut notes.edits.request);
        let Some((user, password)) = shown(head) else { return self.refuse() };
        let hash = self.users.get(&user[..]).unwrap_or(&self.decoy);
        if HashKind::of(hash).is_some_and(HashKind::is_slow) {
            return Verdict::Ask(Errand::Password { hash: Arc::clone(hash), password });
        }
        let is_right = verify(hash, &password);
        self.found_out(&FoundOut::Password(Some(is_right)), head, notes)
    }

    pub(super) fn found_out(&self, found: &FoundOut<'_>, head: &RequestHead, notes: &mut Notes) -> Verdict<'_> {
        let FoundOut::Password(Some(is_right)) = found else {
            return Verdict::fail(Failure::AuthUnavailable("password"));
        };
        let user = shown(head).map(|(user, _)| user).filter(|user| *is_right && self.users.contains_key(&user[..]));
        if user.is_some_and(|user| self.told.tell(&user, notes)) { Verdict::Pass } else { self.refuse() }
    }

    fn refuse(&self) -> Verdict<'_> {
        let fields = vec![(&b"WWW-Authenticate"[..], self.challenge.clone())];
        Verdict::Refuse(Box::new(Refusal { failure: Failure::AuthRequired("password"), fields, ..Refusal::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, told};
    use super::*;

    fn asked(credentials: &str) -> String {
        let filter = "[{ basic_auth = { users = [\"me:{PLAIN}a:b\", \"other:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\"] } }]";
        let credentials = BASE64_STANDARD.encode(credentials);
        told(filter, &format!("GET / HTTP/1.1\nHost: a\nAuthorization: basic {credentials}\n"))
    }

    #[test]
    fn the_right_password_of_a_known_user_passes_and_nothing_else() {
        assert_eq!(asked("me:a:b"), "passes []");
        assert_eq!(asked("other:secret"), "passes []");
        for credentials in ["me:a", "me:", "nobody:a:b", "", "me", ":", "other:wrong"] {
            assert_eq!(asked(credentials), "auth_required:password []", "{credentials}");
        }
        let filter = "[{ basic_auth = { users = [\"me:{PLAIN}p\"] } }]";
        for field in ["", "Authorization: Bearer x\n", "Authorization: Basic !!\n", "Authorization: B\n"] {
            assert_eq!(
                told(filter, &format!("GET / HTTP/1.1\nHost: a\n{field}")),
                "auth_required:password []",
                "{field}"
            );
        }
    }

    #[test]
    fn what_would_let_nobody_in_is_told() {
        for filter in [
            "{}",
            "{ users = [\"me\"] }",
            "{ users = [\"me:plain\"] }",
            "{ users = [\"m:{PLAIN}p\"], realm = \"a\\\"b\" }",
            "{ file = \"nowhere\" }",
        ] {
            assert_eq!(compiled(&format!("[{{ basic_auth = {filter} }}]")).1.len(), 1, "{filter}");
        }
    }
}
