//! `digest_auth`: users whose passwords do not go over the line (RFC 7616).
//!
//! A challenge is good for a while, and needs no memory: what is in it is the time, and a hash of the time under a key that this process
//! made for itself, or that hosts have in common.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Context, Notes, Refusal, Verdict};
use super::edits::FieldEdits;
use super::passwords::are_equal;
use super::users::{UserTold, check_realm, realm, user_lines};
use crate::failure::Failure;
use crate::hash::hex;
use crate::proto::h1::auth_params::auth_params;
use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;
use crate::units::hidden::Hidden;
use crate::units::{Duration, Material};

/// Asks for a user and the proof of a password (Digest). The password does not go over the line, but whoever overhears a request can repeat
/// it for as long as its challenge holds: over TLS `basic_auth` with slow hashes is the better choice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestAuth {
    /// Users as `htdigest` writes them: `"name:realm:"` and the MD5 of `name:realm:password` in hexadecimal digits, or its SHA-256.
    /// All are of the same kind. Those of other realms count for nothing.
    #[serde(default)]
    pub users: Vec<String>,
    /// A file of such lines, which is read again when it changes.
    #[serde(default)]
    pub file: Option<Material>,
    /// What browsers show, and what the hashes were made with.
    #[serde(default = "realm")]
    pub realm: String,
    /// How long a challenge holds. Browsers answer the next one without asking their user.
    #[serde(default = "lifetime")]
    pub lifetime: Duration,
    /// A file with 32 bytes or more, chosen at random, by which hosts take each other's challenges. Left out, a client that comes to another
    /// host, or after a restart, answers one challenge more, without asking its user.
    #[serde(default)]
    pub secret: Option<Material>,
    /// The field in which the upstream gets the user's name; a client's own is taken away.
    #[serde(default)]
    pub user_header: Option<String>,
    /// Whether the upstream gets `Authorization` as well.
    #[serde(default)]
    pub keep_authorization: bool,
}

const fn lifetime() -> Duration {
    Duration::from_s(300)
}

/// How hashes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DigestKind {
    Md5,
    Sha256,
}

impl DigestKind {
    fn of(hash: &str) -> Option<Self> {
        let is_hex = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        match hash.len() {
            32 if is_hex => Some(Self::Md5),
            64 if is_hex => Some(Self::Sha256),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The hash of these texts with colons between them, in hexadecimal digits.
    fn hash(self, texts: &[&[u8]]) -> String {
        let text = texts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(digest(&SHA256, &text).as_ref()),
        }
    }
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledDigestAuth {
    kind: DigestKind,
    /// Hashes by user.
    users: HashMap<Box<[u8]>, Hidden<String>>,
    realm: String,
    key: hmac::Key,
    lifetime_s: u64,
    told: UserTold,
}

impl DigestAuth {
    /// The bytes that it names.
    pub(super) fn materials(&self) -> Vec<&Material> {
        self.file.iter().chain(&self.secret).collect()
    }

    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledDigestAuth> {
        place.reads_time = true;
        let mut kinds = Vec::new();
        let mut users: HashMap<Box<[u8]>, Hidden<String>> = HashMap::new();
        for line in user_lines(&self.users, self.file.as_ref(), place) {
            // A realm may have colons.
            let parts = line.split_once(':').and_then(|(name, rest)| Some((name, rest.rsplit_once(':')?)));
            let Some((name, (realm, hash))) = parts else {
                place.fault("a user is not of three parts", "write name:realm:hash, as htdigest does");
                continue;
            };
            let Some(kind) = DigestKind::of(hash) else {
                let remedy = "write 32 hexadecimal digits for MD5, as htdigest does, or 64 for SHA-256";
                place.fault(format!("the hash of `{name}` is of no kind that is known"), remedy);
                continue;
            };
            if realm != self.realm {
                continue;
            }
            kinds.push(kind);
            if users.insert(name.as_bytes().into(), Hidden(hash.to_ascii_lowercase())).is_some() {
                place.fault(format!("`{name}` stands there twice"), "leave one of them out");
            }
        }
        kinds.dedup();
        match kinds.len() {
            0 if !place.has_faults() => {
                let what = format!("no user is of the realm `{}`, so nobody could get in", self.realm);
                place.fault(what, "write the `realm` that the hashes were made with");
            }
            0 | 1 => {}
            _ => place.fault("the hashes are of two kinds", "write all of them as MD5, or all as SHA-256"),
        }
        check_realm(&self.realm, place);
        if self.lifetime.ms() < 1_000 {
            place.fault("a challenge that holds for less than a second lets nobody in", "write `lifetime = \"5m\"`");
        }
        let told = UserTold::compile(self.user_header.as_ref(), self.keep_authorization, place);
        let kind = kinds.first().copied()?;
        let secret = match self.secret.as_ref().map(|file| (file, place.material(file))) {
            None => place.shared.process_secret().to_vec(),
            Some((file, bytes)) => {
                let bytes = bytes.unwrap_or_default().trim_ascii().to_vec();
                if bytes.len() < 32 && !place.has_faults() {
                    place
                        .fault(format!("the secret in `{file}` is short"), "write 32 bytes at least, chosen at random");
                }
                bytes
            }
        };
        (!place.has_faults()).then(|| CompiledDigestAuth {
            kind,
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            users,
            realm: self.realm.clone(),
            lifetime_s: self.lifetime.ms() / 1_000,
            told,
        })
    }
}

/// What a request proves.
#[derive(Debug, PartialEq, Eq)]
struct Proven {
    user: Vec<u8>,
    nonce: Vec<u8>,
}

impl CompiledDigestAuth {
    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.told.forget(edits);
    }

    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        self.forget(&mut notes.edits.request);
        let Some(proven) = self.proven(head) else { return self.refuse(context.unix_s, false) };
        // The password is right, but the challenge is too old or from elsewhere: the client answers the next one by itself.
        if !self.is_current(&proven.nonce, context.unix_s) {
            return self.refuse(context.unix_s, true);
        }
        if self.told.tell(&proven.user, notes) { Verdict::Pass } else { self.refuse(context.unix_s, false) }
    }

    /// The user, where the proof is right for this request and some challenge.
    fn proven(&self, head: &RequestHead) -> Option<Proven> {
        let parameters = auth_params(head.only(Known::Authorization)?, b"digest")?;
        let of = |name: &str| {
            let found = parameters.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
            found.map(|(_, value)| &value[..])
        };
        let (user, nonce, response) = (of("username")?, of("nonce")?, of("response")?);
        let (nc, cnonce, uri) = (of("nc")?, of("cnonce")?, of("uri")?);
        let algorithm = of("algorithm").unwrap_or(b"MD5");
        let is_ours = of("realm") == Some(self.realm.as_bytes())
            && algorithm.eq_ignore_ascii_case(self.kind.name().as_bytes())
            && of("qop") == Some(b"auth")
            && of("userhash").is_none_or(|is_hash| is_hash.eq_ignore_ascii_case(b"false"));
        // What was proven is this request and no other.
        if !is_ours || uri != head.raw_target() {
            return None;
        }
        let known = self.users.get(user);
        // A user that there is none of takes as long as one with a wrong password.
        let secret = known.map_or("", |hash| &hash.0);
        let request = self.kind.hash(&[head.method(), uri]);
        let expected = self.kind.hash(&[secret.as_bytes(), nonce, nc, cnonce, b"auth", request.as_bytes()]);
        let is_right = are_equal(expected.as_bytes(), &response.to_ascii_lowercase());
        (is_right && known.is_some()).then(|| Proven { user: user.to_vec(), nonce: nonce.to_vec() })
    }

    /// A challenge of this second.
    fn nonce(&self, unix_s: u64) -> String {
        let tag = hmac::sign(&self.key, &unix_s.to_be_bytes());
        // Half of it is enough.
        format!("{unix_s:x}.{}", hex(&tag.as_ref()[..16]))
    }

    /// True for a challenge that was made here, or on a host with the same users, and not too long ago.
    fn is_current(&self, nonce: &[u8], unix_s: u64) -> bool {
        let made = std::str::from_utf8(nonce).ok().and_then(|nonce| nonce.split_once('.'));
        let Some(made_s) = made.and_then(|(made_s, _)| u64::from_str_radix(made_s, 16).ok()) else { return false };
        // Clocks of several hosts differ a little.
        made_s.abs_diff(unix_s) <= self.lifetime_s && are_equal(self.nonce(made_s).as_bytes(), nonce)
    }

    fn refuse(&self, unix_s: u64, is_stale: bool) -> Verdict<'_> {
        let challenge = format!(
            "Digest realm=\"{}\", qop=\"auth\", algorithm={}, nonce=\"{}\", charset=UTF-8{}",
            self.realm,
            self.kind.name(),
            self.nonce(unix_s),
            if is_stale { ", stale=true" } else { "" }
        );
        let fields = vec![(&b"WWW-Authenticate"[..], challenge.into_bytes())];
        Verdict::Refuse(Box::new(Refusal { failure: Failure::AuthRequired("digest"), fields, ..Refusal::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, head_of};
    use super::super::shared::SharedParts;
    use super::*;

    const MD5_USER: &str = "Mufasa:http-auth@example.org:3d78807defe7de2157e2b0b6573a855f";
    const SHA_USER: &str =
        "Mufasa:http-auth@example.org:7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232";

    fn filter(user: &str) -> CompiledDigestAuth {
        filter_of(user, &mut SharedParts::default())
    }

    /// Of the process that has these parts.
    fn filter_of(user: &str, shared: &mut SharedParts) -> CompiledDigestAuth {
        let spec = DigestAuth {
            users: vec![user.to_owned()],
            file: None,
            realm: "http-auth@example.org".to_owned(),
            lifetime: lifetime(),
            secret: None,
            user_header: None,
            keep_authorization: false,
        };
        let mut place = FilterPlace::new(shared);
        let filter = spec.compile(&mut place);
        filter.unwrap_or_else(|| panic!("{:?}", place.into_faults()))
    }

    fn shown(user: &str, response: &str, change: impl Fn(String) -> String) -> bool {
        let algorithm = filter(user).kind.name();
        let text = format!(
            "GET /dir/index.html HTTP/1.1\nHost: a\nAuthorization: Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
             uri=\"/dir/index.html\", algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"\n"
        );
        filter(user).proven(&head_of(&change(text))).is_some()
    }

    #[test]
    fn the_examples_of_the_rfc_are_right_and_nothing_else() {
        // RFC 7616 §3.9.1; its password is `Circle of Life`.
        const MD5: &str = "8ca523f5e9506fed4657c9700eebdbec";
        const SHA: &str = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        let same = |text: String| text;
        assert!(shown(MD5_USER, MD5, same) && shown(SHA_USER, SHA, same));
        assert!(!shown(MD5_USER, SHA, same) && !shown(SHA_USER, MD5, same));
        for (from, to) in [
            ("Mufasa", "Scar"),
            ("realm=\"http-auth", "realm=\"other"),
            ("uri=\"/dir/index.html\"", "uri=\"/dir/other.html\""),
            ("GET /dir/index.html", "GET /dir/other.html"),
            ("GET ", "HEAD "),
            ("algorithm=MD5", "algorithm=SHA-256"),
            ("algorithm=MD5", "algorithm=MD5-sess"),
            ("qop=auth", "qop=auth-int"),
            ("nc=00000001", "nc=00000002"),
            ("qop=auth", "qop=auth, userhash=true"),
            ("qop=auth, ", ""),
            ("nonce=\"7ypf", "nonce=\"8ypf"),
            ("Digest username", "Basic username"),
        ] {
            assert!(!shown(MD5_USER, MD5, |text| text.replacen(from, to, 1)), "{from} → {to}");
        }
        assert!(shown(MD5_USER, MD5, |text| text.replace(", algorithm=MD5", "")), "MD5 is what it is without a word");
    }

    #[test]
    fn a_challenge_holds_for_a_while_and_in_one_process() {
        let mut shared = SharedParts::default();
        let (one, other) = (filter_of(MD5_USER, &mut shared), filter(MD5_USER));
        let nonce = one.nonce(1_000_000);
        for (unix_s, holds) in [(1_000_000, true), (1_000_300, true), (1_000_301, false), (999_600, false), (0, false)]
        {
            assert_eq!(one.is_current(nonce.as_bytes(), unix_s), holds, "{unix_s}");
        }
        assert!(
            !other.is_current(nonce.as_bytes(), 1_000_000),
            "another process has another key, whoever its users are"
        );
        assert!(filter_of(MD5_USER, &mut shared).is_current(nonce.as_bytes(), 1_000_000), "after a reload");
        for nonce in ["", ".", "f4240", "f4240.", "f4240.00", "zz.00", "\u{e9}.1"] {
            assert!(!one.is_current(nonce.as_bytes(), 1_000_000), "{nonce}");
        }
    }

    #[test]
    fn what_would_let_nobody_in_is_told() {
        for (users, realm) in [
            ("[]", "r"),
            ("[\"me:r\"]", "r"),
            ("[\"me:r:short\"]", "r"),
            ("[\"me:other:3d78807defe7de2157e2b0b6573a855f\"]", "r"),
            ("[\"a:r:3d78807defe7de2157e2b0b6573a855f\", \"a:r:3d78807defe7de2157e2b0b6573a855f\"]", "r"),
            (
                "[\"a:r:3d78807defe7de2157e2b0b6573a855f\", \
                 \"b:r:7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232\"]",
                "r",
            ),
        ] {
            let filters = format!("[{{ digest_auth = {{ users = {users}, realm = \"{realm}\" }} }}]");
            assert_eq!(compiled(&filters).1.len(), 1, "{users}");
        }
    }
}
