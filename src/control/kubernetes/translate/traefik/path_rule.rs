//! The rule of a path: which paths match, what the upstream gets in their place, and the text whose length is the priority.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::annotations::TraefikNotes;
use crate::config::routes::PathMatch;
use crate::filter::Filter;

/// A path as Traefik reads it.
#[derive(Debug)]
pub(super) struct PathRule {
    /// The rule as Traefik writes it.
    pub text: String,
    /// The length that decides: of a path that is exact because its Ingress says so, and not its annotation, that of a prefix and one more.
    pub length: usize,
    /// Which paths match; `None` for all.
    pub condition: Option<PathMatch>,
    /// What is changed on the way.
    pub filters: Vec<Filter>,
    /// The same path with a slash at its end, or without: whoever asks for that is sent here.
    pub other_slash: Option<String>,
}

impl PathRule {
    /// The rule for a path, with the modifiers of the annotations; what cannot be done is told, and the requests are refused.
    pub(super) fn of(notes: &TraefikNotes<'_>, path: &str, path_type: &str) -> Self {
        let mut rule = Self { text: String::new(), length: 0, condition: None, filters: Vec::new(), other_slash: None };
        if path.is_empty() {
            return rule;
        }
        // An Ingress of today may ask for exactly this path.
        let default = if path_type == "Exact" { "Path" } else { "PathPrefix" };
        let kind = notes.text("rule-type").unwrap_or(default);
        rule.text = format!("{kind}:{path}");
        rule.matches(notes, kind, path);
        let is_replaced = kind == "ReplacePath";
        if let Some(text) = notes.text("request-modifier") {
            if is_replaced {
                notes.deny("request-modifier", "it does not go together with `rule-type: ReplacePath`");
            }
            rule.modify(notes, text);
        }
        if let Some(target) = notes.text("rewrite-target") {
            if is_replaced {
                notes.deny("rewrite-target", "it does not go together with `rule-type: ReplacePath`");
            }
            let target = target.trim_end_matches('/');
            let expression = if path == "/" { "^(.*)".to_owned() } else { format!("^{path}(.*)") };
            let _ = write!(rule.text, ";ReplacePathRegex: {expression} {target}$1");
            rule.replace(notes, "rewrite-target", (&expression, &format!("{target}$1")));
        }
        let is_by_type = notes.text("rule-type").is_none() && kind == "Path";
        rule.length = rule.text.len() + if is_by_type { "Prefix".len() + 1 } else { 0 };
        rule
    }

    fn matches(&mut self, notes: &TraefikNotes<'_>, kind: &str, path: &str) {
        let is_exact = matches!(kind, "Path" | "PathStrip");
        if !matches!(kind, "Path" | "PathStrip" | "PathPrefix" | "PathPrefixStrip" | "ReplacePath") {
            let what = format!("`{kind}` is none of PathPrefix, Path, PathStrip, PathPrefixStrip and ReplacePath");
            return notes.deny("rule-type", &what);
        }
        if kind == "ReplacePath" {
            let written = json!({ "rewrite": { "path": path, "replaced_path": true } });
            return self.filters.extend(notes.filter("rule-type", written));
        }
        let template = expression_of(path);
        self.condition = Some(match &template {
            Some(expression) if is_exact => PathMatch::Regex(format!("^{expression}$")),
            Some(expression) => PathMatch::Regex(format!("^{expression}")),
            None if is_exact => PathMatch::Exact(path.to_owned()),
            None => PathMatch::StartsWith(path.to_owned()),
        });
        if is_exact && template.is_none() && path != "/" {
            self.other_slash = Some(path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned));
        }
        let stripped = match kind {
            "PathStrip" => json!({ "rewrite": { "path": "/" } }),
            "PathPrefixStrip" => {
                let expression = template.clone().unwrap_or_else(|| regex::escape(path));
                // What stands before the group has none itself.
                json!({ "rewrite": { "regex": format!("^{expression}(.*)$"), "path": "$1" } })
            }
            _ => return,
        };
        self.filters.extend(notes.filter("rule-type", stripped));
        if template.is_none() {
            let told = json!({ "request_headers": { "set": { "X-Forwarded-Prefix": path } } });
            self.filters.extend(notes.filter("rule-type", told));
        }
    }

    fn modify(&mut self, notes: &TraefikNotes<'_>, text: &str) {
        const NAME: &str = "request-modifier";
        let mut parts = text.trim_end_matches([' ', ':']).split(':').map(str::trim);
        let (Some(modifier), Some(value)) = (parts.next(), parts.next()) else {
            return notes.deny(NAME, &format!("`{}` is not `Modifier: value`", text.escape_debug()));
        };
        let _ = write!(self.text, ";{modifier}: {value}");
        match modifier {
            "AddPrefix" => self.put(notes, NAME, json!({ "add_prefix": value })),
            "ReplacePath" => self.put(notes, NAME, json!({ "rewrite": { "path": value, "replaced_path": true } })),
            "ReplacePathRegex" => match value.split_once(' ') {
                Some((expression, replacement)) => self.replace(notes, NAME, (expression, replacement.trim())),
                None => {
                    notes.deny(NAME, &format!("`{}` is not an expression and what replaces it", value.escape_debug()));
                }
            },
            _ => notes.deny(NAME, &format!("`{modifier}` is none of AddPrefix, ReplacePath and ReplacePathRegex")),
        }
    }

    fn replace(&mut self, notes: &TraefikNotes<'_>, name: &str, (expression, replacement): (&str, &str)) {
        let written = json!({ "rewrite": { "regex": expression, "path": replacement, "replaced_path": true } });
        self.put(notes, name, written);
    }

    fn put(&mut self, notes: &TraefikNotes<'_>, name: &str, written: Value) {
        self.filters.extend(notes.filter(name, written));
    }
}

/// A path with `{name}` or `{name:expression}` in it as an expression without groups; `None` for one without.
#[must_use]
pub(super) fn expression_of(path: &str) -> Option<String> {
    let mut expression = String::new();
    let mut rest = path;
    let mut is_template = false;
    while let Some(start) = rest.find('{') {
        let mut depth = 0;
        let end = rest[start..].bytes().position(|byte| {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            depth == 0
        })?;
        let inner = &rest[start + 1..start + end];
        expression.push_str(&regex::escape(&rest[..start]));
        match inner.split_once(':') {
            Some((_, own)) => _ = write!(expression, "(?:{})", without_groups(own)),
            None => expression.push_str("[^/]+"),
        }
        rest = &rest[start + end + 1..];
        is_template = true;
    }
    expression.push_str(&regex::escape(rest));
    is_template.then_some(expression)
}

/// An expression whose groups are not counted.
fn without_groups(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut chars = expression.chars().peekable();
    let mut is_in_class = false;
    while let Some(char) = chars.next() {
        out.push(char);
        match char {
            '\\' => out.extend(chars.next()),
            '[' => is_in_class = true,
            ']' => is_in_class = false,
            '(' if !is_in_class && chars.peek() != Some(&'?') => out.push_str("?:"),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_an_expression_without_groups() {
        for (path, expected) in [
            ("/a/b", None),
            ("/a.b/{id}", Some(r"/a\.b/[^/]+")),
            ("/a/{id:[0-9]+}/c", Some("/a/(?:[0-9]+)/c")),
            ("/{v:v(1|2)}{rest:[a-z]{2,3}}", Some("/(?:v(?:1|2))(?:[a-z]{2,3})")),
            (r"/{x:\([(]}", Some(r"/(?:\([(])")),
            ("/{open", None),
        ] {
            assert_eq!(expression_of(path).as_deref(), expected, "{path}");
        }
    }
}
