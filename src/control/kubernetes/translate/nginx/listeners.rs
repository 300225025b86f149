//! What the ConfigMap says of connections and of TLS.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::settings::ClusterSettings;
use crate::config::listeners::RequestIds;
use crate::config::tls::{ResumptionKind, TlsVersion};
use crate::control::kubernetes::translate::listener_words::{ListenerWords, TlsWords};
use crate::control::kubernetes::translate::plan::Plan;
use crate::control::kubernetes::translate::texts::is_network;
use crate::filter::Filter;
use crate::proto::h1::rules::Underscores;
use crate::tls::tickets::TicketKey;
use crate::units::{Duration, Material};

/// Suites of TLS 1.2 that are spoken here, by the names of OpenSSL and of IANA.
const SUITES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];
/// Those of TLS 1.3, which OpenSSL does not name in such a list.
const SUITES_OF_13: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// What the ConfigMap says of listeners; nothing where there is none.
pub(super) fn words(plan: &mut Plan, settings: &ClusterSettings<'_>) -> ListenerWords {
    if !settings.is_there() {
        return ListenerWords::default();
    }
    // 0 would be without end.
    let seconds = |key: &str| settings.whole(key).filter(|seconds| *seconds > 0).map(Duration::from_s);
    // There it switches keeping connections off.
    let is_kept = settings.whole("keep-alive") != Some(0);
    let switch = |key: &str| settings.text(key).map(|_| settings.flag(key, false));
    ListenerWords {
        trusted: settings.trusted(),
        request_ids: Some(RequestIds::Any),
        // As there: whatever port it listens on.
        tls_port: Some(443),
        requests_per_connection: if is_kept {
            settings.whole("keep-alive-requests").map(|max| u32::try_from(max.max(1)).unwrap_or(u32::MAX))
        } else {
            Some(1)
        },
        blocked: blocked(plan, settings),
        header: seconds("client-header-timeout"),
        body: seconds("client-body-timeout"),
        idle: seconds("keep-alive"),
        underscores: switch("enable-underscores-in-headers")
            .map(|keeps| if keeps { Underscores::Keep } else { Underscores::Drop }),
        http2: switch("use-http2"),
        tls: tls_words(plan, settings),
    }
}

/// Those whom the ConfigMap lets in nowhere, whatever they ask for.
fn blocked(plan: &mut Plan, settings: &ClusterSettings<'_>) -> Vec<Filter> {
    let mut written = Vec::new();
    let (networks, wrong): (Vec<_>, Vec<_>) = settings.elements("block-cidrs").partition(|text| is_network(text));
    wrong.iter().for_each(|text| settings.tell(plan, "block-cidrs", &format!("`{text}` is no network")));
    if !networks.is_empty() {
        written.push(json!({ "deny": networks }));
    }
    let mut fields = serde_json::Map::new();
    for (key, name) in [("block-user-agents", "User-Agent"), ("block-referers", "Referer")] {
        let expressions: Vec<String> = settings.elements(key).map(expression).collect();
        let (good, wrong): (Vec<_>, Vec<_>) = expressions.into_iter().partition(|text| regex::Regex::new(text).is_ok());
        wrong.iter().for_each(|text| settings.tell(plan, key, &format!("`{text}` cannot be read")));
        if !good.is_empty() {
            fields.insert(name.to_owned(), good.into());
        }
    }
    if !fields.is_empty() {
        written.push(json!({ "deny_headers": { "fields": fields } }));
    }
    serde_json::from_value(written.into()).unwrap_or_else(|error: serde_json::Error| {
        settings.tell(plan, "block-user-agents", &error.to_string());
        Vec::new()
    })
}

/// A text of a `map` of nginx as an expression: the whole value whatever its case, or an expression behind `~` or `~*`.
fn expression(text: &str) -> String {
    if let Some(expression) = text.strip_prefix("~*") {
        format!("(?i){expression}")
    } else if let Some(expression) = text.strip_prefix('~') {
        expression.to_owned()
    } else {
        format!("(?i)^{}$", regex::escape(text))
    }
}

fn tls_words(plan: &mut Plan, settings: &ClusterSettings<'_>) -> TlsWords {
    let has_tickets = settings.flag("ssl-session-tickets", false);
    let has_sessions = settings.flag("ssl-session-cache", true);
    TlsWords {
        versions: versions(plan, settings),
        ciphers: ciphers(plan, settings),
        resumption: Some(match (has_tickets, has_sessions) {
            (true, _) => ResumptionKind::Tickets,
            (false, true) => ResumptionKind::Sessions,
            (false, false) => ResumptionKind::None,
        }),
        says_resumption: ["ssl-session-tickets", "ssl-session-cache"].iter().any(|key| settings.text(key).is_some()),
        session_time: session_time(plan, settings),
        ticket_key: if has_tickets { ticket_key(plan, settings) } else { None },
        strict_sni: settings.text("ssl-reject-handshake").map(|_| settings.flag("ssl-reject-handshake", false)),
    }
}

/// `TLSv1.2 TLSv1.3`.
fn versions(plan: &mut Plan, settings: &ClusterSettings<'_>) -> Option<(TlsVersion, TlsVersion)> {
    let text = settings.text("ssl-protocols")?;
    let mut named = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "TLSv1.2" => named.push(TlsVersion::V12),
            "TLSv1.3" => named.push(TlsVersion::V13),
            older => settings.tell(plan, "ssl-protocols", &format!("{older} is not spoken here")),
        }
    }
    named.iter().min().copied().zip(named.iter().max().copied())
}

/// A list of OpenSSL: names between colons, of which those count that are spoken here.
fn ciphers(plan: &mut Plan, settings: &ClusterSettings<'_>) -> Vec<String> {
    let Some(text) = settings.text("ssl-ciphers") else { return Vec::new() };
    let of_12 = |name: &str| SUITES.iter().find(|(known, _)| *known == name).map(|(_, suite)| *suite);
    let chosen: Vec<&str> = text.split([':', ',', ' ']).filter_map(of_12).collect();
    if chosen.is_empty() {
        settings.tell(plan, "ssl-ciphers", "none of these suites is spoken here; all that are good are offered");
        return Vec::new();
    }
    SUITES_OF_13.into_iter().chain(chosen).map(str::to_owned).collect()
}

/// `10m`, `2s`.
fn session_time(plan: &mut Plan, settings: &ClusterSettings<'_>) -> Option<Duration> {
    let text = settings.text("ssl-session-timeout")?;
    let time = text.parse().ok().or_else(|| text.parse().ok().map(Duration::from_s));
    if time.is_none() {
        settings.tell(plan, "ssl-session-timeout", &format!("`{text}` is no time"));
    }
    time
}

/// 48 or 80 bytes in Base64.
fn ticket_key(plan: &mut Plan, settings: &ClusterSettings<'_>) -> Option<Material> {
    let text = settings.text("ssl-session-ticket-key")?;
    let bytes = BASE64_STANDARD.decode(text).ok().filter(|bytes| TicketKey::of(bytes).is_some());
    if bytes.is_none() {
        settings.tell(
            plan,
            "ssl-session-ticket-key",
            "it is not 48 bytes or more in Base64; keys of this process hold",
        );
    }
    bytes.map(|bytes| Material::Memory("ssl-session-ticket-key".into(), bytes.into()))
}
