//! How the API server is reached.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::watching::{CONNECT_PATIENCE, whole};

/// A client by a kubeconfig, or by the account of the pod.
///
/// # Errors
/// What is wrong with either.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<Client, String> {
    let config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| whole(&error))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(|error| whole(&error))
        }
        None => Config::incluster().map_err(|error| whole(&error)),
    };
    of(config?)
}

/// A client by where `kubectl` looks: `KUBECONFIG`, the file in the home folder, else the account of the pod.
///
/// # Errors
/// What is wrong with what is there.
pub(super) async fn infer() -> Result<Client, String> {
    of(Config::infer().await.map_err(|error| whole(&error))?)
}

fn of(mut config: Config) -> Result<Client, String> {
    config.connect_timeout = Some(CONNECT_PATIENCE);
    Client::try_from(config).map_err(|error| whole(&error))
}
