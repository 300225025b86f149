//! A configuration text as a tree in which every node knows its place; TOML and YAML look the same in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use saphyr::{LoadableYamlNode, MarkedYamlOwned, ScalarOwned, YamlDataOwned};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

/// Deepest nesting that is read: the schema needs 6.
const DEPTH_MAX: usize = 32;

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: NodeKind,
    /// Its position in the list that holds it, as the file has it.
    pub position: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A string, number, boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// Keys with their values, in the order they came.
    Map(Vec<(String, Node)>),
}

/// The syntax of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml`
    Yaml,
}

impl Syntax {
    /// By the file's ending.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

impl Node {
    /// Parses `text`; `environment` gives the values of `${NAME}` in strings.
    ///
    /// # Errors
    /// Every problem of syntax that can be told apart, and every variable that is not set.
    pub fn parse(
        text: &str,
        syntax: Syntax,
        file: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        let line_starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        let mut reader =
            Reader { text, line_starts, file: Arc::new(file.to_owned()), environment, problems: Vec::new() };
        let mut node = match syntax {
            Syntax::Toml => reader.toml(),
            Syntax::Yaml => reader.yaml(),
        };
        if let NodeKind::Map(entries) = &mut node.kind {
            // For parts that others refer to, as compose files have them.
            entries.retain(|(name, _)| !name.starts_with("x-"));
        }
        if reader.problems.is_empty() { Ok(node) } else { Err(reader.problems) }
    }

    /// The node at a dotted key, or the nearest one above it.
    #[must_use]
    pub fn nearest(&self, key: &str) -> &Self {
        let (mut node, mut rest) = (self, key);
        while let Some((child, after)) = node.child(rest) {
            (node, rest) = (child, after);
        }
        node
    }

    /// The key as it was before anything was taken out: positions in lists count what is gone.
    #[must_use]
    pub fn original_key(&self, key: &str) -> String {
        let (mut node, mut rest, mut original) = (self, key, Vec::new());
        while let Some((child, after)) = node.child(rest) {
            original.push(match &node.kind {
                NodeKind::List(_) => child.position.to_string(),
                NodeKind::Scalar(_) | NodeKind::Map(_) => {
                    rest[..rest.len() - after.len()].trim_end_matches('.').to_owned()
                }
            });
            (node, rest) = (child, after);
        }
        original.extend((!rest.is_empty()).then(|| rest.to_owned()));
        original.join(".")
    }

    /// Makes a list of one of each string that stands under this name; false where there is none.
    pub fn make_lists(&mut self, name: &str) -> bool {
        let mut has_made = false;
        match &mut self.kind {
            NodeKind::Map(entries) => {
                for (key, node) in entries {
                    if key == name && matches!(node.kind, NodeKind::Scalar(Value::String(_))) {
                        node.kind = NodeKind::List(vec![Self { position: 0, ..node.clone() }]);
                        has_made = true;
                    } else {
                        has_made |= node.make_lists(name);
                    }
                }
            }
            NodeKind::List(items) => items.iter_mut().for_each(|item| has_made |= item.make_lists(name)),
            NodeKind::Scalar(_) => {}
        }
        has_made
    }

    /// Takes the node at this dotted key out of the tree; false where there is none.
    pub fn remove(&mut self, key: &str) -> bool {
        match &mut self.kind {
            NodeKind::Map(entries) => {
                if let Some(at) = entries.iter().position(|(name, _)| name == key) {
                    entries.remove(at);
                    return true;
                }
                let mut inside = entries.iter_mut().filter_map(|(name, node)| Some((node, rest_behind(key, name)?)));
                inside.any(|(node, rest)| node.remove(rest))
            }
            NodeKind::List(items) => {
                let (position, rest) = key.split_once('.').unwrap_or((key, ""));
                match position.parse::<usize>().ok().filter(|at| *at < items.len()) {
                    Some(at) if rest.is_empty() => {
                        items.remove(at);
                        true
                    }
                    Some(at) => items[at].remove(rest),
                    None => false,
                }
            }
            NodeKind::Scalar(_) => false,
        }
    }

    /// The tree without its places.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.kind {
            NodeKind::Scalar(value) => value.clone(),
            NodeKind::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            NodeKind::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.clone(), node.value())).collect())
            }
        }
    }

    /// The child that a dotted key begins with, and the rest of the key. Names may hold dots themselves.
    fn child<'k>(&self, key: &'k str) -> Option<(&Self, &'k str)> {
        if key.is_empty() {
            return None;
        }
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find_map(|(name, node)| Some((node, rest_behind(key, name)?))),
            NodeKind::List(items) => {
                let (position, rest) = key.split_once('.').unwrap_or((key, ""));
                Some((items.get(position.parse::<usize>().ok()?)?, rest))
            }
            NodeKind::Scalar(_) => None,
        }
    }
}

/// A list whose items know their positions.
fn list(items: impl Iterator<Item = Node>) -> NodeKind {
    NodeKind::List(items.enumerate().map(|(position, item)| Node { position, ..item }).collect())
}

/// The entries of a map with those of `<<`, a map or a list of maps, where the map has none of that name itself (YAML's merge key).
fn merged(entries: Vec<(String, Node)>) -> Vec<(String, Node)> {
    let (bases, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(name, _)| name == "<<");
    let maps = bases.into_iter().flat_map(|(_, base)| match base.kind {
        NodeKind::List(items) => items,
        NodeKind::Map(_) | NodeKind::Scalar(_) => vec![base],
    });
    for base in maps {
        match base.kind {
            NodeKind::Map(entries) => {
                for (name, node) in entries {
                    if own.iter().all(|(own, _)| *own != name) {
                        own.push((name, node));
                    }
                }
            }
            // Told as the unknown key that it then is.
            NodeKind::List(_) | NodeKind::Scalar(_) => own.push(("<<".to_owned(), base)),
        }
    }
    own
}

/// What follows a name at the start of a dotted key; empty where nothing does.
fn rest_behind<'k>(key: &'k str, name: &str) -> Option<&'k str> {
    let rest = key.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

struct Reader<'a> {
    text: &'a str,
    /// Where each line begins, so that a place is found by halving.
    line_starts: Vec<usize>,
    file: Arc<PathBuf>,
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn toml(&mut self) -> Node {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let place = self.place_at(error.span().map_or(0, |span| span.start));
            self.problem(place, error.message().to_owned(), "");
        }
        let place = self.place_at(0);
        self.toml_table(table.get_ref(), place, 0)
    }

    fn toml_table(&mut self, table: &DeTable<'_>, place: Place, depth: usize) -> Node {
        // The parser's map sorts its keys; the file's order is what people expect to see again.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries
            .into_iter()
            .map(|(key, value)| {
                let place = self.place_at(key.span().start);
                (key.get_ref().to_string(), self.toml_value(value, Some(place), depth + 1))
            })
            .collect();
        Node { place, kind: NodeKind::Map(entries), position: 0 }
    }

    fn toml_value(&mut self, value: &Spanned<DeValue<'_>>, at: Option<Place>, depth: usize) -> Node {
        let place = at.unwrap_or_else(|| self.place_at(value.span().start));
        if self.is_too_deep(depth, &place) {
            return Node { place, kind: NodeKind::Scalar(Value::Null), position: 0 };
        }
        let kind = match value.get_ref() {
            DeValue::String(text) => NodeKind::Scalar(self.string(text, &place)),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from);
                if number.is_null() {
                    self.problem(place.clone(), "the number does not fit in 64 bits".to_owned(), "");
                }
                NodeKind::Scalar(number)
            }
            DeValue::Float(number) => NodeKind::Scalar(number.as_str().parse::<f64>().map_or(Value::Null, Value::from)),
            DeValue::Boolean(flag) => NodeKind::Scalar(Value::Bool(*flag)),
            DeValue::Datetime(moment) => NodeKind::Scalar(Value::String(moment.to_string())),
            DeValue::Array(items) => list(items.iter().map(|item| self.toml_value(item, None, depth + 1))),
            DeValue::Table(table) => return self.toml_table(table, place, depth),
        };
        Node { place, kind, position: 0 }
    }

    fn yaml(&mut self) -> Node {
        let whole = self.place_at(0);
        match MarkedYamlOwned::load_from_str(self.text) {
            Ok(documents) if documents.len() > 1 => {
                let remedy = "put everything into one document";
                self.problem(whole.clone(), format!("{} YAML documents in one file", documents.len()), remedy);
                Node { place: whole, kind: NodeKind::Map(Vec::new()), position: 0 }
            }
            Ok(documents) => match documents.first() {
                Some(document) => self.yaml_node(document, None, 0),
                None => Node { place: whole, kind: NodeKind::Map(Vec::new()), position: 0 },
            },
            Err(error) => {
                let at = error.marker();
                let place = Place::File { file: Arc::clone(&self.file), line: at.line(), column: at.col() + 1 };
                self.problem(place, error.info().to_owned(), "");
                Node { place: whole, kind: NodeKind::Map(Vec::new()), position: 0 }
            }
        }
    }

    fn yaml_node(&mut self, node: &MarkedYamlOwned, at: Option<Place>, depth: usize) -> Node {
        let place = at.unwrap_or_else(|| self.yaml_place(node));
        if self.is_too_deep(depth, &place) {
            return Node { place, kind: NodeKind::Scalar(Value::Null), position: 0 };
        }
        let kind = match &node.data {
            YamlDataOwned::Value(scalar) => NodeKind::Scalar(match scalar {
                ScalarOwned::Null => Value::Null,
                ScalarOwned::Boolean(flag) => Value::Bool(*flag),
                ScalarOwned::Integer(number) => Value::from(*number),
                ScalarOwned::FloatingPoint(number) => Value::from(number.into_inner()),
                ScalarOwned::String(text) => self.string(text, &place),
            }),
            YamlDataOwned::Sequence(items) => list(items.iter().map(|item| self.yaml_node(item, None, depth + 1))),
            YamlDataOwned::Mapping(entries) => {
                let entries = entries.iter().map(|(key, value)| {
                    let place = self.yaml_place(key);
                    let name = self.yaml_key(key);
                    (name, self.yaml_node(value, Some(place), depth + 1))
                });
                NodeKind::Map(merged(entries.collect()))
            }
            YamlDataOwned::Representation(..)
            | YamlDataOwned::Tagged(..)
            | YamlDataOwned::Alias(_)
            | YamlDataOwned::BadValue => {
                self.problem(place.clone(), "YAML tags are not read here".to_owned(), "write the value out");
                NodeKind::Scalar(Value::Null)
            }
        };
        Node { place, kind, position: 0 }
    }

    fn yaml_key(&mut self, key: &MarkedYamlOwned) -> String {
        let name = if let YamlDataOwned::Value(scalar) = &key.data {
            match scalar {
                ScalarOwned::String(text) => Some(text.clone()),
                ScalarOwned::Integer(number) => Some(number.to_string()),
                ScalarOwned::Boolean(flag) => Some(flag.to_string()),
                ScalarOwned::Null | ScalarOwned::FloatingPoint(_) => None,
            }
        } else {
            None
        };
        name.unwrap_or_else(|| {
            let place = self.yaml_place(key);
            self.problem(place, "a key must be a string".to_owned(), "");
            String::new()
        })
    }

    fn yaml_place(&self, node: &MarkedYamlOwned) -> Place {
        Place::File { file: Arc::clone(&self.file), line: node.span.start.line(), column: node.span.start.col() + 1 }
    }

    /// Puts the values of `${NAME}` in, and of `${NAME:-default}` where it is not set or empty; `$$` stands for one `$`.
    fn string(&mut self, text: &str, place: &Place) -> Value {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                let (name, default) = name.split_once(":-").map_or((name, None), |(name, text)| (name, Some(text)));
                let value = (self.environment)(name).filter(|value| default.is_none() || !value.is_empty());
                match value.as_deref().or(default) {
                    Some(value) => out.push_str(value),
                    None => {
                        let what = format!("the environment variable {name} is not set");
                        self.problem(place.clone(), what, "set it, write ${NAME:-default}, or $${ for a literal ${");
                    }
                }
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        Value::String(out)
    }

    fn is_too_deep(&mut self, depth: usize, place: &Place) -> bool {
        if depth > DEPTH_MAX {
            self.problem(place.clone(), format!("nested deeper than {DEPTH_MAX}"), "");
        }
        depth > DEPTH_MAX
    }

    fn place_at(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Place::File { file: Arc::clone(&self.file), line, column }
    }

    fn problem(&mut self, place: Place, what: String, remedy: &str) {
        self.problems.push(Problem { place, key: String::new(), what, remedy: remedy.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, syntax: Syntax) -> Result<Node, Vec<Problem>> {
        let environment = |name: &str| (name == "PORT").then(|| "8080".to_owned());
        Node::parse(text, syntax, Path::new("test"), &environment)
    }

    #[test]
    fn toml_and_yaml_give_the_same_tree() {
        let toml = parse("a = 1\n[b]\nc = [\"x\", true]\n", Syntax::Toml).unwrap();
        let yaml = parse("a: 1\nb:\n  c: [x, true]\n", Syntax::Yaml).unwrap();
        assert_eq!(toml.value(), yaml.value());
        assert_eq!(toml.nearest("b.c").place.line_and_column().0, 3);
        assert_eq!(yaml.nearest("b.c.1").place.line_and_column().0, 3);
    }

    #[test]
    fn maps_are_merged_and_parts_for_others_are_left_out() {
        let text = "x-usual: &usual\n  a: 1\n  b: 2\nx-more: &more {b: 3, c: 4}\none:\n  <<: *usual\n  b: own\n\
            two:\n  <<: [*usual, *more]\n";
        let expected = serde_json::json!({"one": {"a": 1, "b": "own"}, "two": {"a": 1, "b": 2, "c": 4}});
        assert_eq!(parse(text, Syntax::Yaml).unwrap().value(), expected);
        assert_eq!(parse("a = 1\n[x-own]\nb = 1\n", Syntax::Toml).unwrap().value(), serde_json::json!({"a": 1}));
        assert_eq!(parse("<<: 1\n", Syntax::Yaml).unwrap().value(), serde_json::json!({"<<": 1}));
    }

    #[test]
    fn variables_are_put_in_and_missing_ones_told() {
        let node = parse("a = \"0.0.0.0:${PORT}\"\nb = '$$x $y'", Syntax::Toml).unwrap();
        assert_eq!(node.value(), serde_json::json!({"a": "0.0.0.0:8080", "b": "$x $y"}));
        let problems = parse("a: \"${NOPE}\"\nb: \"${NO}\"", Syntax::Yaml).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[1].to_string().starts_with("test:2:"), "{}", problems[1]);
    }

    #[test]
    fn every_syntax_error_of_toml_is_told() {
        let problems = parse("a = \nb = 1\nc = \"x\n", Syntax::Toml).unwrap_err();
        assert!(problems.len() >= 2, "{problems:?}");
        assert_eq!(parse("a: [1", Syntax::Yaml).unwrap_err().len(), 1);
    }
}
