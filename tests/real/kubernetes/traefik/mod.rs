//! Ingress objects of Traefik 1.7: each of its annotations, met with traffic.

mod access;
mod backends;
mod rules;
mod secure;

use std::fmt::Write as _;

use super::{World, service};
use crate::support::Origin;

const KEYS: &str = "dialects = [\"traefik1\"]\nwithout_class = \"traefik1\"";

/// A path: host, path, type of path, service.
type Rule<'a> = (&'a str, &'a str, &'a str, &'a str);

/// An Ingress without a class, with these annotations (`X` for `traefik.ingress.kubernetes.io/X`).
fn frontend(name: &str, annotations: &[(&str, &str)], rules: &[Rule<'_>]) -> String {
    let web = super::ingress(name, rules).replace("  ingressClassName: ringress\n", "");
    web.replace(&format!("{{ name: {name} }}"), &format!("{{ name: {name}{} }}", noted(annotations)))
}

/// A Service with these annotations and endpoints.
fn backend(name: &str, annotations: &[(&str, &str)], origins: &[&Origin]) -> String {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let written = format!("metadata: {{ name: {name}{} }}", noted(annotations));
    "---\n".to_owned() + &service(name, &addresses).replacen(&format!("metadata: {{ name: {name} }}"), &written, 1)
}

fn noted(annotations: &[(&str, &str)]) -> String {
    let mut text = String::from(", annotations: {");
    for (name, value) in annotations {
        let prefix =
            if name.contains('/') || name.starts_with("traefik.") { "" } else { "traefik.ingress.kubernetes.io/" };
        write!(text, " {prefix}{name}: {},", serde_json::Value::from(*value)).unwrap();
    }
    text + "}"
}

fn statuses<const N: usize>(world: &World, host: &str, paths: [&str; N]) -> [u16; N] {
    paths.map(|path| world.status(host, path))
}

#[test]
fn every_annotation_is_met_here() {
    let written =
        [include_str!("rules.rs"), include_str!("access.rs"), include_str!("backends.rs"), include_str!("secure.rs")]
            .concat();
    let page = include_str!("../../../../docs/traefik-1.7.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let missing: Vec<_> = rows
        .filter(|(name, rest)| {
            !rest.contains("| refused: ")
                && !rest.contains("| nothing to do: ")
                && !written.contains(&format!("{name}\""))
        })
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "no request meets {missing:?}");
}
