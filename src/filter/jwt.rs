//! `jwt`: signed tokens (RFC 7519, RFC 7515), verified by keys of a JWK set (RFC 7517) or a shared secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::{ClaimRules, Claims, has};
use super::compile::FilterPlace;
use super::context::{Context, Notes, Refusal, Verdict};
use super::edits::FieldEdits;
use super::fetch_source::{FetchSource, KeySource};
use super::jwk::{Algorithm, VerifyingKey, decoded, keys_of, public_keys_of};
use crate::failure::Failure;
use crate::proto::h1::field::is_token;
use crate::proto::h1::parameters::{argument, bearer, cookie};
use crate::proto::h1::request::RequestHead;
use crate::units::{Duration, Material};

/// Lets those in whose token somebody who is known has signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// A file with a JWK set, which is read again when it changes.
    #[serde(default)]
    pub keys: Option<Material>,
    /// A service whose JWK set is fetched, again and again.
    #[serde(default)]
    pub keys_from: Option<KeySource>,
    /// A file with the secret of HS256, HS384 and HS512, at least 32 bytes.
    #[serde(default)]
    pub secret: Option<Material>,
    /// Algorithms that are taken; by default those that the keys are for.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// Who must have issued it (`iss`).
    #[serde(default)]
    pub issuer: Option<String>,
    /// For whom it must be: one of these (`aud`).
    #[serde(default)]
    pub audience: Vec<String>,
    /// How far the clocks of issuer and proxy may be apart.
    #[serde(default = "a_minute")]
    pub skew: Duration,
    /// Whether one without an end (`exp`) is taken.
    #[serde(default)]
    pub endless: bool,
    /// The field that has it, with or without `Bearer` before it.
    #[serde(default = "authorization")]
    pub header: String,
    /// The cookie that has it, where the field is missing.
    #[serde(default)]
    pub cookie: Option<String>,
    /// The parameter of the query that has it, where both are missing. It is in logs then.
    #[serde(default)]
    pub query: Option<String>,
    /// Claims with what they must be; of a list one must be it.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Claims with the field in which the upstream gets each; a client's own are taken away.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// Whether the upstream gets the token as well.
    #[serde(default = "yes")]
    pub keep: bool,
}

const fn a_minute() -> Duration {
    Duration::from_s(60)
}

fn authorization() -> String {
    "Authorization".to_owned()
}

const fn yes() -> bool {
    true
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledJwt {
    spec: Jwt,
    keys: Vec<VerifyingKey>,
    /// Nothing was fetched yet, so that nobody knows who may come in.
    awaits_keys: bool,
    rules: ClaimRules,
}

/// Why a token is not taken.
type Why = &'static str;

impl Jwt {
    /// The bytes that it names.
    pub(super) fn materials(&self) -> Vec<&Material> {
        self.keys.iter().chain(&self.secret).collect()
    }

    /// The services that it asks.
    pub(super) fn services(&self) -> Vec<&str> {
        self.keys_from.iter().map(|source| &*source.service).collect()
    }

    /// What is fetched for it.
    pub(super) fn fetch_source(&self) -> Option<FetchSource> {
        self.keys_from.clone().map(FetchSource::Keys)
    }

    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledJwt> {
        let mut keys = Vec::new();
        for (material, is_secret) in
            self.keys.iter().map(|file| (file, false)).chain(self.secret.iter().map(|file| (file, true)))
        {
            let Some(bytes) = place.material(material) else { continue };
            if is_secret {
                let secret = bytes.trim_ascii();
                if secret.len() < 32 {
                    place.fault(
                        format!("the secret in `{material}` is short"),
                        "write 32 bytes at least, chosen at random",
                    );
                }
                keys.push(VerifyingKey::secret(secret));
            } else {
                match keys_of(&bytes) {
                    Ok(found) => keys.extend(found),
                    Err(what) => place.fault(format!("`{material}`: {what}"), "write a JWK set: { \"keys\": [ … ] }"),
                }
            }
        }
        if let Some(source) = &self.keys_from {
            place.service(&source.service);
            if !source.path.starts_with('/') || source.every.ms() < 1_000 {
                place
                    .fault("`keys_from` has no path, or no time", "begin `path` with /, and let `every` be 1s or more");
            }
        }
        let fetched = self.fetch_source().map(|source| place.shared.fetched(source));
        if let Some(Some(set)) = &fetched {
            // It was looked at when it came.
            keys.extend(public_keys_of(set).into_iter().flatten());
        }
        let awaits_keys = keys.is_empty() && fetched.is_some();
        if keys.is_empty() && !awaits_keys && !place.has_faults() {
            place.fault("there is no key, so nobody could get in", "write `keys`, `keys_from` or `secret`");
        }
        for algorithm in &self.algorithms {
            if fetched.is_none() && !place.has_faults() && !keys.iter().any(|key| key.is_for(*algorithm)) {
                place.fault(format!("no key is for {}", algorithm.name()), "leave it out, or add its key");
            }
        }
        if !is_token(self.header.as_bytes()) {
            place.fault(format!("`{}` is not a field name", self.header), "");
        }
        let rules = ClaimRules::compile(&self.require, &self.claims, place);
        (!place.has_faults()).then(|| CompiledJwt { spec: self.clone(), keys, awaits_keys, rules })
    }
}

impl CompiledJwt {
    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.rules.forget(edits);
    }

    /// Of tokens that a provider issues for one client: whatever they say beside what every token must say.
    pub(super) fn of_provider(issuer: &str, client: &str, keys: Vec<VerifyingKey>, place: &mut FilterPlace) -> Self {
        let spec = Jwt {
            keys: None,
            keys_from: None,
            secret: None,
            algorithms: Vec::new(),
            issuer: Some(issuer.to_owned()),
            audience: vec![client.to_owned()],
            skew: a_minute(),
            endless: false,
            header: authorization(),
            cookie: None,
            query: None,
            require: BTreeMap::new(),
            claims: BTreeMap::new(),
            keep: true,
        };
        let rules = ClaimRules::compile(&spec.require, &spec.claims, place);
        Self { spec, keys, awaits_keys: false, rules }
    }

    /// What is fetched for it.
    pub(super) fn fetch_source(&self) -> Option<FetchSource> {
        self.spec.fetch_source()
    }

    /// The token that a request shows.
    fn shown(&self, head: &RequestHead) -> Option<Vec<u8>> {
        let of_header = || head.value(self.spec.header.as_bytes()).map(|value| bearer(&value).to_vec());
        let of_cookie = || cookie(head, self.spec.cookie.as_ref()?.as_bytes()).map(<[u8]>::to_vec);
        let of_query = || argument(head, self.spec.query.as_ref()?.as_bytes()).map(<[u8]>::to_vec);
        of_header().or_else(of_cookie).or_else(of_query)
    }

    /// The claims of a token that is right.
    pub(super) fn claims(&self, token: &[u8], unix_s: u64) -> Result<Claims, Why> {
        const MALFORMED: Why = "token_malformed";
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        let object = |part: &[u8]| {
            let text = decoded(part).ok_or(MALFORMED)?;
            serde_json::from_slice::<Claims>(&text).map_err(|_| MALFORMED)
        };
        let head = object(header)?;
        let algorithm = head.get("alg").and_then(Value::as_str).and_then(Algorithm::of).ok_or("token_algorithm")?;
        let is_taken = self.spec.algorithms.is_empty() || self.spec.algorithms.contains(&algorithm);
        // What must be understood and is not must not be passed over (RFC 7515 §4.1.11).
        if !is_taken || head.contains_key("crit") {
            return Err("token_algorithm");
        }
        let signed = &token[..header.len() + 1 + payload.len()];
        let signature = decoded(signature).ok_or(MALFORMED)?;
        let id = head.get("kid").and_then(Value::as_str);
        let mut fit = self.keys.iter().filter(|key| key.is_for(algorithm) && key.may_be(id));
        if !fit.any(|key| key.verifies(algorithm, signed, &signature)) {
            return Err("token_signature");
        }
        // Only what is signed is looked at.
        let claims = object(payload)?;
        self.check(&claims, unix_s)?;
        Ok(claims)
    }

    fn check(&self, claims: &Claims, unix_s: u64) -> Result<(), Why> {
        let skew_s = self.spec.skew.ms() / 1_000;
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            // Fractions of a second are cut off.
            Some(value) => value.as_u64().or_else(|| whole_seconds(value)).map(Some).ok_or("token_malformed"),
        };
        match time("exp")? {
            Some(until_s) if until_s.saturating_add(skew_s) <= unix_s => return Err("token_expired"),
            None if !self.spec.endless => return Err("token_expired"),
            Some(_) | None => {}
        }
        if time("nbf")?.is_some_and(|from_s| from_s > unix_s.saturating_add(skew_s)) {
            return Err("token_early");
        }
        if self.spec.issuer.as_ref().is_some_and(|issuer| claims.get("iss").and_then(Value::as_str) != Some(issuer)) {
            return Err("token_issuer");
        }
        let is_for_us = |audience: &String| claims.get("aud").is_some_and(|value| has(value, audience));
        if !self.spec.audience.is_empty() && !self.spec.audience.iter().any(is_for_us) {
            return Err("token_audience");
        }
        Ok(())
    }

    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        let edits = &mut notes.edits.request;
        self.forget(edits);
        if self.awaits_keys {
            return Verdict::fail(Failure::AuthUnavailable("keys"));
        }
        let claims = self.shown(head).ok_or("token_missing").and_then(|token| self.claims(&token, context.unix_s));
        let claims = match claims {
            Ok(claims) => claims,
            Err(why) => return refuse(why),
        };
        if !self.rules.are_met(&claims) {
            return Verdict::fail(Failure::Denied("claims"));
        }
        if !self.rules.tell(&claims, edits) {
            return refuse("token_malformed");
        }
        if !self.spec.keep {
            edits.take_away(self.spec.header.as_bytes());
        }
        Verdict::Pass
    }
}

/// RFC 6750 §3.
fn refuse(why: Why) -> Verdict<'static> {
    let challenge = if why == "token_missing" { "Bearer" } else { "Bearer error=\"invalid_token\"" };
    let fields = vec![(&b"WWW-Authenticate"[..], challenge.as_bytes().to_vec())];
    Verdict::Refuse(Box::new(Refusal { failure: Failure::AuthRequired(why), fields, ..Refusal::default() }))
}

fn whole_seconds(value: &Value) -> Option<u64> {
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    format!("{:.0}", seconds.floor()).parse().ok()
}
