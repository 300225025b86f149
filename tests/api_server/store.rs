//! Objects by kind, namespace and name, and what happened to them, in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Plural, namespace, name.
pub type Key = (String, String, String);

/// Changes that are remembered; a watch that asks for older ones is told that they are gone.
const REMEMBERED: usize = 50_000;

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub kind: &'static str,
    pub key: Key,
    pub object: Value,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    changes: VecDeque<Change>,
    made: u64,
}

impl State {
    fn remember(&mut self, change: Change) {
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

/// All objects.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
    changed: Condvar,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    AlreadyExists,
    Conflict,
}

impl Store {
    /// Makes or replaces an object.
    pub fn apply(&self, namespace: &str, mut object: Value) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let plural = plural(&kind);
        let is_of_cluster = matches!(plural.as_str(), "ingressclasses" | "namespaces" | "nodes");
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let metadata = object["metadata"].as_object_mut().unwrap();
        let own = metadata.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_owned();
        let space = if is_of_cluster { String::new() } else { own };
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (plural, space, name);
        self.put(&key, object, true);
    }

    /// Puts an object there; the object as it is then.
    fn put(&self, key: &Key, mut object: Value, keeps_status: bool) -> Value {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        state.made += 1;
        let (version, made) = (state.version, state.made);
        let before = state.objects.get(key).cloned();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let metadata: &mut Map<String, Value> = object["metadata"].as_object_mut().unwrap();
        metadata.insert("name".to_owned(), key.2.clone().into());
        if !key.1.is_empty() {
            metadata.insert("namespace".to_owned(), key.1.clone().into());
        }
        metadata.insert("resourceVersion".to_owned(), version.to_string().into());
        let kept = |field: &str| before.as_ref().map(|before| before["metadata"][field].clone());
        let uid = kept("uid").unwrap_or_else(|| format!("uid-{made}").into());
        metadata.insert("uid".to_owned(), uid);
        let age = kept("creationTimestamp").unwrap_or_else(|| {
            let (hour, minute, second) = (made / 3_600 % 24, made / 60 % 60, made % 60);
            format!("2026-01-01T{hour:02}:{minute:02}:{second:02}Z").into()
        });
        metadata.entry("creationTimestamp").or_insert(age);
        let status = before.as_ref().and_then(|before| before.get("status"));
        if let Some(status) = status.filter(|_| keeps_status && object.get("status").is_none()) {
            object["status"] = status.clone();
        }
        if let Some(Value::Object(texts)) = object.as_object_mut().and_then(|object| object.remove("stringData")) {
            for (name, text) in texts {
                use base64::Engine as _;
                let text = text.as_str().unwrap_or_default();
                object["data"][name] = base64::engine::general_purpose::STANDARD.encode(text).into();
            }
        }
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.objects.insert(key.clone(), object.clone());
        state.remember(Change { version, kind, key: key.clone(), object: object.clone() });
        self.changed.notify_all();
        object
    }

    /// Makes an object that must not be there yet.
    pub fn create(&self, key: &Key, object: Value) -> Result<Value, Refusal> {
        if self.state.lock().unwrap().objects.contains_key(key) {
            return Err(Refusal::AlreadyExists);
        }
        Ok(self.put(key, object, false))
    }

    /// Replaces an object that is still the one that was read.
    pub fn replace(&self, key: &Key, object: Value) -> Result<Value, Refusal> {
        let known = self.state.lock().unwrap().objects.get(key).cloned().ok_or(Refusal::NotFound)?;
        let asked = &object["metadata"]["resourceVersion"];
        if asked.is_string() && *asked != known["metadata"]["resourceVersion"] {
            return Err(Refusal::Conflict);
        }
        Ok(self.put(key, object, true))
    }

    /// Merges into an object.
    pub fn merge(&self, key: &Key, patch: &Value) -> Result<Value, Refusal> {
        let mut known = self.state.lock().unwrap().objects.get(key).cloned().ok_or(Refusal::NotFound)?;
        let asked = &patch["metadata"]["resourceVersion"];
        if asked.is_string() && *asked != known["metadata"]["resourceVersion"] {
            return Err(Refusal::Conflict);
        }
        merge(&mut known, patch);
        Ok(self.put(key, known, true))
    }

    /// Takes an object away; false where there is none.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) -> bool {
        let mut state = self.state.lock().unwrap();
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let Some(mut object) = state.objects.remove(&key) else { return false };
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.remember(Change { version, kind: "DELETED", key, object });
        self.changed.notify_all();
        true
    }

    /// An object.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// All objects of a kind in this namespace, or in all; and the version of the list.
    pub fn list(&self, plural: &str, namespace: &str) -> (Vec<Value>, u64) {
        let state = self.state.lock().unwrap();
        let of_kind = state.objects.iter().filter(|(key, _)| key.0 == plural && is_in(key, namespace));
        (of_kind.map(|(_, object)| object.clone()).collect(), state.version)
    }

    /// True where all that happened after this version is remembered.
    pub fn remembers(&self, version: u64) -> bool {
        let state = self.state.lock().unwrap();
        state.changes.len() < REMEMBERED || state.changes.front().is_some_and(|oldest| oldest.version <= version + 1)
    }

    /// What happened after this version to objects of a kind, once something has; `None` after so long. And the version that all of it
    /// is known until.
    pub fn after(&self, plural: &str, namespace: &str, version: u64, patience: Duration) -> (Vec<Change>, u64) {
        let state = self.state.lock().unwrap();
        let is_nothing_new = |state: &mut State| state.version == version;
        let (state, _) = self.changed.wait_timeout_while(state, patience, is_nothing_new).unwrap();
        let first = state.changes.partition_point(|change| change.version <= version);
        let of_kind =
            state.changes.range(first..).filter(|change| change.key.0 == plural && is_in(&change.key, namespace));
        (of_kind.cloned().collect(), state.version)
    }

    /// Wakes whoever waits for a change.
    pub fn wake(&self) {
        self.changed.notify_all();
    }
}

fn is_in(key: &Key, namespace: &str) -> bool {
    namespace.is_empty() || key.1 == namespace
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// The name of a kind in paths.
pub fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    if lower.ends_with("ss") { format!("{lower}es") } else { format!("{lower}s") }
}
