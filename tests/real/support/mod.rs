//! A proxy process, origins whose manners are a closure, and clients that see every byte.

pub mod authority;
pub mod client;
pub mod go;
pub mod origin;
pub mod proxy;
pub mod python;
pub mod secure;

pub use client::{Client, Response};
pub use origin::{After, Origin};
pub use proxy::Proxy;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything a healthy test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const ENGINES: [&str; 2] = ["io_uring", "epoll"];

/// Waits until the condition holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a connection that was just released may be reused by an endpoint that has proved nothing yet.
pub fn past_probation() {
    std::thread::sleep(Duration::from_millis(20));
}

/// The program at a path or by its name, with a clear word where it is not installed.
pub fn tool(name: &str, package: &str) -> Command {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = folders.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not installed; `apt-get install {package}` brings it")))
}

/// A process that ends with the test.
pub struct Running(pub Child);

/// A process with children that would outlive it: they are a group, which ends with the test.
pub struct Family(Child);

impl Family {
    /// Starts it; nobody reads what it says.
    pub fn spawn(command: &mut Command) -> Self {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        Self(quiet.process_group(0).spawn().unwrap())
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end; its standard output.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Bytes that look random and are the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
