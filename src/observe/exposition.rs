//! The text format of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>): families, series and their values.

use std::fmt::Write as _;

/// The head of a family of series.
pub(super) fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One series, with the names and values of its labels.
pub(super) fn sample(out: &mut String, name: &str, names: &str, value: u64) {
    let _ = if names.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{names}}} {value}") };
}

/// Microseconds as seconds, without the rounding of a float.
pub(super) fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let trimmed = text.trim_end_matches('0');
    if let Some(whole) = trimmed.strip_suffix('.') { format!("{whole}.0") } else { trimmed.to_owned() }
}

/// A value of a label.
pub(super) fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
