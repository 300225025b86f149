//! What comes of an import: our configuration, and what is to be said of it.

use toml::{Table, Value};

use super::settings::TraefikSettings;

/// What came of it.
#[derive(Default)]
pub(super) struct Imported {
    /// Our configuration.
    pub config: Table,
    /// What differs, or is left out.
    pub notes: Vec<String>,
    /// Something has no equal.
    pub is_refused: bool,
}

impl Imported {
    /// Notes what means something else here.
    pub(super) fn differs(&mut self, key: &str, how: &str) {
        self.notes.push(format!("{key}: differs: {how}"));
    }

    /// Notes what has no equal.
    pub(super) fn refuse(&mut self, key: &str, why: &str) {
        self.notes.push(format!("{key}: not imported: {why}"));
        self.is_refused = true;
    }

    /// Adds a named chain of filters, as the configuration writes it.
    pub(super) fn chain(&mut self, name: &str, filters: &str) {
        let written = format!("chain = {filters}").parse::<Table>();
        let chain = written.unwrap_or_else(|error| unreachable!("{filters}: {error}"));
        self.section("filters").insert(name.to_owned(), Value::Table(chain));
    }

    /// A section of ours.
    pub(super) fn section(&mut self, name: &str) -> &mut Table {
        let section = self.config.entry(name).or_insert_with(|| Value::Table(Table::new()));
        section.as_table_mut().unwrap_or_else(|| unreachable!("a section is a table"))
    }

    /// Takes a time: the first of these settings that is there.
    pub(super) fn time(&mut self, settings: &mut TraefikSettings, paths: &[&str]) -> Option<Value> {
        let mut found = None;
        for path in paths {
            match settings.time(path) {
                Ok(time) => found = found.or(time.as_deref().map(text)),
                Err(what) => self.refuse(path, &what),
            }
        }
        found
    }
}

/// A text as a value.
pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A table as a value.
pub(super) fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
