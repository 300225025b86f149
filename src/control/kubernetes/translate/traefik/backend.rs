//! What the annotations of a Service say, and what is spoken to its pods.

use serde::Deserialize;
use serde_json::json;

use super::annotations::{TraefikNotes, extractor};
use super::retries::retry;
use super::rows::AnnotatedKind;
use crate::config::services::{HostRule, Protocol, ServiceSpec};
use crate::control::kubernetes::objects::{BackendPort, ObjectName};
use crate::control::kubernetes::translate::plan::{BackendOf, Owner, Plan};
use crate::control::kubernetes::translate::world::World;
use crate::filter::Filter;
use crate::hash::hex;
use crate::proto::h1::set_cookie::SameSite;
use crate::units::{Duration, Size};
use crate::upstream::balance::Balance;
use crate::upstream::breaker::CircuitBreaker;
use crate::upstream::retry::Retry;
use crate::upstream::sticky::Sticky;
use crate::upstream::trip::TripExpression;

/// The annotations of a Service, as far as they say something.
#[derive(Debug, Default)]
pub(super) struct BackendNotes {
    balance: Option<Balance>,
    sticky: Option<Sticky>,
    breaker: Option<CircuitBreaker>,
    retry: Option<Retry>,
    /// The longest request body that is taken.
    pub body_max: Option<Size>,
    /// What is done with its requests.
    pub filters: Vec<Filter>,
    /// Its requests are refused.
    pub is_denied: bool,
}

/// `buffering`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Buffering {
    maxrequestbodybytes: u64,
    maxresponsebodybytes: u64,
    retryexpression: String,
}

impl BackendNotes {
    /// Those of this Service, for the frontend of this name; what is wrong with them is told, unless it was.
    pub(super) fn read(plan: &mut Plan, world: World<'_>, name: &ObjectName, frontend: &str, is_told: bool) -> Self {
        let owner = Owner { kind: "Service", name };
        let Some(found) = world.index.services.get(name) else { return Self::default() };
        let notes = TraefikNotes::read(owner, AnnotatedKind::Service, found.metadata.annotations.as_ref());
        let mut read = Self::default();
        match notes.text("load-balancer-method").map(str::to_ascii_lowercase).as_deref() {
            Some("drr") => read.balance = Some(Balance::LeastLatency),
            Some("wrr") | None => {}
            Some(other) => {
                notes.tell("load-balancer-method", &format!("`{}` is neither wrr nor drr", other.escape_debug()));
            }
        }
        if notes.is_on("affinity") {
            read.sticky = Some(sticky(&notes, frontend));
        }
        if let Some(text) = notes.text("circuit-breaker-expression") {
            match TripExpression::parse(text) {
                Ok(expression) => read.breaker = Some(breaker(expression)),
                Err(what) => notes.deny("circuit-breaker-expression", &what),
            }
        }
        read.filters.extend(connections(&notes));
        read.buffering(&notes);
        read.is_denied = notes.findings.is_denied();
        if !is_told {
            notes.finish(plan);
        }
        read
    }

    fn buffering(&mut self, notes: &TraefikNotes<'_>) {
        const NAME: &str = "buffering";
        let written: Buffering = notes.yaml(NAME).unwrap_or_default();
        if written.maxrequestbodybytes > 0 {
            self.body_max = Some(Size::from_bytes(written.maxrequestbodybytes));
        }
        if written.maxresponsebodybytes > 0 {
            notes.tell(NAME, "`maxresponsebodybytes` has no meaning here: answers pass as they come");
        }
        if !written.retryexpression.is_empty() {
            match retry(&written.retryexpression) {
                Ok(retry) => self.retry = Some(retry),
                Err(what) => notes.deny(NAME, &format!("`retryexpression`: {what}")),
            }
        }
    }

    fn apply(&self, spec: &mut ServiceSpec) {
        spec.balance = self.balance.clone().unwrap_or_else(|| spec.balance.clone());
        spec.sticky = self.sticky.clone().or_else(|| spec.sticky.clone());
        spec.circuit_breaker = self.breaker.clone().or_else(|| spec.circuit_breaker.clone());
        spec.retry = self.retry.clone().unwrap_or_else(|| spec.retry.clone());
    }
}

/// The name of the service for a backend of an Ingress with these annotations, which is added where it is new.
pub(super) fn service(
    plan: &mut Plan,
    world: World<'_>,
    notes: &TraefikNotes<'_>,
    (service, port): &(ObjectName, BackendPort),
    own: &BackendNotes,
) -> String {
    let found = world.index.services.get(service);
    let named = |known: &&crate::control::kubernetes::objects::ServicePort| match (&port.name, port.number) {
        (Some(name), _) if !name.is_empty() => known.name.as_deref() == Some(name),
        (_, number) => number == Some(known.port),
    };
    let known = found.and_then(|found| found.spec.ports.iter().find(named));
    let is_https = |known: &crate::control::kubernetes::objects::ServicePort| {
        known.port == 443 || known.name.as_deref().is_some_and(|name| name.starts_with("https"))
    };
    let protocol = notes.text("protocol").map(str::to_ascii_lowercase);
    let is_tls = match protocol.as_deref() {
        Some("https") => true,
        Some("http" | "h2c") => false,
        Some(other) => {
            notes.deny("protocol", &format!("`{}` is none of http, https and h2c", other.escape_debug()));
            false
        }
        None => known.is_some_and(is_https),
    };
    let tls = world.spec.service.tls.clone().unwrap_or_default();
    let keeps_host = notes.flag("preserve-host");
    plan.service(world, notes.findings.owner, BackendOf { service, port }, |spec, _| {
        if is_tls {
            spec.tls = Some(tls);
        } else if protocol.is_some() {
            spec.tls = None;
        }
        if protocol.as_deref() == Some("h2c") {
            spec.protocol = Protocol::H2;
        }
        match keeps_host {
            Some(true) => spec.host = HostRule::Keep,
            Some(false) => spec.host = HostRule::Endpoint,
            None => {}
        }
        own.apply(spec);
    })
}

fn breaker(expression: TripExpression) -> CircuitBreaker {
    CircuitBreaker {
        expression: Some(expression),
        // One failure proves nothing.
        requests_min: 5,
        window: Duration::from_s(10),
        open: Duration::from_s(10),
        ..CircuitBreaker::default()
    }
}

fn sticky(notes: &TraefikNotes<'_>, frontend: &str) -> Sticky {
    let same_site = notes.text("session-same-site").map(str::to_ascii_lowercase);
    Sticky {
        cookie: notes.text("session-cookie-name").map_or_else(|| cookie_name(frontend), str::to_owned),
        secure: Some(notes.is_on("session-secure")),
        http_only: notes.is_on("session-http-only"),
        same_site: match same_site.as_deref() {
            Some("none") => Some(SameSite::None),
            Some("lax") => Some(SameSite::Lax),
            Some("strict") => Some(SameSite::Strict),
            Some(_) | None => None,
        },
        change_on_failure: true,
        ..Sticky::default()
    }
}

/// The name that Traefik gives the cookie of a backend.
fn cookie_name(backend: &str) -> String {
    let text = format!("_TRAEFIK_BACKEND_{backend}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    format!("_{}", &hex(digest.as_ref())[..5])
}

/// How many requests at once.
fn connections(notes: &TraefikNotes<'_>) -> Option<Filter> {
    let amount = notes.text("max-conn-amount")?;
    let Some(text) = notes.text("max-conn-extractor-func") else {
        notes.tell("max-conn-amount", "it needs `max-conn-extractor-func`; there is no limit");
        return None;
    };
    let (Some(max), Some(key)) = (notes.number("max-conn-amount"), extractor(text)) else {
        notes.deny("max-conn-amount", &format!("`{amount}` by `{text}` is no limit"));
        return None;
    };
    notes.filter("max-conn-amount", json!({ "concurrency_limit": { "max": max, "key": key } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_the_name_that_traefik_gives_it() {
        // printf '_TRAEFIK_BACKEND_a.test/x' | sha1sum | cut -c1-5
        assert_eq!(cookie_name("a.test/x"), "_61335");
    }
}
