//! Every annotation of Traefik 1.7: whose it is, what becomes of it.

use AnnotatedKind::{Ingress, Service};

use crate::control::kubernetes::translate::meaning::Meaning::{self, Differs, Nothing, Refused, Same};

/// What the names begin with; the first one that is there counts.
pub const PREFIXES: [&str; 2] = ["ingress.kubernetes.io/", "traefik.ingress.kubernetes.io/"];

/// What labels of old begin with, of which some are names of annotations.
pub const OLD_PREFIXES: [&str; 2] = ["traefik.frontend.", "traefik.backend."];

/// The kind of object that has an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotatedKind {
    /// An Ingress.
    Ingress,
    /// A Service.
    Service,
}

/// An annotation.
#[derive(Clone, Copy, Debug)]
pub struct TraefikRow {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// Its names before there were prefixes.
    pub old: &'static [&'static str],
    /// Whose it is.
    pub kind: AnnotatedKind,
    /// Whether it means the same here.
    pub meaning: Meaning,
    /// What it becomes; empty where that is nothing.
    pub becomes: &'static str,
}

impl TraefikRow {
    const fn once(self, old: &'static [&'static str]) -> Self {
        Self { old, ..self }
    }
}

const fn row(name: &'static str, kind: AnnotatedKind, meaning: Meaning, becomes: &'static str) -> TraefikRow {
    TraefikRow { name, old: &[], kind, meaning, becomes }
}

/// The row of an annotation by its name without a prefix.
#[must_use]
pub fn row_of(name: &str) -> Option<&'static TraefikRow> {
    ROWS.iter().find(|row| row.name == name)
}

/// The row of an annotation by its whole name.
#[must_use]
pub fn row_of_key(key: &str) -> Option<&'static TraefikRow> {
    let short = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix));
    let is_it = |row: &&TraefikRow| short == Some(row.name) || row.old.contains(&key);
    ROWS.iter().find(is_it)
}

/// Every annotation.
pub const ROWS: [TraefikRow; 62] = [
    row("rule-type", Ingress, Same, "`paths`, `rewrite`").once(&["traefik.frontend.rule.type"]),
    row(
        "rewrite-target",
        Ingress,
        Differs("the whole path is replaced where the expression is found in it"),
        "`rewrite`",
    ),
    row(
        "request-modifier",
        Ingress,
        Differs("with ReplacePathRegex the whole path is replaced where the expression is found in it"),
        "`rewrite`, `add_prefix`",
    ),
    row("priority", Ingress, Differs("at most 1,000,000, so that routes of the file can be above"), "`priority`").once(&["traefik.frontend.priority"]),
    row("frontend-entry-points", Ingress, Differs("of the listeners that serve the cluster; certificates are served on each with TLS"), "`listeners`")
        .once(&["traefik.frontend.entryPoints"]),
    row("preserve-host", Ingress, Same, "`host` of the service").once(&["traefik.frontend.passHostHeader"]),
    row("protocol", Ingress, Same, "`protocol` and `tls` of the service"),
    row("app-root", Ingress, Same, "`redirect`"),
    row("redirect-entry-point", Ingress, Same, "`redirect`").once(&["traefik.frontend.redirect.entrypoint"]),
    row("redirect-regex", Ingress, Same, "`redirect.url`").once(&["traefik.frontend.redirect.regex"]),
    row("redirect-replacement", Ingress, Differs("templates of Go in it are refused"), "`redirect.location`")
        .once(&["traefik.frontend.redirect.replacement"]),
    row("redirect-permanent", Ingress, Same, "`redirect.status`"),
    row(
        "whitelist-source-range",
        Ingress,
        Differs("a list with what is no network lets nobody in, where Traefik lets everybody in"),
        "`allow`",
    ),
    row(
        "whitelist-x-forwarded-for",
        Ingress,
        Differs("the client's address is what `trusted_proxies` say; Traefik lets in whoever writes an address of the list"),
        "`trusted_proxies` of the listener",
    ),
    row("auth-type", Ingress, Same, "`basic_auth`, `digest_auth`, `forward_auth`"),
    row("auth-secret", Ingress, Same, "`basic_auth.file`, `digest_auth.file`"),
    row("auth-realm", Ingress, Same, "`realm`"),
    row("auth-header-field", Ingress, Differs("with `forward` it has no meaning"), "`user_header`"),
    row("auth-remove-header", Ingress, Same, "`keep_authorization`"),
    row(
        "auth-url",
        Ingress,
        Differs("where the service does not answer, or with 500 to 599, it is 503"),
        "`forward_auth`",
    ),
    row(
        "auth-trust-headers",
        Ingress,
        Nothing("what a client says in X-Forwarded-* counts where `trusted_proxies` say so"),
        "",
    ),
    row("auth-response-headers", Ingress, Same, "`forward_auth.response_headers`"),
    row("auth-tls-secret", Ingress, Same, "`tls.cert` and `tls.key` of the service that is asked"),
    row("auth-tls-insecure", Ingress, Same, "`tls.insecure_skip_verify` of the service that is asked"),
    row("pass-tls-cert", Ingress, Same, "`client_certificate`").once(&["traefik.frontend.passTLSCert"]),
    row(
        "pass-client-tls-cert",
        Ingress,
        Differs("of `infos` there are subject and issuer, each whole, in fields of their own"),
        "`client_certificate`",
    ),
    row(
        "error-pages",
        Ingress,
        Differs("the backend is a path of the same namespace; statuses below 400 are no errors; WWW-Authenticate, Set-Cookie and the like of the error stay"),
        "`error_pages`",
    ),
    row("rate-limit", Ingress, Differs("a request without the field counts by its address, and is no error 500; where it cannot be read nobody gets in, where Traefik limits nothing"), "`rate_limit`"),
    row("service-weights", Ingress, Same, "`targets`"),
    row("custom-request-headers", Ingress, Differs("`{word}` and `$1` in a value are variables"), "`request_headers`"),
    row("custom-response-headers", Ingress, Differs("`{word}` in a value is a variable"), "`response_headers`"),
    row("allowed-hosts", Ingress, Differs("a host that is missing is refused before anything else is asked"), "`hosts`"),
    row("proxy-headers", Ingress, Refused("a host in a field of the client's would decide who is let in"), ""),
    row("ssl-redirect", Ingress, Same, "`redirect`"),
    row("ssl-temporary-redirect", Ingress, Same, "`redirect.status`"),
    row("ssl-host", Ingress, Same, "`redirect.host`"),
    row("ssl-force-host", Ingress, Same, "`redirect.host`"),
    row("ssl-proxy-headers", Ingress, Same, "a route of its own for these `headers`"),
    row("hsts-max-age", Ingress, Same, "`hsts`"),
    row("hsts-include-subdomains", Ingress, Same, "`hsts.include_subdomains`"),
    row("hsts-preload", Ingress, Same, "`hsts.preload`"),
    row("force-hsts", Ingress, Same, "`response_headers`"),
    row("frame-deny", Ingress, Same, "`response_headers`"),
    row("custom-frame-options-value", Ingress, Same, "`response_headers`"),
    row("content-type-nosniff", Ingress, Same, "`response_headers`"),
    row("browser-xss-filter", Ingress, Same, "`response_headers`"),
    row("custom-browser-xss-value", Ingress, Same, "`response_headers`"),
    row("content-security-policy", Ingress, Same, "`response_headers`"),
    row("referrer-policy", Ingress, Same, "`response_headers`"),
    row("public-key", Ingress, Same, "`response_headers`"),
    row("is-development", Ingress, Same, "takes redirects to TLS, HSTS and `allowed-hosts` away"),
    row(
        "load-balancer-method",
        Service,
        Differs("`drr` becomes `least_latency`, which is fairer to an endpoint that was slow once"),
        "`balance`",
    )
    .once(&["traefik.backend.loadbalancer.method"]),
    row(
        "affinity",
        Service,
        Differs("the cookie has a hash, and not the address of the pod; clients get another one once"),
        "`sticky`",
    ).once(&["traefik.backend.loadbalancer.sticky", "traefik.backend.loadbalancer.stickiness"]),
    row("session-cookie-name", Service, Same, "`sticky.cookie`").once(&["traefik.backend.loadbalancer.stickiness.cookieName"]),
    row("session-secure", Service, Same, "`sticky.secure`"),
    row("session-http-only", Service, Same, "`sticky.http_only`"),
    row("session-same-site", Service, Same, "`sticky.same_site`"),
    row(
        "circuit-breaker-expression",
        Service,
        Differs("each worker counts by itself, from the fifth request in 10 s; after 10 s one request finds out whether the service is back"),
        "`circuit_breaker.expression`",
    )
    .once(&["traefik.backend.circuitbreaker"]),
    row("max-conn-amount", Service, Same, "`concurrency_limit`"),
    row("max-conn-extractor-func", Service, Same, "`concurrency_limit.key`"),
    row(
        "buffering",
        Service,
        Differs(
            "answers pass as they come, whatever their length; bodies pass as they come within `maxrequestbodybytes`; a request that must \
             not be repeated is sent again only where it is proven that nobody has read it",
        ),
        "`body.max`, `retry`",
    ),
    row("responseforwarding-flushinterval", Service, Nothing("answers pass as they come"), ""),
];
