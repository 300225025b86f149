//! What the control plane shows of itself: read by the admin listener, written at each publication.

use std::sync::Arc;

use crate::config::Config;
use crate::snapshot::{Labels, Snapshot};

/// The present state.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What the workers run with.
    pub snapshot: Arc<Snapshot>,
    /// The configuration that it was made of.
    pub config: Arc<Config>,
    /// The names behind labels.
    pub labels: Arc<Labels>,
    /// True since the process was told to end.
    pub is_draining: bool,
    /// Problems of the last reload, empty where it was taken.
    pub problems: Arc<Vec<String>>,
}
