//! Arguments of ingress-nginx as ours. Its ConfigMap is read where it is, by `config_map`.

use toml::Value;

use super::imported::{Imported, table, text};

/// Arguments that say nothing to us, each with why.
const NOTHING: [(&str, &str); 25] = [
    ("alsologtostderr", "the process log goes to standard error"),
    ("logtostderr", "the process log goes to standard error"),
    ("v", "`--log-level` of the command line"),
    ("enable-metrics", "metrics are there: see `[admin]`"),
    ("profiling", "there is no profiler"),
    ("profiler-address", "there is no profiler"),
    ("profiler-port", "there is no profiler"),
    ("health-check-path", "`/ping` of `[admin]`"),
    ("healthz-host", "see `[admin]`"),
    ("status-port", "nginx is not asked for its status"),
    ("stream-port", "nginx is not configured by a port"),
    ("default-server-port", "what no rule is for is answered without another server"),
    ("enable-annotation-validation", "annotations are always checked"),
    ("sync-period", "watches go on from where they broke"),
    ("sync-rate-limit", "changes are taken up at once, and together"),
    ("dynamic-configuration-retries", "nothing is reloaded"),
    ("update-status-on-shutdown", "statuses stay for the next holder of the lease"),
    ("shutdown-grace-period", "`preStop` of the pod; connections end as `[shutdown]` says"),
    ("post-shutdown-grace-period", "it ends once connections have ended"),
    ("time-buckets", "`[metrics] buckets`"),
    ("length-buckets", "sizes have no buckets"),
    ("size-buckets", "sizes have no buckets"),
    ("metrics-per-host", "metrics are by route and by service"),
    ("enable-topology-aware-routing", "it is so where `zone` of [kubernetes] is the zone of the host"),
    ("monitor-max-batch-size", "metrics do not pass a socket"),
];

/// Arguments that have no equal, each with why.
const REFUSED: [(&str, &str); 13] = [
    ("annotations-prefix", "annotations begin with nginx.ingress.kubernetes.io/"),
    ("apiserver-host", "name a kubeconfig"),
    ("certificate-authority", "name a kubeconfig"),
    ("enable-ssl-passthrough", "TLS is not passed on by name"),
    ("ssl-passthrough-proxy-port", "TLS is not passed on by name"),
    ("tcp-services-configmap", "services of TCP are not built"),
    ("udp-services-configmap", "services of UDP are not built"),
    ("report-node-internal-ip-address", "`publish_pods` has the addresses of nodes from outside, where they have any"),
    ("maxmind-edition-ids", "there is no database of places"),
    ("maxmind-license-key", "there is no database of places"),
    ("maxmind-mirror", "there is no database of places"),
    ("exclude-socket-metrics", "metrics have other names"),
    ("ingress-class-by-name", "write the name in `class_names`"),
];

/// Arguments that are on where nothing is said behind them.
const SWITCHES: [&str; 15] = [
    "alsologtostderr",
    "disable-catch-all",
    "disable-svc-external-name",
    "enable-annotation-validation",
    "enable-metrics",
    "enable-ssl-passthrough",
    "enable-topology-aware-routing",
    "ingress-class-by-name",
    "logtostderr",
    "metrics-per-host",
    "profiling",
    "report-node-internal-ip-address",
    "update-status",
    "update-status-on-shutdown",
    "watch-ingress-without-class",
];

/// Our configuration for these arguments.
pub(super) fn import(arguments: &[String]) -> Imported {
    let mut imported = Imported::default();
    let mut words = Words::of(arguments);
    let port = |words: &mut Words, name: &str, default: &str| {
        format!(":{}", words.take(name).unwrap_or_else(|| default.to_owned()))
    };
    let (plain, secure) = (port(&mut words, "http-port", "80"), port(&mut words, "https-port", "443"));
    let admin = port(&mut words, "healthz-port", "10254");
    let listeners = imported.section("listeners");
    listeners.insert("web".to_owned(), table([("address", text(&plain))]));
    listeners.insert("websecure".to_owned(), table([("address", text(&secure)), ("tls", table([]))]));
    imported.section("admin").insert("address".to_owned(), text(&admin));
    imported.differs(
        "healthz-port",
        "`/ping` says that it is ready; the metrics have other names, and `/api` is there as well: let nobody reach it from outside",
    );
    cluster(&mut imported, &mut words);
    for (name, value) in words.0 {
        let said = |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
        if let Some(why) = said(&NOTHING) {
            imported.differs(&name, why);
        } else if name.starts_with("validating-webhook") {
            imported.differs(
                &name,
                "there is no webhook: what is wrong is told to the object, and its own requests are refused for it",
            );
        } else {
            let why = said(&REFUSED).unwrap_or("ingress-nginx has no argument of this name");
            // A switch that is off asks for nothing.
            if value == "false" {
                imported.differs(&name, "nothing is said by it");
            } else {
                imported.refuse(&name, why);
            }
        }
    }
    imported
}

/// `[kubernetes]`.
fn cluster(imported: &mut Imported, words: &mut Words) {
    let dialect = || text("ingress-nginx");
    let mut put = |key: &str, value: Value| _ = imported.section("kubernetes").insert(key.to_owned(), value);
    put("dialects", Value::Array(vec![text("ringress"), dialect()]));
    put("external_names", Value::Boolean(!words.is_on("disable-svc-external-name", false)));
    for (name, key) in [
        ("configmap", "config_map"),
        ("default-backend-service", "default_backend"),
        ("default-ssl-certificate", "default_certificate"),
        ("publish-service", "publish_service"),
        ("watch-namespace-selector", "namespace_selector"),
        ("kubeconfig", "kubeconfig"),
    ] {
        if let Some(value) = words.take(name) {
            put(key, text(&value));
        }
    }
    for (name, key) in [("watch-namespace", "namespaces"), ("publish-status-address", "publish_addresses")] {
        if let Some(value) = words.take(name) {
            put(key, Value::Array(value.split(',').map(|part| text(part.trim())).collect()));
        }
    }
    for (name, key) in [("controller-class", "controllers"), ("ingress-class", "class_names")] {
        if let Some(value) = words.take(name) {
            put(key, table([(value.as_str(), dialect())]));
        }
    }
    if words.is_on("watch-ingress-without-class", false) {
        put("without_class", dialect());
    }
    if words.is_on("disable-catch-all", false) {
        put("catch_all", text("ignored"));
    }
    if !words.is_on("update-status", true) {
        put("write_status", Value::Boolean(false));
    }
    if let Some(name) = words.take("election-id") {
        words.take("election-ttl");
        put("lease", text(&format!("${{POD_NAMESPACE}}/{name}")));
    }
}

/// Arguments by their names.
struct Words(Vec<(String, String)>);

impl Words {
    /// `--name=value`, `--name value`, or `--name` of a switch; other words are the program's name.
    fn of(arguments: &[String]) -> Self {
        let mut words = Vec::new();
        let mut left = arguments.iter().peekable();
        while let Some(argument) = left.next() {
            let Some(flag) = argument.strip_prefix("--").or(argument.strip_prefix('-')) else { continue };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value),
                None if SWITCHES.contains(&flag) => (flag, "true"),
                None => (flag, left.next_if(|next| !next.starts_with('-')).map_or("true", String::as_str)),
            };
            // What Kubernetes puts in there is of our environment as well.
            let of_environment = value.strip_prefix("$(").and_then(|rest| rest.split_once(')'));
            let value = of_environment.map_or_else(|| value.to_owned(), |(name, rest)| format!("${{{name}}}{rest}"));
            words.push((name.to_owned(), value));
        }
        Self(words)
    }

    /// Takes a value out; the last one counts.
    fn take(&mut self, name: &str) -> Option<String> {
        let found = self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone());
        self.0.retain(|(known, _)| known != name);
        found.filter(|value| !value.is_empty())
    }

    fn is_on(&mut self, name: &str, default: bool) -> bool {
        self.take(name).map_or(default, |value| value == "true")
    }
}
