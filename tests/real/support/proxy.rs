//! A proxy as a process of its own, with a configuration in a folder of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Client, eventually, output, tool};

pub struct Proxy {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: PathBuf,
    engine: &'static str,
    child: Child,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A port of the loopback interface that nobody listens on. Below the range of ports that the kernel gives to
/// clients: a client that looks whether somebody listens may be given that very port and find itself.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize * 211;
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + u16::try_from(number % 20_000).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Proxy {
    /// Starts one whose listener `web` has these further keys, with this further configuration.
    pub fn start_with(engine: &'static str, web: &str, rest: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ringress-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (address, admin) = (free_address(), free_address());
        std::fs::write(folder.join("ringress.toml"), config(&folder, engine, address, admin, web, rest)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ringress"))
            .args(["run", folder.join("ringress.toml").to_str().unwrap(), "--log-format", "json"])
            .stdout(std::fs::File::create(folder.join("stdout.log")).unwrap())
            .stderr(std::fs::File::create(folder.join("process.log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Self { address, admin, folder, engine, child };
        eventually("the proxy listens", || {
            assert!(proxy.child.try_wait().unwrap().is_none(), "the proxy ended: {}", proxy.process_log());
            TcpStream::connect(address).is_ok() && TcpStream::connect(admin).is_ok()
        });
        proxy
    }

    pub fn start(engine: &'static str, rest: &str) -> Self {
        Self::start_with(engine, "", rest)
    }

    /// One that forwards everything to these endpoints.
    pub fn to(engine: &'static str, endpoints: &[SocketAddr]) -> Self {
        Self::start(engine, &service(endpoints, ""))
    }

    /// Puts another configuration into the file.
    pub fn rewrite(&self, web: &str, rest: &str) {
        let text = config(&self.folder, self.engine, self.address, self.admin, web, rest);
        std::fs::write(self.folder.join("ringress.toml"), text).unwrap();
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Sets how many files it may have open from now on.
    pub fn limit_files(&self, soft: &str) {
        let id = self.child.id().to_string();
        output(tool("prlimit", "util-linux").args(["--pid", &id, &format!("--nofile={soft}:")]));
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time used so far, in clock ticks (usually of 10 ms).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// The exit code, once it has ended.
    pub fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn process_log(&self) -> String {
        std::fs::read_to_string(self.folder.join("process.log")).unwrap()
    }

    /// The lines that are whole: a reader may meet a write half done.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only line with this target, once it is written.
    pub fn line(&self, target: &str) -> serde_json::Value {
        let mut found = Vec::new();
        eventually(&format!("a line of {target}"), || {
            found = self.access_log().into_iter().filter(|line| line["target"] == target).collect();
            !found.is_empty()
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    pub fn metrics(&self) -> String {
        let response = Client::connect(self.admin).get("/metrics");
        assert_eq!(response.status, 200);
        String::from_utf8(response.body).unwrap()
    }

    /// The sum of all samples whose name and labels begin so.
    pub fn metric(&self, start: &str) -> u64 {
        let text = self.metrics();
        let samples = text.lines().filter(|line| line.starts_with(start));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// A field of /proc/PID/status, in KiB.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("process log:\n{}", self.process_log());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A service `all` with these endpoints and further keys, and a route to it.
pub fn service(endpoints: &[SocketAddr], keys: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
    format!(
        "[[routes]]\nname = \"all\"\nservice = \"all\"\n[services.all]\nendpoints = [{}]\n{keys}\n",
        endpoints.join(", ")
    )
}

fn config(
    folder: &std::path::Path,
    engine: &str,
    address: SocketAddr,
    admin: SocketAddr,
    web: &str,
    rest: &str,
) -> String {
    format!(
        "[workers]\nthreads = 2\nengine = \"{engine}\"\n[access_log]\npath = \"{}\"\n[admin]\naddress = \"{admin}\"\nhosts = [\"test\"]\n\
         [listeners.web]\naddress = \"{address}\"\ndetails = \"body\"\n{web}\n{rest}",
        folder.join("access.log").display()
    )
}
