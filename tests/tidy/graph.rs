//! Which file names which: the arrows of the source, read from its `use` lines and its paths.

use std::collections::{BTreeMap, BTreeSet};

/// Files by their path below `src`, each with those that it names.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A path of modules, as `["worker", "http"]`.
type Module = Vec<String>;

/// The arrows between these sources, each a path and a text without tests.
pub fn arrows(sources: &[(String, String)]) -> Arrows {
    let modules: BTreeMap<Module, &str> = sources.iter().map(|(path, _)| (module(path), &**path)).collect();
    let arrows_of = |(path, code): &(String, String)| {
        let own = module(path);
        let named = paths(&bare(code)).into_iter().filter_map(|named| {
            let file = *modules.get(&resolve(&named, &own, &modules)?)?;
            (file != path && file != "lib.rs").then(|| file.to_owned())
        });
        (path.clone(), named.collect())
    };
    // The root declares the modules, and nothing else.
    sources.iter().filter(|(path, _)| path != "lib.rs").map(arrows_of).collect()
}

/// Every file that stands in a circle of files, with those of its circle that it names.
pub fn circles(arrows: &Arrows) -> Vec<(String, String)> {
    let reaches = |from: &String, to: &String| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(file) = left.pop() {
            for named in arrows.get(file).into_iter().flatten() {
                if named == to {
                    return true;
                }
                if seen.insert(named) {
                    left.push(named);
                }
            }
        }
        false
    };
    let all = arrows.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    all.filter(|(from, to)| reaches(to, from)).map(|(from, to)| (from.clone(), to.clone())).collect()
}

fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The code without comments and strings.
fn bare(code: &str) -> String {
    let (mut out, mut rest) = (String::new(), code);
    while let Some(at) = rest.find(['"', '/']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with('"') && !out.ends_with('\'') {
            rest = behind_string(&rest[1..]);
        } else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn behind_string(text: &str) -> &str {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or("", |end| &text[end + 1..])
}

/// Every path that the code names, in a `use` or where it is needed.
fn paths(code: &str) -> Vec<Vec<String>> {
    let (mut found, mut rest, mut elsewhere) = (Vec::new(), code, String::new());
    while let Some(at) = rest.find("use ") {
        let is_word = !rest[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let Some(end) = rest[at..].find(';').filter(|_| is_word) else {
            elsewhere.push_str(&rest[..at + 4]);
            rest = &rest[at + 4..];
            continue;
        };
        elsewhere.push_str(&rest[..at]);
        expand(&[], &rest[at + 4..at + end], &mut found);
        rest = &rest[at + end..];
    }
    elsewhere.push_str(rest);
    let words =
        elsewhere.split(|character: char| !(character.is_alphanumeric() || character == '_' || character == ':'));
    let named = words.filter(|word| word.contains("::"));
    found.extend(named.map(|word| word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()));
    found
}

/// The paths of a tree, as `a::{b, c::d}` has two.
fn expand(prefix: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let parts = |text: &str| -> Vec<String> {
        text.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        return found.push([prefix.to_vec(), parts(name)].concat());
    };
    let prefix = [prefix.to_vec(), parts(&tree[..open])].concat();
    let inner = tree[open + 1..].trim_end().trim_end_matches('}');
    let (mut depth, mut from) = (0, 0);
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inner[from..at], found);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !inner[from..].trim().is_empty() {
        let last = &inner[from..];
        // A tree within ends with its own brace, which was trimmed with ours.
        let missing = last.matches('{').count() - last.matches('}').count();
        expand(&prefix, &format!("{last}{}", "}".repeat(missing)), found);
    }
}

/// The module that a path leads to, from the module that names it.
fn resolve(path: &[String], own: &[String], modules: &BTreeMap<Module, &str>) -> Option<Module> {
    let (mut at, mut rest) = (own.to_vec(), path);
    match path.first()?.as_str() {
        "crate" => (at, rest) = (Vec::new(), &path[1..]),
        "self" | "super" => {
            while let Some(first) = rest.first().filter(|part| matches!(part.as_str(), "self" | "super")) {
                if first == "super" {
                    at.pop()?;
                }
                rest = &rest[1..];
            }
        }
        first => {
            let child = [own, &[first.to_owned()]].concat();
            modules.get(&child)?;
        }
    }
    for part in rest {
        let child = [&at[..], std::slice::from_ref(part)].concat();
        if !modules.contains_key(&child) {
            break;
        }
        at = child;
    }
    Some(at)
}

#[test]
fn arrows_are_read_from_trees_and_from_paths() {
    let file = |path: &str, code: &str| (path.to_owned(), code.to_owned());
    let sources = [
        file("lib.rs", "mod a; mod b;"),
        file("a/mod.rs", "mod c; // use super::b;\nlet x = \"crate::b\"; c::run();"),
        file("a/c.rs", "use crate::{b::{B, d::D}, a};\nfn f() { super::super::b::g() }"),
        file("b/mod.rs", "mod d;"),
        file("b/d.rs", "use std::b;"),
    ];
    let arrows = arrows(&sources);
    let named = |path: &str| arrows[path].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(named("a/mod.rs"), ["a/c.rs"]);
    assert_eq!(named("a/c.rs"), ["a/mod.rs", "b/d.rs", "b/mod.rs"]);
    assert_eq!(named("b/d.rs"), [""; 0]);
    let circles = circles(&arrows);
    assert_eq!(circles.len(), 2, "{circles:?}");
}
