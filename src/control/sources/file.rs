//! Watches the configuration file and the files that it names, debounced.
//!
//! Folders are watched, not files: editors and Kubernetes put a new file in the old one's place. Where links lead to a file, the
//! folder of each is watched (`trail.rs`). Whether the text changed is seen by reading it, so that a spurious event reloads nothing.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Receiver, channel};

use super::trail::follow;
use crate::config::files::Files;
use crate::config::problem::Problem;
use crate::config::source::Source;

/// Quiet time after an event before the file is read, so that a file written in parts is read whole.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A folder that is never quiet is not waited for longer than this.
const DEBOUNCE_MAX: Duration = Duration::from_secs(2);

/// What concerns us: names of files, of links to them and of folders; and folders of which everything does.
#[derive(Default)]
struct Concerns {
    names: HashSet<OsString>,
    folders: HashSet<PathBuf>,
}

#[expect(clippy::disallowed_types, reason = "between the control plane and the watcher's thread; no worker knows it")]
type SharedConcerns = Arc<std::sync::Mutex<Concerns>>;

impl Concerns {
    /// True where the event may be about what we read. Logs that grow in the same folder are not.
    fn include(&self, event: &notify::Event) -> bool {
        let is_ours = |path: &PathBuf| {
            path.file_name().is_some_and(|name| self.names.contains(name))
                || path.parent().is_some_and(|folder| self.folders.contains(folder))
        };
        !event.kind.is_access() && event.paths.iter().any(is_ours)
    }
}

/// A configuration in a file, watched with the files that it names.
pub(in crate::control) struct FileSource {
    path: PathBuf,
    text: Option<Vec<u8>>,
    files: Rc<Files>,
    concerns: SharedConcerns,
    events: Receiver<()>,
    /// An event came and the files were not read yet. Kept here because the wait for quiet may be cancelled.
    is_pending: bool,
    /// The configuration asks for it.
    is_watched: bool,
    watcher: Option<notify::RecommendedWatcher>,
    /// The folders that are watched.
    folders: BTreeSet<PathBuf>,
}

impl FileSource {
    /// Watches for other contents than those of `source`. Where a folder cannot be watched a warning says so, and SIGHUP
    /// remains.
    pub(super) fn watch(path: &Path, source: &Source) -> Self {
        let (ring, events) = channel(1);
        // Something may have changed since it was read.
        let _ = ring.try_send(());
        let concerns = SharedConcerns::default();
        let concerning = Arc::clone(&concerns);
        let handler = move |event: notify::Result<notify::Event>| {
            let is_ours = |event: notify::Event| concerning.lock().is_ok_and(|concerns| concerns.include(&event));
            if event.is_ok_and(is_ours) {
                // One waiting event says as much as many.
                let _ = ring.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler).inspect_err(warn).ok();
        let mut watched = Self {
            path: path.to_owned(),
            text: source.text().map(|text| text.as_bytes().to_vec()),
            files: Rc::clone(&source.files),
            concerns,
            events,
            is_pending: false,
            is_watched: source.config.watch,
            watcher,
            folders: BTreeSet::new(),
        };
        watched.attend();
        if watched.is_watched {
            let folders = watched.folders.len();
            tracing::info!(folders, "a changed file is taken up by itself; `watch = false` leaves it to SIGHUP");
        }
        watched
    }

    /// Watches the folders in which something may change now: where the files are, where links on the way to them are.
    fn attend(&mut self) {
        let mut steps = BTreeSet::new();
        let whole: Vec<PathBuf> = self.files.folders().collect();
        if self.is_watched {
            let paths = self.files.paths().chain([self.path.clone()]).chain(whole.iter().cloned());
            paths.for_each(|path| follow(&path, &mut steps));
            // Of what is in a folder everything concerns us, also where a link leads there.
            let inside = whole.iter().filter_map(|folder| std::fs::canonicalize(folder).ok());
            steps.extend(inside.map(|folder| (folder, OsString::new())));
        }
        let wanted: BTreeSet<PathBuf> = steps.iter().map(|(folder, _)| folder.clone()).collect();
        if let Ok(mut concerns) = self.concerns.lock() {
            concerns.folders =
                steps.iter().filter(|(_, name)| name.is_empty()).map(|(folder, _)| folder.clone()).collect();
            // A folder that goes is told by its own name.
            let of_folders = wanted.iter().filter_map(|folder| folder.file_name().map(OsStr::to_owned));
            concerns.names = steps.into_iter().map(|(_, name)| name).chain(of_folders).collect();
        }
        let Some(watcher) = &mut self.watcher else { return };
        for folder in self.folders.difference(&wanted) {
            // It may be gone, which is why nobody wants it.
            let _ = watcher.unwatch(folder);
        }
        for folder in &wanted {
            // Also the ones that were watched: a folder that was removed and made again is another inode.
            let _ = watcher.watch(folder, RecursiveMode::NonRecursive).inspect_err(warn);
        }
        self.folders = wanted;
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
            // Links may lead elsewhere now.
            self.attend();
            let text = std::fs::read(&self.path).ok();
            if self.is_watched && text.is_some() && (text != self.text || !self.files.is_same(&self.files.read_again()))
            {
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
        if let Ok(source) = &read {
            self.is_watched = source.config.watch;
        }
        self.attend();
        read
    }
}

fn warn(error: &notify::Error) {
    tracing::warn!(%error, "changes of files are not seen; send SIGHUP after a change");
}
