//! Who may ask: certificates, rates, networks, passwords, and another service's word. And which pages may read answers.

use serde_json::{Value, json};

use super::annotations::Annotations;
use super::grammar::words;
use super::snippet::of_auth;
use super::spot::{Spot, named, named_map};
use super::variables::template;
use crate::config::tls::{ClientAuth, ClientAuthMode};
use crate::control::kubernetes::objects::ObjectName;
use crate::control::kubernetes::translate::plan::{AskedAs, Plan};
use crate::filter::Filter;
use crate::filter::satisfy::{AccessRule, Satisfy};
use crate::proto::h1::authority::host_length;
use crate::tls::identity::authorities;
use crate::units::Material;

/// The filters of a path that let a request pass or refuse it.
pub(super) fn access(plan: &mut Plan, spot: Spot<'_, '_>) -> Vec<Filter> {
    let notes = spot.notes;
    let mut filters: Vec<Filter> = cors(notes).into_iter().collect();
    filters.extend(limits(spot));
    let settings = spot.place.settings;
    let denied = notes.networks(["denylist-source-range", "denylist-source-range"]);
    let denied = denied.unwrap_or_else(|| settings.networks("denylist-source-range"));
    if !denied.is_empty() {
        filters.extend(notes.filter("denylist-source-range", json!({ "deny": denied })));
    }
    let allowed = notes.networks(["allowlist-source-range", "whitelist-source-range"]);
    let allowed = allowed.unwrap_or_else(|| settings.only_networks("whitelist-source-range"));
    let mut rules = Vec::new();
    if !allowed.is_empty() {
        rules.extend(notes.filter("allowlist-source-range", json!({ "allow": allowed })));
    }
    rules.extend(password(plan, spot));
    rules.extend(asked(plan, spot));
    if notes.word("satisfy", &["any", "all"]) == Some("any") && rules.len() > 1 {
        let any: Vec<_> = rules.into_iter().filter_map(rule).collect();
        filters.push(Filter::Satisfy(Satisfy { any }));
    } else {
        filters.extend(rules);
    }
    filters
}

/// A filter as one of several rules.
fn rule(filter: Filter) -> Option<AccessRule> {
    if let Filter::Allow(networks) = filter {
        Some(AccessRule::Allow(networks))
    } else if let Filter::BasicAuth(auth) = filter {
        Some(AccessRule::BasicAuth(auth))
    } else if let Filter::DigestAuth(auth) = filter {
        Some(AccessRule::DigestAuth(auth))
    } else if let Filter::ForwardAuth(auth) = filter {
        Some(AccessRule::ForwardAuth(auth))
    } else {
        None
    }
}

/// Which pages of other origins may read answers.
fn cors(notes: &Annotations<'_>) -> Option<Filter> {
    if notes.flag("enable-cors") != Some(true) {
        return None;
    }
    // Written into answers as it stands here.
    let list = |name: &str, default: &'static str| {
        let text = notes.text(name).unwrap_or(default);
        Vec::from_iter((!text.is_empty()).then_some(text))
    };
    let asked: Vec<&str> = words(notes.text("cors-allow-origin").unwrap_or("*")).collect();
    let is_origin = |origin: &&&str| matches!(**origin, "*" | "null") || origin.contains("://");
    let origins: Vec<&&str> = asked.iter().filter(is_origin).collect();
    if origins.len() < asked.len() {
        notes.tell("cors-allow-origin", "not all of it are origins; write https://host, https://*.host, null or *");
    }
    if origins.is_empty() {
        return None;
    }
    let written = json!({ "cors": {
        "origins": origins,
        "labels": "one",
        "methods": list("cors-allow-methods", "GET, PUT, POST, DELETE, PATCH, OPTIONS"),
        "headers": list("cors-allow-headers", "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"),
        "expose": list("cors-expose-headers", ""),
        "credentials": notes.flag("cors-allow-credentials").unwrap_or(true),
        "max_age": format!("{}s", notes.number("cors-max-age").unwrap_or(1_728_000)),
        "every_options": true,
        "always": true,
    }});
    notes.filter("enable-cors", written)
}

/// How often and how many at once.
fn limits(spot: Spot<'_, '_>) -> Vec<Filter> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let exempt = notes.networks(["limit-allowlist", "limit-whitelist"]).unwrap_or_default();
    let mut filters = Vec::new();
    let owner = notes.owner.name;
    let times = notes.number("limit-burst-multiplier").filter(|times| *times > 0).unwrap_or(5);
    let status = settings.status("limit-req-status-code", 503);
    for (name, unit) in [("limit-rps", "s"), ("limit-rpm", "m")] {
        if let Some(rate) = notes.number(name).filter(|rate| *rate > 0) {
            let written = json!({ "rate_limit": {
                "rate": format!("{rate}/{unit}"), "burst": rate.saturating_mul(times).saturating_add(1), "key": "client_ip",
                "zone": format!("{owner} {name}"), "exempt": exempt, "status": status,
            }});
            filters.extend(notes.filter(name, written));
        }
    }
    if let Some(max) = notes.number("limit-connections").filter(|max| *max > 0) {
        let written = json!({ "concurrency_limit": {
            "max": max, "key": "client_ip", "zone": format!("{owner} limit-connections"), "exempt": exempt,
            "status": settings.status("limit-conn-status-code", 503),
        }});
        filters.extend(notes.filter("limit-connections", written));
    }
    filters
}

/// Users with passwords.
fn password(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<Filter> {
    let notes = spot.notes;
    let kind = notes.text("auth-type").filter(|_| notes.is_there("auth-type"))?;
    let is_digest = !kind.contains("basic") && kind.contains("digest");
    if !is_digest && !kind.contains("basic") {
        notes.deny("auth-type", &format!("`{kind}` is neither basic nor digest"));
        return None;
    }
    let Some(text) = notes.text("auth-secret") else {
        notes.deny("auth-secret", "it is missing");
        return None;
    };
    let name = named(spot, "auth-secret", text)?;
    let file = if notes.word("auth-secret-type", &["auth-file", "auth-map"]) == Some("auth-map") {
        users_of_map(plan, spot, &name)
    } else {
        plan.secret(spot.place.world, notes.owner, &name, &["auth"]).and_then(|mut found| found.pop())
    };
    let Some(file) = file else {
        notes.deny("auth-secret", &format!("the Secret `{name}` is not there, or has not what it must have"));
        return None;
    };
    let realm = notes.text("auth-realm").unwrap_or("");
    let kind = if is_digest { "digest_auth" } else { "basic_auth" };
    let realm = if realm.is_empty() { json!({}) } else { json!({ "realm": realm }) };
    let mut filter = notes.filter("auth-type", json!({ kind: realm }))?;
    if let Filter::BasicAuth(auth) = &mut filter {
        auth.file = Some(file);
    } else if let Filter::DigestAuth(auth) = &mut filter {
        auth.file = Some(file);
    }
    Some(filter)
}

/// A Secret with a user in each key, as a file of `htpasswd`.
fn users_of_map(plan: &mut Plan, spot: Spot<'_, '_>, name: &ObjectName) -> Option<Material> {
    plan.wanted.secrets.insert(name.clone());
    let secret = spot.place.world.index.secrets.get(name)?;
    let mut lines = Vec::new();
    for user in secret.keys() {
        lines.extend_from_slice(user.as_bytes());
        lines.push(b':');
        lines.extend(secret.get(user)?.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        lines.push(b'\n');
    }
    Some(Material::Memory(format!("Secret {name}").into(), lines.into()))
}

/// The word of another service: that of the annotations, or the ConfigMap's.
fn asked(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<Filter> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let is_own = notes.is_there("auth-url");
    if !is_own {
        let mut spared = settings.paths("no-auth-locations", "/.well-known/acme-challenge");
        let is_spared = spared.any(|start| spot.path.starts_with(start));
        if is_spared || notes.flag("enable-global-auth") == Some(false) || settings.text("global-auth-url").is_none() {
            return None;
        }
    }
    // The same words, from one place or the other.
    let word = |name: &'static str, global: &str| if is_own { notes.text(name) } else { settings.text(global) };
    let constants = spot.constants("");
    let url = if is_own {
        notes.template("auth-url", constants)?
    } else {
        template(settings.text("global-auth-url")?, constants).map_err(|what| notes.deny("auth-url", &what)).ok()?
    };
    let Some((service, path)) = plan.by_url(spot.place.world, notes.owner, &url, &AskedAs::default()) else {
        notes.deny("auth-url", &format!("`{url}` is not a URL that can be asked"));
        return None;
    };
    let mut set = serde_json::Map::new();
    let asked_for = word("auth-request-redirect", "global-auth-request-redirect")
        .map_or(Ok("{uri}".to_owned()), |text| template(text, constants));
    set.insert("X-Auth-Request-Redirect".to_owned(), asked_for.unwrap_or_default().into());
    set.insert("X-Sent-From".to_owned(), "nginx-ingress-controller".into());
    if let Some(text) = notes.text("auth-proxy-set-headers") {
        let name = named(spot, "auth-proxy-set-headers", text)?;
        let Some(fields) = named_map(plan, spot, Some(&name.to_string())) else {
            notes.deny("auth-proxy-set-headers", &format!("there is no ConfigMap `{name}`"));
            return None;
        };
        for (name, value) in fields {
            set.insert(
                name,
                template(&value, constants).map_err(|what| notes.deny("auth-proxy-set-headers", &what)).ok()?.into(),
            );
        }
    }
    if is_own {
        set.extend(of_auth(spot).into_iter().map(|(name, value)| (name, value.into())));
    }
    let always = if is_own {
        notes.flag("auth-always-set-cookie").unwrap_or(false)
    } else {
        settings.flag("global-auth-always-set-cookie", false)
    };
    let mut written = json!({ "service": service, "path": path, "set": set, "client_headers_always": always });
    if let Some(method) = word("auth-method", "global-auth-method") {
        written["method"] = method.into();
    }
    if let Some(fields) = word("auth-response-headers", "global-auth-response-headers") {
        written["response_headers"] = words(fields).collect::<Vec<_>>().into();
    }
    if let Some(url) = word("auth-signin", "global-auth-signin") {
        written["sign_in"] = template(url, constants).map_err(|what| notes.deny("auth-signin", &what)).ok()?.into();
        let parameter = word("auth-signin-redirect-param", "global-auth-signin-redirect-param").unwrap_or("rd");
        let has_it = url.contains(&format!("?{parameter}=")) || url.contains(&format!("&{parameter}="));
        written["sign_in_parameter"] = if has_it { "" } else { parameter }.into();
    }
    if let Some(key) = word("auth-cache-key", "global-auth-cache-key") {
        let key = template(key, constants).map_err(|what| notes.deny("auth-cache-key", &what)).ok()?;
        // What one client was told never lets another one in.
        let key = format!("{{header:Authorization}} {{header:Cookie}} {key}");
        let times = word("auth-cache-duration", "global-auth-cache-duration").unwrap_or("200 202 401 5m");
        written["cache"] = json!({ "key": key, "keep": kept(times) });
    }
    notes.filter("auth-url", json!({ "forward_auth": written }))
}

/// `200 202 401 5m, 403 1m`.
fn kept(text: &str) -> Vec<Value> {
    let part = |part: &str| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let (time, codes) = words.split_last()?;
        let codes: Vec<u16> = codes.iter().filter_map(|code| code.parse().ok()).collect();
        let codes = if codes.is_empty() { vec![200, 202, 401] } else { codes };
        Some(json!({ "status": codes, "time": time }))
    };
    text.split(',').filter_map(part).collect()
}

/// Certificates of clients: what the listener asks for the host, and what the filter makes of it.
pub(super) fn certificate(plan: &mut Plan, spot: Spot<'_, '_>) -> Vec<Filter> {
    let (host, found) = spot.place.host;
    // The first Ingress of the host that says it counts for all of it.
    let Some(notes) = found.client_auth.map(|of| &spot.place.all[of]) else { return Vec::new() };
    let closed = |what: &str| {
        notes.tell("auth-tls-secret", &format!("{what}; its requests are answered 403"));
        notes.filter("", json!({ "respond": { "status": 403 } })).into_iter().collect()
    };
    let Some(text) = notes.text("auth-tls-secret").filter(|text| text.contains('/')) else {
        return closed("write namespace/name");
    };
    let mode = notes.word("auth-tls-verify-client", &["on", "off", "optional", "optional_no_ca"]).unwrap_or("on");
    if mode == "off" {
        return Vec::new();
    }
    if mode == "optional_no_ca" {
        return closed("optional_no_ca would let everybody in");
    }
    let own = Spot { notes, ..spot };
    let Some(name) = named(own, "auth-tls-secret", text) else {
        // Whoever else has paths of this host must not be left open.
        return closed("the Secret is in another namespace");
    };
    let Some(ca) = plan.secret(spot.place.world, notes.owner, &name, &["ca.crt"]) else {
        return closed("there is no such Secret with ca.crt");
    };
    if host.is_empty() {
        return closed("it needs a host");
    }
    let vouches = |material: &Material| matches!(material, Material::Memory(_, pem) if authorities(pem).is_ok());
    if !ca.iter().all(vouches) {
        return closed("its ca.crt has no certificate that could vouch for anybody");
    }
    // What is no list is told where it is read, and its rule left out: whoever must show a certificate is refused then.
    let listed = spot.place.world.index.secrets.get(&name).filter(|secret| secret.keys().any(|key| key == "ca.crl"));
    let crl = listed.map(|secret| {
        Material::Memory(format!("Secret {name} ca.crl").into(), secret.get("ca.crl").unwrap_or_default().into())
    });
    let is_host = |name: &str| host_length(name.trim_start_matches("*.").as_bytes()).is_some() && !name.contains(':');
    let names = std::iter::once(host).chain(found.aliases.iter().copied()).filter(|name| is_host(name));
    let hosts: Vec<String> =
        names.map(str::to_ascii_lowercase).filter(|name| plan.asked_hosts.insert(name.clone())).collect();
    if !hosts.is_empty() {
        let rule = ClientAuth { ca, crl: crl.into_iter().collect(), mode: ClientAuthMode::Filtered, hosts };
        plan.client_auth.push((rule, notes.owner.place()));
    }
    let mut set = json!({ "ssl-client-verify": "verified", "ssl-client-subject-dn": "subject", "ssl-client-issuer-dn": "issuer" });
    if notes.flag("auth-tls-pass-certificate-to-upstream") == Some(true) {
        set["ssl-client-cert"] = "pem".into();
    }
    let mut filters: Vec<Filter> = Vec::new();
    let mut written = json!({ "required": mode == "on", "set": set, "status": 400 });
    if let Some(url) = notes.template("auth-tls-error-page", own.constants("")) {
        if url.starts_with("http://") || url.starts_with("https://") {
            written["redirect"] = url.into();
        } else {
            notes.tell("auth-tls-error-page", "it is no whole URL; who shows no certificate is answered 400");
        }
    }
    filters.extend(notes.filter("auth-tls-secret", json!({ "client_certificate": written })));
    if let Some(text) = notes.text("auth-tls-match-cn") {
        let expression = text.strip_prefix("CN=").unwrap_or(text);
        let subject = format!("(.*,)?CN=({expression})(,.*)?");
        filters.extend(
            notes.filter("auth-tls-match-cn", json!({ "client_certificate": { "subject": subject, "status": 403 } })),
        );
    }
    filters
}
