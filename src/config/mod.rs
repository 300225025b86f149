//! The schema that people write, in TOML or YAML.
//!
//! `document` reads a text into a tree with places, `decode` turns the tree into [`Config`] or tells every
//! problem; what the values mean together is checked by `control::compile`.

mod decode;
pub mod document;
pub mod files;
pub mod listeners;
pub mod problem;
pub mod resilience;
pub mod routes;
pub mod services;
pub mod tls;
pub mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use decode::decode;
use document::{Node, Syntax};
use files::Files;
pub use listeners::{Listener, UnderscoreRule};
use problem::{Place, Problem};
pub use routes::Route;
pub use services::Service;
use units::Duration;

/// A whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The threads that carry traffic.
    pub workers: Workers,
    /// Where clients connect, by name.
    pub listeners: BTreeMap<String, Listener>,
    /// Which requests go where.
    pub routes: Vec<Route>,
    /// Where requests go, by name.
    pub services: BTreeMap<String, Service>,
    /// One line for each request; absent for none.
    pub access_log: Option<AccessLog>,
    /// What is measured.
    pub metrics: Metrics,
    /// `/ping`, `/metrics` and `/api`; absent for none.
    pub admin: Option<Admin>,
    /// How the process ends.
    pub shutdown: Shutdown,
}

/// The threads that carry traffic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// `"auto"` for one per CPU that this process may use, a number, or a list of CPUs.
    pub threads: Threads,
    /// `"auto"`, `"io_uring"` or `"epoll"`.
    pub engine: EngineChoice,
    /// Client connections of one worker at most; by default what the limit of open files allows.
    pub connections_max: Option<usize>,
    /// Requests are refused while a turn of a worker's loop takes longer than this, as many as it needs to keep up;
    /// `"0s"` refuses none.
    pub shed_above: Duration,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            threads: Threads::default(),
            engine: EngineChoice::default(),
            connections_max: None,
            shed_above: Duration::from_ms(500),
        }
    }
}

/// How many worker threads, and on which CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One per CPU that this process may use.
    #[default]
    Auto,
    /// So many, 1 or more, not pinned unless they match the CPUs.
    Count(usize),
    /// One on each of these CPUs.
    Cpus(Vec<usize>),
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        const FORM: &str =
            "threads must be \"auto\", a number from 1 to 1024, or a list of CPUs; leave it out for \"auto\"";
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(word) if word == "auto" => Ok(Self::Auto),
            serde_json::Value::Number(number) => {
                let count = number.as_u64().and_then(|count| usize::try_from(count).ok());
                count.filter(|count| (1..=1024).contains(count)).map(Self::Count).ok_or_else(|| D::Error::custom(FORM))
            }
            serde_json::Value::Array(cpus) if !cpus.is_empty() => {
                let cpus: Option<Vec<_>> =
                    cpus.iter().map(|cpu| cpu.as_u64().and_then(|cpu| usize::try_from(cpu).ok())).collect();
                cpus.map(Self::Cpus).ok_or_else(|| D::Error::custom(FORM))
            }
            _ => Err(D::Error::custom(FORM)),
        }
    }
}

impl JsonSchema for Threads {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Threads".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"const": "auto"},
            {"type": "integer", "minimum": 1, "maximum": 1024},
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
        ]})
    }
}

impl Serialize for Threads {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => count.serialize(serializer),
            Self::Cpus(cpus) => cpus.serialize(serializer),
        }
    }
}

/// Which engine carries the I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    /// io_uring, else epoll with a log line that says why.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// One line for each request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// The file, or `-` for standard output.
    pub path: PathBuf,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { path: PathBuf::from("-"), format: LogFormat::default() }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// An object with everything that is known.
    #[default]
    Json,
    /// Common Log Format, with the failure record behind it.
    Common,
    /// Combined Log Format, with the failure record behind it.
    Combined,
    /// Traefik's form of CLF, with the failure record behind it.
    Traefik,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Upper bounds of the duration histogram, in seconds, growing.
    pub buckets: Vec<f64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { buckets: vec![0.1, 0.3, 1.2, 5.0] }
    }
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Its address, not to be reached from outside.
    #[schemars(with = "String")]
    pub address: std::net::SocketAddr,
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long requests in flight may take after SIGTERM.
    pub grace: Duration,
    /// How long idle connections stay open after SIGTERM, so that clients are not surprised; spread to twice that.
    pub idle: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_s(30), idle: Duration::from_s(5) }
    }
}

/// A configuration with the tree it came from, so that later problems find their place.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it says.
    pub config: Config,
    /// Where it says so.
    pub root: Node,
    /// The text.
    pub text: String,
    /// What the files hold that it names; shared, for keys need not lie around twice.
    pub files: Rc<Files>,
}

impl Source {
    /// Reads and decodes a file.
    ///
    /// # Errors
    /// Every problem, the file that cannot be read among them.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let whole = |what: String, remedy: &str| {
            let place = Place { file: path.to_owned().into(), line: 0, column: 0 };
            vec![Problem { place, key: String::new(), what, remedy: remedy.to_owned() }]
        };
        let syntax = Syntax::of(path)
            .ok_or_else(|| whole("the syntax is not known".to_owned(), "name it .toml, .yaml or .yml"))?;
        let text = std::fs::read_to_string(path).map_err(|error| whole(error.to_string(), ""))?;
        let mut source = Self::parse(&text, syntax, path, &|name| std::env::var(name).ok())?;
        source.files = Rc::new(Files::read(path.parent().unwrap_or(Path::new("")), &source.config));
        Ok(source)
    }

    /// Decodes a text, without the files that it names.
    ///
    /// # Errors
    /// Every problem.
    pub fn parse(
        text: &str,
        syntax: Syntax,
        file: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        let root = Node::parse(text, syntax, file, environment)?;
        Ok(Self { config: decode(&root)?, root, text: text.to_owned(), files: Rc::default() })
    }

    /// A problem at a key of this configuration.
    #[must_use]
    pub fn problem(&self, key: &str, what: String, remedy: &str) -> Problem {
        let place = self.root.nearest(key).place.clone();
        Problem { place, key: key.to_owned(), what, remedy: remedy.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = Source::parse(text, Syntax::Toml, Path::new("r.toml"), &|_| None).expect_err(text);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_told_with_line_key_and_remedy() {
        let told = problems(
            "[listeners.web]\nadress = \":80\"\n[listeners.other]\naddress = \"nowhere\"\ntimeouts = { heder = \"1s\" }\n\
             [services.a]\nendpoints = [\"10.0.0.1:80\", \"10.0.0.2\", \"10.0.0.3\"]\nbalance = \"best\"\n\
             [[routes]]\nname = \"x\"\nservice = \"a\"\npaths = [{ perfix = \"/\" }]\n",
        );
        let all = told.join("\n");
        assert_eq!(told.len(), 8, "{all}");
        for expected in [
            "r.toml:2:1: listeners.web.adress: unknown key `adress`; did you mean `address`?",
            "r.toml:1:12: listeners.web: `address` is missing",
            "r.toml:4:1: listeners.other.address: `nowhere` is no address to listen on; write",
            "r.toml:5:14: listeners.other.timeouts.heder: unknown key `heder`; did you mean `header`?",
            "services.a.endpoints.1: `10.0.0.2` is no endpoint; write",
            "services.a.endpoints.2: `10.0.0.3` is no endpoint; write",
            "r.toml:8:1: services.a.balance: `best` is no balance",
            "routes.0.paths.0: unknown value `perfix`; did you mean `prefix`?",
        ] {
            assert!(all.contains(expected), "{expected}\nnot in\n{all}");
        }
    }

    #[test]
    fn a_name_with_dots_hides_nothing() {
        let told =
            problems("[services.\"api.example.com\"]\nendpoints = [\"x\"]\nbalance = 1\n[metrics]\nbukets = []\n");
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("r.toml:2:14: services.api.example.com.endpoints.0: "), "{}", told[0]);
    }

    #[test]
    fn the_empty_configuration_is_the_default() {
        let source = Source::parse("", Syntax::Yaml, Path::new("x"), &|_| None).unwrap();
        assert!(source.config.listeners.is_empty());
        assert_eq!(source.config.metrics.buckets, [0.1, 0.3, 1.2, 5.0]);
    }
}
