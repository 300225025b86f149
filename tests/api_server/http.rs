//! The server's HTTP: one connection, one request after another, watches as chunks.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::store::{Key, Refusal};
use super::{Fault, Shared};

/// How often a watch looks whether it shall end, and tells a bookmark.
const LOOK: Duration = Duration::from_millis(500);
/// How often a watch on which nothing comes is told how far it is.
const BOOKMARKS: Duration = Duration::from_secs(1);

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    body: Vec<u8>,
}

/// What a path names.
struct Target {
    api_version: String,
    plural: String,
    namespace: String,
    name: Option<String>,
    is_status: bool,
}

pub fn converse(shared: &Shared, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read(&mut reader) {
        shared.requests.lock().unwrap().push(format!("{} {}", request.method, request.path));
        match shared.fault() {
            Fault::Away => return,
            Fault::Busy => {
                if refuse(&mut writer, 429, "TooManyRequests", "Retry-After: 1\r\n").is_err() {
                    return;
                }
                continue;
            }
            Fault::Expired => {
                if refuse(&mut writer, 401, "Unauthorized", "").is_err() {
                    return;
                }
                continue;
            }
            Fault::Forbidden => {
                if refuse(&mut writer, 403, "Forbidden", "").is_err() {
                    return;
                }
                continue;
            }
            Fault::None | Fault::Gone | Fault::Cut | Fault::Stalled | Fault::Conflict | Fault::Disorder => {}
        }
        let Some(target) = target(&request.path) else {
            if refuse(&mut writer, 404, "NotFound", "").is_err() {
                return;
            }
            continue;
        };
        let is_watch = matches!(request.query.get("watch").map(String::as_str), Some("true" | "1"));
        let done = if is_watch {
            watch(shared, &mut writer, &request, &target)
        } else {
            answer(shared, &mut writer, &request, &target)
        };
        if done.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| {
        String::from_utf8_lossy(&ringress::proto::h1::percent::percent_decoded(text.as_bytes())).into_owned()
    };
    let query = pairs.map(|(name, value)| (name.to_owned(), plain(value))).collect();
    Some(Request { method, path: path.to_owned(), query, body })
}

/// `/api/v1/…` or `/apis/GROUP/VERSION/…`, then `[namespaces/NS/]PLURAL[/NAME[/status]]`.
fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (api_version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let plural = (*rest.first()?).to_owned();
    let name = rest.get(1).map(|name| (*name).to_owned());
    let is_status = rest.get(2) == Some(&"status");
    Some(Target { api_version, plural, namespace: namespace.to_owned(), name, is_status })
}

fn answer(shared: &Shared, writer: &mut TcpStream, request: &Request, target: &Target) -> std::io::Result<()> {
    let store = &shared.store;
    let key = |name: &str| -> Key { (target.plural.clone(), target.namespace.clone(), name.to_owned()) };
    let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    let changes = request.method != "GET";
    if changes && request.method != "POST" && shared.fault() == Fault::Conflict && target.plural != "leases" {
        return refuse(writer, 409, "Conflict", "");
    }
    let done = match (request.method.as_str(), &target.name) {
        ("GET", None) => return list(shared, writer, request, target),
        ("GET", Some(name)) => store.get(&target.plural, &target.namespace, name).ok_or(Refusal::NotFound),
        ("POST", None) => {
            let object = body();
            let name = object["metadata"]["name"].as_str().map(str::to_owned);
            let generated = || {
                let start = object["metadata"]["generateName"].as_str().unwrap_or("x");
                format!("{start}{}", shared.requests.lock().unwrap().len())
            };
            store.create(&key(&name.unwrap_or_else(generated)), object.clone())
        }
        ("PUT", Some(name)) => store.replace(&key(name), body()),
        ("PATCH", Some(name)) if target.is_status => store.merge(&key(name), &json!({ "status": body()["status"] })),
        ("PATCH", Some(name)) => match store.merge(&key(name), &body()) {
            // As server-side apply has it.
            Err(Refusal::NotFound) if request.query.contains_key("fieldManager") => store.create(&key(name), body()),
            done => done,
        },
        ("DELETE", Some(name)) => {
            let object = store.get(&target.plural, &target.namespace, name);
            store.delete(&target.plural, &target.namespace, name);
            object.ok_or(Refusal::NotFound)
        }
        _ => return refuse(writer, 405, "MethodNotAllowed", ""),
    };
    match done {
        Ok(object) => send(writer, if request.method == "POST" { 201 } else { 200 }, &object, ""),
        Err(Refusal::NotFound) => refuse(writer, 404, "NotFound", ""),
        Err(Refusal::AlreadyExists) => refuse(writer, 409, "AlreadyExists", ""),
        Err(Refusal::Conflict) => refuse(writer, 409, "Conflict", ""),
    }
}

/// True where an object has the labels that a request selects by: `name=value` and `name`, between commas.
fn is_selected(request: &Request, object: &Value) -> bool {
    let selector = request.query.get("labelSelector").map(String::as_str).unwrap_or_default();
    selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
        Some((name, value)) => object["metadata"]["labels"][name].as_str() == Some(value.trim_start_matches('=')),
        None => object["metadata"]["labels"].get(part).is_some(),
    })
}

fn list(shared: &Shared, writer: &mut TcpStream, request: &Request, target: &Target) -> std::io::Result<()> {
    let (mut items, version) = shared.store.list(&target.plural, &target.namespace);
    items.retain(|object| is_selected(request, object));
    if shared.fault() == Fault::Disorder {
        let turn = items.len().min(shared.requests.lock().unwrap().len() % items.len().max(1));
        items.rotate_left(turn);
        items.reverse();
    }
    let list = json!({
        "kind": format!("{}List", kind(&target.plural)), "apiVersion": target.api_version, "metadata": { "resourceVersion": version.to_string() }, "items": items,
    });
    send(writer, 200, &list, "")
}

fn watch(shared: &Shared, writer: &mut TcpStream, request: &Request, target: &Target) -> std::io::Result<()> {
    // A list as the beginning of a watch is newer than what this speaks; whoever is told so lists first.
    if request.query.contains_key("sendInitialEvents") {
        return refuse(writer, 422, "Invalid", "");
    }
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<u64>().ok());
    let (fault, era) = (shared.fault(), shared.era());
    let end = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
    let mut version = number("resourceVersion").unwrap_or(0);
    writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    if fault == Fault::Gone || !shared.store.remembers(version) {
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old resource version" });
        chunk(writer, &json!({ "type": "ERROR", "object": status }))?;
        return writer.write_all(b"0\r\n\r\n");
    }
    let kind = kind(&target.plural);
    let mut marked = Instant::now();
    while Instant::now() < end && (shared.era() == era || fault == Fault::Stalled) {
        if fault == Fault::Stalled {
            // Nothing comes, not even the end: the other side has to find out.
            std::thread::sleep(LOOK);
            continue;
        }
        let (changes, now) = shared.store.after(&target.plural, &target.namespace, version, LOOK);
        version = now;
        for change in &changes {
            // What is selected no more is gone for whoever selects.
            let kind = if is_selected(request, &change.object) { change.kind } else { "DELETED" };
            let event = json!({ "type": kind, "object": change.object });
            if fault == Fault::Cut {
                let text = event.to_string();
                let half = &text[..text.len() / 2];
                write!(writer, "{:x}\r\n{half}\r\n", half.len())?;
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            chunk(writer, &event)?;
            if fault == Fault::Disorder {
                chunk(writer, &event)?;
            }
        }
        let is_due = marked.elapsed() > BOOKMARKS && request.query.contains_key("allowWatchBookmarks");
        if changes.is_empty() && is_due {
            marked = Instant::now();
            let object = json!({ "kind": kind, "apiVersion": target.api_version,
                "metadata": { "resourceVersion": version.to_string() } });
            chunk(writer, &json!({ "type": "BOOKMARK", "object": object }))?;
        }
    }
    writer.write_all(b"0\r\n\r\n")
}

/// The kind of this plural.
fn kind(plural: &str) -> &str {
    match plural {
        "ingresses" => "Ingress",
        "ingressclasses" => "IngressClass",
        "services" => "Service",
        "endpointslices" => "EndpointSlice",
        "secrets" => "Secret",
        "configmaps" => "ConfigMap",
        "namespaces" => "Namespace",
        "nodes" => "Node",
        other => other,
    }
}

fn chunk(writer: &mut TcpStream, event: &Value) -> std::io::Result<()> {
    let text = format!("{event}\n");
    writer.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

fn refuse(writer: &mut TcpStream, code: u16, reason: &str, fields: &str) -> std::io::Result<()> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": reason });
    send(writer, code, &status, fields)
}

fn send(writer: &mut TcpStream, code: u16, body: &Value, fields: &str) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all(head.as_bytes())?;
    writer.write_all(body.as_bytes())
}
