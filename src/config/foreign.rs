//! The words of other proxies, each with the word for it here: for people who come from there.

/// A word, whose it is, and what is written here instead.
type ForeignWord = (&'static str, &'static str, &'static str);

/// Sorted by the word.
const WORDS: [ForeignWord; 106] = [
    ("access-log", "HAProxy", "`access_log`"),
    ("accessLog", "Traefik", "`access_log`"),
    ("add_header", "nginx", "a filter of the route: `{ response_headers = { add = { NAME = \"value\" } } }`"),
    (
        "address-family",
        "others",
        "`address` of a listener: \"0.0.0.0:80\" for IPv4, \"[::]:80\" for IPv6, \":80\" for both",
    ),
    ("alias", "nginx", "nothing: files are not served here; let a web server serve them and name it in `endpoints`"),
    ("allow", "nginx", "nothing yet: filters by address are not built"),
    ("auth_basic", "nginx", "nothing yet: passwords are not asked for here"),
    ("auth_request", "nginx", "nothing yet: requests are not checked by another service here"),
    ("backend", "HAProxy and Traefik 1", "a service: `[services.NAME]` with `endpoints`"),
    ("backends", "HAProxy and Traefik 1", "services: `[services.NAME]` with `endpoints`"),
    ("basicAuth", "Traefik", "nothing yet: passwords are not asked for here"),
    ("bind", "HAProxy", "`address` of `[listeners.NAME]`"),
    ("buffering", "Traefik", "nothing: bodies are streamed; `body_max` of a listener bounds them"),
    (
        "certResolver",
        "Traefik",
        "`tls.certificates` of a listener: certificates come from files, which certbot may write",
    ),
    ("circuitBreaker", "Traefik", "`circuit_breaker` of the service"),
    ("client_body_timeout", "nginx", "`timeouts.body` of the listener"),
    ("client_header_timeout", "nginx", "`timeouts.header` of the listener"),
    ("client_max_body_size", "nginx", "`body_max` of the listener"),
    ("clusters", "Envoy", "services: `[services.NAME]` with `endpoints`"),
    ("compress", "Traefik", "nothing yet: answers are passed as they come"),
    ("connectTimeout", "Traefik", "`timeouts.connect` of the service"),
    ("connect_timeout", "Envoy", "`timeouts.connect` of the service"),
    ("default_backend", "HAProxy", "a route without `hosts` and `paths`: it takes what no other takes"),
    ("default_server", "nginx", "a route without `hosts`: it takes what no other takes"),
    ("deny", "nginx", "nothing yet: filters by address are not built"),
    ("encode", "Caddy", "nothing yet: answers are passed as they come"),
    ("entryPoints", "Traefik", "listeners: `[listeners.NAME]`; in a route `listeners = [\"NAME\"]`"),
    ("entrypoints", "Traefik", "listeners: `[listeners.NAME]`; in a route `listeners = [\"NAME\"]`"),
    ("error_log", "nginx", "the process log on standard error; `--log-level` says how much"),
    ("error_page", "nginx", "nothing yet: pages of your own come with filters"),
    ("fastcgi_pass", "nginx", "nothing yet: FastCGI is not spoken; put a server before the program that speaks HTTP"),
    (
        "file_server",
        "Caddy",
        "nothing: files are not served here; let a web server serve them and name it in `endpoints`",
    ),
    ("forwardAuth", "Traefik", "nothing yet: requests are not checked by another service here"),
    ("frontend", "HAProxy and Traefik 1", "a listener and routes: `[listeners.NAME]`, `[[routes]]`"),
    ("frontends", "HAProxy and Traefik 1", "routes: `[[routes]]`"),
    ("gzip", "nginx", "nothing yet: answers are passed as they come"),
    ("header_up", "Caddy", "a filter of the route: `{ request_headers = { set = { NAME = \"value\" } } }`"),
    ("headers", "Traefik", "filters of the route: `request_headers` and `response_headers`"),
    ("healthCheck", "Traefik", "`health` of the service"),
    ("health_checks", "Envoy", "`health` of the service"),
    ("health_uri", "Caddy", "`health = { path = \"/…\" }` of the service"),
    ("host", "others", "`hosts` of the route; towards upstreams `host` of the service"),
    ("http", "nginx and Traefik", "nothing around it: listeners, routes and services stand at the top"),
    ("http_port", "Caddy", "`address` of `[listeners.NAME]`"),
    ("httpchk", "HAProxy", "`health = { path = \"/…\" }` of the service"),
    ("insecureSkipVerify", "Traefik", "`tls.insecure_skip_verify` of the service"),
    ("ip_hash", "nginx", "`balance = \"hash:client_ip\"` of the service"),
    ("keepalive", "nginx", "`keep_alive` of the service: connections are kept by default"),
    (
        "keepalive_timeout",
        "nginx",
        "`timeouts.idle` of the listener; towards upstreams `keep_alive.idle` of the service",
    ),
    ("lb_policy", "Caddy and Envoy", "`balance` of the service"),
    ("least_conn", "nginx", "`balance = \"least_requests\"` of the service"),
    ("leastconn", "HAProxy", "`balance = \"least_requests\"` of the service"),
    ("limit_conn", "nginx", "`connections_per_client` of the listener, `limits` of the service"),
    ("limit_req", "nginx", "nothing yet: rates are not limited; `limits` of a service bounds requests at once"),
    ("listen", "nginx", "`address` of `[listeners.NAME]`"),
    ("listener", "others", "`[listeners.NAME]`"),
    ("loadBalancer", "Traefik", "`endpoints` and `balance` of the service"),
    ("location", "nginx", "a route: `[[routes]]` with `paths = [{ prefix = \"/…\" }]`"),
    ("locations", "nginx", "routes: `[[routes]]` with `paths`"),
    ("log_format", "nginx", "`format` of `[access_log]`"),
    ("matchers", "Caddy", "`hosts`, `paths`, `methods` and `headers` of a route"),
    (
        "maxconn",
        "HAProxy",
        "`limits.endpoint_in_flight` and `limits.queue` of the service; for clients `workers.connections_max`",
    ),
    ("middleware", "Traefik", "`filters` of the route"),
    ("middlewares", "Traefik", "`filters` of the route"),
    ("option", "HAProxy", "a key of its own: `ringress schema` lists them"),
    ("passHostHeader", "Traefik", "`host` of the service: \"keep\", or \"endpoint\""),
    ("path", "others", "`paths` of the route: `[{ exact = \"/…\" }]`"),
    ("pathPrefix", "Traefik", "`paths = [{ prefix = \"/…\" }]` of the route"),
    ("path_prefix", "others", "`paths = [{ prefix = \"/…\" }]` of the route"),
    ("php_fastcgi", "Caddy", "nothing yet: FastCGI is not spoken; put a server before the program that speaks HTTP"),
    ("port", "others", "a part of `address`: \":80\""),
    ("providers", "Traefik", "nothing: this file is the source"),
    ("proxy_buffering", "nginx", "nothing: answers are streamed in any case"),
    ("proxy_connect_timeout", "nginx", "`timeouts.connect` of the service"),
    ("proxy_http_version", "nginx", "nothing: upstreams are spoken to in HTTP/1.1, or HTTP/2 with `protocol = \"h2\"`"),
    ("proxy_next_upstream", "nginx", "`retry` of the service"),
    ("proxy_pass", "nginx", "`service` of the route, and `endpoints` of that service"),
    ("proxy_read_timeout", "nginx", "`timeouts.header` and `timeouts.body` of the service"),
    ("proxy_send_timeout", "nginx", "`timeouts.send` of the service"),
    (
        "proxy_set_header",
        "nginx",
        "a filter of the route, `request_headers`; Host by `host` of the service; X-Forwarded-* are sent by default",
    ),
    ("proxy_ssl_verify", "nginx", "`tls` of the service: upstreams are verified unless `insecure_skip_verify = true`"),
    ("rateLimit", "Traefik", "nothing yet: rates are not limited; `limits` of a service bounds requests at once"),
    (
        "redirectRegex",
        "Traefik",
        "a filter of the route, `redirect`, by host, path and scheme; expressions are not built yet",
    ),
    ("redirectScheme", "Traefik", "a filter of the route: `{ redirect = { scheme = \"https\", status = 301 } }`"),
    ("replacePath", "Traefik", "nothing yet: `strip_prefix` and `add_prefix` are what changes paths"),
    (
        "return",
        "nginx",
        "a filter of the route: `{ respond = { status = 200, body = \"…\" } }` or `{ redirect = { … } }`",
    ),
    ("reverse_proxy", "Caddy", "`service` of the route, and `endpoints` of that service"),
    ("rewrite", "nginx", "filters of the route: `strip_prefix`, `add_prefix`; expressions are not built yet"),
    ("root", "nginx", "nothing: files are not served here; let a web server serve them and name it in `endpoints`"),
    ("router", "Traefik", "a route: `[[routes]]`"),
    ("routers", "Traefik", "routes: `[[routes]]`"),
    ("rule", "Traefik", "`hosts`, `paths`, `methods` and `headers` of the route"),
    ("server", "nginx and HAProxy", "a listener with routes by `hosts`; behind it `endpoints` of a service"),
    ("server_name", "nginx", "`hosts` of the route"),
    ("servers", "nginx and Traefik", "`endpoints` of the service"),
    ("ssl", "nginx and HAProxy", "`tls` of the listener"),
    ("ssl_certificate", "nginx", "`tls.certificates = [{ cert = \"…\", key = \"…\" }]` of the listener"),
    ("sticky", "Traefik", "`balance = \"hash:cookie:NAME\"` of the service"),
    ("stripPrefix", "Traefik", "a filter of the route: `{ strip_prefix = \"/…\" }`"),
    ("timeout", "HAProxy", "`timeouts` of the listener and of the service"),
    ("tls_certs", "others", "`tls.certificates` of the listener"),
    ("to", "Caddy", "`endpoints` of the service"),
    (
        "try_files",
        "nginx",
        "nothing: files are not served here; let a web server serve them and name it in `endpoints`",
    ),
    ("upstream", "nginx", "a service: `[services.NAME]` with `endpoints`"),
    ("upstreams", "others", "services: `[services.NAME]` with `endpoints`"),
    ("uwsgi_pass", "nginx", "nothing yet: uwsgi is not spoken; let uWSGI listen by `http-socket`"),
];

/// What is said of a word here, `None` where it is nobody's: `in nginx; here …`.
#[must_use]
pub(super) fn hint(word: &str) -> Option<String> {
    let found = WORDS.binary_search_by(|(known, ..)| (*known).cmp(word)).ok().and_then(|at| WORDS.get(at))?;
    let (word, whose, here) = found;
    Some(format!("`{word}` is a word of {whose}; here it is {here}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found() {
        assert!(WORDS.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted");
        assert!(WORDS.iter().all(|(word, ..)| hint(word).is_some()));
        assert!(hint("proxy_pass").unwrap().contains("`service` of the route"));
        assert_eq!(hint("nonsense"), None);
    }
}
