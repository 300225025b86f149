//! What serde says of a mistake, in the words of whoever wrote the file, with what to write instead.

use serde_json::Value;

/// What is written where a table is meant, by the end of the key.
const TABLES: [(&str, &str); 12] = [
    ("tls", "tls = {}"),
    ("redirect", "redirect = { scheme = \"https\" }"),
    ("respond", "respond = { status = 200, body = \"…\" }"),
    ("request_headers", "request_headers = { set = { NAME = \"value\" } }"),
    ("response_headers", "response_headers = { set = { NAME = \"value\" } }"),
    ("hsts", "hsts = { max_age = \"8760h\" }"),
    ("health", "health = { path = \"/healthz\" }"),
    ("keep_alive", "keep_alive = { idle = \"15s\" }"),
    ("timeouts", "timeouts = { header = \"60s\" }"),
    ("retry", "retry = { attempts = 2 }"),
    ("limits", "limits = { in_flight = 100 }"),
    ("access_log", "[access_log] with path = \"…\""),
];

/// What is wrong and what to do, of a message of serde about the value at `key`.
pub(super) fn in_words(message: &str, key: &str, value: &Value) -> (String, String) {
    let name = key.rsplit('.').next().unwrap_or(key);
    let shown = shown(value);
    if message.contains("expected map with a single key") {
        let names: Vec<_> = value.as_object().into_iter().flat_map(|entries| entries.keys()).collect();
        let own: Vec<_> = names.iter().map(|name| format!("{{ {name} = … }}")).collect();
        return ("one table holds several".to_owned(), format!("write each in a table of its own: {}", own.join(", ")));
    }
    if message.contains("expected newtype variant") {
        return (format!("`{name}` needs a value"), format!("write {{ {name} = … }}"));
    }
    if message.starts_with("invalid type") || message.starts_with("invalid value") {
        let expected = message.rsplit("expected ").next().unwrap_or_default();
        if let Some((_, table)) = TABLES.iter().find(|(known, _)| *known == name) {
            return (format!("{shown} is not a table"), format!("write `{table}`"));
        }
        return (format!("{shown} is not {}", kind(expected)), String::new());
    }
    let (what, remedy) = message.split_once("; ").unwrap_or((message, ""));
    (what.to_owned(), remedy.to_owned())
}

/// What to do about a value that is none of those that are known; `None` where nothing special is known of it.
pub(super) fn instead_of(word: &str, key: &str, known: &[&str]) -> Option<String> {
    if word.starts_with('/') && known.contains(&"prefix") {
        return Some(format!("write {{ prefix = \"{word}\" }}, or {{ exact = \"{word}\" }}"));
    }
    if key.ends_with(".protocol") && matches!(word, "https" | "tls" | "http" | "grpc" | "h2c" | "grpcs") {
        let instead = match word {
            "http" => "leave it out",
            "grpc" | "h2c" => "write `protocol = \"h2\"`",
            _ => "write `tls = {}` in the service, and leave `protocol` out",
        };
        return Some(instead.to_owned());
    }
    None
}

/// A value as people wrote it, where it is short.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text: String = value.to_string().chars().take(60).collect();
            format!("`{text}`")
        }
    }
}

/// A kind of value without the language that this program is written in.
fn kind(expected: &str) -> String {
    match expected.split_whitespace().next().unwrap_or_default() {
        "struct" | "map" | "tuple" => "a table".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "f64" => "a number".to_owned(),
        _ => expected.replace("a sequence", "a list").replace("a boolean", "true or false").replace("a map", "a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_speak_of_what_was_written() {
        let told = |message: &str, key: &str, value: Value| {
            let (what, remedy) = in_words(message, key, &value);
            format!("{what}; {remedy}")
        };
        let message = "invalid type: boolean `true`, expected struct ListenerTls";
        assert_eq!(told(message, "listeners.web.tls", json!(true)), "`true` is not a table; write `tls = {}`");
        let message = "invalid value: map, expected map with a single key";
        let value = json!({"add_prefix": "/b", "strip_prefix": "/a"});
        let expected =
            "one table holds several; write each in a table of its own: { add_prefix = … }, { strip_prefix = … }";
        assert_eq!(told(message, "routes.0.filters.0", value), expected);
        let message = "invalid type: unit variant, expected newtype variant";
        assert_eq!(
            told(message, "f.0.strip_prefix", json!("x")),
            "`strip_prefix` needs a value; write { strip_prefix = … }"
        );
        let message = "invalid type: string \"high\", expected i32";
        assert_eq!(told(message, "routes.0.priority", json!("high")), "`\"high\"` is not a number; ");
        assert_eq!(
            instead_of("/api", "routes.0.paths.0", &["exact", "prefix"]).unwrap(),
            "write { prefix = \"/api\" }, or { exact = \"/api\" }"
        );
        assert!(instead_of("https", "services.s.protocol", &["http1"]).unwrap().contains("tls = {}"));
    }
}
