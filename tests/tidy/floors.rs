//! What may name what: floors, the highest first. A file names files on lower floors of its folder, and none beside it.

/// The floors of one folder: names of files and folders in it.
type Floors = (&'static str, &'static [&'static [&'static str]]);

/// Every folder in which more than one thing stands. `mod` is the folder's own file.
pub const FLOORS: [Floors; 40] = [
    (
        "",
        &[
            &["main"],
            &["cli"],
            &["worker", "control", "admin"],
            &["desk"],
            &["mailbox"],
            &["observe"],
            &["record", "status"],
            &["snapshot"],
            &["clients", "config", "encode", "sys"],
            &["filter", "route", "timeouts", "upstream"],
            &["proto", "tls", "units"],
            &["failure", "hash", "label", "limits", "shared_list"],
        ],
    ),
    ("admin", &[&["mod"]]),
    (
        "cli",
        &[
            &["mod"],
            &["demo"],
            &["explain", "import", "run"],
            &["causes", "check", "inline", "migrate", "ping", "reference"],
            &["arguments"],
        ],
    ),
    ("cli/import", &[&["mod"], &["flags", "nginx", "traefik"], &["listeners"], &["imported"], &["settings"]]),
    (
        "config",
        &[
            &["mod"],
            &["source"],
            &["files"],
            &["decode", "schema"],
            &["kubernetes"],
            &["document", "listeners", "services"],
            &["foreign", "health", "problem", "routes", "tls", "words"],
        ],
    ),
    (
        "control",
        &[
            &["plane"],
            &["advice", "fetches", "health", "resolve", "sources"],
            &["kubernetes"],
            &[
                "access_log",
                "compile",
                "connect",
                "drain",
                "gateway_health",
                "grpc_health",
                "listeners",
                "notice",
                "outage",
                "retirement",
                "supervisor",
            ],
            &["signals"],
            &["mod"],
        ],
    ),
    (
        "control/compile",
        &[
            &["mod"],
            &["listeners", "services"],
            &["routes"],
            &["chains", "gateway", "resilience", "tls"],
            &["compiler"],
            &["secrets"],
        ],
    ),
    (
        "control/kubernetes",
        &[
            &["lists", "mod"],
            &["cache", "client", "status", "translate"],
            &["lease", "reached", "watching"],
            &["index"],
            &["objects"],
        ],
    ),
    ("control/kubernetes/objects", &[&["mod"], &["service", "values"], &["ingress", "node"], &["metadata"]]),
    (
        "control/kubernetes/translate",
        &[
            &["mod"],
            &["nginx", "own", "traefik"],
            &["defaults"],
            &["findings", "ingress"],
            &["plan"],
            &["endpoints", "listener_words", "meaning", "texts", "world"],
        ],
    ),
    (
        "control/kubernetes/translate/nginx",
        &[
            &["mod"],
            &["location"],
            &["access", "canary", "page", "redirects"],
            &["balance", "listeners", "upstream"],
            &["snippet"],
            &["spot"],
            &["hosts"],
            &["annotations"],
            &["settings"],
            &["rows"],
            &["directives", "grammar", "variables"],
        ],
    ),
    ("control/kubernetes/translate/own", &[&["mod"], &["annotations", "page"], &["rows"]]),
    (
        "control/kubernetes/translate/traefik",
        &[
            &["mod"],
            &["page", "routes"],
            &["access", "fields", "pages", "redirects", "shares"],
            &["backend", "frontends"],
            &["path_rule", "retries"],
            &["annotations"],
            &["rows"],
        ],
    ),
    ("control/sources", &[&["mod"], &["file"], &["trail"]]),
    (
        "encode",
        &[
            &["answer", "gateway", "subrequest"],
            &["request", "response"],
            &["grpc", "hop", "trailers", "wire"],
            &["mod"],
        ],
    ),
    ("encode/gateway", &[&["mod"], &["variables"]]),
    ("failure", &[&["remedy"], &["table"], &["details", "mod", "row"]]),
    (
        "filter",
        &[
            &["mod"],
            &["chain", "satisfy"],
            &["step"],
            &["oidc"],
            &[
                "api_key",
                "bandwidth_limit",
                "basic_auth",
                "buffer",
                "client_certificate",
                "compress",
                "concurrency_limit",
                "cors",
                "deny_headers",
                "digest_auth",
                "error_pages",
                "forward_auth",
                "jwt",
                "mirror",
                "respond",
                "upstream_fields",
            ],
            &["claims", "users"],
            &[
                "add_prefix",
                "grpc_web",
                "headers",
                "hsts",
                "networks",
                "rate_limit",
                "redirect",
                "rewrite",
                "strip_prefix",
            ],
            &["key", "path_change"],
            &["compile"],
            &["shared", "template"],
            &["context", "transform"],
            &["counters", "decoder", "edits", "encoder", "errand", "fetch_source", "foreign", "jwk", "passwords"],
        ],
    ),
    ("filter/oidc", &[&["mod"], &["flow"], &["spec", "tokens"], &["login", "provider", "session"], &["sealed"]]),
    ("filter/counters", &[&["in_flight", "rate"], &["table"], &["mod"]]),
    ("observe", &[&["prometheus", "process_log"], &["access_log", "exposition", "log_writer", "metrics"], &["mod"]]),
    ("proto", &[&["h2"], &["coding"], &["h1"], &["gateway", "grpc_web", "stranger", "version"], &["mod"]]),
    ("proto/gateway", &[&["mod", "records", "script"]]),
    (
        "proto/h1",
        &[
            &["auth_params", "parameters"],
            &["request", "response"],
            &["fault", "lines"],
            &["framing", "scan", "set_cookie"],
            &["chunked", "encode", "rules"],
            &["authority", "field", "method", "target"],
            &["dots", "percent"],
            &["mod"],
        ],
    ),
    ("proto/h1/request", &[&["facts"], &["mod"]]),
    (
        "proto/h2",
        &[
            &["connection"],
            &["data"],
            &["client", "handle", "server"],
            &["core"],
            &["store", "writer"],
            &["settings", "stream"],
            &["message", "reader", "window"],
            &["fields", "frame", "guard", "hpack", "malformed"],
            &["mod"],
        ],
    ),
    ("proto/h2/hpack", &[&["decoder", "encoder"], &["huffman", "integer", "table"], &["mod"]]),
    ("route", &[&["mod"], &["path", "targets"], &["condition", "expressions"]]),
    ("sys", &[&["clock", "limits", "memory", "process", "signals", "socket"], &["mod"]]),
    ("tls", &[&["client", "server"], &["bounded"], &["fault", "identity", "mod", "sessions", "subject", "tickets"]]),
    ("units", &[&["mod"], &["addresses", "hidden", "material", "quantities"], &["text"]]),
    (
        "upstream",
        &[
            &["attempts", "pick", "sticky"],
            &["health", "retry"],
            &["breaker", "ejection", "evidence", "gate", "habit", "reuse", "ring"],
            &["trip"],
            &["predicate"],
            &["balance", "candidates", "latency", "trouble"],
            &["mod"],
        ],
    ),
    (
        "worker",
        &[
            &["thread"],
            &["accept"],
            &["http", "mod"],
            &["host"],
            &["live", "passwords"],
            &["remembered", "reply"],
            &["upstreams"],
            &["wire"],
            &["kit"],
            &["silent"],
            &["heads", "time"],
            &["buffers", "engine", "pressure", "queue"],
        ],
    ),
    ("worker/engine", &[&["select"], &["ring"], &["half"], &["mod"]]),
    (
        "worker/http",
        &[
            &["serve"],
            &["streams"],
            &["exchange"],
            &["settle"],
            &["pages"],
            &["way"],
            &["buffered"],
            &["attempt"],
            &["duplex"],
            &["download"],
            &["answer_head", "copies", "discard", "question"],
            &["subrequest"],
            &["judge", "terms", "upload"],
            &["bound"],
            &["state", "transfer"],
            &["session"],
            &["account", "body", "held", "progress", "throttle", "underway"],
            &["mod"],
        ],
    ),
    ("worker/time", &[&["timer"], &["wheel"], &["mod"]]),
    (
        "worker/upstreams",
        &[
            &["outcome"],
            &["revive"],
            &["attempts", "bound", "connect"],
            &["admit"],
            &["service"],
            &["gate"],
            &["endpoint", "watch"],
            &["mod"],
        ],
    ),
    (
        "worker/wire",
        &[
            &["early", "tunnel"],
            &["link", "send"],
            &["ends"],
            &["h2", "records"],
            &["connection"],
            &["tls"],
            &["fault"],
            &["mod"],
        ],
    ),
    ("worker/wire/h2", &[&["client", "request", "stream"], &["carrier", "outgoing", "pipe"], &["mux"], &["mod"]]),
    ("worker/wire/tls", &[&["accept", "dial"], &["ends"], &["handshake", "session"], &["early"], &["mod"]]),
];

/// What is named from above in spite of the floors: from, to, why. Each must be needed.
pub const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// The floor of a file or folder among these; the highest is 0.
fn floor(floors: &[&[&str]], name: &str) -> Option<usize> {
    floors.iter().position(|floor| floor.contains(&name))
}

/// What stands in `folder` and has this path in it, or is it.
fn name_in<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let rest = if folder.is_empty() { path } else { path.strip_prefix(folder)?.strip_prefix('/')? };
    Some(rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs"))
}

/// Files that have no floor in their folder, or in one above it.
pub fn homeless(paths: &[&str]) -> Vec<String> {
    let is_placed = |path: &str| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_known = FLOORS.iter().any(|(known, _)| *known == folder);
        is_known
            && FLOORS
                .iter()
                .all(|(folder, floors)| name_in(folder, path).is_none_or(|name| floor(floors, name).is_some()))
    };
    paths.iter().filter(|path| !is_placed(path)).map(|path| (*path).to_owned()).collect()
}

/// True where `from` may name `to`.
pub fn may_name(from: &str, to: &str) -> bool {
    FLOORS.iter().all(|(folder, floors)| {
        let (Some(from), Some(to)) = (name_in(folder, from), name_in(folder, to)) else { return true };
        from == to || floor(floors, from) < floor(floors, to)
    })
}
