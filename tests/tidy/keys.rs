//! Keys of the configuration that texts name, and whether the schema has them.

use std::sync::LazyLock;

use ringress::config::Config;
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(schemars::schema_for!(Config)).unwrap());

/// What a key may begin at: the whole, or a part that texts leave out where it is clear.
const ROOTS: [&str; 4] = ["", "ListenerSpec", "RouteSpec", "ServiceSpec"];

/// Dotted keys: those with `NAME` for a name, wherever they stand, and those in backticks that begin with a key.
pub fn named(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let words = text.split(|c: char| !is_part(c)).map(|word| word.trim_matches('.'));
    let with_name = words.filter(|word| word.contains(".NAME."));
    let in_backticks = text.split('`').skip(1).step_by(2).filter(|word| {
        let is_dotted = word.contains('.') && word.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'));
        let is_file = [".rs", ".toml", ".md", ".py", ".yaml", ".json"].iter().any(|end| word.ends_with(end));
        is_dotted && !is_file && ROOTS.iter().any(|root| is_at(root, word.split('.').next().unwrap_or_default()))
    });
    with_name.chain(in_backticks).map(str::to_owned).collect()
}

/// True where the schema has the key, from the whole or from one of its parts.
pub fn is_key(key: &str) -> bool {
    ROOTS.iter().any(|root| is_at(root, key))
}

fn is_at(root: &str, key: &str) -> bool {
    let at = if root.is_empty() { &*SCHEMA } else { &SCHEMA["$defs"][root] };
    assert!(at.is_object(), "the schema has no {root}");
    key.split('.').try_fold(vec![at], step).is_some()
}

/// The schemas that one more part of a key leads to.
fn step<'a>(from: Vec<&'a Value>, part: &str) -> Option<Vec<&'a Value>> {
    let mut left = from;
    let mut found = Vec::new();
    while let Some(at) = left.pop() {
        if let Some(name) = at["$ref"].as_str() {
            left.push(SCHEMA.pointer(name.trim_start_matches('#'))?);
        }
        for several in ["anyOf", "oneOf", "allOf"] {
            left.extend(at[several].as_array().into_iter().flatten());
        }
        found.extend(at["properties"].get(part));
        // Listeners and services have names of their own.
        found.extend(at.get("additionalProperties").filter(|schema| schema.is_object()));
    }
    (!found.is_empty()).then_some(found)
}

#[test]
fn a_key_is_found_by_its_parts() {
    assert!(is_key("listeners.NAME.timeouts.header") && is_key("services.NAME.keep_alive.idle"));
    assert!(is_key("keep_alive.idle"), "within a service");
    assert!(!is_key("listeners.NAME.timeouts.heade") && !is_key("services.NAME.idle"));
    let text = "see `services.NAME.retry` and `keep_alive.idel`, routes.NAME.filters; `worker/metrics.rs` is a file";
    assert_eq!(named(text), ["services.NAME.retry", "routes.NAME.filters", "keep_alive.idel"]);
}
