//! What requests notice of changes: their latencies while endpoints change, while as many objects change that nobody refers to, and in
//! peace, by turns.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::PACE;
use crate::api_server::ApiServer;
use crate::objects::{addresses, host, lead_to, nobodys_secret, slice};
use crate::probe::permille;

/// How long each turn of a phase is.
const TURN: Duration = Duration::from_secs(5);
/// What is waited for before a turn counts.
const SETTLE: Duration = Duration::from_millis(500);
/// Clients, and the pause of each from request to request.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// Hosts that are asked.
const HOSTS: usize = 100;
const PHASES: [&str; 3] = ["in peace", "other objects change", "endpoints change"];
/// The phase of times that nobody counts.
const NONE: usize = PHASES.len();

type Times = Arc<[Mutex<Vec<u64>>; PHASES.len() + 1]>;

/// Tells the latencies of each phase, and their ratios by turns.
pub fn beside(name: &str, (api, count, origin): (&ApiServer, usize, SocketAddr), listen: SocketAddr, time: Duration) {
    (0..HOSTS).for_each(|at| lead_to(api, at, origin));
    std::thread::sleep(Duration::from_secs(2));
    let (times, phase): (Times, _) = (Arc::default(), Arc::new(AtomicUsize::new(NONE)));
    for client in 0..CLIENTS {
        let (times, phase) = (Arc::clone(&times), Arc::clone(&phase));
        std::thread::spawn(move || ask_on(listen, client, &times, &phase));
    }
    let began = Instant::now();
    let mut turns: [Vec<[f64; 3]>; PHASES.len()] = Default::default();
    let mut change = 0_usize;
    for turn in 0.. {
        if began.elapsed() > time && turn % PHASES.len() == 0 {
            break;
        }
        let now = turn % PHASES.len();
        let since = Instant::now();
        while since.elapsed() < TURN + SETTLE {
            if since.elapsed() > SETTLE {
                phase.store(now, Ordering::Relaxed);
            }
            let step = Instant::now();
            match now {
                1 => nobodys_secret(api, change),
                2 => slice(api, HOSTS + change * 7 % (count - HOSTS), &addresses(change % count, 10), 8080),
                _ => {}
            }
            change += 1;
            std::thread::sleep(PACE.saturating_sub(step.elapsed()));
        }
        phase.store(NONE, Ordering::Relaxed);
        let mut of_turn = std::mem::take(&mut *times[now].lock().unwrap());
        turns[now].push([500, 990, 999].map(|of_thousand| permille(&mut of_turn, of_thousand)));
    }
    for (phase, turns) in PHASES.iter().zip(&turns) {
        let [p50, p99, p999] = [0, 1, 2].map(|at| median(turns.iter().map(|turn| turn[at])));
        println!(
            "{name}: {phase}: p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms (medians of {} turns)",
            turns.len()
        );
    }
    for of in [0, 1] {
        let ratio = median(turns[2].iter().zip(&turns[of]).map(|(changing, other)| changing[1] / other[1]));
        println!("{name}: p99 while endpoints change over p99 while {}: {ratio:.3} (median of pairs)", PHASES[of]);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A client that asks one host after another over one connection.
fn ask_on(listen: SocketAddr, client: usize, times: &Times, phase: &AtomicUsize) {
    let mut stream = TcpStream::connect(listen).unwrap();
    let mut buffer = [0; 1_024];
    for turn in client.. {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(turn % HOSTS));
        let began = Instant::now();
        if stream.write_all(request.as_bytes()).is_err() {
            return;
        }
        // The head, and the one byte of the body; it may come in parts.
        let mut length = 0;
        while !buffer[..length].windows(5).any(|end| end == b"\r\n\r\na") {
            match stream.read(&mut buffer[length..]) {
                Ok(0) | Err(_) => return,
                Ok(read) => length += read,
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        times[phase.load(Ordering::Relaxed)].lock().unwrap().push(us);
        std::thread::sleep(PAUSE.saturating_sub(began.elapsed()));
    }
}
