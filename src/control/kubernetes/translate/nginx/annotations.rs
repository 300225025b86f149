//! The annotations of one Ingress: read by name, checked by their grammar, told where they are wrong.

use super::grammar::{Grammar, size};
use super::rows::{AnnotationRow, PREFIX, row_of};
use super::settings::ClusterSettings;
use super::variables::{Constants, template};
use crate::control::kubernetes::objects::{Ingress, Named as _};
use crate::control::kubernetes::translate::findings::Findings;
use crate::control::kubernetes::translate::meaning::Meaning;
use crate::control::kubernetes::translate::plan::{Owner, Plan};
use crate::control::kubernetes::translate::texts::{flag, networks};
use crate::filter::Filter;

/// The annotations of an Ingress.
#[derive(Debug)]
pub(super) struct Annotations<'a> {
    /// Whose they are.
    pub owner: Owner<'a>,
    /// The object.
    pub ingress: &'a Ingress,
    findings: Findings<'a>,
}

impl<'a> Annotations<'a> {
    /// Those of an Ingress, with what is wrong with them; `None` where the whole object is refused.
    pub(super) fn read(
        plan: &mut Plan,
        settings: &ClusterSettings<'_>,
        owner: Owner<'a>,
        ingress: &'a Ingress,
    ) -> Option<Self> {
        let read = Self { owner, ingress, findings: Findings::new(owner) };
        let blocked: Vec<&str> = settings
            .text("annotation-value-word-blocklist")
            .map(|words| words.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
            .unwrap_or_default();
        let mut refused = None;
        for (name, text) in ingress.metadata.annotations.iter().flatten() {
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            let Some(row) = row_of(name) else {
                read.tell(name, "ingress-nginx has no annotation of this name");
                continue;
            };
            if row.risk > settings.risk() {
                let what =
                    format!("its risk is {:?}, and the ConfigMap allows {:?} at most", row.risk, settings.risk());
                refused = refused.or(Some((name, what)));
            } else if let Some(word) = blocked.iter().find(|word| text.contains(**word)) {
                refused = refused.or(Some((name, format!("the ConfigMap forbids `{word}` in annotations"))));
            } else {
                read.check(row, text);
            }
        }
        if let Some((name, what)) = refused {
            plan.problem(
                owner,
                &format!("{PREFIX}{name}"),
                what,
                "take the annotation away: the whole object is refused",
            );
            return None;
        }
        Some(read)
    }

    /// Tells what is wrong with the text of an annotation, or that it has no meaning here.
    fn check(&self, row: &AnnotationRow, text: &str) {
        if let Meaning::Refused(why) = row.meaning {
            self.tell(row.name, &format!("it is refused: {why}"));
        } else if !text.is_empty()
            && (row.grammar != Grammar::Any && text.contains(['\r', '\n']) || !row.grammar.has(text))
        {
            self.tell(row.name, &format!("`{}` is not what it may say; the default holds", text.escape_debug()));
        }
    }

    /// Notes what is wrong with an annotation.
    pub(super) fn tell(&self, name: &str, what: &str) {
        self.findings.tell(&format!("{PREFIX}{name}"), what);
    }

    /// Has all requests of this Ingress refused, for what is wrong with an annotation.
    pub(super) fn deny(&self, name: &str, what: &str) {
        self.findings.deny(&format!("{PREFIX}{name}"), what);
    }

    /// True where all its requests are refused.
    #[must_use]
    pub(super) const fn is_denied(&self) -> bool {
        self.findings.is_denied()
    }

    /// Tells what was found wrong until now, each once.
    pub(super) fn finish(&self, plan: &mut Plan) {
        self.findings.finish(plan);
    }

    /// The text of an annotation that says what it may; `None` where it is not there, empty, or wrong.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let text = self.ingress.annotation(&format!("{PREFIX}{name}"))?.trim();
        let row = row_of(name)?;
        let is_right = !text.is_empty()
            && !matches!(row.meaning, Meaning::Refused(_))
            && row.grammar.has(text)
            && (row.grammar == Grammar::Any || !text.contains(['\r', '\n']));
        is_right.then_some(text)
    }

    /// True where an annotation is there and not empty, right or wrong.
    #[must_use]
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.ingress.annotation(&format!("{PREFIX}{name}")).is_some_and(|text| !text.trim().is_empty())
    }

    /// A switch.
    #[must_use]
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).and_then(flag)
    }

    /// A switch of `on` and `off`.
    #[must_use]
    pub(super) fn on(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "on")
    }

    /// A number of 0 and more.
    #[must_use]
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// A size in bytes.
    #[must_use]
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(size)
    }

    /// Networks; the requests of an Ingress are refused where they cannot be read.
    #[must_use]
    pub(super) fn networks(&self, names: [&str; 2]) -> Option<Vec<String>> {
        let name = names.into_iter().find(|name| self.is_there(name))?;
        let list = self.text(name).and_then(networks);
        if list.is_none() {
            self.deny(name, "the list has what is no network");
        }
        list
    }

    /// One of these words, whatever its case; a text that is none of them is told.
    #[must_use]
    pub(super) fn word<'w>(&self, name: &str, words: &[&'w str]) -> Option<&'w str> {
        let text = self.text(name)?;
        let found = words.iter().copied().find(|word| word.eq_ignore_ascii_case(text));
        if found.is_none() {
            self.tell(name, &format!("`{text}` is none of {}; the default holds", words.join(", ")));
        }
        found
    }

    /// A text with variables, as one with ours; requests are refused where it has one that has no meaning here.
    #[must_use]
    pub(super) fn template(&self, name: &str, constants: Constants<'_>) -> Option<String> {
        if !self.is_there(name) {
            return None;
        }
        let Some(text) = self.text(name) else {
            self.deny(name, "it is not what it may say");
            return None;
        };
        template(text, constants).map_err(|what| self.deny(name, &what)).ok()
    }

    /// A filter as the configuration writes it. What does not fit is a fault of ours, and its requests are refused.
    #[must_use]
    pub(super) fn filter(&self, name: &str, written: serde_json::Value) -> Option<Filter> {
        self.findings.filter(&format!("{PREFIX}{name}"), written)
    }
}
