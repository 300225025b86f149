//! `ringress schema --markdown`: every key of a configuration as a page, rendered from the schema that the program reads with.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The page.
pub(super) fn page(schema: &Value) -> String {
    let mut out = String::from(
        "# Keys\n\n\
         Rendered by `ringress schema --markdown` from the schema that the program reads with. NAME is a name of your own, N a position in a list.\n\
         Durations: `\"500ms\"`, `\"15s\"`, `\"2m\"`, `\"1h\"`; sizes: `\"64KiB\"`; a list of one text may be written without brackets; `${NAME}` is a\n\
         variable of the environment, `${NAME:-default}` with what stands for it where it is not set.\n",
    );
    let mut pages = Reference { schema, out: &mut out, done: BTreeSet::new() };
    pages.table("", schema);
    out
}

struct Reference<'a> {
    schema: &'a Value,
    out: &'a mut String,
    /// Paths that have their section.
    done: BTreeSet<String>,
}

impl Reference<'_> {
    /// The section of a table, and those of the tables in it.
    fn table(&mut self, path: &str, table: &Value) {
        let Some(keys) = table["properties"].as_object() else { return };
        if !self.done.insert(path.to_owned()) {
            return;
        }
        let title = if path.is_empty() { "At the top".to_owned() } else { format!("`{path}`") };
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            self.out,
            "\n## {title}\n\n{}\n\n| key | what is written | default | |\n|---|---|---|---|\n",
            text(table)
        );
        let required: BTreeSet<_> =
            table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut inner = Vec::new();
        for (key, spec) in keys {
            let default = match spec.get("default") {
                _ if required.contains(key.as_str()) => "must be given".to_owned(),
                Some(default) if is_short(default) => format!("`{default}`"),
                _ => String::new(),
            };
            let _ = writeln!(
                self.out,
                "| `{key}` | {} | {default} | {} |",
                self.kind(spec),
                text(spec).replace('|', "\\|")
            );
            let below =
                |suffix: &str| if path.is_empty() { format!("{key}{suffix}") } else { format!("{path}.{key}{suffix}") };
            inner.extend(self.inner(spec).map(|(suffix, table)| (below(suffix), table)));
        }
        for (path, table) in inner {
            if table["oneOf"].is_array() {
                self.choices(&path, &table);
            } else {
                self.table(&path, &table);
            }
        }
    }

    /// The section of something that is one of several, such as a filter.
    fn choices(&mut self, path: &str, of: &Value) {
        if !self.done.insert(path.to_owned()) {
            return;
        }
        let _ = write!(self.out, "\n## `{path}`\n\n{} One of:\n\n", text(of));
        let mut inner = Vec::new();
        for choice in of["oneOf"].as_array().into_iter().flatten() {
            if let Some((name, spec)) = choice["properties"].as_object().and_then(|keys| keys.iter().next()) {
                let _ = writeln!(self.out, "- `{{ {name} = … }}`, {}: {}", self.kind(spec), text(choice));
                inner.push((format!("{path}.{name}"), self.resolved(spec).clone()));
            } else if let Some(word) = choice["const"].as_str() {
                let _ = writeln!(self.out, "- `\"{word}\"`: {}", text(choice));
            }
        }
        inner.iter().for_each(|(path, table)| self.table(path, table));
    }

    /// The table that a key holds, with what stands between.
    fn inner(&self, spec: &Value) -> Option<(&'static str, Value)> {
        let spec = self.resolved(spec);
        let several = [("", spec), (".NAME", &spec["additionalProperties"]), (".N", &spec["items"])];
        several.into_iter().find_map(|(suffix, inner)| Some((suffix, self.as_table(inner)?)))
    }

    /// A table, or the one among what may be written instead of each other.
    fn as_table(&self, spec: &Value) -> Option<Value> {
        let spec = self.resolved(spec);
        if spec["properties"].is_object() || is_choice_of_tables(spec) {
            return Some(spec.clone());
        }
        spec["anyOf"].as_array()?.iter().find_map(|one| self.as_table(one))
    }

    /// What a reference stands for.
    fn resolved<'v>(&'v self, spec: &'v Value) -> &'v Value {
        let name = spec["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
        name.map_or(spec, |name| &self.schema["$defs"][name])
    }

    /// In words, what is written at a key.
    fn kind(&self, spec: &Value) -> String {
        let name = spec["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
        let spec = self.resolved(spec);
        match name {
            Some("Duration") => return "a duration".to_owned(),
            Some("Size") => return "a size".to_owned(),
            Some("ListenAddress" | "EndpointAddress") => return "an address".to_owned(),
            Some(_) | None => {}
        }
        if let Some(words) = words(spec) {
            return words;
        }
        if let Some(any) = spec["anyOf"].as_array() {
            let kinds: Vec<_> = any.iter().map(|one| self.kind(one)).filter(|kind| kind != "nothing").collect();
            return kinds.join(", or ");
        }
        if spec["items"].is_object() {
            return format!("a list of {}", plural(&self.kind(&spec["items"])));
        }
        if spec["properties"].is_object() || spec["oneOf"].is_array() {
            return "a table".to_owned();
        }
        if spec["additionalProperties"].is_object() {
            return "tables by name".to_owned();
        }
        let of_type = spec["type"].as_str().or_else(|| spec["type"][0].as_str());
        match of_type.unwrap_or_default() {
            "string" => "a text".to_owned(),
            "integer" | "number" => range(spec),
            "boolean" => "true or false".to_owned(),
            "array" => "a list".to_owned(),
            "null" => "nothing".to_owned(),
            _ => "a table".to_owned(),
        }
    }
}

fn is_choice_of_tables(value: &Value) -> bool {
    value["oneOf"].as_array().is_some_and(|choices| choices.iter().any(|choice| choice["properties"].is_object()))
}

/// The words that may be written, where there are only so many.
fn words(spec: &Value) -> Option<String> {
    if let Some(word) = spec["const"].as_str() {
        return Some(format!("`\"{word}\"`"));
    }
    let choices = spec["oneOf"].as_array().or_else(|| spec["enum"].as_array())?;
    let word =
        |choice: &Value| choice["const"].as_str().or_else(|| choice.as_str()).map(|word| format!("`\"{word}\"`"));
    choices.iter().map(word).collect::<Option<Vec<_>>>().map(|words| words.join(", "))
}

fn range(spec: &Value) -> String {
    match (spec["minimum"].as_f64(), spec["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("a number from {least} to {most}"),
        _ => "a number".to_owned(),
    }
}

fn plural(kind: &str) -> String {
    match kind.strip_prefix("a ").or_else(|| kind.strip_prefix("an ")) {
        Some("address") => "addresses".to_owned(),
        Some(noun) if !noun.contains(' ') => format!("{noun}s"),
        _ => kind.to_owned(),
    }
}

fn is_short(default: &Value) -> bool {
    let is_nothing = default.is_null() || default.as_object().is_some_and(Map::is_empty);
    !is_nothing && !default.is_object() && default.to_string().len() <= 40
}

/// The description in one line.
fn text(spec: &Value) -> String {
    spec["description"].as_str().unwrap_or_default().replace('\n', " ")
}
