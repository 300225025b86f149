//! Every annotation of our own, and what it becomes.

/// What the name of each begins with.
pub const PREFIX: &str = "ringress.dev/";

/// An annotation of our own, on an Ingress.
#[derive(Clone, Copy, Debug)]
pub struct OwnRow {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// What it says, and how it is written.
    pub says: &'static str,
}

const fn row(name: &'static str, says: &'static str) -> OwnRow {
    OwnRow { name, says }
}

/// All of them.
pub const ROWS: [OwnRow; 7] = [
    row(
        "use",
        "chains of filters that `chains` of `[kubernetes]` lets objects name, between commas, in this order: `use` of a route",
    ),
    row(
        "listeners",
        "the listeners that its routes are for, between commas, of those that serve the cluster: `listeners` of a route",
    ),
    row("timeouts", "a table in YAML, as `{ header: 30s }`: `timeouts` of a route"),
    row("retry", "a table in YAML, as `{ attempts: 2, on_status: [503] }`: `retry` of a route"),
    row("body", "a table in YAML, as `{ max: 10MiB }`: `body` of a route"),
    row("access-log", "`true` or `false`: `access_log` of a route"),
    row(
        "service",
        "a table in YAML, as `{ balance: least_requests, sticky: {} }`: keys of `[services.NAME]` that name no file and no address",
    ),
];

/// Keys of a service that an object may say: those that name no file, no address and no program.
pub const SERVICE_KEYS: [&str; 16] = [
    "balance",
    "circuit_breaker",
    "ejection",
    "hash_load_percent",
    "hash_subset",
    "health",
    "host",
    "http2_window_max",
    "ignore_client_abort",
    "keep_alive",
    "lenient",
    "limits",
    "protocol",
    "retry",
    "sticky",
    "timeouts",
];

/// True where there is an annotation of this name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name)
}
