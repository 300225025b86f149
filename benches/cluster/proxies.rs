//! The proxies that are measured, each at an address of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::api_server::ApiServer;

/// Ringress with this dialect.
pub fn ringress(api: &ApiServer, folder: &Path, dialect: &str) -> (Command, SocketAddr) {
    let listen = free_address();
    let config = format!(
        "[kubernetes]\nkubeconfig = \"{}\"\ndialects = [\"{dialect}\"]\nwithout_class = \"{dialect}\"\n[listeners.web]\naddress = \"{listen}\"\n",
        api.kubeconfig(folder).display()
    );
    std::fs::write(folder.join("ringress.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    command.args(["run", folder.join("ringress.toml").to_str().unwrap(), "--log-level", "warn"]);
    (command, listen)
}

/// Traefik 3, this program.
pub fn traefik(api: &ApiServer, program: &str) -> (Command, SocketAddr) {
    let listen = free_address();
    let mut command = Command::new(program);
    command.args([
        format!("--entrypoints.web.address={listen}"),
        "--providers.kubernetesingress=true".to_owned(),
        format!("--providers.kubernetesingress.endpoint=http://{}", api.address),
        "--providers.kubernetesingress.token=secret".to_owned(),
        "--global.checknewversion=false".to_owned(),
        "--log.level=ERROR".to_owned(),
    ]);
    (command, listen)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
