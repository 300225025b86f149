//! Ingress objects of ingress-nginx: with the cases of its own tests, each of its annotations is met with traffic.

mod access;
mod answers;
mod upstreams;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{World, ingress, service};
use crate::api_server::ApiServer;
use crate::support::Origin;

/// Keys of `[kubernetes]` for this dialect.
const KEYS: &str = "dialects = [\"ingress-nginx\"]\nconfig_map = \"shop/controller\"\nwrite_status = false";

/// Annotations by their names without the prefix.
type Notes<'a> = &'a [(&'a str, &'a str)];

/// An Ingress of the class `nginx` for `NAME.test`, all of whose paths lead to this service.
fn annotated(name: &str, service: &str, notes: Notes<'_>) -> String {
    let mut text = format!("{{ name: {name}, annotations: {{");
    for (note, value) in notes {
        let _ = write!(text, " nginx.ingress.kubernetes.io/{note}: {},", serde_json::Value::from(*value));
    }
    let host = format!("{name}.test");
    ingress(name, &[(&host, "/", "Prefix", service)])
        .replace("ingressClassName: ringress", "ingressClassName: nginx")
        .replace(&format!("{{ name: {name} }}"), &format!("{text} }} }}"))
}

/// A Secret or ConfigMap with these keys.
fn holder(kind: &str, name: &str, keys: &[(&str, &str)]) -> String {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let keys: serde_json::Map<_, _> = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    format!(
        "---\napiVersion: v1\nkind: {kind}\nmetadata: {{ name: {name} }}\n{field}: {}\n",
        serde_json::Value::Object(keys)
    )
}

/// A world with these objects and the ConfigMap of the controller.
fn world(objects: &str, settings: &[(&str, &str)]) -> World {
    let api = ApiServer::start();
    api.apply("shop", &(objects.to_owned() + &holder("ConfigMap", "controller", settings)));
    World::of("epoll", api, KEYS, "")
}

/// A Service with these origins behind it.
fn backend(name: &str, origins: &[&Origin]) -> String {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    format!("---\n{}", service(name, &addresses))
}

/// An origin that answers with this head and no body.
fn heads(head: &'static str) -> Origin {
    Origin::start(move |_, stream| {
        crate::support::origin::write(stream, format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n").as_bytes())
    })
}

#[test]
fn every_annotation_is_met_by_a_case_or_here() {
    let cases =
        [include_str!("../../../kubernetes/cases/part-a.yaml"), include_str!("../../../kubernetes/cases/part-b.yaml")];
    let exceptions: BTreeSet<_> = include_str!("../../../kubernetes/cases/exceptions.txt")
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    // A case begins with its name; those of the list show nothing.
    let shown = cases.iter().flat_map(|text| text.split("- id: ")).filter(|case| {
        let id = case.lines().next().unwrap_or_default().trim();
        !exceptions.contains(id)
    });
    let mut met: String = shown.collect();
    met.push_str(include_str!("../ingress.rs"));
    met.push_str(include_str!("../snippets.rs"));
    let here = [include_str!("access.rs"), include_str!("answers.rs"), include_str!("upstreams.rs")].concat();
    let page = include_str!("../../../../docs/ingress-nginx.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let is_met = |name: &str| {
        let annotation = format!("nginx.ingress.kubernetes.io/{name}:");
        met.contains(&annotation) || here.contains(&format!("(\"{name}\", "))
    };
    let rows: Vec<_> =
        rows.filter(|(_, rest)| !rest.contains("| refused: ") && !rest.contains("| nothing to do")).collect();
    assert!(rows.len() > 100, "the page has other rows now: {}", rows.len());
    let missing: Vec<_> = rows.iter().map(|(name, _)| *name).filter(|name| !is_met(name)).collect();
    assert!(missing.is_empty(), "no request meets {missing:?}");
}

#[test]
fn expressions_that_are_too_large_together_close_their_host_alone() {
    let (one, host) = (crate::kubernetes::named("one"), "large.test");
    let paths: Vec<_> = (0..2_500).map(|at| format!("/{at}/[a-z]{{1,400}}")).collect();
    let rules: Vec<_> = paths.iter().map(|path| (host, &**path, "ImplementationSpecific", "one")).collect();
    let large = ingress("large", &rules).replace("ingressClassName: ringress", "ingressClassName: nginx").replace(
        "{ name: large }",
        "{ name: large, annotations: { nginx.ingress.kubernetes.io/use-regex: \"true\" } }",
    );
    let objects = backend("one", &[&one]) + &large + &annotated("other", "one", &[]);
    let world = world(&objects, &[]);
    assert_eq!(world.get("other.test", "/x"), (200, "one".to_owned()), "the others are served from the start");
    // The longest go first.
    assert_eq!(world.status(host, "/2499/x"), 200, "those that fit are served");
    assert_eq!(world.status(host, "/1/x"), 503);
    let told = "Ingress shop/large: routes.";
    crate::support::eventually("it is told", || world.proxy.process_log().contains(told));
    assert!(world.proxy.process_log().contains("its expressions are too large"));
    // Others come and go, and it stays as it is.
    world.api.apply("shop", &annotated("new", "one", &[]));
    world.eventually("new.test", "/", (200, "one"));
    assert_eq!((world.status(host, "/2499/x"), world.status(host, "/1/x")), (200, 503));
    world.api.delete("ingresses", "shop", "large");
    world.eventually(host, "/1/x", (404, ""));
}
