//! `ringress migrate`: what becomes of the Ingress objects of a cluster, annotation by annotation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arguments::CONFIGURATION;
use crate::config::document::{Node, Syntax};
use crate::config::kubernetes::{Dialect, KubernetesSpec};
use crate::control::kubernetes::index::{Index, Object};
use crate::control::kubernetes::objects::{Ingress, ObjectName};
use crate::control::kubernetes::translate::ingress::dialect;
use crate::control::kubernetes::translate::nginx::rows::{Meaning, PREFIX, row_of};
use crate::control::kubernetes::translate::translate;

/// Reads objects from files and folders, and tells what becomes of each Ingress; the exit code: 1 where something is refused.
pub(super) fn migrate(paths: &[PathBuf], config_map: Option<String>, as_json: bool) -> anyhow::Result<i32> {
    let mut index = Index::default();
    for file in files(paths)? {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for object in documents(&file, &text)? {
            put(&mut index, &object).with_context(|| file.display().to_string())?;
        }
    }
    let dialects = vec![Dialect::Ringress, Dialect::IngressNginx];
    let spec = KubernetesSpec { dialects, config_map, external_names: true, ..KubernetesSpec::default() };
    let plan = translate(&index, &spec);
    let mut problems: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for problem in &plan.problems {
        let what = if problem.remedy.is_empty() {
            problem.what.clone()
        } else {
            format!("{}; {}", problem.what, problem.remedy)
        };
        problems.entry(problem.place.to_string()).or_default().push((problem.key.clone(), what));
    }
    let told: Vec<_> = index
        .ingresses
        .iter()
        .map(|(name, ingress)| MigratedIngress::of(name, ingress, dialect(&index, &spec, ingress), &problems))
        .collect();
    if as_json {
        println!("{:#}", Value::from(told.iter().map(MigratedIngress::json).collect::<Vec<_>>()));
    } else {
        told.iter().for_each(MigratedIngress::print);
    }
    Ok(if told.iter().any(|told| told.is_refused) { CONFIGURATION } else { 0 })
}

/// What becomes of one Ingress.
struct MigratedIngress {
    name: String,
    is_ours: bool,
    /// Annotation, what becomes of it, and how or why.
    annotations: Vec<(String, &'static str, String)>,
    problems: Vec<String>,
    is_refused: bool,
}

impl MigratedIngress {
    fn of(
        name: &ObjectName,
        ingress: &Ingress,
        dialect: Option<Dialect>,
        problems: &BTreeMap<String, Vec<(String, String)>>,
    ) -> Self {
        let mut told = Self {
            name: name.to_string(),
            is_ours: dialect.is_some(),
            annotations: Vec::new(),
            problems: Vec::new(),
            is_refused: false,
        };
        if dialect.is_none() {
            return told;
        }
        let of_this = problems.get(&format!("Ingress {name}")).map_or(&[][..], Vec::as_slice);
        for annotation in ingress.metadata.annotations.iter().flat_map(BTreeMap::keys) {
            let Some(short) = annotation.strip_prefix(PREFIX) else { continue };
            let wrong = of_this.iter().find(|(key, _)| key == annotation).map(|(_, what)| what.clone());
            let (word, how) = match (row_of(short).map(|row| row.meaning), wrong) {
                (Some(Meaning::Refused(why)), _) => ("refused", why.to_owned()),
                (_, Some(what)) => ("refused", what),
                (Some(Meaning::Same), None) => ("as before", String::new()),
                (Some(Meaning::Differs(how)), None) => ("differs", how.to_owned()),
                (Some(Meaning::Nothing(why)), None) => ("nothing to do", why.to_owned()),
                (None, None) => ("nothing to do", "ingress-nginx has no annotation of this name".to_owned()),
            };
            told.is_refused |= word == "refused" && row_of(short).is_some();
            told.annotations.push((short.to_owned(), word, how));
        }
        let others = of_this.iter().filter(|(key, _)| !key.starts_with(PREFIX));
        told.problems.extend(others.map(|(_, what)| what.clone()));
        told
    }

    fn print(&self) {
        let word = if self.is_ours { "served" } else { "not ours: its class is another controller's" };
        println!("Ingress {}: {word}", self.name);
        for (annotation, word, how) in &self.annotations {
            println!("  {annotation}: {word}{}{how}", if how.is_empty() { "" } else { ": " });
        }
        for problem in &self.problems {
            println!("  {problem}");
        }
    }

    fn json(&self) -> Value {
        let annotations = self.annotations.iter().map(|(annotation, word, how)| {
            json!({ "annotation": format!("{PREFIX}{annotation}"), "becomes": word, "how": how })
        });
        json!({ "ingress": self.name, "served": self.is_ours, "refused": self.is_refused, "problems": self.problems,
            "annotations": annotations.collect::<Vec<_>>() })
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
