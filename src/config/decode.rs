//! Decodes a tree into the schema, collecting every problem instead of the first.
//!
//! serde stops at its first error. So the offending node is noted and taken out, and the rest is decoded
//! again, until it decodes or nothing can be taken out any more.

use serde::de::DeserializeOwned;

use super::document::Node;
use super::foreign::hint;
use super::problem::{Problem, nearest};
use super::words::{in_words, instead_of};

/// Problems told at most: beyond that a file is of another kind altogether.
const PROBLEMS_MAX: usize = 100;

/// Decodes the whole tree.
///
/// # Errors
/// Every problem, each with its place and key.
pub fn decode<T: DeserializeOwned>(root: &Node) -> Result<T, Vec<Problem>> {
    // What is right needs no path, and to follow one costs a third of the whole.
    if let Ok(config) = T::deserialize(root.value()) {
        return Ok(config);
    }
    let mut root = root.clone();
    let mut problems = Vec::new();
    let mut removed = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(root.value()) {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => return Err(sorted(problems)),
            Err(error) => error,
        };
        // One where a list is meant is a list of one. All of that name at once: there may be thousands of routes.
        let (path, message) = (dotted(&error.path().to_string()), error.inner().to_string());
        let name = path.rsplit('.').next().unwrap_or_default();
        if message.contains("expected a sequence") && root.make_lists(name) {
            continue;
        }
        let finding = Mistake::of(path, &message, &root);
        let own_key = root.original_key(&finding.key);
        let is_emptied = |gone: &String| gone.strip_prefix(&own_key).is_some_and(|rest| rest.starts_with('.'));
        // What is wrong only because something wrong was taken out of it is told already.
        let is_ours = finding.missing.as_ref().is_some_and(|key| removed.contains(&root.original_key(key)))
            || finding.is_of_one_key && removed.iter().any(is_emptied);
        if !is_ours {
            problems.push(finding.problem(&root));
        }
        removed.push(root.original_key(&finding.remove));
        if problems.len() >= PROBLEMS_MAX || !root.remove(&finding.remove) {
            return Err(sorted(problems));
        }
    }
}

/// In the order of the file.
fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.place.line_and_column());
    problems
}

/// What an error of serde is about.
struct Mistake {
    /// The key that is wrong.
    key: String,
    /// The key to take out.
    remove: String,
    /// The key that is missing, if that is the problem.
    missing: Option<String>,
    /// It is about a table that holds another number of keys than one.
    is_of_one_key: bool,
    what: String,
    remedy: String,
}

impl Mistake {
    /// What serde says of the value at `path`.
    fn of(path: String, message: &str, root: &Node) -> Self {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let names = quoted.first().filter(|name| path.rsplit('.').next() == Some(**name));
        if message.starts_with("unknown field") || message.starts_with("unknown variant") {
            let word = quoted.first().copied().unwrap_or_default();
            // The path may or may not end in the unknown name itself.
            let is_field = message.starts_with("unknown field");
            let key = if !is_field || names.is_some() { path.clone() } else { join(word) };
            let known = quoted.get(1..).unwrap_or_default();
            let near = nearest(word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let remedy = instead_of(word, &key, known).or_else(|| hint(word)).or(near);
            let remedy = remedy.unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            let what = if is_field { format!("unknown key `{word}`") } else { format!("unknown value `{word}`") };
            return Self { remove: key.clone(), key, missing: None, is_of_one_key: false, what, remedy };
        }
        if message.starts_with("missing field") {
            let word = quoted.first().copied().unwrap_or_default();
            let what = format!("`{word}` is missing");
            return Self {
                key: path.clone(),
                remove: path.clone(),
                missing: Some(join(word)),
                is_of_one_key: false,
                what,
                remedy: String::new(),
            };
        }
        let (what, remedy) = in_words(message, &path, &root.nearest(&path).value());
        Self {
            remove: path.clone(),
            key: path,
            missing: None,
            is_of_one_key: message.contains("single key"),
            what,
            remedy,
        }
    }

    fn problem(&self, root: &Node) -> Problem {
        Problem {
            place: root.nearest(&self.key).place.clone(),
            key: root.original_key(&self.key),
            what: self.what.clone(),
            remedy: self.remedy.clone(),
        }
    }
}

/// `a[0].b` as `a.0.b`; the path of the whole is empty.
fn dotted(path: &str) -> String {
    if path == "." { String::new() } else { path.replace('[', ".").replace(']', "").trim_start_matches('.').to_owned() }
}
