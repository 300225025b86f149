//! Programs that `tests/run.sh` built of `tests/go`.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use super::proxy::free_address;
use super::{Running, eventually};

/// A program: `rclone` or `crane`.
pub fn program(name: &str) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/go").join(name);
    assert!(program.is_file(), "{name} is not built; `tests/run.sh` does it, with Go");
    Command::new(program)
}

/// One that serves at an address, which takes the place of `ADDRESS` among its arguments.
pub fn serve(name: &str, arguments: &[&str]) -> (Running, SocketAddr) {
    let address = free_address();
    let mut command = program(name);
    command.args(arguments.iter().map(|argument| argument.replace("ADDRESS", &address.to_string())));
    let child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually(&format!("{name} serves"), || TcpStream::connect(address).is_ok());
    (child, address)
}
