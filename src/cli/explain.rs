//! `ringress explain`: which listener, route, filters, service and settings a request would get, and why.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::listeners::ListenerSpec;
use crate::config::routes::{RouteSpec, TargetSpec};
use crate::config::services::ServiceSpec;
use crate::config::source::Source;
use crate::control::compile::{Kept, Parts, Resolved, compile};
use crate::failure::Failure;
use crate::filter::Chain;
use crate::filter::context::{Answer, Context, Notes, Verdict};
use crate::proto::h1::authority::parts;
use crate::proto::h1::request::RequestHead;
use crate::route::{PathPattern, Router, Rule};
use crate::snapshot::{Entrance, Snapshot};

/// The request that is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedRequest<'a> {
    pub method: &'a str,
    pub url: &'a str,
    /// Its fields, `Name: value`.
    pub fields: &'a [String],
}

/// Prints the way of a request from the listener that its URL leads to: with every setting, as JSON.
pub(super) fn explain(path: &Path, asked: &AskedRequest<'_>, (all, as_json): (bool, bool)) -> anyhow::Result<i32> {
    let compiled = Source::read(path).and_then(|source| {
        let compiled = compile(&source, &Resolved::new(), &mut Kept::default(), 1)?;
        Ok((source, compiled))
    });
    let (source, compiled) = match compiled {
        Ok(compiled) => compiled,
        Err(problems) => return Ok(super::check::tell(&problems)),
    };
    let url = Url::of(asked.url)?;
    let (entrances, note) = entrances(&compiled.snapshot, &url);
    let mut ways = Vec::new();
    for entrance in entrances {
        let mut way = way(&source, (entrance, &compiled.parts), asked, &url)?;
        if let (Some(way), Some(note)) = (way.as_object_mut(), &note) {
            way.insert("note".to_owned(), note.clone().into());
        }
        ways.push(way);
    }
    if as_json {
        println!("{:#}", Value::Array(ways));
    } else {
        ways.iter().for_each(|way| print(way, all));
    }
    Ok(0)
}

/// The parts of a URL.
struct Url<'a> {
    scheme: &'static str,
    authority: &'a str,
    port: u16,
    target: String,
}

impl<'a> Url<'a> {
    fn of(url: &'a str) -> anyhow::Result<Self> {
        let secure = url.strip_prefix("https://").map(|rest| ("https", 443, rest));
        let parsed = secure.or_else(|| url.strip_prefix("http://").map(|rest| ("http", 80, rest)));
        let wrong = || anyhow::anyhow!("`{url}` is not a URL; write http://host/path");
        let (scheme, default_port, rest) = parsed.ok_or_else(wrong)?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (_, port) = parts(authority.as_bytes()).ok_or_else(wrong)?;
        Ok(Self { scheme, authority, port: port.unwrap_or(default_port), target })
    }
}

/// The listeners that a URL leads to; where none has its port, those that speak its scheme, with a word about it.
fn entrances<'a>(snapshot: &'a Snapshot, url: &Url<'_>) -> (Vec<&'a Entrance>, Option<String>) {
    let speaks = |entrance: &&Entrance| entrance.listener.tls.is_some() == (url.scheme == "https");
    let of_scheme: Vec<_> = snapshot.listeners.iter().filter(speaks).collect();
    let of_port: Vec<_> = of_scheme.iter().copied().filter(|entrance| entrance.listener.port == url.port).collect();
    if !of_port.is_empty() {
        return (of_port, None);
    }
    let note = format!("no listener has port {} for {}: shown as if it came here", url.port, url.scheme);
    if of_scheme.is_empty() {
        let note = format!("no listener speaks {}: shown as if it came here", url.scheme);
        return (snapshot.listeners.iter().collect(), Some(note));
    }
    (of_scheme, Some(note))
}

/// What becomes of the request at a listener.
fn way(
    source: &Source,
    (entrance, parts): (&Entrance, &Parts),
    asked: &AskedRequest<'_>,
    url: &Url<'_>,
) -> anyhow::Result<Value> {
    let listener = &entrance.listener;
    let mut way = Map::new();
    way.insert("listener".to_owned(), (*listener.name).into());
    way.insert("address".to_owned(), listener.spec.address.to_string().into());
    way.insert("listener_settings".to_owned(), serde_json::to_value(&*listener.spec)?);
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", asked.method, url.target, url.authority);
    asked.fields.iter().for_each(|field| text.extend([field, "\r\n"]));
    text.push_str("\r\n");
    let mut head = RequestHead::default();
    match head.parse(text.into_bytes(), listener.spec.head_rules()) {
        Ok(()) => follow(source, (entrance, parts), &mut head, (url.scheme, url.port), &mut way)?,
        Err(fault) => refuse(&mut way, Failure::from(fault)),
    }
    Ok(Value::Object(way))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refuse(way: &mut Map<String, Value>, failure: Failure) {
    let answer =
        json!({ "status": failure.row().status, "cause": failure.to_string(), "meaning": failure.row().meaning });
    way.insert("answer".to_owned(), answer);
}

fn follow(
    source: &Source,
    (entrance, parts): (&Entrance, &Parts),
    head: &mut RequestHead,
    (scheme, port): (&'static str, u16),
    way: &mut Map<String, Value>,
) -> anyhow::Result<()> {
    let config = &source.config;
    let normal = format!("{} {}{}", lossy(head.method()), lossy(head.authority()), lossy(head.target().matched()));
    way.insert("matched_as".to_owned(), normal.into());
    let route = entrance.table.find(head);
    let written = |name: &str| config.routes.iter().find(|written| written.name == name);
    let Some((route, written)) = route.and_then(|route| Some((route, written(&route.name)?))) else {
        refuse(way, Failure::NoRoute);
        way.insert("looked_at".to_owned(), looked_at(config, entrance, parts, head).into());
        return Ok(());
    };
    way.insert("route".to_owned(), (*route.name).into());
    way.insert("because".to_owned(), reason(written).into());
    let named = |names: &[String]| {
        let chains = names.iter().filter_map(|name| config.filters.get(name));
        chains.flat_map(|named| named.chain.clone()).collect::<Vec<_>>()
    };
    let filters = [named(&entrance.listener.spec.chains), named(&written.chains), written.filters.clone()].concat();
    way.insert("filters".to_owned(), serde_json::to_value(filters)?);
    let context = Context { route: &route.name, port, ..Context::of_nobody(scheme) };
    if is_answered(&[&entrance.listener.chain, &route.chain], head, &context, way) {
        return Ok(());
    }
    // By a rule where one fits, else the first that gets some by chance.
    let at = route.choice.choose(head, 0).unwrap_or(0);
    if let Some(target) = written.targets.get(at) {
        let of = |target: &TargetSpec| json!({ "service": target.service, "weight": target.weight });
        way.insert("targets".to_owned(), written.targets.iter().map(of).collect());
        way.insert("target".to_owned(), at.into());
        way.insert("target_filters".to_owned(), serde_json::to_value(&target.filters)?);
    }
    let target = route.targets.get(at);
    if target.is_some_and(|target| is_answered(&[&target.chain], head, &context, way)) {
        return Ok(());
    }
    let name = if written.targets.is_empty() {
        written.service.as_ref()
    } else {
        written.targets.get(at).and_then(|one| one.service.as_ref())
    };
    let Some((name, service)) = name.and_then(|name| Some((name, config.services.get(name)?))) else {
        refuse(way, Failure::NoRoute);
        return Ok(());
    };
    way.insert("forwarded_as".to_owned(), lossy(head.forwarded(service.path)).into());
    way.insert("service".to_owned(), name.as_str().into());
    let endpoints: Vec<_> = service.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    way.insert("endpoints".to_owned(), endpoints.into());
    way.insert("balance".to_owned(), service.balance.to_string().into());
    way.insert("service_settings".to_owned(), serde_json::to_value(&**service)?);
    Ok(())
}

/// Shows the request to chains of filters; true, and noted, where one answers or refuses it.
fn is_answered(chains: &[&Chain], head: &mut RequestHead, context: &Context<'_>, way: &mut Map<String, Value>) -> bool {
    for chain in chains {
        match chain.on_request(head, context, &mut Notes::default()) {
            Verdict::Answer(Answer { status, fields, .. }) => {
                let fields: Map<_, _> = fields.iter().map(|(name, value)| (lossy(name), lossy(value).into())).collect();
                way.insert("answer".to_owned(), json!({ "status": status, "fields": fields }));
                return true;
            }
            Verdict::Refuse(refusal) => {
                refuse(way, refusal.failure);
                return true;
            }
            // Who would be asked is among the filters that are shown; it is taken to let the request pass.
            Verdict::Pass | Verdict::Ask(_) => {}
        }
    }
    false
}

/// Routes that are told where none matched.
const LOOKED_AT_MAX: usize = 10;

/// The routes of the listener, those that came nearest first, each with what about the request it does not take.
fn looked_at(config: &Config, entrance: &Entrance, parts: &Parts, head: &RequestHead) -> Vec<String> {
    let listener = &*entrance.listener.name;
    let of_listener = |route: &&std::sync::Arc<RouteSpec>| {
        route.listeners.is_empty() || route.listeners.iter().any(|name| name == listener)
    };
    let mut misses: Vec<_> = config
        .routes
        .iter()
        .filter(of_listener)
        .filter_map(|route| {
            let rule = parts.rule(&route.name)?;
            let anywhere =
                Rule { paths: vec![PathPattern::prefix("/")], conditions: std::sync::Arc::default(), ..rule.clone() };
            let anyhow = Rule { conditions: std::sync::Arc::default(), ..rule.clone() };
            let takes = |rule: &Rule| Router::build([rule]).find(head).is_some();
            let (came, why) = match (takes(&anywhere), takes(&anyhow)) {
                (false, _) => (0, "not its host"),
                (true, false) => (1, "its host, but not its path"),
                (true, true) => (2, "its host and path, but not its methods, headers or query"),
            };
            Some((came, format!("route {}: {why}; {}", route.name, reason(route))))
        })
        .collect();
    misses.sort_by_key(|(came, _)| std::cmp::Reverse(*came));
    let left = misses.len().saturating_sub(LOOKED_AT_MAX);
    let mut told: Vec<_> = misses.into_iter().take(LOOKED_AT_MAX).map(|(_, text)| text).collect();
    if left > 0 {
        told.push(format!("and {left} others"));
    }
    told
}

/// The conditions that were met.
fn reason(route: &RouteSpec) -> String {
    let mut reasons = Vec::new();
    if !route.hosts.is_empty() {
        reasons.push(format!("host among {}", route.hosts.join(", ")));
    }
    if !route.paths.is_empty() {
        reasons.push(format!("path among {}", serde_json::to_string(&route.paths).unwrap_or_default()));
    }
    if !route.methods.is_empty() {
        reasons.push(format!("method among {}", route.methods.join(", ")));
    }
    reasons.extend(route.headers.iter().map(|header| format!("field {}", header.name)));
    reasons.extend(route.query.iter().map(|parameter| format!("parameter {}", parameter.name)));
    if route.priority != 0 {
        reasons.push(format!("priority {}", route.priority));
    }
    if reasons.is_empty() { "it takes every request".to_owned() } else { reasons.join("; ") }
}

/// Prints a way for people: where it leads, and what is set otherwise than by default; with `all` the defaults, too.
fn print(way: &Value, all: bool) {
    let text = |key: &str| way[key].as_str().unwrap_or_default();
    println!("listener {} ({})", text("listener"), text("address"));
    if let Some(note) = way["note"].as_str() {
        println!("  {note}");
    }
    settings(
        "  ",
        &way["listener_settings"],
        &defaults::<ListenerSpec>(json!({ "address": ":80" })),
        all,
        &["address"],
    );
    println!("  matched as {}", text("matched_as"));
    if let Some(route) = way["route"].as_str() {
        println!("  route {route}: {}", text("because"));
        for filter in way["filters"].as_array().into_iter().flatten() {
            println!("    filter {filter}");
        }
        for (at, target) in way["targets"].as_array().into_iter().flatten().enumerate() {
            let taken = if way["target"] == at { ", shown here" } else { "" };
            println!("    target {at}: {} of weight {}{taken}", target["service"], target["weight"]);
        }
        for filter in way["target_filters"].as_array().into_iter().flatten() {
            println!("    filter of the target {filter}");
        }
    }
    if let Some(answer) = way["answer"].as_object() {
        let field = |(name, value): (&String, &Value)| format!("{name}: {}", value.as_str().unwrap_or_default());
        let fields: Vec<_> = answer.get("fields").and_then(Value::as_object).into_iter().flatten().map(field).collect();
        let words = ["cause", "meaning"].into_iter().filter_map(|key| answer.get(key)?.as_str());
        let rest: Vec<_> = words.map(str::to_owned).chain(fields).collect();
        println!("  answered {} {}", answer["status"], rest.join(", "));
        for looked_at in way["looked_at"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            println!("    looked at {looked_at}");
        }
        return;
    }
    println!("    forwarded as {}", text("forwarded_as"));
    let endpoints: Vec<_> = way["endpoints"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let over = if endpoints.is_empty() { "no endpoint".to_owned() } else { endpoints.join(", ") };
    println!("  service {}: {} over {over}", text("service"), text("balance"));
    settings("    ", &way["service_settings"], &defaults::<ServiceSpec>(json!({})), all, &["endpoints", "balance"]);
}

/// Prints settings, those that are as by default only where all are wanted.
fn settings(indent: &str, settings: &Value, defaults: &Value, all: bool, but: &[&str]) {
    for (key, value) in settings.as_object().into_iter().flatten() {
        if but.contains(&key.as_str()) {
            continue;
        }
        let shown = if all { Some(value.clone()) } else { differing(value, defaults.get(key).unwrap_or(&Value::Null)) };
        if let Some(shown) = shown {
            println!("{indent}{key}: {shown}");
        }
    }
}

/// What of a setting is otherwise than its default; of a table its keys that are.
fn differing(value: &Value, default: &Value) -> Option<Value> {
    match (value, default) {
        _ if value == default => None,
        (Value::Object(entries), Value::Object(_) | Value::Null) => {
            let is_nothing = |value: &Value| {
                value.is_null() || *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty)
            };
            let differing = entries.iter().filter_map(|(key, value)| match default.get(key) {
                Some(default) => Some((key.clone(), differing(value, default)?)),
                None => (!is_nothing(value)).then(|| (key.clone(), value.clone())),
            });
            Some(Value::Object(differing.collect()))
        }
        _ => Some(value.clone()),
    }
}

/// The settings of a part of which no more is written than `least`.
fn defaults<T: DeserializeOwned + Serialize>(least: Value) -> Value {
    let defaults = serde_json::from_value::<T>(least).and_then(serde_json::to_value);
    defaults.unwrap_or_default()
}
