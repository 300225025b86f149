//! `ringress migrate`: what becomes of the Ingress objects of a cluster, annotation by annotation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arguments::CONFIGURATION;
use crate::config::document::{Node, Syntax};
use crate::config::kubernetes::{Dialect, KubernetesSpec};
use crate::control::kubernetes::index::{Index, Object};
use crate::control::kubernetes::lists;
use crate::control::kubernetes::translate::ingress::dialect;
use crate::control::kubernetes::translate::meaning::Meaning;
use crate::control::kubernetes::translate::world::{EntryPoints, World};
use crate::control::kubernetes::translate::{meaning, translate};

/// Reads objects, and tells what becomes of each Ingress; the exit code: 1 where something is refused.
pub(super) fn migrate(from: &MigrateSources<'_>, rules: MigrateRules, as_json: bool) -> anyhow::Result<i32> {
    let MigrateSources { paths, has_cluster, kubeconfig } = *from;
    let mut index = if has_cluster { of_cluster(kubeconfig)? } else { Index::default() };
    for file in files(paths)? {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for object in documents(&file, &text)? {
            put(&mut index, &object).with_context(|| file.display().to_string())?;
        }
    }
    let dialects = vec![Dialect::Ringress, Dialect::IngressNginx, Dialect::Traefik1];
    let MigrateRules { config_map, without_class } = rules;
    let spec =
        KubernetesSpec { dialects, config_map, without_class, external_names: true, ..KubernetesSpec::default() };
    let plan = translate(World { index: &index, spec: &spec, entry_points: &EntryPoints::new() });
    let mut problems = MigrateProblems::new();
    for problem in &plan.problems {
        let what = if problem.remedy.is_empty() {
            problem.what.clone()
        } else {
            format!("{}; {}", problem.what, problem.remedy)
        };
        problems.entry(problem.place.to_string()).or_default().push((problem.key.clone(), what));
    }
    let ingresses = index.ingresses.iter().map(|(name, ingress)| {
        MigratedObject::of(format!("Ingress {name}"), &ingress.metadata, dialect(&index, &spec, ingress), &problems)
    });
    // Traefik 1.7 has annotations of Services as well.
    let services = index.services.iter().map(|(name, service)| {
        MigratedObject::of(format!("Service {name}"), &service.metadata, Some(Dialect::Traefik1), &problems)
    });
    let told: Vec<_> = ingresses.chain(services.filter(|service| !service.annotations.is_empty())).collect();
    if as_json {
        println!("{:#}", Value::from(told.iter().map(MigratedObject::json).collect::<Vec<_>>()));
    } else {
        told.iter().for_each(MigratedObject::print);
    }
    Ok(if told.iter().any(|told| told.is_refused) { CONFIGURATION } else { 0 })
}

/// The objects of a cluster. What may not be read is told on standard error.
fn of_cluster(kubeconfig: Option<&Path>) -> anyhow::Result<Index> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (index, unread) = runtime.block_on(lists::read(kubeconfig)).map_err(anyhow::Error::msg)?;
    unread.iter().for_each(|line| eprintln!("{line}"));
    Ok(index)
}

/// Where objects are read.
pub(super) struct MigrateSources<'a> {
    /// Files and folders.
    pub paths: &'a [PathBuf],
    /// A cluster, too.
    pub has_cluster: bool,
    /// What leads to it; `None` for what `kubectl` would take.
    pub kubeconfig: Option<&'a Path>,
}

/// How objects are read.
pub(super) struct MigrateRules {
    /// The ConfigMap of ingress-nginx.
    pub config_map: Option<String>,
    /// How Ingress objects without a class are read; `None` where they are another controller's.
    pub without_class: Option<Dialect>,
}

/// What is wrong, with its key, by the object.
type MigrateProblems = BTreeMap<String, Vec<(String, String)>>;

/// What becomes of one object.
struct MigratedObject {
    /// Its kind and its name.
    name: String,
    is_ours: bool,
    /// Annotation, what becomes of it, and how or why.
    annotations: Vec<(String, &'static str, String)>,
    problems: Vec<String>,
    is_refused: bool,
}

impl MigratedObject {
    fn of(name: String, metadata: &ObjectMeta, dialect: Option<Dialect>, problems: &MigrateProblems) -> Self {
        let of_this = problems.get(&name).map_or(&[][..], Vec::as_slice);
        let (annotations, problems) = (Vec::new(), Vec::new());
        let mut told = Self { name, is_ours: dialect.is_some(), annotations, problems, is_refused: false };
        let Some(dialect) = dialect else { return told };
        let mut known = BTreeSet::new();
        for key in metadata.annotations.iter().flat_map(BTreeMap::keys) {
            let Some(meaning) = meaning(dialect, key) else { continue };
            known.insert(key);
            let wrong = of_this.iter().find(|(wrong, _)| wrong == key).map(|(_, what)| what.clone());
            let (word, how) = match (meaning, wrong) {
                (Some(Meaning::Refused(why)), _) => ("refused", why.to_owned()),
                (Some(_), Some(what)) => ("refused", what),
                (Some(meaning), None) => {
                    let (word, how) = meaning.words();
                    (word, how.to_owned())
                }
                (None, _) => ("nothing to do", "the other controller has no annotation of this name".to_owned()),
            };
            told.is_refused |= word == "refused";
            told.annotations.push((key.clone(), word, how));
        }
        let others = of_this.iter().filter(|(key, _)| !known.contains(key));
        told.problems.extend(others.map(|(_, what)| what.clone()));
        told
    }

    fn print(&self) {
        let word = if self.is_ours { "served" } else { "not ours: its class is another controller's" };
        println!("{}: {word}", self.name);
        for (annotation, word, how) in &self.annotations {
            println!("  {annotation}: {word}{}{how}", if how.is_empty() { "" } else { ": " });
        }
        for problem in &self.problems {
            println!("  {problem}");
        }
    }

    fn json(&self) -> Value {
        let annotation = |(annotation, word, how): &(String, &'static str, String)| json!({ "annotation": annotation, "becomes": word, "how": how });
        let (kind, name) = self.name.split_once(' ').unwrap_or(("", &self.name));
        json!({ "kind": kind, "name": name, "served": self.is_ours, "refused": self.is_refused,
            "problems": self.problems, "annotations": self.annotations.iter().map(annotation).collect::<Vec<_>>() })
    }
}

/// The files, and those of the folders.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
            let file = entry?.path();
            if file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The objects of a text in YAML, of which JSON is a part; those of lists one by one.
fn documents(file: &Path, text: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for part in text.split("\n---") {
        let part = part.trim_start_matches("---").replace('$', "$$");
        let parsed = Node::parse(&part, Syntax::Yaml, file, &|_| None).map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", problems.join("\n"))
        })?;
        let mut object = parsed.value();
        match object.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => objects.extend(items),
            Some(_) | None => objects.push(object),
        }
    }
    Ok(objects)
}

fn put(index: &mut Index, object: &Value) -> anyhow::Result<()> {
    let mut object = object.clone();
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && kind != "IngressClass"
    {
        metadata.entry("namespace").or_insert_with(|| "default".into());
    }
    let object = match kind.as_str() {
        "Ingress" => Object::Ingress(read(object)?),
        "IngressClass" => Object::Class(read(object)?),
        "Service" => Object::Service(read(object)?),
        "EndpointSlice" => Object::Slice(read(object)?),
        "Secret" => Object::Secret(read(object)?),
        "ConfigMap" => Object::ConfigMap(read(object)?),
        _ => return Ok(()),
    };
    index.put(object);
    Ok(())
}

fn read<K: DeserializeOwned>(object: Value) -> anyhow::Result<Arc<K>> {
    let name = object["metadata"]["name"].to_string();
    serde_json::from_value(object).map(Arc::new).with_context(|| format!("the object {name} cannot be read"))
}
