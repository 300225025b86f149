//! The log of the process itself, on standard error: text on a terminal, JSON otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LineForm {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts logging. `level` is a filter as of `RUST_LOG`: `info`, `debug`, `ringress::control=debug`.
///
/// # Errors
/// The message where `level` is no filter.
pub fn start(form: LineForm, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let is_text = match form {
        LineForm::Auto => std::io::stderr().is_terminal(),
        LineForm::Text => true,
        LineForm::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(SystemTime);
    let started =
        if is_text { builder.with_target(false).try_init() } else { builder.json().flatten_event(true).try_init() };
    started.map_err(|error| error.to_string())
}

/// A level, or a filter by module.
///
/// # Errors
/// The message where it is neither.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| format!("`{level}` is not a log level: {error}"))
}
