//! Which script of a FastCGI server a path names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where scripts are, and how a path names one. Without it the program gets the whole path, as one application has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptRules {
    /// The folder of the scripts, as the FastCGI server sees it.
    pub root: String,
    /// What is run where a path ends in a slash: a file of that folder.
    #[serde(default = "index")]
    pub index: String,
    /// How scripts end. The first part of a path that does so, with a slash or nothing behind it, is the script, and what is behind it is
    /// `PATH_INFO`.
    #[serde(default = "split_path")]
    pub split_path: Vec<String>,
    /// What is run where a path names no script: a path below `root`. It is run for paths that end in a slash too, unless `must_exist` finds
    /// the `index` of that folder.
    #[serde(default)]
    pub front_controller: Option<String>,
    /// Look whether the script is there, for which `root` must be a folder of this host too, and on a disk: the worker waits for it.
    #[serde(default)]
    pub must_exist: bool,
}

fn index() -> String {
    "index.php".to_owned()
}

fn split_path() -> Vec<String> {
    vec![".php".to_owned()]
}

/// A script and what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The folder of the scripts, without a final slash.
    pub root: Vec<u8>,
    /// The path below it.
    pub name: Vec<u8>,
    /// The rest of the request's path; it may be empty.
    pub path_info: Vec<u8>,
}

impl Script {
    /// The path of the file.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        [&self.root[..], &self.name].concat()
    }
}

/// Why a path names no script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptFault {
    /// There is none of this name.
    None,
    /// It could name a file that is none of the scripts.
    Unsafe,
}

impl ScriptRules {
    /// What is wrong with them: the key, what, and the remedy.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, String, &'static str)> {
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        let root = (!self.root.starts_with('/')).then(|| ("root", self.root.clone(), "begin it with /"));
        let index = (!is_name(&self.index)).then(|| ("index", self.index.clone(), "write the name of a file"));
        let split = self.split_path.iter().find(|end| !is_name(end) || !end.starts_with('.'));
        let split = split.map(|end| ("split_path", end.clone(), "write endings of files, such as \".php\""));
        let front = self.front_controller.as_ref().filter(|front| !front.starts_with('/') || front.ends_with('/'));
        let front = front.map(|front| ("front_controller", front.clone(), "write a path such as \"/index.php\""));
        [root, index, split, front].into_iter().flatten().map(|(key, text, remedy)| (key, format!("`{text}`"), remedy))
    }

    /// The script that a path names, which is decoded and begins with a slash; `exists` looks for a file.
    ///
    /// # Errors
    /// [`ScriptFault`].
    pub fn find(&self, path: &[u8], exists: impl Fn(&[u8]) -> bool) -> Result<Script, ScriptFault> {
        check(path)?;
        let is_there = |script: &Script| !self.must_exist || exists(&script.file());
        let named = match self.split(path) {
            Some(at) => Some(self.script(path[..at].to_vec(), &path[at..])),
            // A folder is looked into only where a front controller cannot be meant.
            None if path.ends_with(b"/") && (self.must_exist || self.front_controller.is_none()) => {
                Some(self.script([path, self.index.as_bytes()].concat(), b""))
            }
            None => None,
        };
        if let Some(script) = named {
            // PHP takes a file for the script where a folder of its path is one: `/upload.jpg/x.php` would run the upload.
            if !self.must_exist && has_file_before_end(&script.name) {
                return Err(ScriptFault::Unsafe);
            }
            if is_there(&script) {
                return Ok(script);
            }
        }
        let front = self.front_controller.as_ref().ok_or(ScriptFault::None)?;
        Some(self.script(front.as_bytes().to_vec(), b"")).filter(is_there).ok_or(ScriptFault::None)
    }

    /// The script that a check asks for: where its path names none, the path itself is the name, as of php-fpm's `ping.path`.
    #[must_use]
    pub fn find_or_name(&self, path: &[u8]) -> Script {
        self.find(path, |_| true).unwrap_or_else(|_| self.script(path.to_vec(), b""))
    }

    fn script(&self, name: Vec<u8>, path_info: &[u8]) -> Script {
        let root = self.root.trim_end_matches('/').as_bytes().to_vec();
        Script { root, name, path_info: path_info.to_vec() }
    }

    /// Where the script of a path ends.
    fn split(&self, path: &[u8]) -> Option<usize> {
        let ends = (1..=path.len()).filter(|at| path.get(*at).is_none_or(|byte| *byte == b'/'));
        ends.into_iter().find(|at| self.split_path.iter().any(|end| path[..*at].ends_with(end.as_bytes())))
    }
}

/// Refuses what is a dot segment only once it is decoded, and what a program could take for the end of a name.
fn check(path: &[u8]) -> Result<(), ScriptFault> {
    let is_odd = |byte: &u8| byte.is_ascii_control() || *byte == b'\\';
    let has_dots = path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."));
    if !path.starts_with(b"/") || has_dots || path.iter().any(is_odd) { Err(ScriptFault::Unsafe) } else { Ok(()) }
}

/// True where a folder of the path has a name as files have: an ending with a letter in it.
fn has_file_before_end(name: &[u8]) -> bool {
    let folders = name.rsplit(|byte| *byte == b'/').skip(1);
    folders.into_iter().any(|folder| {
        let ending = folder.iter().rposition(|byte| *byte == b'.').map(|at| &folder[at + 1..]);
        ending.is_some_and(|ending| ending.iter().any(u8::is_ascii_alphabetic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(front_controller: Option<&str>, must_exist: bool) -> ScriptRules {
        ScriptRules {
            root: "/srv/".to_owned(),
            index: index(),
            split_path: vec![".php".to_owned(), ".cgi".to_owned()],
            front_controller: front_controller.map(str::to_owned),
            must_exist,
        }
    }

    fn found(rules: &ScriptRules, path: &str) -> Result<String, ScriptFault> {
        let exists = |file: &[u8]| matches!(file, b"/srv/index.php" | b"/srv/a/index.php" | b"/srv/a.php");
        let script = rules.find(path.as_bytes(), exists)?;
        assert!(script.file().starts_with(b"/srv/"));
        Ok(String::from_utf8([&script.name[..], b" ", &script.path_info].concat()).unwrap())
    }

    #[test]
    fn a_path_names_a_script_and_what_it_gets() {
        let plain = rules(None, false);
        for (path, expected) in [
            ("/a.php", "/a.php "),
            ("/a.php/b/c.php", "/a.php /b/c.php"),
            ("/a.cgi/", "/a.cgi /"),
            ("/", "/index.php "),
            ("/a/", "/a/index.php "),
            ("/v1.2/a.php", "/v1.2/a.php "),
        ] {
            assert_eq!(found(&plain, path).as_deref(), Ok(expected), "{path}");
        }
        for path in ["/a", "/a.php5", "/a.PHP", "/a.txt"] {
            assert_eq!(found(&plain, path), Err(ScriptFault::None), "{path}");
        }
    }

    #[test]
    fn a_front_controller_is_run_for_all_that_names_no_script() {
        let blind = rules(Some("/index.php"), false);
        for path in ["/", "/2024/hello/", "/a/", "/about", "/a.txt"] {
            assert_eq!(found(&blind, path).as_deref(), Ok("/index.php "), "{path}");
        }
        assert_eq!(found(&blind, "/a.php/x").as_deref(), Ok("/a.php /x"));
        let seeing = rules(Some("/index.php"), true);
        assert_eq!(found(&seeing, "/a/").as_deref(), Ok("/a/index.php "));
        assert_eq!(found(&seeing, "/b/").as_deref(), Ok("/index.php "));
        assert_eq!(found(&seeing, "/gone.php").as_deref(), Ok("/index.php "));
        assert_eq!(found(&seeing, "/upload.jpg/x.php").as_deref(), Ok("/index.php "), "it is not there");
        assert_eq!(found(&rules(Some("/gone.php"), true), "/b/"), Err(ScriptFault::None));
    }

    #[test]
    fn no_path_names_a_file_that_is_no_script() {
        for front in [None, Some("/index.php")] {
            for path in [
                "/upload.jpg/x.php",
                "/a/upload.gif/b/x.php",
                "/clip.3gp/x.php",
                "/.jpg/x.php",
                "/../etc/passwd.php",
                "/a/../../etc/x.php",
                "/./a.php",
                "/a.php/..",
                "/a\0.php",
                "/a\n.php",
                "/a.php/b\nc",
                "/a\\..\\b.php",
                "a.php",
            ] {
                assert_eq!(found(&rules(front, false), path), Err(ScriptFault::Unsafe), "{path:?}");
            }
        }
        assert_eq!(found(&rules(None, true), "/upload.jpg/x.php"), Err(ScriptFault::None));
    }

    #[test]
    fn a_check_may_ask_for_what_is_no_file() {
        let named = |front| String::from_utf8(rules(front, true).find_or_name(b"/ping").name).unwrap();
        assert_eq!((&named(None)[..], &named(Some("/index.php"))[..]), ("/ping", "/index.php"));
    }

    #[test]
    fn rules_that_name_nothing_are_told() {
        let faulty = ScriptRules {
            root: "srv".to_owned(),
            index: "a/b".to_owned(),
            split_path: vec![".php".to_owned(), "php".to_owned()],
            front_controller: Some("/".to_owned()),
            must_exist: false,
        };
        let keys: Vec<_> = faulty.faults().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["root", "index", "split_path", "front_controller"]);
        assert_eq!(rules(Some("/index.php"), true).faults().count(), 0);
    }
}
