//! Entry points as listeners.

use toml::{Table, Value};

use super::imported::{Imported, table, text};
use super::settings::TraefikSettings;

/// An entry point, as far as others need it.
pub(super) struct ImportedEntry {
    pub name: String,
    pub port: Option<u16>,
    pub is_tls: bool,
}

/// The entry points in the order of their names; `http` on port 80 where there is none.
pub(super) fn entries(settings: &mut TraefikSettings) -> Vec<ImportedEntry> {
    if !settings.has("entrypoints") {
        settings.put("entrypoints.http.address", text(":80"));
    }
    let mut entries = Vec::new();
    for name in settings.names("entrypoints") {
        let is_tls = settings.has(&format!("entrypoints.{name}.tls"));
        let address = settings.text(&format!("entrypoints.{name}.address")).unwrap_or_default();
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        settings.put(&format!("entrypoints.{name}.address"), text(&address));
        entries.push(ImportedEntry { name, port, is_tls });
    }
    entries
}

/// The listener for an entry point.
pub(super) fn listener(
    imported: &mut Imported,
    settings: &mut TraefikSettings,
    all: &[ImportedEntry],
    entry: &ImportedEntry,
) -> Table {
    let path = format!("entrypoints.{}", entry.name);
    let mut listener = Table::new();
    let address = settings.text(&format!("{path}.address")).unwrap_or_default();
    listener.insert("address".to_owned(), text(&address));
    let mut chains = Vec::new();
    if settings.is_on(&format!("{path}.compress")) {
        imported.chain("compress", "[{ compress = { encodings = [\"gzip\"], min = \"512B\" } }]");
        chains.push(text("compress"));
    }
    let networks = settings.list(&format!("{path}.whitelist.sourcerange"));
    let networks = if networks.is_empty() { settings.list(&format!("{path}.whitelistsourcerange")) } else { networks };
    if !networks.is_empty() {
        let name = format!("{}-networks", entry.name);
        imported.chain(&name, &format!("[{{ allow = {} }}]", Value::from(networks)));
        chains.push(text(&name));
    }
    if settings.is_on(&format!("{path}.whitelist.usexforwardedfor")) {
        imported.differs(
            &format!("{path}.whiteList.useXForwardedFor"),
            "the client's address is what `trusted_proxies` say; Traefik lets in whoever writes an address of the list",
        );
    }
    if let Some(name) = settings.text(&format!("{path}.redirect.entrypoint")) {
        let is_permanent = settings.is_on(&format!("{path}.redirect.permanent"));
        chains.extend(redirect(imported, all, (&path, &name.to_lowercase()), is_permanent));
    }
    if !chains.is_empty() {
        listener.insert("use".to_owned(), Value::Array(chains));
    }
    trust(imported, settings, &path, &mut listener);
    if settings.has(&format!("{path}.auth")) || settings.has(&format!("{path}.redirect")) {
        // Nobody is let in whom it would have refused, or sent elsewhere.
        imported.chain("not-imported", "[{ respond = { status = 503 } }]");
        listener.insert("use".to_owned(), Value::Array(vec![text("not-imported")]));
        imported.refuse(&path, "what it asks of clients is not imported: it answers 503 until its filters are written (`basic_auth`, `forward_auth`, `redirect`)");
    }
    if entry.is_tls {
        listener.insert("tls".to_owned(), Value::Table(tls(imported, settings, &format!("{path}.tls"))));
    }
    listener
}

fn redirect(
    imported: &mut Imported,
    all: &[ImportedEntry],
    (path, to): (&str, &str),
    is_permanent: bool,
) -> Option<Value> {
    let Some(target) = all.iter().find(|entry| entry.name == to) else {
        imported.refuse(&format!("{path}.redirect.entryPoint"), &format!("there is no entry point `{to}`"));
        return None;
    };
    let (scheme, own) = if target.is_tls { ("https", 443) } else { ("http", 80) };
    let (port, status) = (target.port.unwrap_or(own), if is_permanent { 301 } else { 302 });
    let filter =
        format!("[{{ redirect = {{ scheme = \"{scheme}\", port = {port}, status = {status}, keep_method = true }} }}]");
    let name = format!("to-{to}");
    imported.chain(&name, &filter);
    Some(text(&name))
}

/// Whose word counts for who a client is.
fn trust(imported: &mut Imported, settings: &mut TraefikSettings, path: &str, listener: &mut Table) {
    let trusted = settings.list(&format!("{path}.forwardedheaders.trustedips"));
    let is_anybody = settings.is_on(&format!("{path}.forwardedheaders.insecure"));
    if trusted.is_empty() || is_anybody {
        imported.differs(
            &format!("{path}.forwardedHeaders"),
            "X-Forwarded-* is believed of nobody, where Traefik believes anybody unless `trustedIPs` are named; name the proxies before this one in `trusted_proxies`",
        );
    } else {
        listener.insert("trusted_proxies".to_owned(), Value::from(trusted));
    }
}

fn tls(imported: &mut Imported, settings: &mut TraefikSettings, path: &str) -> Table {
    let mut tls = Table::new();
    let pair = |value: &Value| {
        let file = |name: &str| {
            let found = value.as_table()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            found.1.as_str().map(str::to_owned)
        };
        Some(table([("cert", text(&file("certFile")?)), ("key", text(&file("keyFile")?))]))
    };
    let mut pairs = Vec::new();
    let default = ["cert", "key"].map(|part| {
        let long = settings.text(&format!("{path}.defaultcertificate.{part}file"));
        long.or_else(|| settings.text(&format!("{path}.defaultcertificate.{part}")))
    });
    if let [Some(cert), Some(key)] = &default {
        pairs.push(table([("cert", text(cert)), ("key", text(key))]));
    }
    if let Some(Value::Array(written)) = settings.value(&format!("{path}.certificates")) {
        let known = pairs.len();
        pairs.extend(written.iter().filter_map(pair));
        if pairs.len() - known < written.len() {
            imported.refuse(&format!("{path}.certificates"), "one of them has no `certFile` or no `keyFile`");
        }
    }
    if pairs.iter().any(|pair| pair.to_string().contains("-----BEGIN")) {
        imported.refuse(&format!("{path}.certificates"), "PEM within the file is not taken; put it into files");
    } else if !pairs.is_empty() {
        tls.insert("certificates".to_owned(), Value::Array(pairs));
    }
    match settings.text(&format!("{path}.minversion")).as_deref() {
        Some("VersionTLS13") => _ = tls.insert("min_version".to_owned(), text("1.3")),
        Some("VersionTLS12") | None => {}
        Some(_) => imported.differs(&format!("{path}.minVersion"), "TLS 1.2 is the oldest that is spoken"),
    }
    let mut files = settings.list(&format!("{path}.clientca.files"));
    files.extend(settings.list(&format!("{path}.clientcafiles")));
    let is_optional = settings.is_on(&format!("{path}.clientca.optional"));
    if !files.is_empty() {
        let mode = if is_optional { "optional" } else { "required" };
        let auth = table([("ca", Value::from(files)), ("mode", text(mode))]);
        tls.insert("client_auth".to_owned(), Value::Array(vec![auth]));
    }
    // What is left is told of as not imported.
    settings.value(path);
    tls
}
