//! What can be seen: access log, metrics, process log. A request never waits for any of it.

pub mod access_log;
mod exposition;
pub mod log_writer;
pub mod metrics;
pub mod process_log;
pub mod prometheus;
