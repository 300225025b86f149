//! What no compiler checks: who may name whom, how long a file may be, a name for each thing, words that do not belong.
#![expect(clippy::unwrap_used, reason = "helpers of tests end the test")]
#![expect(unreachable_pub, reason = "modules of one test program")]

mod floors;
mod graph;
mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use floors::{EXCEPTIONS, homeless, may_name};
use graph::{arrows, circles};

/// Lines of a file without its tests, at most.
const FILE_LINES_MAX: usize = 400;
/// Files of tests that are longer, each with its lines and the reason. Each must be needed; none may grow.
const LONGER: [(&str, usize, &str); 2] = [
    ("tests/python/conformance.py", 727, "one table of cases"),
    ("tests/simulation/world.rs", 440, "one world: its connections know its clock and its tasks"),
];
/// Lines of a function in Python, at most; clippy measures those in Rust.
const PYTHON_FUNCTION_LINES_MAX: usize = 70;
/// Exceptions from lints in the sources. The number only shrinks.
const EXPECTATIONS: usize = 29;
/// The root of the project.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn files(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        // What is built, installed or hidden is not ours; `.ci` is.
        let is_ours = !matches!(&*name, "target" | "installed" | "corpus" | "artifacts" | "__pycache__")
            && (!name.starts_with('.') || name == ".ci");
        let is_text = extensions.iter().any(|extension| name.ends_with(extension));
        if path.is_dir() && is_ours {
            files(&path, extensions, found);
        } else if path.is_file() && is_text {
            found.push(path);
        }
    }
}

/// Texts below a folder of the project: each with its path below the root.
fn texts(folder: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(&Path::new(ROOT).join(folder), extensions, &mut paths);
    assert!(!paths.is_empty(), "{folder} is not where it should be");
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(ROOT).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap_or_default())
    };
    paths.into_iter().map(read).collect()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

/// Each source file: its path below `src`, and its text without tests.
fn sources() -> Vec<(String, String)> {
    let sources = texts("src", &[".rs"]);
    assert!(sources.len() > 100, "the sources are not where they should be");
    let cut = |(path, text): (String, String)| (path["src/".len()..].to_owned(), without_tests(&text).to_owned());
    sources.into_iter().map(cut).collect()
}

/// The folder or file at the root that a path lies in.
fn module(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Lines of code, without those of comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn a_file_names_only_files_on_floors_below_it() {
    let sources = sources();
    let paths: Vec<_> = sources.iter().map(|(path, _)| &**path).filter(|path| *path != "lib.rs").collect();
    assert_eq!(homeless(&paths), [""; 0], "these files have no floor: tests/tidy/floors.rs");
    let arrows = arrows(&sources);
    let is_excepted = |from: &str, to: &str| EXCEPTIONS.iter().any(|(of, over, _)| from == *of && to == *over);
    let all = || arrows.iter().flat_map(|(from, named)| named.iter().map(move |to| (&**from, &**to)));
    let up: Vec<_> = all().filter(|(from, to)| !may_name(from, to) && !is_excepted(from, to)).collect();
    assert!(up.is_empty(), "named from a floor that is not above: {up:#?}");
    for (from, to, why) in EXCEPTIONS {
        assert!(all().any(|arrow| arrow == (from, to)) && !may_name(from, to), "not needed: {from}, {to}: {why}");
    }
    let within = |folder: &str| all().filter(|(from, to)| from.starts_with(folder) && to.starts_with(folder)).count();
    let (worker, proto) = (within("worker/"), within("proto/"));
    println!("{} files, {} arrows; within worker/ {worker}, within proto/ {proto}", arrows.len(), all().count());
}

#[test]
fn no_files_stand_in_a_circle() {
    let circles = circles(&arrows(&sources()));
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn worker_and_control_never_name_each_other() {
    for (path, code) in sources() {
        let forbidden = match module(&path) {
            // The traits that the HTTP/2 crate knows connections by.
            "worker" if path == "worker/wire/h2/pipe.rs" => &["crate::control", "tokio::net", "tokio::spawn"][..],
            "worker" => &["crate::control", "tokio", "hyper", "notify::"],
            "control" | "admin" => &["crate::worker", "monoio", "io_uring"],
            _ => &[],
        };
        for word in forbidden {
            assert!(!code.contains(word), "{path} says {word}");
        }
    }
}

#[test]
fn only_the_seam_names_the_engine_and_only_timers_wait() {
    for (path, code) in sources() {
        let is_seam = path.starts_with("worker/engine/");
        assert!(is_seam || !code_lines(&code).any(|line| line.contains("monoio::")), "{path} names monoio");
        let keeps_time = is_seam || path.starts_with("worker/time/") || module(&path) != "worker";
        assert!(keeps_time || !code.contains(".sleep("), "{path} waits without a row of the timeouts");
    }
}

#[test]
fn the_core_knows_no_socket_clock_task_or_log() {
    let words = ["TcpStream", "Instant", "SystemTime::now", "async ", "tracing::", "tokio", "std::fs", "println!"];
    for (path, code) in sources() {
        if !matches!(module(&path), "proto" | "route" | "filter" | "upstream" | "encode" | "failure" | "timeouts") {
            continue;
        }
        for (line, word) in code_lines(&code).flat_map(|line| words.map(|word| (line, word))) {
            assert!(!line.contains(word), "{path} says {word}");
        }
    }
}

#[test]
fn unsafe_stands_only_in_sys() {
    for (path, code) in sources() {
        let uses = code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(module(&path) == "sys" || !uses, "{path} is unsafe");
    }
}

#[test]
fn files_are_short_and_begin_with_their_sentence() {
    let folders = ["src", "tests", "benches", "fuzz"];
    let mut needed = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| texts(folder, &[".rs", ".py"])) {
        let begins =
            if path.strip_suffix(".py").is_some() { text.contains("\"\"\"") } else { text.starts_with("//! ") };
        assert!(begins, "{path} does not say what it is for");
        let lines = without_tests(&text).lines().count();
        match LONGER.iter().find(|(longer, ..)| *longer == path) {
            Some((_, most, why)) => {
                assert!(lines <= *most, "{path} has grown to {lines} lines, though {why}");
                needed.extend((lines > FILE_LINES_MAX).then_some(path));
            }
            None => assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines"),
        }
    }
    assert_eq!(needed.len(), LONGER.len(), "an exception is not needed any more: {needed:?}");
}

#[test]
fn functions_in_python_are_short() {
    for (path, text) in ["tests", "benches"].iter().flat_map(|folder| texts(folder, &[".py"])) {
        let lines: Vec<_> = text.lines().collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        for (at, line) in lines.iter().enumerate() {
            let bare = line.trim_start().trim_start_matches("async ");
            if !bare.starts_with("def ") {
                continue;
            }
            let is_inside = |next: &&&str| next.trim().is_empty() || indent(next) > indent(line) || next.trim() == ")";
            let length = 1 + lines[at + 1..].iter().take_while(is_inside).count();
            assert!(length <= PYTHON_FUNCTION_LINES_MAX, "{path}:{}: a function of {length} lines", at + 1);
        }
    }
}

#[test]
fn a_name_of_a_type_stands_once() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (path, code) in sources() {
        for line in code_lines(&code) {
            // Types of a trait's or an `impl`'s are indented.
            let words = line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or("", |(_, rest)| rest));
            let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
            let Some(rest) = kinds.iter().find_map(|kind| words.strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let before = known.insert(name.clone(), path.clone());
            assert!(before.is_none(), "{name} stands in {path} and in {}", before.unwrap());
        }
    }
    assert!(known.len() > 200, "the names of types were not found");
}

#[test]
fn exceptions_from_lints_only_shrink() {
    let of_file = |(path, _): &(String, String)| {
        let text = std::fs::read_to_string(Path::new(ROOT).join("src").join(path)).unwrap();
        text.matches("#[expect(").count() + text.matches("#![expect(").count()
    };
    let count: usize = sources().iter().map(of_file).sum();
    assert!(count <= EXPECTATIONS, "{count} exceptions, and {EXPECTATIONS} were there: write it without a new one");
    assert_eq!(count, EXPECTATIONS, "fewer: lower EXPECTATIONS");
}

#[test]
fn keys_that_texts_name_are_keys() {
    let mut texts = ["src", "docs", "tests", "config"]
        .iter()
        .flat_map(|folder| texts(folder, &[".rs", ".md", ".toml", ".yaml"]))
        .collect::<Vec<_>>();
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    texts.push(("README.md".to_owned(), readme));
    let mut count = 0;
    // The list of all keys is rendered from them.
    let is_written = |path: &str| !path.starts_with("tests/tidy/") && path != "docs/keys.md";
    for (path, text) in texts.iter().filter(|(path, _)| is_written(path)) {
        for key in keys::named(text) {
            assert!(keys::is_key(&key), "{path} names `{key}`, which is no key of the configuration");
            count += 1;
        }
    }
    assert!(count > 50, "the keys were not found");
}

#[test]
fn the_project_speaks_of_itself_alone() {
    // Written in two parts, so that this file does not hold them.
    let words = [["TO", "DO"], ["FIX", "ME"], ["../sha", "red"], ["/wo", "rk/"], ["/ro", "ot/"], ["Clau", "de"]]
        .map(|word| word.concat());
    for (path, text) in texts("", &[".rs", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", "run", "compare"]) {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{path} says {word}");
        }
    }
}
