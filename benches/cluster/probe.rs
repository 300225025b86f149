//! Servers that say who they are, who asks for them, and what a process uses.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;

/// A server that says who it is.
pub fn origin(name: &'static str) -> SocketAddr {
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
pub fn ask(address: SocketAddr, host: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let asked = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
    let mut answer = String::new();
    if asked.is_err() || stream.read_to_string(&mut answer).is_err() {
        return String::new();
    }
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// Resident memory, in MiB.
pub fn memory_mib(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// CPU time so far, in milliseconds; a tick is 10 ms.
pub fn cpu_ms(process: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) * 10.0
}

/// Of times in microseconds, the one that so many of a thousand are not above, in milliseconds.
pub fn permille(times_us: &mut [u64], of_thousand: usize) -> f64 {
    times_us.sort_unstable();
    let at = (times_us.len() * of_thousand / 1_000).min(times_us.len().saturating_sub(1));
    times_us.get(at).map_or(f64::NAN, |us| std::time::Duration::from_micros(*us).as_secs_f64() * 1e3)
}
