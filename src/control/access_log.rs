//! Opens the access log that a configuration names, at start, after a change and on SIGUSR1.

use crate::config::problem::Problem;
use crate::config::source::Source;
use crate::observe::log_writer::LogWriter;

/// Opens the access log that `source` names, if it names one.
///
/// # Errors
/// Why it cannot be opened; the old one stays.
pub(super) async fn open(log: &LogWriter, source: &Source) -> Result<(), Vec<Problem>> {
    let Some(access_log) = &source.config.access_log else { return Ok(()) };
    log.open(&access_log.path).await.map_err(|error| {
        let what = format!("{} cannot be opened: {error}", access_log.path.display());
        vec![source.problem("access_log.path", what, "")]
    })
}

/// Opens it anew, for it was rotated. In the background: the log's thread may wait for its disk.
pub(super) fn reopen(log: &LogWriter, source: &Source) {
    let Some(access_log) = &source.config.access_log else {
        tracing::info!("SIGUSR1: there is no access log to reopen");
        return;
    };
    let opening = log.open(&access_log.path);
    tokio::spawn(async move {
        match opening.await {
            Ok(()) => tracing::info!("SIGUSR1: the access log was reopened"),
            Err(error) => tracing::error!(%error, "SIGUSR1: the access log cannot be reopened; the old file stays"),
        }
    });
}
