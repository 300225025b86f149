//! The annotations of one object as Traefik 1.7 reads them: two prefixes, older names, and types of Go.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::rows::{AnnotatedKind, OLD_PREFIXES, PREFIXES, row_of, row_of_key};
use crate::control::kubernetes::translate::findings::Findings;
use crate::control::kubernetes::translate::meaning::Meaning;
use crate::control::kubernetes::translate::plan::{Owner, Plan};
use crate::control::kubernetes::translate::texts;
use crate::filter::Filter;

/// The annotations of an Ingress or a Service.
#[derive(Debug)]
pub(super) struct TraefikNotes<'a> {
    /// What is wrong with them, and whose they are.
    pub findings: Findings<'a>,
    annotations: Option<&'a BTreeMap<String, String>>,
}

impl<'a> TraefikNotes<'a> {
    /// Those of an object of this kind; what has no meaning here is told.
    pub(super) fn read(
        owner: Owner<'a>,
        kind: AnnotatedKind,
        annotations: Option<&'a BTreeMap<String, String>>,
    ) -> Self {
        let notes = Self { findings: Findings::new(owner), annotations };
        for key in annotations.into_iter().flat_map(BTreeMap::keys) {
            match row_of_key(key) {
                Some(row) if row.kind != kind => {
                    notes.findings.tell(key, &format!("it is for a {:?}", row.kind));
                }
                Some(row) => {
                    if let Meaning::Refused(why) = row.meaning {
                        notes.findings.tell(key, &format!("it is refused: {why}"));
                    }
                }
                None if PREFIXES.iter().chain(&OLD_PREFIXES).any(|prefix| key.starts_with(prefix)) => {
                    notes.findings.tell(key, "Traefik 1.7 has no annotation of this name");
                }
                None => {}
            }
        }
        notes
    }

    /// The whole name under which an annotation is there.
    fn key(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let row = row_of(name)?;
        let new = PREFIXES.iter().map(|prefix| format!("{prefix}{name}"));
        let mut keys = new.chain(row.old.iter().map(|old| (*old).to_owned()));
        let found = keys.find_map(|key| self.annotations?.get_key_value(&key))?;
        Some((found.0, found.1))
    }

    /// The text of an annotation; `None` where it is not there, or empty.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.key(name).map(|(_, text)| text.trim()).filter(|text| !text.is_empty())
    }

    /// Notes what is wrong with an annotation.
    pub(super) fn tell(&self, name: &str, what: &str) {
        self.findings.tell(self.key(name).map_or(name, |(key, _)| key), what);
    }

    /// Has all requests of this object refused, for what is wrong with an annotation.
    pub(super) fn deny(&self, name: &str, what: &str) {
        self.findings.deny(self.key(name).map_or(name, |(key, _)| key), what);
    }

    /// Tells what was found wrong until now, each once.
    pub(super) fn finish(&self, plan: &mut Plan) {
        self.findings.finish(plan);
    }

    /// A filter as the configuration writes it, for an annotation.
    #[must_use]
    pub(super) fn filter(&self, name: &str, written: serde_json::Value) -> Option<Filter> {
        self.findings.filter(self.key(name).map_or(name, |(key, _)| key), written)
    }

    /// A switch, as Go's `strconv.ParseBool` reads it; `None` where it is not there. One that is no switch is told, and is not there.
    #[must_use]
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        let read = texts::flag(text);
        if read.is_none() {
            self.tell(name, &format!("`{}` is neither true nor false; the default holds", text.escape_debug()));
        }
        read
    }

    /// True where a switch is there and on.
    #[must_use]
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    /// A number above 0; one that is none is told.
    #[must_use]
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let text = self.text(name)?;
        let read = text.parse::<i64>();
        if read.is_err() {
            self.tell(name, &format!("`{}` is no number; the default holds", text.escape_debug()));
        }
        u32::try_from(read.ok()?).ok().filter(|number| *number > 0)
    }

    /// What stands between commas.
    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        self.text(name)
            .into_iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// `Name:value||Other:value`; one without a colon is told.
    pub(super) fn map(&self, name: &str) -> Vec<(&'a str, &'a str)> {
        let mut map = Vec::new();
        for part in self.text(name).into_iter().flat_map(|text| text.split("||")).filter(|part| !part.trim().is_empty())
        {
            match part.split_once(':') {
                Some((name, value)) => map.push((name.trim(), value.trim())),
                None => self.tell(name, &format!("`{}` has no colon", part.trim().escape_debug())),
            }
        }
        map
    }

    /// A text in YAML; one that cannot be read is told, and is not there, as in Traefik.
    #[must_use]
    pub(super) fn yaml<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.parsed(name).and_then(|read| read.map_err(|what| self.tell(name, &what)).ok())
    }

    /// The same, of what requests are refused for where it cannot be read.
    #[must_use]
    pub(super) fn strict_yaml<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.parsed(name).and_then(|read| read.map_err(|what| self.deny(name, &what)).ok())
    }

    fn parsed<T: DeserializeOwned>(&self, name: &str) -> Option<Result<T, String>> {
        self.text(name).map(|text| texts::yaml(name, text))
    }
}

/// What tells requests apart, as a key of limits here; `None` where it is none of Traefik's.
#[must_use]
pub(super) fn extractor(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "client.ip" => Some("client_ip".to_owned()),
        "request.host" => Some("host".to_owned()),
        lower => {
            let field = lower.strip_prefix("request.header.").filter(|field| !field.is_empty())?;
            Some(format!("header:{field}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::kubernetes::objects::ObjectName;

    #[test]
    fn names_are_looked_up_in_their_order_and_types_are_those_of_go() {
        let name = ObjectName::new("shop", "i");
        let owner = Owner { kind: "Ingress", name: &name };
        let annotations = [
            ("traefik.frontend.priority", "1"),
            ("traefik.ingress.kubernetes.io/priority", "2"),
            ("ingress.kubernetes.io/priority", "3"),
            ("traefik.frontend.passHostHeader", "F"),
            ("ingress.kubernetes.io/ssl-redirect", "yes"),
            ("ingress.kubernetes.io/custom-request-headers", "A:b:c || X: ||nothing"),
            ("ingress.kubernetes.io/frontend-entry-points", " http,, https "),
            ("ingress.kubernetes.io/affinity", "true"),
            ("ingress.kubernetes.io/nonsense", "x"),
            ("other.io/priority", "9"),
        ];
        let annotations = annotations.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
        let notes = TraefikNotes::read(owner, AnnotatedKind::Ingress, Some(&annotations));
        assert_eq!(notes.number("priority"), Some(3));
        assert_eq!((notes.flag("preserve-host"), notes.flag("ssl-redirect")), (Some(false), None));
        assert_eq!(notes.map("custom-request-headers"), [("A", "b:c"), ("X", "")]);
        assert_eq!(notes.list("frontend-entry-points"), ["http", "https"]);
        let mut plan = Plan::default();
        notes.finish(&mut plan);
        let told: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "Ingress shop/i: ingress.kubernetes.io/affinity: it is for a Service",
                "Ingress shop/i: ingress.kubernetes.io/custom-request-headers: `nothing` has no colon",
                "Ingress shop/i: ingress.kubernetes.io/nonsense: Traefik 1.7 has no annotation of this name",
                "Ingress shop/i: ingress.kubernetes.io/ssl-redirect: `yes` is neither true nor false; the default holds",
            ]
        );
    }
}
