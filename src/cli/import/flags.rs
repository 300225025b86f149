//! Arguments of Traefik's command line as settings.

use toml::Value;

use super::settings::TraefikSettings;

/// Sets what an argument says: `--retry.attempts=10`, `--api`, or an entry point in one line.
pub(super) fn put(settings: &mut TraefikSettings, argument: &str) -> Result<(), String> {
    let flag = argument.strip_prefix("--").ok_or("an argument begins with --")?;
    let (path, value) = flag.split_once('=').unwrap_or((flag, "true"));
    let path = path.to_lowercase();
    match path.as_str() {
        // The file itself.
        "configfile" | "c" => {}
        "entrypoints" => entry_point(settings, value)?,
        _ => settings.put(&path, Value::String(value.to_owned())),
    }
    Ok(())
}

/// `Name:https Address::443 TLS:a.crt,a.key Redirect.EntryPoint:x`.
fn entry_point(settings: &mut TraefikSettings, text: &str) -> Result<(), String> {
    let parts: Vec<(String, &str)> = text
        .split_whitespace()
        .map(|part| {
            part.split_once(':').map_or((part.to_lowercase(), "true"), |(key, value)| (key.to_lowercase(), value))
        })
        .collect();
    let of = |wanted: &str| parts.iter().find(|(key, _)| key == wanted).map(|(_, value)| *value);
    let name = of("name").ok_or("an entry point needs `Name:`")?.to_lowercase();
    for (key, value) in &parts {
        let path = format!("entrypoints.{name}.{key}");
        match key.as_str() {
            "name" => {}
            "tls" if *value != "true" => {
                let pairs = value.split(';').filter_map(|pair| pair.split_once(','));
                let pair = |(cert, key): (&str, &str)| {
                    let pair = [("certFile", cert), ("keyFile", key)];
                    Value::Table(
                        pair.map(|(name, file)| (name.to_owned(), Value::String(file.to_owned())))
                            .into_iter()
                            .collect(),
                    )
                };
                settings.put(&format!("{path}.certificates"), Value::Array(pairs.map(pair).collect()));
            }
            _ => settings.put(&path, Value::String((*value).to_owned())),
        }
    }
    Ok(())
}
