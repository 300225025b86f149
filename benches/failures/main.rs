//! What clients see when an origin misbehaves, behind this proxy and behind others, as tables.
//!
//! `cargo bench --bench failures -- table [MODE…]` renders the tables of docs/COMPARISON.md; `-- origin MODE ADDRESS`
//! runs the misbehaving origin alone. `RINGRESS_PEERS` names a folder with envoy, traefik and caddy; with `RINGRESS_ONLY` no other
//! proxy is run.
#![expect(clippy::wildcard_enum_match_arm, reason = "most manners share what is usual")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot go on ends")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "no data plane")]
#![expect(unreachable_pub, reason = "modules of one program")]

#[path = "../../tests/misbehaving/mod.rs"]
mod misbehaving;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use misbehaving::{Clients, MODES, Mode, Origin, Outcome, run};

/// A proxy: its name, its program, its configuration, and the arguments before and behind that file's path.
struct Proxy {
    name: &'static str,
    program: &'static str,
    file: &'static str,
    arguments: &'static [&'static str],
}

const TRAEFIK: &[&str] = &[
    "--entrypoints.web.address=127.0.0.1:@LISTEN@",
    "--providers.file.filename=@FILE@",
    "--providers.file.watch=false",
    "--global.checknewversion=false",
    "--global.sendanonymoususage=false",
    "--log.level=FATAL",
];
const NGINX: &[&str] = &["-e", "stderr", "-p", "@DIR@", "-c", "@FILE@"];
const HAPROXY: &[&str] = &["-db", "-f", "@FILE@"];
const ENVOY: &[&str] = &["-c", "@FILE@", "--concurrency", "1", "--disable-hot-restart", "-l", "off"];

const PROXIES: [Proxy; 10] = [
    Proxy {
        name: "Ringress",
        program: env!("CARGO_BIN_EXE_ringress"),
        file: "ringress.toml",
        arguments: &["run", "@FILE@"],
    },
    Proxy { name: "nginx", program: "nginx", file: "nginx.conf", arguments: NGINX },
    Proxy { name: "nginx, non_idempotent", program: "nginx", file: "nginx-retry.conf", arguments: NGINX },
    Proxy { name: "HAProxy", program: "haproxy", file: "haproxy.cfg", arguments: HAPROXY },
    Proxy { name: "HAProxy, retry-on all", program: "haproxy", file: "haproxy-retry.cfg", arguments: HAPROXY },
    Proxy { name: "Envoy", program: "envoy", file: "envoy.yaml", arguments: ENVOY },
    Proxy { name: "Envoy, retry_on reset", program: "envoy", file: "envoy-retry.yaml", arguments: ENVOY },
    Proxy { name: "Traefik", program: "traefik", file: "traefik.yml", arguments: TRAEFIK },
    Proxy { name: "Traefik, retry", program: "traefik", file: "traefik-retry.yml", arguments: TRAEFIK },
    Proxy {
        name: "Caddy",
        program: "caddy",
        file: "caddy.caddyfile",
        arguments: &["run", "--config", "@FILE@", "--adapter", "caddyfile"],
    },
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["origin", mode, address] => {
            let mode = MODES.iter().find(|(name, _)| name == mode).unwrap_or_else(|| panic!("no mode {mode}"));
            let origin = Origin::start(mode.1, address).unwrap();
            println!("{} at {}", mode.0, origin.address);
            std::thread::park();
        }
        ["table", modes @ ..] => table(modes),
        _ => {
            let names: Vec<_> = MODES.iter().map(|(name, _)| *name).collect();
            println!("write: table [MODE…], or origin MODE ADDRESS; modes: {}", names.join(" "));
        }
    }
}

fn table(wanted: &[&str]) {
    let only = std::env::var("RINGRESS_ONLY").is_ok();
    let is_here = |proxy: &&Proxy| find(proxy.program).is_some() && (!only || proxy.name == "Ringress");
    let here: Vec<_> = PROXIES.iter().filter(is_here).collect();
    for proxy in PROXIES.iter().filter(|proxy| find(proxy.program).is_none()) {
        println!("{} is not installed and left out.", proxy.name);
    }
    let modes: Vec<_> = MODES.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)).collect();
    for (keep_alive, title) in [(true, "kept-alive clients"), (false, "one request for each connection")] {
        for method in ["GET", "POST"] {
            println!("\n### {method}, {title}\n");
            let names: Vec<_> = here.iter().map(|proxy| proxy.name).collect();
            println!("| origin | requests | {} |", names.join(" | "));
            println!("|---|---|{}", "---|".repeat(here.len()));
            for (name, mode) in &modes {
                let clients = clients(*mode, method, keep_alive);
                let cells: Vec<_> = here.iter().map(|proxy| cell(proxy, *mode, clients)).collect();
                println!("| {name} | {} | {} |", clients.requests, cells.join(" | "));
            }
        }
    }
}

fn clients(mode: Mode, method: &'static str, keep_alive: bool) -> Clients {
    let requests = match mode {
        Mode::Idle200 | Mode::Silent | Mode::Drips => 400,
        // HAProxy takes three seconds for each.
        Mode::ClosesOnAccept => 100,
        _ => 2_000,
    };
    // Longest pause between two requests of a client: around the time at which the origin closes.
    let pause_us = match mode {
        Mode::Idle1 => (0, 2_000),
        Mode::Idle5 => (0, 12_000),
        Mode::Idle200 => (199_000, 201_000),
        Mode::Unsolicited408 => (0, 4_000),
        _ => (0, 0),
    };
    let body_bytes = match (method, mode) {
        ("GET", _) => 0,
        (_, Mode::EarlyCloses | Mode::EarlyResets) => 1 << 20,
        _ => 100,
    };
    Clients { method, body_bytes, requests, at_once: 20, keep_alive, first_id: 0, pause_us }
}

/// What one proxy makes of one origin.
fn cell(proxy: &Proxy, mode: Mode, clients: Clients) -> String {
    let origin = Origin::start(mode, "127.0.0.1:0").unwrap();
    let running = Running::start(proxy, origin.address);
    // What was needed to see it ready does not count.
    origin.forget();
    let outcome = run(running.address, clients);
    drop(running);
    let twice = origin.executed().values().filter(|count| **count > 1).count();
    describe(&outcome, twice)
}

fn describe(outcome: &Outcome, twice: usize) -> String {
    let refused: u64 = outcome.refused.values().sum();
    let mut words = Vec::new();
    for (count, what) in
        [(refused, "error"), (outcome.silent, "silent"), (outcome.cut, "cut"), (outcome.wrong, "**wrong**")]
    {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    }
    if twice > 0 {
        words.push(format!("{twice} twice"));
    }
    if words.is_empty() { "0".to_owned() } else { words.join(", ") }
}

struct Running {
    address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Running {
    fn start(proxy: &Proxy, origin: SocketAddr) -> Self {
        let address = free_address();
        let folder = std::env::temp_dir().join(format!("ringress-failures-{}", address.port()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("proxy-{}", proxy.file));
        let fill = |text: &str| {
            text.replace("@LISTEN@", &address.port().to_string())
                .replace("@ORIGIN@", &origin.port().to_string())
                .replace("@DIR@", folder.to_str().unwrap())
                .replace("@FILE@", file.to_str().unwrap())
        };
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/failures/peers").join(proxy.file);
        std::fs::write(&file, fill(&std::fs::read_to_string(template).unwrap())).unwrap();
        let child = Command::new(find(proxy.program).unwrap())
            .args(proxy.arguments.iter().map(|argument| fill(argument)))
            .envs([
                ("GOMAXPROCS", "1"),
                ("HOME", folder.to_str().unwrap()),
                ("XDG_DATA_HOME", folder.to_str().unwrap()),
            ])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { address, child, folder };
        let start = Instant::now();
        // It listens; no request is sent, for an origin may count it as its first.
        while std::net::TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{} does not start", proxy.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM first: nginx's worker would outlive its master otherwise.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if start.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port below those that the kernel gives to clients.
fn free_address() -> SocketAddr {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::SeqCst) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(program.into());
    }
    let peers = std::env::var("RINGRESS_PEERS").unwrap_or_default();
    let folders = format!("{peers}:{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    folders.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}
