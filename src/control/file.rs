//! Watches the configuration file, debounced.
//!
//! The folder is watched, not the file: editors and Kubernetes put a new file in the old one's place. Whether
//! the text changed is seen by reading it, so that an event too many reloads nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Receiver, channel};

/// Quiet time after an event before the file is read, so that a file written in parts is read whole.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A folder that is never quiet is not waited for longer than this.
const DEBOUNCE_MAX: Duration = Duration::from_secs(2);

/// True for events of the file itself, and for a file put in another's place, as Kubernetes does with its links.
/// Logs that grow in the same folder are neither.
fn may_concern(event: &notify::Event, name: Option<&std::ffi::OsStr>) -> bool {
    let is_of_file = event.paths.iter().any(|path| path.file_name() == name);
    let is_replaced = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)));
    !event.kind.is_access() && (is_of_file || is_replaced)
}

/// A watch on one file.
pub(super) struct Watch {
    path: PathBuf,
    text: Option<Vec<u8>>,
    events: Receiver<()>,
    /// An event came and the text was not looked at yet: waiting for quiet may be abandoned.
    is_pending: bool,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches for other texts than `text`. Where the folder cannot be watched a warning says so, and SIGHUP remains.
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let (ring, events) = channel(1);
        // The file may have changed since it was read.
        let _ = ring.try_send(());
        let name = path.file_name().map(std::ffi::OsStr::to_owned);
        let handler = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| may_concern(&event, name.as_deref())) {
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
        Self {
            path: path.to_owned(),
            text: Some(text.as_bytes().to_vec()),
            events,
            is_pending: false,
            _watcher: watcher,
        }
    }

    /// Ends when the file has another text than before. May be abandoned and called again: no event is lost.
    pub(super) async fn changed(&mut self) {
        loop {
            if !self.is_pending && self.events.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            self.is_pending = true;
            let start = tokio::time::Instant::now();
            while start.elapsed() < DEBOUNCE_MAX
                && tokio::time::timeout(DEBOUNCE, self.events.recv()).await.is_ok_and(|event| event.is_some())
            {
            }
            self.is_pending = false;
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
