//! How fast a large cluster is taken up: `cargo bench --bench cluster [-- SERVICES [DIALECT] [TRAEFIK]]`, the last a program of Traefik 3 that is
//! measured beside.
//!
//! So many Services with ten endpoints and an Ingress each, in an API server in memory. Told are the time from the start to the first answer of the
//! last host and the memory then; then, at 100 changes a second for ten seconds, how long a changed endpoint takes to be served, and the CPU of a change.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests end the bench")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench waits and shares as it likes")]
#![expect(unreachable_pub, reason = "modules of one program")]

#[path = "../../tests/api_server/mod.rs"]
mod api_server;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api_server::ApiServer;
use serde_json::{Value, json};

const CHANGES: u16 = 1_000;
const PACE: Duration = Duration::from_millis(10);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let count: usize = words.iter().find_map(|word| word.parse().ok()).unwrap_or(5_000);
    let dialect = words.iter().find(|word| ["ingress-nginx", "traefik1"].contains(&word.as_str()));
    let traefik = words.iter().find(|word| word.ends_with("traefik"));
    let origins = [origin("a"), origin("b")];
    let api = ApiServer::start();
    for at in 0..count {
        let addresses: Vec<_> = (0..10).map(|n| format!("10.{}.{}.{}", 1 + n, at / 250, 1 + at % 250)).collect();
        fill(&api, at, &addresses, 8080);
    }
    let folder = std::env::temp_dir().join(format!("ringress-bench-cluster-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let dialect = dialect.map_or("ringress", String::as_str);
    println!("{count} Ingresses, {count} Services, {} endpoints; dialect {dialect}", count * 10);
    let (mut command, listen) = ringress(&api, &folder, dialect);
    measure("Ringress", &mut command, (&api, count, &origins), listen);
    if let Some(program) = traefik {
        let (mut command, listen) = of_traefik(&api, program);
        measure("Traefik", &mut command, (&api, count, &origins), listen);
    }
    let _ = std::fs::remove_dir_all(folder);
}

fn ringress(api: &ApiServer, folder: &Path, dialect: &str) -> (Command, SocketAddr) {
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

fn of_traefik(api: &ApiServer, program: &str) -> (Command, SocketAddr) {
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

fn measure(
    name: &str,
    command: &mut Command,
    (api, count, origins): (&ApiServer, usize, &[SocketAddr; 2]),
    listen: SocketAddr,
) {
    slice(api, count - 1, &[origins[0].ip().to_string()], origins[0].port());
    let started = Instant::now();
    let mut process = command.stdin(Stdio::null()).spawn().unwrap();
    let host = format!("h{}.test", count - 1);
    while ask(listen, &host) != "a" {
        std::thread::sleep(Duration::from_millis(5));
        assert!(started.elapsed() < Duration::from_mins(2), "{name} serves nothing");
    }
    println!(
        "{name}: first answer of the last host: {:.2} s; {} MiB",
        started.elapsed().as_secs_f64(),
        memory_mib(&process)
    );
    let before = cpu_ms(&process);
    let mut times = Vec::new();
    for change in 0..usize::from(CHANGES) {
        let began = Instant::now();
        if change % 10 == 0 {
            let to = (change / 10 + 1) % 2;
            slice(api, count - 1, &[origins[to].ip().to_string()], origins[to].port());
            while ask(listen, &host) != ["a", "b"][to] {
                assert!(began.elapsed() < Duration::from_mins(1), "{name} does not follow");
            }
            times.push(began.elapsed());
        } else {
            let at = change * 7 % (count - 1);
            slice(api, at, &[format!("10.99.{}.{}", change / 250, 1 + change % 250)], 8080);
        }
        std::thread::sleep(PACE.saturating_sub(began.elapsed()));
    }
    let cpu = (cpu_ms(&process) - before) / f64::from(CHANGES);
    times.sort();
    println!(
        "{name}: a change is served after {:.1} ms (p50), {:.1} ms (p99); {cpu:.2} ms of CPU a change, the requests that look for it among them; {} MiB",
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() * 99 / 100].as_secs_f64() * 1e3,
        memory_mib(&process)
    );
    process.kill().unwrap();
    process.wait().unwrap();
}

fn fill(api: &ApiServer, at: usize, addresses: &[String], port: u16) {
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": format!("s{at}") },
        "spec": { "ports": [{ "name": "web", "port": 80 }] } });
    let rule = json!({ "host": format!("h{at}.test"), "http": { "paths": [{ "path": "/", "pathType": "Prefix",
        "backend": { "service": { "name": format!("s{at}"), "port": { "number": 80 } } } }] } });
    let ingress = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": format!("i{at}") },
        "spec": { "rules": [rule] } });
    api.store.apply("shop", service);
    api.store.apply("shop", ingress);
    slice(api, at, addresses, port);
}

fn slice(api: &ApiServer, at: usize, addresses: &[String], port: u16) {
    let endpoints: Vec<Value> =
        addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect();
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": format!("s{at}-1"), "labels": { "kubernetes.io/service-name": format!("s{at}") } },
        "endpoints": endpoints, "ports": [{ "name": "web", "port": port }] });
    api.store.apply("shop", slice);
}

/// A server that says who it is.
fn origin(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let Ok(mut stream) = stream else { return };
                let mut buffer = [0; 4_096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// What a host answers now; empty where nobody does.
fn ask(address: SocketAddr, host: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let asked = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
    let mut answer = String::new();
    if asked.is_err() || stream.read_to_string(&mut answer).is_err() {
        return String::new();
    }
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

fn memory_mib(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// CPU time so far; a tick is 10 ms.
fn cpu_ms(process: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) * 10.0
}
