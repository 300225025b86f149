//! What no compiler checks: who may name whom, how long a file may be, words that do not belong in a folder.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests end the test")]

use std::path::{Path, PathBuf};

/// Lines of a file without its tests, at most.
const FILE_LINES_MAX: usize = 400;

/// The layers, the highest first: a module names only modules of lower layers, or of its own folder.
const LAYERS: [&[&str]; 8] = [
    &["main"],
    &["cli"],
    &["worker", "control", "admin"],
    &["mailbox", "status"],
    &["observe"],
    &["snapshot", "record"],
    &["route", "filter", "tls", "config"],
    &["proto", "upstream", "timeouts", "failure", "limits", "sys"],
];

/// What lower layers name in spite of the order, each with its reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("record", "snapshot", "a record refers to the snapshot it ran with by its labels"),
    ("snapshot", "config", "addresses and log formats are the words of the configuration"),
    ("upstream", "limits", "bounds are below everything"),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What is built is not ours.
        let is_built = path.ends_with("target") || path.ends_with("installed");
        if path.is_dir() && !is_built {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file: its path below `src`, and its text without tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    assert!(paths.len() > 50, "the sources are not where they should be");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        (path.strip_prefix(&root).unwrap().display().to_string(), code)
    };
    paths.into_iter().map(read).collect()
}

fn module(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("{module} has no layer"))
}

#[test]
fn a_file_names_only_files_below_it() {
    for (path, code) in sources() {
        let own = module(&path);
        if own == "lib" {
            continue;
        }
        for (at, _) in code.match_indices("crate::") {
            let named: String = code[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
                .collect();
            let is_excepted = EXCEPTIONS.iter().any(|(from, to, _)| *from == own && *to == named);
            let is_lowest = layer(own) == LAYERS.len() - 1 && layer(&named) == LAYERS.len() - 1;
            let is_same_floor = layer(own) == layer(&named) && layer(own) == 6;
            assert!(
                named == own || layer(&named) > layer(own) || is_excepted || is_lowest || is_same_floor,
                "{path} names {named}, which is not below it"
            );
        }
    }
}

#[test]
fn worker_and_control_never_name_each_other() {
    for (path, code) in sources() {
        let forbidden = match module(&path) {
            // The traits that the HTTP/2 crate knows connections by.
            "worker" if path == "worker/h2/pipe.rs" => &["crate::control", "tokio::net", "tokio::spawn"][..],
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
fn only_the_seam_names_the_engine() {
    for (path, code) in sources() {
        let is_seam = path.starts_with("worker/io/");
        let names =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| line.contains("monoio::"));
        assert!(is_seam || !names, "{path} names monoio");
    }
}

#[test]
fn the_core_knows_no_socket_clock_task_or_log() {
    for (path, code) in sources() {
        if !matches!(module(&path), "proto" | "route" | "filter" | "upstream") {
            continue;
        }
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            for word in
                ["TcpStream", "Instant", "SystemTime::now", "async ", "tracing::", "tokio", "std::fs", "println!"]
            {
                assert!(!line.contains(word), "{path} says {word}");
            }
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
    for (path, code) in sources() {
        assert!(code.starts_with("//! "), "{path} does not say what it is for");
        let lines = code.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        if root.join(folder).is_dir() {
            files(&root.join(folder), &mut paths);
        }
    }
    let documents = [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/STYLE.md",
        "docs/GLOSSARY.md",
        "docs/PERFORMANCE.md",
        "docs/HTTP2.md",
        "benches/load/README.md",
        "docs/failures.md",
    ];
    paths.extend(documents.map(|name| root.join(name)));
    // Written in two parts, so that this file does not hold them.
    let words = [["TO", "DO"], ["FIX", "ME"], ["../sha", "red"], ["/wo", "rk/"], ["/ro", "ot/"], ["Clau", "de"]]
        .map(|word| word.concat());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} says {word}", path.display());
        }
    }
}
