//! Who may ask: networks, passwords, another service's word, certificates, and how often.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::annotations::{TraefikNotes, extractor};
use crate::config::tls::ServiceTls;
use crate::control::kubernetes::objects::ObjectName;
use crate::control::kubernetes::translate::plan::{AskedAs, Plan};
use crate::control::kubernetes::translate::texts::is_network;
use crate::control::kubernetes::translate::world::{World, unverified_tls};
use crate::filter::Filter;

/// The networks whose clients may ask.
pub(super) fn networks(notes: &TraefikNotes<'_>) -> Option<Filter> {
    const NAME: &str = "whitelist-source-range";
    let list = notes.list(NAME);
    if list.is_empty() {
        return None;
    }
    if let Some(wrong) = list.iter().find(|text| !is_network(text)) {
        notes.deny(NAME, &format!("`{}` is no network", wrong.escape_debug()));
    }
    notes.filter(NAME, json!({ "allow": list }))
}

/// Users with passwords, or another service's word.
pub(super) fn credentials(plan: &mut Plan, world: World<'_>, notes: &TraefikNotes<'_>) -> Option<Filter> {
    let kind = notes.text("auth-type")?.to_ascii_lowercase();
    match kind.as_str() {
        "basic" | "digest" => users(plan, world, notes, &kind),
        "forward" => asked(plan, world, notes),
        _ => {
            notes.deny("auth-type", &format!("`{}` is none of basic, digest and forward", kind.escape_debug()));
            None
        }
    }
}

fn users(plan: &mut Plan, world: World<'_>, notes: &TraefikNotes<'_>, kind: &str) -> Option<Filter> {
    if notes.text("auth-realm").is_some_and(|realm| realm != "traefik") {
        notes.deny("auth-realm", "Traefik knows the realm `traefik` alone");
    }
    let owner = notes.findings.owner;
    let Some(name) = notes.text("auth-secret").filter(|name| !name.contains('/')) else {
        notes.deny("auth-secret", "it must name a Secret of this namespace");
        return None;
    };
    let name = ObjectName::new(&owner.name.namespace, name);
    let keys: Vec<String> =
        world.index.secrets.get(&name).map(|secret| secret.keys().map(str::to_owned).collect()).unwrap_or_default();
    let key = match &keys[..] {
        [] => "auth",
        [key] => key,
        [..] => {
            notes.deny("auth-secret", &format!("the Secret `{name}` has {} keys, and one is read", keys.len()));
            return None;
        }
    };
    let Some(file) = plan.secret(world, owner, &name, &[key]).and_then(|found| found.into_iter().next()) else {
        notes.deny("auth-secret", &format!("there is no Secret `{name}` with users"));
        return None;
    };
    let mut written = json!({ "realm": "traefik", "keep_authorization": !notes.is_on("auth-remove-header") });
    if let Some(field) = notes.text("auth-header-field") {
        written["user_header"] = field.into();
    }
    let mut filter = notes.filter("auth-type", json!({ format!("{kind}_auth"): written }))?;
    if let Filter::BasicAuth(auth) = &mut filter {
        auth.file = Some(file);
    } else if let Filter::DigestAuth(auth) = &mut filter {
        auth.file = Some(file);
    }
    Some(filter)
}

fn asked(plan: &mut Plan, world: World<'_>, notes: &TraefikNotes<'_>) -> Option<Filter> {
    let owner = notes.findings.owner;
    let mut tls = if notes.is_on("auth-tls-insecure") { unverified_tls() } else { ServiceTls::default() };
    if let Some(name) = notes.text("auth-tls-secret") {
        let name = ObjectName::new(&owner.name.namespace, name);
        let Some(found) = plan.secret(world, owner, &name, &["tls.crt", "tls.key"]) else {
            notes.deny("auth-tls-secret", &format!("there is no Secret `{name}` with tls.crt and tls.key"));
            return None;
        };
        let mut found = found.into_iter();
        (tls.cert, tls.key) = (found.next(), found.next());
    }
    let url = notes.text("auth-url").unwrap_or_default();
    let Some((service, path)) = plan.by_url(world, owner, url, &AskedAs { host: None, tls: Some(tls) }) else {
        notes.deny("auth-url", &format!("`{}` is not a URL that can be asked", url.escape_debug()));
        return None;
    };
    let told = notes.list("auth-response-headers");
    notes.filter("auth-url", json!({ "forward_auth": { "service": service, "path": path, "response_headers": told } }))
}

/// What the upstream is told of a client's certificate.
pub(super) fn certificate(notes: &TraefikNotes<'_>) -> Option<Filter> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Told {
        pem: bool,
        infos: Option<BTreeMap<String, Value>>,
    }
    const NAME: &str = "pass-client-tls-cert";
    let told: Told = notes.yaml(NAME).unwrap_or_default();
    let mut set = BTreeMap::new();
    if told.pem || notes.is_on("pass-tls-cert") {
        set.insert("X-Forwarded-Tls-Client-Cert", "base64");
    }
    if told.infos.is_some() {
        set.insert("X-Forwarded-Tls-Client-Cert-Subject", "subject");
        set.insert("X-Forwarded-Tls-Client-Cert-Issuer", "issuer");
    }
    if set.is_empty() {
        return None;
    }
    notes.filter(NAME, json!({ "client_certificate": { "required": false, "set": set } }))
}

/// How often: every rate of the set must hold.
pub(super) fn rates(notes: &TraefikNotes<'_>) -> Option<Filter> {
    #[derive(Deserialize)]
    struct RateSet {
        extractorfunc: String,
        rateset: BTreeMap<String, Rate>,
    }
    #[derive(Deserialize)]
    struct Rate {
        period: Value,
        average: u32,
        #[serde(default)]
        burst: u32,
    }
    const NAME: &str = "rate-limit";
    let set: RateSet = notes.strict_yaml(NAME)?;
    let Some(key) = extractor(&set.extractorfunc) else {
        let what = format!("`{}` is none of client.ip, request.host and request.header.NAME", set.extractorfunc);
        notes.deny(NAME, &what);
        return None;
    };
    let written = set.rateset.values().map(|rate| {
        let seconds = || format!("{}s", rate.period);
        let period = rate.period.as_str().map_or_else(seconds, str::to_owned);
        json!({ "rate": format!("{}/{period}", rate.average), "burst": rate.burst.max(1) })
    });
    let mut rates: Vec<Value> = written.collect();
    if rates.is_empty() {
        notes.deny(NAME, "there is no rate in it");
        return None;
    }
    let mut first = rates.remove(0);
    first["key"] = key.into();
    first["also"] = rates.into();
    notes.filter(NAME, json!({ "rate_limit": first }))
}
