//! Settings of Traefik 1.7 as ours: what each becomes, what differs, and what has no equal.

use toml::{Table, Value};

use super::imported::{Imported, table, text};
use super::listeners::{entries, listener};
use super::settings::TraefikSettings;

/// Settings that say nothing to us, each with why.
const NOTHING: [(&str, &str); 9] = [
    ("debug", "`--log-level debug` of the command line"),
    ("checknewversion", "nobody is asked for new versions"),
    ("sendanonymoususage", "nothing is sent"),
    ("providersthrottleduration", "changes are taken up at once, and together"),
    ("accesslog.bufferingsize", "lines are written together by themselves"),
    ("accesslog.format", ""),
    ("traefiklog.format", "`--log-format` of the command line"),
    ("kubernetes.throttleduration", "changes are taken up at once, and together"),
    ("respondingtimeouts.writetimeout", "`timeouts.send` of a listener bounds each send, and not the whole answer"),
];

/// Sections that have no equal, each with why.
const REFUSED: [(&str, &str); 25] = [
    ("file", "its frontends and backends are not imported: write routes and services"),
    ("frontends", "they are not imported: write routes"),
    ("backends", "they are not imported: write services"),
    ("tls", "write `certificates` of the listener"),
    ("rest", "there is no such interface"),
    ("tracing", "traces are not built"),
    ("acme", "certificates come from files or Secrets, which certbot, lego or cert-manager write"),
    ("cluster", "replicas need no store: each watches the cluster itself"),
    ("hostresolver", "hosts are compared as they are written"),
    ("metrics.datadog", "metrics are fetched: see `[admin]`"),
    ("metrics.statsd", "metrics are fetched: see `[admin]`"),
    ("metrics.influxdb", "metrics are fetched: see `[admin]`"),
    ("docker", "only a cluster of Kubernetes is watched"),
    ("marathon", "only a cluster of Kubernetes is watched"),
    ("consul", "only a cluster of Kubernetes is watched"),
    ("consulcatalog", "only a cluster of Kubernetes is watched"),
    ("etcd", "only a cluster of Kubernetes is watched"),
    ("zookeeper", "only a cluster of Kubernetes is watched"),
    ("boltdb", "only a cluster of Kubernetes is watched"),
    ("mesos", "only a cluster of Kubernetes is watched"),
    ("eureka", "only a cluster of Kubernetes is watched"),
    ("ecs", "only a cluster of Kubernetes is watched"),
    ("rancher", "only a cluster of Kubernetes is watched"),
    ("dynamodb", "only a cluster of Kubernetes is watched"),
    ("servicefabric", "only a cluster of Kubernetes is watched"),
];

/// Our configuration for these settings.
pub(super) fn import(settings: &mut TraefikSettings) -> Imported {
    let mut imported = Imported::default();
    // What the older form says of both logs.
    for (old, new) in [("accesslogsfile", "accesslog.filepath"), ("traefiklogsfile", "traefiklog.filepath")] {
        if let Some(path) = settings.text(old) {
            settings.put(new, text(&path));
        }
    }
    let admin = admin(&mut imported, settings);
    let entries = entries(settings);
    let idle =
        imported.time(settings, &["respondingtimeouts.idletimeout", "idletimeout"]).unwrap_or_else(|| text("180s"));
    let read = imported.time(settings, &["respondingtimeouts.readtimeout"]);
    if read.is_some() {
        imported.differs(
            "respondingTimeouts.readTimeout",
            "`timeouts.header` and `timeouts.body` bound the head, and each pause in the body",
        );
    }
    for entry in entries.iter().filter(|entry| Some(&entry.name) != admin.as_ref()) {
        let mut written = listener(&mut imported, settings, &entries, entry);
        let mut timeouts = Table::from_iter([("idle".to_owned(), idle.clone())]);
        for key in ["header", "body"] {
            timeouts.extend(read.clone().map(|read| (key.to_owned(), read)));
        }
        written.insert("timeouts".to_owned(), Value::Table(timeouts));
        imported.section("listeners").insert(entry.name.clone(), Value::Table(written));
    }
    if let Some(name) = &admin {
        settings.drop(&format!("entrypoints.{name}"));
    }
    ping(&mut imported, settings, admin.as_deref());
    logs(&mut imported, settings);
    cluster(&mut imported, settings);
    if let Some(grace) = imported.time(settings, &["lifecycle.gracetimeout", "gracetimeout"]) {
        imported.section("shutdown").insert("grace".to_owned(), grace);
    }
    rest(&mut imported, settings);
    imported
}

/// `[admin]`, for `api`, `metrics`, `ping` and the `web` of old; the entry point that it takes the place of.
fn admin(imported: &mut Imported, settings: &mut TraefikSettings) -> Option<String> {
    const OWN: &str = "traefik";
    let has_metrics = settings.has("metrics");
    let is_pinged = settings.has("ping") && !settings.has("ping.entrypoint");
    let is_asked = settings.has("api") || settings.has("web") || has_metrics || is_pinged;
    let mut named = |path: &str| settings.text(path).map_or_else(|| OWN.to_owned(), |name| name.to_lowercase());
    let (of_api, of_metrics) = (named("api.entrypoint"), named("metrics.prometheus.entrypoint"));
    if !is_asked {
        return None;
    }
    let buckets = settings.value("metrics.prometheus.buckets");
    if let Some(buckets) = buckets.or_else(|| settings.value("web.metrics.prometheus.buckets")) {
        imported.section("metrics").insert("buckets".to_owned(), as_numbers(buckets));
    }
    let of_traffic = settings.peek_list("defaultentrypoints");
    if [&of_api, &of_metrics].into_iter().any(|name| of_traffic.iter().any(|known| known.eq_ignore_ascii_case(name))) {
        imported.refuse(
            "api.entryPoint",
            "an entry point for traffic cannot have the API or the metrics: write `[admin]` with an address of its own",
        );
        ["api", "web", "metrics.prometheus"].into_iter().for_each(|section| settings.drop(section));
        return None;
    }
    if has_metrics && of_metrics != of_api {
        imported
            .refuse("metrics.prometheus.entryPoint", "API and metrics have one address, `[admin]`: that of the API");
    }
    let address = settings.text("web.address").or_else(|| settings.text(&format!("entrypoints.{of_api}.address")));
    imported.section("admin").insert("address".to_owned(), text(address.as_deref().unwrap_or(":8080")));
    imported.section("admin").insert("hosts".to_owned(), Value::Array(vec![text("*")]));
    imported.differs(
        "api, metrics, ping",
        "they are on one address, `[admin]`: /api, /metrics and /ping. The metrics have other names",
    );
    if settings.has("web.auth") || settings.has(&format!("entrypoints.{of_api}")) {
        imported.refuse(
            "admin",
            "`[admin]` asks nobody for a password, a certificate or an address: bind it to one that is not reached from outside",
        );
        imported.section("admin").insert("address".to_owned(), text("127.0.0.1:8080"));
    }
    for section in ["api", "web", "metrics.prometheus"] {
        settings.drop(section);
    }
    settings.value("metrics");
    Some(of_api)
}

/// Numbers of a file, or between commas.
fn as_numbers(value: Value) -> Value {
    let Some(text) = value.as_str() else { return value };
    text.split(',').filter_map(|part| part.trim().parse::<f64>().ok()).map(Value::Float).collect::<Vec<_>>().into()
}

/// `/ping` on an entry point for traffic.
fn ping(imported: &mut Imported, settings: &mut TraefikSettings, admin: Option<&str>) {
    let is_asked = settings.has("ping");
    let entry = settings.text("ping.entrypoint").map(|name| name.to_lowercase());
    settings.drop("ping");
    let Some(entry) = entry.filter(|entry| is_asked && Some(entry.as_str()) != admin) else { return };
    let route = table([
        ("name", text("ping")),
        ("listeners", Value::Array(vec![text(&entry)])),
        ("paths", Value::Array(vec![table([("exact", text("/ping"))])])),
        ("methods", Value::Array(vec![text("GET"), text("HEAD")])),
        ("priority", Value::Integer(i64::from(i32::MAX))),
        ("access_log", Value::Boolean(false)),
        (
            "filters",
            Value::Array(vec![table([("respond", table([("status", Value::Integer(200)), ("body", text("OK"))]))])]),
        ),
    ]);
    imported.config.insert("routes".to_owned(), Value::Array(vec![route]));
}

fn logs(imported: &mut Imported, settings: &mut TraefikSettings) {
    if settings.has("accesslog") {
        let path = settings.text("accesslog.filepath").unwrap_or_else(|| "-".to_owned());
        let format = if settings.text("accesslog.format").as_deref() == Some("json") { "json" } else { "traefik" };
        let written = Table::from_iter([("path".to_owned(), text(&path)), ("format".to_owned(), text(format))]);
        imported.config.insert("access_log".to_owned(), Value::Table(written));
        for section in ["accesslog.filters", "accesslog.fields"] {
            if settings.has(section) {
                imported.refuse(section, "every request has its line, with all fields");
                settings.drop(section);
            }
        }
    }
    if let Some(path) = settings.text("traefiklog.filepath") {
        imported.differs(
            "traefikLog.filePath",
            &format!("the process log goes to standard error: write `2>>{path}`, or let the container keep it"),
        );
    }
    if let Some(level) = settings.text("loglevel") {
        let level = match level.to_lowercase().as_str() {
            "fatal" | "panic" => "error".to_owned(),
            other => other.to_owned(),
        };
        imported.differs("logLevel", &format!("it is `--log-level {level}` of the command line"));
    }
}

/// What holds for all services of the cluster.
fn service(imported: &mut Imported, settings: &mut TraefikSettings) -> Table {
    let mut service = Table::new();
    let header = imported.time(settings, &["forwardingtimeouts.responseheadertimeout"]);
    let connect = imported.time(settings, &["forwardingtimeouts.dialtimeout"]).unwrap_or_else(|| text("30s"));
    let header = header.unwrap_or_else(|| text("0s"));
    service.insert("timeouts".to_owned(), table([("connect", connect), ("header", header)]));
    if let Some(attempts) = settings.text("retry.attempts").and_then(|attempts| attempts.parse::<i64>().ok()) {
        let more = (attempts - 1).clamp(0, 10);
        service.insert("retry".to_owned(), table([("attempts", Value::Integer(more))]));
        imported.differs("retry.attempts", "they are attempts beyond the first, at most 10; a POST is sent again only where it is proven that nobody has read it");
    }
    settings.drop("retry");
    if let Some(count) = settings.text("maxidleconnsperhost").and_then(|count| count.parse::<i64>().ok()) {
        let kept = if count < 0 {
            ("idle", text("0s"))
        } else {
            ("per_worker", Value::Integer(if count == 0 { 2 } else { count }))
        };
        service.insert("keep_alive".to_owned(), table([kept]));
        if count < 0 {
            imported.differs("maxIdleConnsPerHost", "no connection is kept, as asked; it is not needed here: a connection that closes as it is used costs no request. `keep_alive` may be left out");
        }
    }
    let roots = settings.list("rootcas");
    let is_unverified = settings.is_on("insecureskipverify");
    if is_unverified {
        service.insert("tls".to_owned(), table([("insecure_skip_verify", Value::Boolean(true))]));
    } else if !roots.is_empty() {
        service.insert("tls".to_owned(), table([("ca", Value::from(roots))]));
    }
    if settings.is_on("kubernetes.disablepasshostheaders") {
        service.insert("host".to_owned(), text("endpoint"));
    }
    service
}

/// `[kubernetes]`.
fn cluster(imported: &mut Imported, settings: &mut TraefikSettings) {
    let service = service(imported, settings);
    let defaults = settings.list("defaultentrypoints");
    if !settings.has("kubernetes") {
        return imported.refuse("providers", "none is imported: `[kubernetes]` alone is");
    }
    let mut kubernetes = Table::new();
    let class = settings.text("kubernetes.ingressclass").filter(|class| !class.is_empty());
    kubernetes.insert("dialects".to_owned(), Value::Array(vec![text("traefik1")]));
    match class {
        Some(class) => _ = kubernetes.insert("classes".to_owned(), Value::Array(vec![text(&class)])),
        None => _ = kubernetes.insert("without_class".to_owned(), text("traefik1")),
    }
    let defaults = if defaults.is_empty() { vec!["http".to_owned()] } else { defaults };
    let defaults: Vec<String> = defaults.iter().map(|name| name.to_lowercase()).collect();
    kubernetes.insert("default_listeners".to_owned(), Value::from(defaults));
    kubernetes.insert("external_names".to_owned(), Value::Boolean(true));
    imported.notes.push(
        "kubernetes: as before: Services of the type ExternalName lead to their name, for whoever may make one; `external_names = false` ends that"
            .to_owned(),
    );
    let namespaces = settings.list("kubernetes.namespaces");
    if !namespaces.is_empty() {
        kubernetes.insert("namespaces".to_owned(), Value::from(namespaces));
    }
    for (from, to) in [("labelselector", "selector"), ("ingressendpoint.publishedservice", "publish_service")] {
        if let Some(value) = settings.text(&format!("kubernetes.{from}")) {
            kubernetes.insert(to.to_owned(), text(&value));
        }
    }
    let addresses: Vec<String> = ["ip", "hostname"]
        .iter()
        .filter_map(|name| settings.text(&format!("kubernetes.ingressendpoint.{name}")))
        .collect();
    if !addresses.is_empty() {
        kubernetes.insert("publish_addresses".to_owned(), Value::from(addresses));
    }
    for (key, what) in [
        ("endpoint", "the API server is that of `kubeconfig`, or of the pod's account"),
        ("token", "it is that of `kubeconfig`, or of the pod's account"),
        ("certauthfilepath", "it is that of `kubeconfig`, or of the pod's account"),
    ] {
        if settings.text(&format!("kubernetes.{key}")).is_some() {
            imported.differs(&format!("kubernetes.{key}"), what);
        }
    }
    if settings.is_on("kubernetes.enablepasstlscert") {
        imported.refuse("kubernetes.enablePassTLSCert", "write `pass-tls-cert` at the Ingress objects that need it");
    }
    kubernetes.insert("service".to_owned(), Value::Table(service));
    settings.value("kubernetes");
    imported.config.insert("kubernetes".to_owned(), Value::Table(kubernetes));
}

/// Tells of all that is left.
fn rest(imported: &mut Imported, settings: &mut TraefikSettings) {
    for (key, why) in NOTHING {
        if settings.value(key).is_some() && !why.is_empty() {
            imported.notes.push(format!("{key}: nothing to do: {why}"));
        }
    }
    for (section, why) in REFUSED {
        if settings.has(section) {
            imported.refuse(section, why);
            settings.drop(section);
        }
    }
    let left: Vec<String> = settings.left().cloned().collect();
    for key in left {
        imported.refuse(&key, "it has no equal here, or is not known");
    }
}
