//! `ringress explain`: which listener, route, filters, service and timeouts a request would get, and why.

use std::path::Path;

use crate::config::routes::RouteSpec;
use crate::config::source::Source;
use crate::control::compile::{Kept, Resolved, compile};
use crate::failure::Failure;
use crate::filter::context::{Answer, Context, Verdict};
use crate::proto::h1::request::RequestHead;
use crate::snapshot::Entrance;

/// Prints the way of a request for every listener.
pub(super) fn explain(path: &Path, method: &str, url: &str, fields: &[String]) -> anyhow::Result<i32> {
    let compiled = Source::read(path).and_then(|source| {
        let compiled = compile(&source, &Resolved::new(), &mut Kept::default(), 1)?;
        Ok((source, compiled.snapshot))
    });
    let (source, snapshot) = match compiled {
        Ok(compiled) => compiled,
        Err(problems) => return Ok(super::check::tell(&problems)),
    };
    let text = request_text(method, url, fields)?;
    for entrance in &snapshot.listeners {
        let listener = &entrance.listener;
        println!("listener {} ({})", listener.name, listener.spec.address);
        let timeouts = &listener.spec.timeouts;
        println!(
            "  timeouts: header {} body {} idle {} send {}",
            timeouts.header, timeouts.body, timeouts.idle, timeouts.send
        );
        let mut head = RequestHead::default();
        match head.parse(text.clone().into_bytes(), listener.spec.head_rules()) {
            Ok(()) => explain_route(&source, entrance, &mut head),
            Err(fault) => println!("  answered {} {}", Failure::from(fault).row().status, Failure::from(fault)),
        }
    }
    Ok(0)
}

fn request_text(method: &str, url: &str, fields: &[String]) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| anyhow::anyhow!("`{url}` is no URL; write http://host/path"))?;
    let path = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(path);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    Ok(text)
}

fn explain_route(source: &Source, entrance: &Entrance, head: &mut RequestHead) {
    let config = &source.config;
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("  normal form: {} {}{}", lossy(head.method()), lossy(head.authority()), lossy(head.target().matched()));
    let table = &entrance.table;
    let route = table.router.find(head).and_then(|at| table.routes.get(at));
    let written = |name: &str| config.routes.iter().find(|written| written.name == name);
    let found = route.and_then(|route| Some((route, written(&route.name)?)));
    let Some((route, written)) = found else {
        println!("  answered 404 no_route: no route has this host, path and conditions");
        return;
    };
    println!("  route {}: {}", route.name, reason(written));
    for filter in &written.filters {
        println!("    filter {}", serde_json::to_string(filter).unwrap_or_default());
    }
    let context =
        Context { client: std::net::Ipv4Addr::LOCALHOST.into(), scheme: "http", is_trusted: false, tls: None };
    match route.chain.on_request(head, &context) {
        Verdict::Answer(Answer { status, fields, .. }) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{}: {}", lossy(name), lossy(value))).collect();
            println!("  answered {status} {}", fields.join(", "));
            return;
        }
        Verdict::Pass => {
            let service = written.service.as_ref().and_then(|name| config.services.get(name));
            let path = service.map(|service| service.path).unwrap_or_default();
            println!("    forwarded as {}", lossy(head.forwarded(path)));
        }
        Verdict::Fail(failure) => {
            println!("  answered {failure}");
            return;
        }
    }
    let Some((name, service)) = written.service.as_ref().and_then(|name| Some((name, config.services.get(name)?)))
    else {
        return;
    };
    let endpoints: Vec<_> = service.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    println!("  service {name}: {} over {}", service.balance, endpoints.join(", "));
    let timeouts = &service.timeouts;
    println!(
        "    timeouts: connect {} header {} body {} send {} total {}",
        timeouts.connect, timeouts.header, timeouts.body, timeouts.send, timeouts.total
    );
    for (key, value) in [
        ("retry", serde_json::to_string(&service.retry)),
        ("health", serde_json::to_string(&service.health)),
        ("ejection", serde_json::to_string(&service.ejection)),
        ("limits", serde_json::to_string(&service.limits)),
        ("circuit breaker", serde_json::to_string(&service.circuit_breaker)),
    ] {
        println!("    {key}: {}", value.unwrap_or_default());
    }
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
