//! Where configurations come from: the plane waits for any of them to change, and asks for what holds now.

mod file;
mod trail;

use std::path::Path;

use file::FileSource;

use crate::config::problem::Problem;
use crate::config::source::Source;

/// The sources of a process.
pub(super) enum Sources {
    /// The command line: it never changes.
    Fixed,
    /// A file.
    File(FileSource),
}

impl Sources {
    /// The file at `path`, which `source` was read from, or the command line.
    pub(super) fn new(path: Option<&Path>, source: &Source) -> Self {
        path.map_or(Self::Fixed, |path| Self::File(FileSource::watch(path, source)))
    }

    /// Ends when one of them has changed; what changed. May be abandoned and called again: no change is lost.
    pub(super) async fn changed(&mut self) -> &'static str {
        match self {
            Self::Fixed => std::future::pending().await,
            Self::File(file) => {
                file.changed().await;
                "a file changed"
            }
        }
    }

    /// What holds now; `None` where nothing can have changed. `before` is what held until now.
    pub(super) fn read(&mut self, before: &Source) -> Option<Result<Source, Vec<Problem>>> {
        match self {
            Self::Fixed => None,
            Self::File(file) => Some(file.read(before)),
        }
    }
}
