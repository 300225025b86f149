//! Every annotation of ingress-nginx 1.15.1: what it may say, how much can be done with it, and what it becomes.

use Grammar::{Any, Basic, Bool, CharsSpace, Cidrs, Ciphers, Headers, Int, NginxVar, OnOff, PathCapture, Regex};
use Grammar::{ServerName, Size, Url, UrlSpace, UrlVar, Words};
use Meaning::{Differs, Nothing, Refused, Same};
use Risk::{Critical, High, Low, Medium};

use super::grammar::Grammar;
use crate::control::kubernetes::translate::meaning::Meaning;

/// What the name of each begins with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// How much somebody who may write an annotation can do with it (ingress-nginx, `annotations-risk.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Nothing beyond its own requests.
    Low,
    /// Something beyond its own namespace.
    Medium,
    /// Something with other services.
    High,
    /// Anything.
    Critical,
}

impl Risk {
    /// By its name in the ConfigMap.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Low, Medium, High, Critical].into_iter().find(|risk| format!("{risk:?}") == name)
    }
}

/// An annotation.
#[derive(Clone, Copy, Debug)]
pub struct AnnotationRow {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// How much can be done with it.
    pub risk: Risk,
    /// What it may say.
    pub grammar: Grammar,
    /// Whether it means the same here.
    pub meaning: Meaning,
    /// What it becomes; empty where that is nothing.
    pub becomes: &'static str,
}

const fn row(
    name: &'static str,
    risk: Risk,
    grammar: Grammar,
    meaning: Meaning,
    becomes: &'static str,
) -> AnnotationRow {
    AnnotationRow { name, risk, grammar, meaning, becomes }
}

/// The row of an annotation; `None` where ingress-nginx knows none of that name.
#[must_use]
pub fn row_of(name: &str) -> Option<&'static AnnotationRow> {
    ROWS.iter().find(|row| row.name == name)
}

/// What becomes of directives of nginx.
const SNIPPETS: &str = "read where the ConfigMap sets `allow-snippet-annotations`: fields, `return`, `rewrite`, `allow` and `deny`, names for TLS, \
     and those that say nothing here, each behind who may come in, where nginx has `return` and `rewrite` before; \
     with any other directive its requests are refused";

/// All of them, by what they are about.
pub const ROWS: [AnnotationRow; 138] = [
    row("auth-type", Low, Words, Same, "`basic_auth` or `digest_auth`"),
    row("auth-secret", Medium, Basic, Same, "`file` of that filter"),
    row("auth-secret-type", Low, Words, Same, "how the Secret is read"),
    row("auth-realm", Medium, CharsSpace, Same, "`realm`"),
    row(
        "auth-url",
        High,
        UrlVar,
        Differs(
            "401 and 403 reach the client as there; another answer of the service reaches it too, and is not turned into a 500",
        ),
        "`forward_auth`",
    ),
    row("auth-method", Low, Words, Same, "`forward_auth.method`"),
    row("auth-signin", High, UrlVar, Same, "`forward_auth.sign_in`"),
    row("auth-signin-redirect-param", Medium, Url, Same, "`forward_auth.sign_in_parameter`"),
    row("auth-response-headers", Medium, Headers, Same, "`forward_auth.response_headers`"),
    row("auth-request-redirect", Medium, Url, Same, "`X-Auth-Request-Redirect` of `forward_auth.set`"),
    row("auth-proxy-set-headers", Medium, Basic, Same, "`forward_auth.set`"),
    row(
        "auth-cache-key",
        Medium,
        NginxVar,
        Differs(
            "`Authorization` and `Cookie` are always in the key, where nginx with a fixed one lets everybody in who comes after the first",
        ),
        "`forward_auth.cache.key`",
    ),
    row("auth-cache-duration", Medium, Words, Same, "`forward_auth.cache.keep`"),
    row("auth-keepalive", Low, Int, Nothing("connections to the service are kept by what is learned of it"), ""),
    row("auth-keepalive-share-vars", Low, Bool, Nothing("of nginx's modules"), ""),
    row(
        "auth-keepalive-requests",
        Low,
        Int,
        Nothing("connections to the service are kept by what is learned of it"),
        "",
    ),
    row(
        "auth-keepalive-timeout",
        Low,
        Int,
        Nothing("connections to the service are kept by what is learned of it"),
        "",
    ),
    row("auth-always-set-cookie", Low, Bool, Same, "`forward_auth.client_headers_always`"),
    row(
        "auth-snippet",
        Critical,
        Any,
        Differs("`proxy_set_header` alone, where the ConfigMap sets `allow-snippet-annotations`"),
        "`forward_auth.set`",
    ),
    row("enable-global-auth", Low, Bool, Same, "whether the ConfigMap's `global-auth-url` holds"),
    row("satisfy", Low, Words, Same, "`satisfy`"),
    row(
        "auth-tls-secret",
        Medium,
        Basic,
        Same,
        "`client_auth` of the listener for the host, with `crl` where the Secret has ca.crl, and `client_certificate`",
    ),
    row(
        "auth-tls-verify-client",
        Medium,
        Words,
        Differs("optional_no_ca is refused: it lets everybody in"),
        "`client_auth.mode` and `client_certificate.required`",
    ),
    row("auth-tls-verify-depth", Low, Int, Nothing("chains are verified whole"), ""),
    row("auth-tls-error-page", High, Url, Differs("a whole URL"), "`client_certificate.redirect`"),
    row("auth-tls-pass-certificate-to-upstream", Low, Bool, Same, "`client_certificate.set`"),
    row(
        "auth-tls-match-cn",
        High,
        Regex,
        Differs("the expression is held against the whole common name, so that `CN=goo` does not let CN=good in"),
        "`client_certificate.subject`",
    ),
    row("ssl-redirect", Low, Bool, Same, "`redirect`"),
    row("force-ssl-redirect", Medium, Bool, Same, "`redirect`"),
    row("preserve-trailing-slash", Medium, Bool, Same, "`redirect.drop_last_slash`"),
    row("use-port-in-redirects", Low, Bool, Nothing("a port other than the scheme's own is written"), ""),
    row("ssl-passthrough", Low, Bool, Refused("TLS is not passed on by name"), ""),
    row("ssl-ciphers", Low, Ciphers, Refused("ciphers are set for a listener"), ""),
    row("ssl-prefer-server-ciphers", Low, Bool, Nothing("the server's order counts"), ""),
    row("proxy-ssl-secret", Medium, Basic, Same, "`tls` of the service"),
    row("proxy-ssl-verify", Low, OnOff, Same, "`tls.insecure_skip_verify`"),
    row("proxy-ssl-verify-depth", Low, Int, Nothing("chains are verified whole"), ""),
    row("proxy-ssl-name", High, ServerName, Same, "`tls.server_name`"),
    row(
        "proxy-ssl-server-name",
        Low,
        OnOff,
        Differs("a name is always asked for where there is one"),
        "`tls.server_name`",
    ),
    row("proxy-ssl-protocols", Low, Words, Differs("TLS 1.2 and 1.3, or 1.3 alone"), "`tls.min_version`"),
    row("proxy-ssl-ciphers", Medium, Ciphers, Nothing("all suites that are good are offered"), ""),
    row("backend-protocol", Low, Words, Same, "`protocol` and `tls` of the service"),
    row("fastcgi-index", Medium, Basic, Same, "`script.index`"),
    row("fastcgi-params-configmap", Medium, Basic, Same, "`params` of the service"),
    row(
        "proxy-http-version",
        Low,
        Words,
        Differs("HTTP/1.1 always; an upstream that answers in 1.0 is understood"),
        "",
    ),
    row("upstream-vhost", Low, UrlVar, Same, "`rewrite.host`"),
    row("connection-proxy-header", Low, Words, Nothing("connections are kept by what is learned of the upstream"), ""),
    row("service-upstream", Low, Bool, Same, "the address of the Service"),
    row("canary", Low, Bool, Same, "a second target of the route"),
    row("canary-by-header", Medium, Basic, Same, "`canary`"),
    row("canary-by-header-value", Medium, Basic, Same, "`canary`"),
    row("canary-by-header-pattern", Medium, Regex, Same, "`canary`"),
    row("canary-by-cookie", Medium, Basic, Same, "`canary`"),
    row("canary-weight", Low, Int, Same, "`weight` of a target"),
    row("canary-weight-total", Low, Int, Same, "`weight` of a target"),
    row("affinity", Low, Words, Same, "`sticky`"),
    row("affinity-mode", Medium, Words, Same, "`sticky.mode`"),
    row(
        "affinity-canary-behavior",
        Low,
        Words,
        Differs(
            "who has a cookie of the canary stays there unless a rule of the canary says otherwise for the request",
        ),
        "`sticky` of the canary's service",
    ),
    row("session-cookie-name", Medium, Basic, Same, "`sticky.cookie`"),
    row("session-cookie-path", Medium, Url, Same, "`sticky.path`"),
    row("session-cookie-domain", Medium, Basic, Same, "`sticky.domain`"),
    row("session-cookie-secure", Low, Bool, Same, "`sticky.secure`"),
    row("session-cookie-samesite", Low, Words, Same, "`sticky.same_site`"),
    row("session-cookie-conditional-samesite-none", Low, Bool, Nothing("for browsers of 2019"), ""),
    row(
        "session-cookie-expires",
        Medium,
        Int,
        Differs("as Max-Age, which browsers go by where both are there"),
        "`sticky.max_age`",
    ),
    row("session-cookie-max-age", Medium, Int, Same, "`sticky.max_age`"),
    row("session-cookie-change-on-failure", Low, Bool, Same, "`sticky.change_on_failure`"),
    row("upstream-hash-by", High, Any, Same, "`balance = \"hash:…\"`"),
    row("upstream-hash-by-subset", Low, Bool, Same, "`hash_subset`"),
    row("upstream-hash-by-subset-size", Low, Int, Same, "`hash_subset`"),
    row("load-balance", Low, Words, Same, "`balance`"),
    row("use-regex", Low, Bool, Same, "`paths = [{ regex = … }]` for all paths of the host"),
    row("rewrite-target", Medium, PathCapture, Same, "`rewrite`"),
    row("x-forwarded-prefix", Medium, PathCapture, Same, "`request_headers`"),
    row("app-root", Medium, PathCapture, Same, "`redirect`"),
    row("from-to-www-redirect", Low, Bool, Same, "a route with `redirect` for the other name"),
    row("permanent-redirect", Medium, UrlVar, Same, "`redirect`"),
    row("permanent-redirect-code", Low, Int, Differs("301, 302, 303, 307 or 308; another is 301"), "`redirect.status`"),
    row("temporal-redirect", Medium, UrlVar, Same, "`redirect`"),
    row("temporal-redirect-code", Low, Int, Differs("301, 302, 303 or 307; another is 302"), "`redirect.status`"),
    row("relative-redirects", Low, Bool, Nothing("redirects name the whole URL"), ""),
    row("proxy-redirect-from", Medium, Url, Same, "`location_rewrite`"),
    row("proxy-redirect-to", Medium, Url, Same, "`location_rewrite`"),
    row("proxy-cookie-domain", Medium, CharsSpace, Same, "`cookie_rewrite`"),
    row("proxy-cookie-path", Medium, UrlSpace, Same, "`cookie_rewrite`"),
    row("server-alias", High, Any, Differs("names and wildcards; expressions are refused"), "`hosts`"),
    row(
        "default-backend",
        Low,
        Basic,
        Differs("it is asked with GET, and has the path where the service has no endpoint"),
        "`error_pages` with `no_endpoints`",
    ),
    row("custom-http-errors", Low, Words, Same, "`error_pages`"),
    row("disable-proxy-intercept-errors", Low, Bool, Same, "no `error_pages`"),
    row("server-snippet", Critical, Any, Differs(SNIPPETS), "filters of all paths of the host"),
    row("configuration-snippet", Critical, Any, Differs(SNIPPETS), "filters"),
    row("stream-snippet", Critical, Any, Refused("services of TCP are not built"), ""),
    row("http2-push-preload", Low, Bool, Nothing("browsers take no pushes any more"), ""),
    row("enable-cors", Low, Bool, Same, "`cors`"),
    row(
        "cors-allow-origin",
        Medium,
        Any,
        Differs("where no origin in the list is one, no page may read answers, and not all of them"),
        "`cors.origins`",
    ),
    row("cors-allow-methods", Medium, Headers, Same, "`cors.methods`"),
    row("cors-allow-headers", Medium, Headers, Same, "`cors.headers`"),
    row("cors-expose-headers", Medium, Any, Same, "`cors.expose`"),
    row("cors-allow-credentials", Low, Bool, Same, "`cors.credentials`"),
    row("cors-max-age", Low, Int, Same, "`cors.max_age`"),
    row("limit-rps", Low, Int, Same, "`rate_limit`"),
    row("limit-rpm", Low, Int, Same, "`rate_limit`"),
    row("limit-burst-multiplier", Low, Int, Same, "`rate_limit.burst`"),
    row("limit-connections", Low, Int, Same, "`concurrency_limit`"),
    row("limit-allowlist", Low, Cidrs, Same, "`exempt`"),
    row("limit-whitelist", Low, Cidrs, Same, "`limit-allowlist` by its old name"),
    row("limit-rate", Low, Int, Same, "`bandwidth_limit`"),
    row("limit-rate-after", Low, Int, Same, "`bandwidth_limit.after`"),
    row("allowlist-source-range", Medium, Cidrs, Same, "`allow`"),
    row("whitelist-source-range", Medium, Cidrs, Same, "`allowlist-source-range` by its old name"),
    row("denylist-source-range", Medium, Cidrs, Same, "`deny`"),
    row("proxy-body-size", Medium, Size, Same, "`body.max`"),
    row("client-body-buffer-size", Low, Size, Nothing("bodies pass in bounded buffers"), ""),
    row(
        "proxy-request-buffering",
        Low,
        OnOff,
        Differs("bodies pass as they come; the filter `buffer` reads them whole"),
        "",
    ),
    row("proxy-buffering", Low, OnOff, Nothing("answers pass as they come"), ""),
    row("proxy-buffer-size", Low, Size, Nothing("heads of up to 64 KiB are taken"), ""),
    row("proxy-buffers-number", Low, Int, Nothing("answers pass as they come"), ""),
    row("proxy-busy-buffers-size", Low, Size, Nothing("answers pass as they come"), ""),
    row("proxy-max-temp-file-size", Low, Size, Nothing("nothing is written to files"), ""),
    row("proxy-connect-timeout", Low, Int, Same, "`timeouts.connect`"),
    row("proxy-send-timeout", Low, Int, Same, "`timeouts.send`"),
    row("proxy-read-timeout", Low, Int, Same, "`timeouts.header` and `timeouts.body`"),
    row(
        "proxy-next-upstream",
        Medium,
        Words,
        Differs(
            "a request that must not be repeated is sent again only where it is proven that nobody has read it, unless `non_idempotent` is said",
        ),
        "`retry`",
    ),
    row("proxy-next-upstream-tries", Low, Int, Differs("at most 11"), "`retry.attempts`"),
    row(
        "proxy-next-upstream-timeout",
        Low,
        Int,
        Refused("retries are bounded by a budget, and by `timeouts.total`"),
        "",
    ),
    row("mirror-target", High, UrlVar, Same, "`mirror`"),
    row("mirror-host", High, ServerName, Same, "`host` of the mirror's service"),
    row("mirror-request-body", Low, OnOff, Same, "`mirror.body_max`"),
    row("custom-headers", Medium, Basic, Same, "`response_headers`"),
    row("enable-access-log", Low, Bool, Same, "`access_log`"),
    row("enable-rewrite-log", Low, Bool, Nothing("`ringress explain` shows what is rewritten"), ""),
    row("enable-opentelemetry", Low, Bool, Refused("traces are not built"), ""),
    row("opentelemetry-trust-incoming-span", Low, Bool, Refused("traces are not built"), ""),
    row("opentelemetry-operation-name", Medium, Basic, Refused("traces are not built"), ""),
    row(
        "enable-modsecurity",
        Low,
        Bool,
        Refused("there is no firewall for applications here, and one that is missing must not be silent"),
        "",
    ),
    row(
        "enable-owasp-core-rules",
        Low,
        Bool,
        Refused("there is no firewall for applications here, and one that is missing must not be silent"),
        "",
    ),
    row(
        "modsecurity-transaction-id",
        High,
        NginxVar,
        Refused("there is no firewall for applications here, and one that is missing must not be silent"),
        "",
    ),
    row(
        "modsecurity-snippet",
        Critical,
        Any,
        Refused("there is no firewall for applications here, and one that is missing must not be silent"),
        "",
    ),
];
