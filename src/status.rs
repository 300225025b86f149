//! What the control plane shows of itself: read by the admin listener, written at each publication.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::snapshot::{Address, Labels, Snapshot};

/// An endpoint of a service, by the name of the service.
pub type CheckKey = (Arc<str>, Address);

/// What an active check found.
#[derive(Clone, Debug)]
pub struct CheckFinding {
    /// The service and the address of the endpoint.
    pub key: CheckKey,
    /// Whether it takes requests.
    pub is_up: bool,
    /// What was wrong with the last look, empty where nothing was.
    pub reason: String,
}

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
    /// What active checks found last, by service and address.
    pub findings: Arc<BTreeMap<CheckKey, CheckFinding>>,
    /// Problems of the last reload, empty where it was taken.
    pub problems: Arc<Vec<String>>,
}
