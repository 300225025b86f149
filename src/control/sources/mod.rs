//! Where configurations come from: the plane waits for any of them to change, and asks for what holds now.

mod file;
mod trail;

use std::path::Path;
use std::sync::Arc;

use file::FileSource;

use super::kubernetes::{Cluster, ClusterChange};
use crate::config::problem::Problem;
use crate::config::services::ServiceSpec;
use crate::config::source::Source;

/// The sources of a process, which together are one configuration.
pub(super) struct Sources {
    /// A file; `None` where the command line says it all.
    file: Option<FileSource>,
    /// A cluster beside it.
    cluster: Option<Cluster>,
    /// What the file, or the command line, says by itself.
    base: Source,
    /// What the file says by itself now, until somebody has taken it.
    offered: Option<Source>,
}

/// What changed.
pub(super) enum Changed {
    /// A file.
    File,
    /// Objects of a cluster.
    Objects,
    /// The endpoints of these services of a cluster, and nothing else.
    Endpoints(Vec<(String, Arc<ServiceSpec>)>),
}

impl Sources {
    /// The file at `path`, which `base` was read from, or the command line; and the cluster that it names.
    ///
    /// # Errors
    /// Where it is not known how the cluster is reached.
    pub(super) async fn new(path: Option<&Path>, base: Source) -> Result<Self, Vec<Problem>> {
        let cluster = match &base.config.kubernetes {
            Some(spec) => Some(Cluster::start(&base, spec).await?),
            None => None,
        };
        let file = path.map(|path| FileSource::watch(path, &base));
        Ok(Self { file, cluster, base, offered: None })
    }

    /// Ends when one of them has changed; what changed. May be abandoned and called again: no change is lost.
    pub(super) async fn changed(&mut self) -> Changed {
        let file = async {
            match &mut self.file {
                Some(file) => file.changed().await,
                None => std::future::pending().await,
            }
        };
        let cluster = async {
            match &mut self.cluster {
                Some(cluster) => cluster.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = file => Changed::File,
            change = cluster => match change {
                ClusterChange::All => Changed::Objects,
                ClusterChange::Endpoints(services) => Changed::Endpoints(services),
            },
        }
    }

    /// What all of them say, the file as it was taken last.
    pub(super) fn joined(&self) -> Source {
        self.join(&self.base)
    }

    /// Reads the file again; what all of them say. `None` where there is no file that can have changed.
    pub(super) fn read(&mut self) -> Option<Result<Source, Vec<Problem>>> {
        let file = self.file.as_mut()?;
        Some(file.read(&self.base).map(|base| {
            let joined = self.join(&base);
            self.offered = Some(base);
            joined
        }))
    }

    /// What was read is what holds now.
    pub(super) fn accept(&mut self) {
        if let Some(base) = self.offered.take() {
            if let Some(cluster) = &mut self.cluster {
                cluster.stands_beside(&base);
            }
            self.base = base;
        }
    }

    /// What is wrong with objects of the cluster.
    pub(super) fn problems(&self) -> &[Problem] {
        self.cluster.as_ref().map_or(&[], Cluster::problems)
    }

    fn join(&self, base: &Source) -> Source {
        self.cluster.as_ref().map_or_else(|| base.clone(), |cluster| cluster.join(base))
    }
}
