//! Scripts of `tests/python`, with what `tests/run.sh` installed for them.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::proxy::free_address;
use super::{Running, eventually};

fn interpreter() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    assert!(python.is_file(), "the tests' Python is not installed; `tests/run.sh` makes it");
    python
}

/// A script that is to be run.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(interpreter());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A module that is installed there.
pub fn module(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.args(["-m", name]).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A script that listens at the port that it is given.
pub fn server(script: &str, manner: Option<&str>) -> (Running, SocketAddr) {
    let address = free_address();
    let mut command = python(script);
    command.arg(address.port().to_string()).args(manner).stdout(Stdio::null());
    let child = command.spawn().unwrap();
    eventually(&format!("{script} listens"), || TcpStream::connect(address).is_ok());
    (Running(child), address)
}

/// A server of every kind of call.
pub fn grpc_server() -> (Running, SocketAddr) {
    server("grpc_server.py", None)
}

/// Calls of gRPC and gRPC-web to `upstream`, and such of `/test.Gone` to where nobody is.
pub fn grpc_web_routes(upstream: SocketAddr, nobody: SocketAddr) -> String {
    format!(
        "[[routes]]\nname = \"gone\"\nservice = \"gone\"\npaths = [{{ prefix = \"/test.Gone\" }}]\nfilters = [\"grpc_web\"]\n\
         [[routes]]\nname = \"calls\"\nservice = \"calls\"\npaths = [{{ prefix = \"/test.Test\" }}]\nfilters = [\"grpc_web\"]\n\
         [services.gone]\nendpoints = [\"{nobody}\"]\nprotocol = \"h2\"\n\
         [services.calls]\nendpoints = [\"{upstream}\"]\nprotocol = \"h2\"\n"
    )
}
