//! A configuration with where each part of it was written, and what the files hold that it names.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::decode::decode;
use super::document::{Node, Syntax};
use super::files::Files;
use super::problem::{Place, Problem};
use super::schema::Config;
use super::services::ServiceSpec;

/// A configuration with where it was written, so that later problems find their place.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it says.
    pub config: Arc<Config>,
    /// The text that says it, or a part of it: what a text says is taken whole or not at all.
    text: Option<WrittenText>,
    /// The objects that the other parts come from, by the key of the part that each became. Each is taken or rejected by itself.
    objects: Arc<HashMap<String, Place>>,
    /// What the files hold that it names; shared, for keys need not lie around twice.
    pub files: Rc<Files>,
}

/// A text that says a configuration.
#[derive(Clone, Debug)]
struct WrittenText {
    text: Arc<str>,
    syntax: Syntax,
    file: Arc<Path>,
    /// Read again when somebody asks for a place: a tree with places is larger than all that it says, and few ask.
    root: OnceCell<Option<Box<Node>>>,
}

impl Source {
    /// Reads and decodes a file.
    ///
    /// # Errors
    /// Every problem, the file that cannot be read among them.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let whole = |what: String, remedy: &str| {
            vec![Problem { place: Place::whole_file(path), key: String::new(), what, remedy: remedy.to_owned() }]
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
        let config = Arc::new(decode(&Node::parse(text, syntax, file, environment)?)?);
        let written = WrittenText { text: text.into(), syntax, file: file.into(), root: OnceCell::new() };
        Ok(Self { config, text: Some(written), objects: Arc::default(), files: Rc::default() })
    }

    /// A configuration that was put together from objects; `places` has the place of each part by its key, as in
    /// `services.web` or `routes.3`.
    #[must_use]
    pub fn from_objects(config: Config, places: HashMap<String, Place>) -> Self {
        Self { config: Arc::new(config), text: None, objects: Arc::new(places), files: Rc::default() }
    }

    /// This text with parts from objects beside its own; `config` has both.
    #[must_use]
    pub fn with_objects(&self, config: Config, places: HashMap<String, Place>) -> Self {
        Self { config: Arc::new(config), objects: Arc::new(places), ..self.clone() }
    }

    /// Puts a service in the place of the one of that name.
    pub fn put_service(&mut self, name: &str, spec: Arc<ServiceSpec>) {
        Arc::make_mut(&mut self.config).services.insert(name.to_owned(), spec);
    }

    /// The text, where it was one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_ref().map(|written| &*written.text)
    }

    /// True where a problem at this key refuses the whole; else what has one is rejected by itself.
    #[must_use]
    pub fn is_whole_at(&self, key: &str) -> bool {
        self.text.is_some() && self.object_at(key).is_none()
    }

    /// True where one of these problems refuses the whole.
    #[must_use]
    pub fn is_refused_by(&self, problems: &[Problem]) -> bool {
        let is_of_text = |problem: &Problem| match problem.place {
            Place::File { .. } => true,
            Place::Object { .. } => false,
        };
        self.text.is_some() && problems.iter().any(is_of_text)
    }

    /// A problem at a key of this configuration.
    #[must_use]
    pub fn problem(&self, key: &str, what: String, remedy: &str) -> Problem {
        Problem { place: self.place(key), key: key.to_owned(), what, remedy: remedy.to_owned() }
    }

    /// The place of a key, or of the nearest part around it that has one.
    fn place(&self, key: &str) -> Place {
        if let Some(place) = self.object_at(key) {
            return place.clone();
        }
        let Some(WrittenText { text, syntax, file, root }) = &self.text else {
            return Place::whole_file(Path::new(""));
        };
        // No place depends on what stands for a variable of the environment.
        let read = || Node::parse(text, *syntax, file, &|_| Some(String::new())).ok().map(Box::new);
        let root = root.get_or_init(read).as_ref();
        root.map_or_else(|| Place::whole_file(file), |root| root.nearest(key).place.clone())
    }

    /// The object that the part at a key comes from.
    fn object_at(&self, key: &str) -> Option<&Place> {
        let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
        ends.filter_map(|end| self.objects.get(&key[..end])).next_back()
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
            "r.toml:4:1: listeners.other.address: `nowhere` is not an address to listen on; write",
            "r.toml:5:14: listeners.other.timeouts.heder: unknown key `heder`; did you mean `header`?",
            "services.a.endpoints.1: `10.0.0.2` has no port; write",
            "services.a.endpoints.2: `10.0.0.3` has no port; write",
            "r.toml:8:1: services.a.balance: `best` is not a balance",
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
        assert_eq!(source.config.metrics.buckets.first(), Some(&0.001));
    }

    #[test]
    fn a_problem_of_an_object_names_the_object() {
        let place = Place::Object { kind: "Ingress".into(), namespace: "shop".into(), name: "web".into() };
        let source = Source::from_objects(Config::default(), [("routes.0".to_owned(), place)].into());
        let problem = source.problem("routes.0.paths.1", "it is wrong".to_owned(), "mend it");
        assert_eq!(problem.to_string(), "Ingress shop/web: routes.0.paths.1: it is wrong; mend it");
        assert!(!source.is_whole_at("routes.0") && !source.is_refused_by(&[problem]));
    }
}
