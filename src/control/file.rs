//! Watches the configuration file, debounced.
//!
//! The folder is watched, not the file: editors and Kubernetes put a new file in the old one's place. Whether
//! the text changed is seen by reading it, so that an event too many reloads nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Receiver, channel};

/// Quiet time after an event before the file is read, so that a file written in parts is read whole.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A watch on one file.
pub(super) struct Watch {
    path: PathBuf,
    text: Option<Vec<u8>>,
    events: Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches from now on. Where the folder cannot be watched a warning says so, and SIGHUP remains.
    pub(super) fn new(path: &Path) -> Self {
        let (ring, events) = channel(1);
        let handler = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One waiting event says as much as many.
                let _ = ring.try_send(());
            }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "changes of the file are not seen; send SIGHUP after a change"))
            .ok();
        Self { path: path.to_owned(), text: std::fs::read(path).ok(), events, _watcher: watcher }
    }

    /// Ends when the file has another text than before.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.events.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            while tokio::time::timeout(DEBOUNCE, self.events.recv()).await.is_ok_and(|event| event.is_some()) {}
            let text = std::fs::read(&self.path).ok();
            if text.is_some() && text != self.text {
                self.text = text;
                return;
            }
        }
    }

    /// Takes what is in the file now as known.
    pub(super) fn forget(&mut self) {
        self.text = std::fs::read(&self.path).ok();
    }
}
