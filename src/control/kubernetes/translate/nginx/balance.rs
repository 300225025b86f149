//! Which endpoint a request gets: balances, hashes, and clients that stay with theirs.

use super::spot::Spot;
use super::variables::template;
use crate::config::services::ServiceSpec;
use crate::proto::h1::set_cookie::SameSite;
use crate::units::Duration;
use crate::upstream::balance::Balance;
use crate::upstream::sticky::{Sticky, StickyMode};

/// Puts the balance of a path into its service.
pub(super) fn balance(spec: &mut ServiceSpec, spot: Spot<'_, '_>) {
    let (notes, settings) = (spot.notes, spot.place.settings);
    let names = ["round_robin", "ewma", "chash", "chashsubset", "sticky_balanced", "sticky_persistent"];
    let word = notes.word("load-balance", &names).or_else(|| settings.text("load-balance"));
    if word == Some("ewma") {
        spec.balance = Balance::LeastLatency;
    }
    let port = spot.backend.map_or_else(String::new, |(_, port)| port.to_string());
    if let Some(text) = notes.text("upstream-hash-by") {
        match template(text, spot.constants(&port)) {
            Ok(key) => spec.balance = Balance::Hash(key),
            Err(what) => notes.tell("upstream-hash-by", &what),
        }
        if notes.flag("upstream-hash-by-subset") == Some(true) {
            let size = notes.number("upstream-hash-by-subset-size").and_then(|size| usize::try_from(size).ok());
            spec.hash_subset = Some(size.unwrap_or(3).clamp(2, crate::limits::HASH_SUBSET_MAX));
        }
    }
    spec.sticky = affinity(spot).or(spec.sticky.take());
}

/// What ties a client to an endpoint; `None` for nothing.
pub(super) fn affinity(spot: Spot<'_, '_>) -> Option<Sticky> {
    spot.notes.word("affinity", &["cookie"]).map(|_| sticky(spot))
}

fn sticky(spot: Spot<'_, '_>) -> Sticky {
    let notes = spot.notes;
    let seconds = |name: &str| notes.number(name).filter(|seconds| *seconds > 0).map(Duration::from_s);
    let own_path = if spot.place.host.1.is_regex { "/" } else { spot.path };
    let same_site = notes.word("session-cookie-samesite", &["none", "lax", "strict"]);
    Sticky {
        cookie: notes.text("session-cookie-name").unwrap_or("INGRESSCOOKIE").to_owned(),
        mode: match notes.word("affinity-mode", &["balanced", "persistent"]) {
            Some("persistent") => StickyMode::Persistent,
            Some(_) | None => StickyMode::Balanced,
        },
        path: notes.text("session-cookie-path").unwrap_or(own_path).to_owned(),
        domain: notes.text("session-cookie-domain").map(str::to_owned),
        // `false` there is as good as nothing.
        secure: notes.flag("session-cookie-secure").filter(|secure| *secure),
        same_site: match same_site {
            Some("none") => Some(SameSite::None),
            Some("lax") => Some(SameSite::Lax),
            Some(_) => Some(SameSite::Strict),
            None => None,
        },
        max_age: seconds("session-cookie-max-age").or_else(|| seconds("session-cookie-expires")),
        change_on_failure: notes.flag("session-cookie-change-on-failure").unwrap_or(false),
        ..Sticky::default()
    }
}
