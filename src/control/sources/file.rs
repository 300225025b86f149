//! Watches the configuration file and the files that it names, debounced.
//!
//! Folders are watched, not files: editors and Kubernetes put a new file in the old one's place. Whether
//! the text changed is seen by reading it, so that a spurious event reloads nothing.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Receiver, channel};

use crate::config::files::Files;
use crate::config::problem::Problem;
use crate::config::source::Source;

/// Quiet time after an event before the file is read, so that a file written in parts is read whole.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A folder that is never quiet is not waited for longer than this.
const DEBOUNCE_MAX: Duration = Duration::from_secs(2);

/// Names of files whose events concern us.
#[expect(clippy::disallowed_types, reason = "between the control plane and the watcher's thread; no worker knows it")]
type Names = Arc<std::sync::Mutex<HashSet<OsString>>>;

/// True for events of the files themselves, and for a file put in another's place, as Kubernetes does with its links.
/// Logs that grow in the same folder are neither.
fn may_concern(event: &notify::Event, names: &Names) -> bool {
    let is_named = |names: &HashSet<OsString>| {
        event.paths.iter().any(|path| path.file_name().is_some_and(|name| names.contains(name)))
    };
    let is_replaced =
        matches!(event.kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    !event.kind.is_access() && (is_replaced || names.lock().is_ok_and(|names| is_named(&names)))
}

/// A configuration in a file, watched with the files that it names.
pub(in crate::control) struct FileSource {
    path: PathBuf,
    text: Option<Vec<u8>>,
    files: Rc<Files>,
    names: Names,
    events: Receiver<()>,
    /// An event came and the files were not read yet. Kept here because the wait for quiet may be cancelled.
    is_pending: bool,
    watcher: Option<notify::RecommendedWatcher>,
}

impl FileSource {
    /// Watches for other contents than those of `source`. Where a folder cannot be watched a warning says so, and SIGHUP
    /// remains.
    pub(super) fn watch(path: &Path, source: &Source) -> Self {
        let (ring, events) = channel(1);
        // Something may have changed since it was read.
        let _ = ring.try_send(());
        let names = Names::default();
        let concerning = Arc::clone(&names);
        let handler = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| may_concern(&event, &concerning)) {
                // One waiting event says as much as many.
                let _ = ring.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler).inspect_err(warn).ok();
        let mut watched = Self {
            path: path.to_owned(),
            text: source.text().map(|text| text.as_bytes().to_vec()),
            files: Rc::clone(&source.files),
            names,
            events,
            is_pending: false,
            watcher,
        };
        watched.attend();
        watched
    }

    /// Watches the folders of the files that are known now.
    fn attend(&mut self) {
        if let Ok(mut names) = self.names.lock() {
            *names = self.files.names().chain(self.path.file_name()).map(OsStr::to_owned).collect();
        }
        let own = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut folders = self.files.folders();
        folders.push(own.to_owned());
        for folder in folders {
            // A folder that was removed and made again is another inode, so it is watched anew.
            if let Some(watcher) = &mut self.watcher {
                let _ = watcher.watch(&folder, RecursiveMode::NonRecursive).inspect_err(warn);
            }
        }
    }

    /// Ends when a file has another content than before. May be abandoned and called again: no event is lost.
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
            if text.is_some() && (text != self.text || !self.files.is_same(&self.files.read_again())) {
                return;
            }
        }
    }

    /// Reads the file anew. Whatever comes of it, what was read is known from now on. `before` is what was read last.
    ///
    /// # Errors
    /// Every problem.
    pub(super) fn read(&mut self, before: &Source) -> Result<Source, Vec<Problem>> {
        let read = Source::read(&self.path);
        (self.text, self.files) = match &read {
            Ok(source) => (source.text().map(|text| text.as_bytes().to_vec()), Rc::clone(&source.files)),
            Err(_) => (std::fs::read(&self.path).ok(), Rc::new(before.files.read_again())),
        };
        self.attend();
        read
    }
}

fn warn(error: &notify::Error) {
    tracing::warn!(%error, "changes of files are not seen; send SIGHUP after a change");
}
