//! What is spoken to the pods, how long they are waited for, and what follows a failed attempt.

use super::snippet::snippets;
use super::spot::{Spot, named, named_map};
use super::variables::template;
use crate::config::routes::RouteSpec;
use crate::config::services::{Protocol, ServiceSpec};
use crate::config::tls::{ServiceTls, TlsVersion};
use crate::control::kubernetes::translate::endpoints::EndpointSource;
use crate::control::kubernetes::translate::plan::Plan;
use crate::proto::gateway::script::ScriptRules;
use crate::units::Duration;
use crate::upstream::retry::{NonIdempotent, Retry, RetryOn};

/// What `backend-protocol` may say.
pub(super) const PROTOCOLS: [&str; 6] = ["HTTP", "HTTPS", "AUTO_HTTP", "GRPC", "GRPCS", "FCGI"];

/// What the annotations say of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct UpstreamNotes {
    protocol: Option<Protocol>,
    tls: Option<ServiceTls>,
    params: std::collections::BTreeMap<String, String>,
    script: Option<ScriptRules>,
    is_cluster_ip: bool,
}

impl UpstreamNotes {
    /// Puts it into the service.
    pub(super) fn apply(&self, spec: &mut ServiceSpec, source: &mut EndpointSource) {
        if let Some(protocol) = self.protocol {
            spec.protocol = protocol;
            spec.tls.clone_from(&self.tls);
        }
        spec.params.clone_from(&self.params);
        spec.script.clone_from(&self.script);
        source.is_cluster_ip = self.is_cluster_ip;
    }
}

/// What the annotations say of the service of a path; `None` where its requests are refused for it.
pub(super) fn upstream(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<UpstreamNotes> {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let mut told = UpstreamNotes {
        is_cluster_ip: notes.flag("service-upstream").unwrap_or_else(|| settings.flag("service-upstream", false)),
        ..UpstreamNotes::default()
    };
    match notes.word("backend-protocol", &PROTOCOLS) {
        Some("AUTO_HTTP") if spot.is_secure => {
            (told.protocol, told.tls) = (Some(Protocol::Http1), Some(tls(plan, spot)?));
        }
        Some("HTTPS") => (told.protocol, told.tls) = (Some(Protocol::Http1), Some(tls(plan, spot)?)),
        Some("GRPC") => told.protocol = Some(Protocol::H2),
        Some("GRPCS") => (told.protocol, told.tls) = (Some(Protocol::H2), Some(tls(plan, spot)?)),
        Some("FCGI") => {
            told.protocol = Some(Protocol::FastCgi);
            fastcgi(plan, spot, &mut told);
        }
        Some("AUTO_HTTP" | "HTTP") => told.protocol = Some(Protocol::Auto),
        Some(_) | None => {}
    }
    Some(told)
}

/// What a FastCGI server is told beside the usual.
fn fastcgi(plan: &mut Plan, spot: Spot<'_, '_>, told: &mut UpstreamNotes) {
    let notes = spot.notes;
    if let Some(text) = notes.text("fastcgi-params-configmap") {
        let Some(name) = named(spot, "fastcgi-params-configmap", text) else { return };
        let Some(params) = named_map(plan, spot, Some(&name.to_string())) else {
            notes.deny("fastcgi-params-configmap", &format!("there is no ConfigMap `{name}`"));
            return;
        };
        for (name, value) in params {
            match template(&value, spot.constants("")) {
                Ok(value) => _ = told.params.insert(name, value),
                Err(what) => notes.tell("fastcgi-params-configmap", &format!("{name}: {what}")),
            }
        }
    }
    if notes.text("fastcgi-index").is_none() {
        // As there: the whole path is the name of the script.
        for (name, value) in [("SCRIPT_NAME", "{path}"), ("PATH_INFO", "")] {
            told.params.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    if let Some(index) = notes.text("fastcgi-index") {
        let script = serde_json::json!({ "root": "/", "index": index });
        match serde_json::from_value(script) {
            Ok(script) => told.script = Some(script),
            Err(error) => notes.tell("fastcgi-index", &error.to_string()),
        }
    }
}

/// TLS towards the pods. Without a Secret nobody vouches for them, as there.
fn tls(plan: &mut Plan, spot: Spot<'_, '_>) -> Option<ServiceTls> {
    let notes = spot.notes;
    let mut tls = spot.place.world.service_tls();
    tls.server_name = snippets(spot).server_name.or_else(|| notes.text("proxy-ssl-name").map(str::to_owned));
    let Some(text) = notes.text("proxy-ssl-secret") else { return Some(tls) };
    let name = named(spot, "proxy-ssl-secret", text)?;
    let world = spot.place.world;
    let keys: Vec<String> =
        world.index.secrets.get(&name).map(|secret| secret.keys().map(str::to_owned).collect()).unwrap_or_default();
    let has = |key: &str| keys.iter().any(|known| known == key);
    if has("tls.crt") || keys.is_empty() {
        let Some(found) = plan.secret(world, notes.owner, &name, &["tls.crt", "tls.key"]) else {
            notes.deny("proxy-ssl-secret", &format!("the Secret `{name}` is not there, or has not what it must have"));
            return None;
        };
        let mut found = found.into_iter();
        (tls.cert, tls.key) = (found.next(), found.next());
    }
    if has("ca.crt") {
        let Some(ca) = plan.secret(world, notes.owner, &name, &["ca.crt"]) else {
            notes.deny("proxy-ssl-secret", "its ca.crt cannot be read");
            return None;
        };
        tls.ca = ca;
    }
    if notes.on("proxy-ssl-verify") == Some(true) {
        tls.insecure_skip_verify = false;
    }
    if notes.text("proxy-ssl-protocols").is_some_and(|text| text.trim() == "TLSv1.3") {
        tls.min_version = TlsVersion::V13;
    }
    Some(tls)
}

/// Puts timeouts and retries into a route.
pub(super) fn patience(route: &mut RouteSpec, spot: Spot<'_, '_>) {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let seconds = |name: &str, default: u64| {
        let asked = notes.number(name).unwrap_or_else(|| settings.number(name, default));
        (asked != default).then(|| Duration::from_s(asked))
    };
    route.timeouts.connect = seconds("proxy-connect-timeout", 5);
    route.timeouts.send = seconds("proxy-send-timeout", 60);
    let read = seconds("proxy-read-timeout", 60);
    (route.timeouts.header, route.timeouts.body, route.timeouts.tunnel) =
        (read, read, Some(read.unwrap_or(Duration::from_s(60))));
    let text = notes.text("proxy-next-upstream").or_else(|| settings.text("proxy-next-upstream"));
    let tries =
        notes.number("proxy-next-upstream-tries").unwrap_or_else(|| settings.number("proxy-next-upstream-tries", 3));
    if text.is_none() && tries == 3 && !settings.flag("retry-non-idempotent", false) {
        return;
    }
    let mut retry = Retry { attempts: attempts(tries), ..Retry::default() };
    for word in text.unwrap_or("error timeout").split(' ').filter(|word| !word.is_empty()) {
        match word {
            "off" => retry.attempts = 0,
            "timeout" => retry.on.push(RetryOn::HeaderTimeout),
            "invalid_header" => retry.on.push(RetryOn::BadResponse),
            "non_idempotent" => retry.non_idempotent = NonIdempotent::Always,
            "error" => {}
            word => match word.strip_prefix("http_").and_then(|code| code.parse().ok()) {
                Some(code @ 400..=599) => retry.on_status.push(code),
                Some(_) | None => notes.tell("proxy-next-upstream", &format!("`{word}` is none of its words")),
            },
        }
    }
    if settings.flag("retry-non-idempotent", false) {
        retry.non_idempotent = NonIdempotent::Always;
    }
    route.retry = Some(retry);
}

/// Attempts beyond the first; 0 tries stand for any number.
fn attempts(tries: u64) -> u8 {
    let tries = if tries == 0 { 11 } else { tries.min(11) };
    u8::try_from(tries - 1).unwrap_or(10)
}
