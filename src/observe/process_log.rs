//! The log of the process itself, on standard error: text on a terminal, JSON otherwise.
//!
//! A thread of its own writes it: where nobody reads standard error, lines are dropped and counted, and nobody waits.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use super::log_writer::LogWriter;
use crate::limits::LOG_LINES_MAX;

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

/// Starts logging, panics among it. `level` is a filter as of `RUST_LOG`: `info`, `debug`, `ringress::control=debug`.
///
/// # Errors
/// The message where `level` is no filter, or no thread can be started.
pub fn start(form: LineForm, level: &str) -> Result<LogWriter, String> {
    let filter = filter(level)?;
    let is_text = match form {
        LineForm::Auto => std::io::stderr().is_terminal(),
        LineForm::Text => true,
        LineForm::Json => false,
    };
    let standard_error = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let log = LogWriter::to("process-log", standard_error, LOG_LINES_MAX).map_err(|error| error.to_string())?;
    let lines = log.lines();
    let writer = move || lines.clone();
    let has_colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_timer(SystemTime);
    let builder = builder.with_ansi(has_colours);
    let started =
        if is_text { builder.with_target(false).try_init() } else { builder.json().flatten_event(true).try_init() };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(place, backtrace, "panicked: {message}");
    }));
    Ok(log)
}

/// A level, or a filter by module.
///
/// # Errors
/// The message where it is neither.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| format!("`{level}` is not a log level: {error}"))
}
