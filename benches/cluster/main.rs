//! How a large cluster is taken up and followed: `cargo bench --bench cluster [-- SERVICES] [DIALECT] [TRAEFIK] [beside=S] [churn=S]`.
//!
//! So many Services with ten endpoints and an Ingress each, in an API server in memory. Told are the time from the start to the first
//! answer of the last host and the memory then; then, at 100 changes a second for ten seconds, how long a changed endpoint takes to be
//! served, and the CPU of a change. `TRAEFIK` is a program of Traefik 3 that is measured beside. With `beside` what requests notice of
//! changes is measured for so many seconds, with `churn` memory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests end the bench")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench waits and shares as it likes")]
#![expect(unreachable_pub, reason = "modules of one program")]

#[path = "../../tests/api_server/mod.rs"]
mod api_server;
mod beside;
mod churn;
mod objects;
mod probe;
mod proxies;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api_server::ApiServer;
use objects::{fill, host, lead_to, slice};
use probe::{ask, cpu_ms, memory_mib, origin, permille};

const CHANGES: u16 = 1_000;
/// From one change to the next.
const PACE: Duration = Duration::from_millis(10);

/// A cluster with servers that are there.
struct Cluster {
    api: ApiServer,
    /// Its services.
    count: usize,
    origins: [SocketAddr; 2],
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let count: usize = words.iter().find_map(|word| word.parse().ok()).unwrap_or(5_000);
    assert!(count > 200, "with fewer than 200 services there is nothing to see");
    let dialect = words.iter().find(|word| ["ingress-nginx", "traefik1"].contains(&word.as_str()));
    let traefik = words.iter().find(|word| word.ends_with("traefik"));
    let seconds = |name: &str| {
        let given = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        given.map(|text| Duration::from_secs(text.parse().unwrap()))
    };
    let cluster = Cluster { api: ApiServer::start(), count, origins: [origin("a"), origin("b")] };
    fill(&cluster.api, count);
    let folder = std::env::temp_dir().join(format!("ringress-bench-cluster-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let dialect = dialect.map_or("ringress", String::as_str);
    println!("{count} Ingresses, {count} Services, {} endpoints; dialect {dialect}", count * 10);
    let ours = proxies::ringress(&cluster.api, &folder, dialect);
    let others = traefik.map(|program| ("Traefik", proxies::traefik(&cluster.api, program)));
    for (name, (mut command, listen)) in std::iter::once(("Ringress", ours)).chain(others) {
        let mut process = cluster.start(name, &mut command, listen);
        cluster.changes(name, &process, listen);
        if let Some(time) = seconds("beside") {
            beside::beside(name, (&cluster.api, count, cluster.origins[0]), listen, time);
        }
        if let Some(time) = seconds("churn") {
            churn::churn(name, &process, (&cluster.api, count), time);
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let _ = std::fs::remove_dir_all(folder);
}

impl Cluster {
    /// Starts a proxy, and tells when it serves the last host.
    fn start(&self, name: &str, command: &mut Command, listen: SocketAddr) -> Child {
        lead_to(&self.api, self.count - 1, self.origins[0]);
        let started = Instant::now();
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        while ask(listen, &host(self.count - 1)) != "a" {
            std::thread::sleep(Duration::from_millis(5));
            assert!(started.elapsed() < Duration::from_mins(2), "{name} serves nothing");
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{name}: first answer of the last host: {seconds:.2} s; {} MiB", memory_mib(&process));
        process
    }

    /// Tells how soon changes are served, and what they cost.
    fn changes(&self, name: &str, process: &Child, listen: SocketAddr) {
        let last = self.count - 1;
        let before = cpu_ms(process);
        let mut times_us = Vec::new();
        for change in 0..usize::from(CHANGES) {
            let began = Instant::now();
            if change % 10 == 0 {
                let to = (change / 10 + 1) % 2;
                lead_to(&self.api, last, self.origins[to]);
                while ask(listen, &host(last)) != ["a", "b"][to] {
                    assert!(began.elapsed() < Duration::from_mins(1), "{name} does not follow");
                }
                times_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            } else {
                let address = format!("10.99.{}.{}", change / 250, 1 + change % 250);
                slice(&self.api, change * 7 % last, &[address], 8080);
            }
            std::thread::sleep(PACE.saturating_sub(began.elapsed()));
        }
        let cpu = (cpu_ms(process) - before) / f64::from(CHANGES);
        println!(
            "{name}: a change is served after {:.1} ms (p50), {:.1} ms (p99); {cpu:.2} ms of CPU a change, the requests that look for it among them; {} MiB",
            permille(&mut times_us, 500),
            permille(&mut times_us, 990),
            memory_mib(process)
        );
    }
}
