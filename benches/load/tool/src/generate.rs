//! The load: a closed loop that saturates, or a fixed rate whose latencies count from when a request should have been sent.

use std::collections::VecDeque;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;

use crate::connection::{Connection, Turn};
use crate::handshakes;
use crate::net::{self, Poller};
use crate::requests::{Batch, Workload};
use crate::response::Reader;

#[derive(Args, Clone)]
pub struct Arguments {
    /// Port on 127.0.0.1.
    #[arg(long)]
    connect: u16,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Requests per second, evenly spaced, whether or not answers come; 0: each connection as fast as it can.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Connections that have one answer and then do nothing.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Processes whose CPU time is read at the start and at the end, with all their threads.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    #[command(flatten)]
    workload: Workload,
}

/// What ends a thread that is broken: this many errors.
const MOST_ERRORS: u64 = 1_000;
/// A request that has had no answer for so long at the end of a run never gets one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What the threads of a load and the one that measures share.
#[derive(Default)]
pub struct Shared {
    phase: AtomicU8,
    pub requests: AtomicU64,
    pub errors: AtomicU64,
}

/// What was measured.
pub struct Window {
    seconds: f64,
    requests: u64,
    cpu_seconds: Option<f64>,
}

/// Runs the workload and prints what came of it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let idle = warm_connections(arguments.connect, arguments.idle)?;
    let shared = Arc::new(Shared::default());
    let threads: Vec<_> = (0..arguments.threads)
        .map(|number| {
            let (arguments, shared) = (arguments.clone(), Arc::clone(&shared));
            std::thread::spawn(move || Client::new(&arguments, number).and_then(|client| client.run(&shared)))
        })
        .collect();
    std::thread::sleep(Duration::from_secs_f64(arguments.warm_up));
    let window = shared.measure(arguments.seconds, &arguments.pids)?;
    let mut latencies = new_histogram();
    let mut first_error = None;
    let mut connections = Vec::new();
    for thread in threads {
        match thread.join().expect("a thread of the load") {
            Ok(outcome) => {
                latencies.add(&outcome.latencies)?;
                first_error = first_error.or(outcome.first_error);
                connections.push(outcome.connections);
            }
            Err(error) => {
                shared.errors.fetch_add(1, Ordering::Relaxed);
                first_error = first_error.or(Some(format!("{error:#}")));
            }
        }
    }
    let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let latency = serde_json::json!({
        "p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "p999": micros(0.999),
        "max": latencies.max() as f64 / 1000.0, "count": latencies.len(),
    });
    shared.tell(&window, first_error.as_deref(), &latency)?;
    drop((idle, connections));
    Ok(())
}

impl Shared {
    /// Says that it is ready, and on a line of input measures for so long.
    pub fn measure(&self, seconds: f64, pids: &[u32]) -> anyhow::Result<Window> {
        say("ready")?;
        std::io::stdin().lock().read_line(&mut String::new())?;
        let (start, before) = (Instant::now(), cpu_seconds(pids));
        let requests = self.requests.load(Ordering::Relaxed);
        self.phase.store(MEASURING, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs_f64(seconds));
        self.phase.store(OVER, Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed) - requests;
        let (seconds, after) = (start.elapsed().as_secs_f64(), cpu_seconds(pids));
        Ok(Window { seconds, requests, cpu_seconds: after.zip(before).map(|(after, before)| after - before) })
    }

    /// Prints what came of it and waits for the end of the input: what closing connections costs the proxy does not count.
    pub fn tell(&self, window: &Window, first_error: Option<&str>, latency: &serde_json::Value) -> anyhow::Result<()> {
        say(&serde_json::json!({
            "seconds": window.seconds,
            "requests": window.requests,
            "errors": self.errors.load(Ordering::Relaxed),
            "first_error": first_error,
            "cpu_seconds": window.cpu_seconds,
            "latency_us": latency,
        })
        .to_string())?;
        std::io::stdin().lock().read_to_end(&mut Vec::new())?;
        Ok(())
    }

    pub fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }
}

/// Opens connections that have one answer each and keeps them until the input ends.
pub fn hold(port: u16, count: usize, tls: bool) -> anyhow::Result<()> {
    let (plain, sealed) = if tls { (0, count) } else { (count, 0) };
    let connections = (warm_connections(port, plain)?, handshakes::warm_connections(port, sealed)?);
    say("ready")?;
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    drop(connections);
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn warm_connections(port: u16, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut buffer = [0; 4096];
    (0..count)
        .map(|_| {
            let mut stream = net::connect(port)?;
            stream.set_nonblocking(false)?;
            ask(&mut stream, &mut buffer)?;
            Ok(stream)
        })
        .collect()
}

/// One request and the whole answer to it.
pub fn ask(stream: &mut (impl std::io::Read + std::io::Write), buffer: &mut [u8]) -> anyhow::Result<()> {
    stream.write_all(b"GET /200 HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut reader = Reader::default();
    loop {
        let length = stream.read(buffer)?;
        anyhow::ensure!(length > 0, "the proxy closed a connection");
        if reader.take(&buffer[..length], 200)?.1.is_some() {
            return Ok(());
        }
    }
}

/// CPU seconds of all threads, by the scheduler's count in nanoseconds.
fn cpu_seconds(pids: &[u32]) -> Option<f64> {
    let mut nanos = 0;
    for pid in pids {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    (!pids.is_empty()).then_some(nanos as f64 / 1e9)
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("bounds that are known")
}

/// One thread of the load.
struct Client {
    arguments: Arguments,
    poller: Poller,
    batches: Vec<Batch>,
    /// Number of the batch that is next.
    next: usize,
    outcome: Outcome,
}

/// What a thread of the load leaves.
struct Outcome {
    connections: Vec<Connection>,
    latencies: Histogram<u64>,
    first_error: Option<String>,
}

impl Client {
    fn new(arguments: &Arguments, number: usize) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        let share =
            arguments.connections / arguments.threads + usize::from(number < arguments.connections % arguments.threads);
        let connections = (0..share)
            .map(|key| Connection::open(arguments.connect, key as u64, arguments.workload.websocket, &poller))
            .collect::<anyhow::Result<_>>()?;
        let batches = arguments.workload.batches();
        let next = number * batches.len() / arguments.threads;
        let outcome = Outcome { connections, latencies: new_histogram(), first_error: None };
        Ok(Self { arguments: arguments.clone(), poller, batches, next, outcome })
    }

    fn run(mut self, shared: &Shared) -> anyhow::Result<Outcome> {
        let mut schedule = (self.arguments.rate > 0.0).then(|| {
            Schedule::new(self.arguments.rate / self.arguments.threads as f64, self.outcome.connections.len())
        });
        if schedule.is_none() {
            for key in 0..self.outcome.connections.len() {
                self.begin(key, Instant::now())?;
            }
        }
        let mut ready = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        while !shared.is_over() {
            let timeout = schedule.as_ref().map_or(Duration::from_millis(20), Schedule::until_next);
            self.poller.wait(Some(timeout), &mut ready)?;
            let mut answered = 0;
            for &(key, can_write) in &ready {
                let key = key as usize;
                match self.outcome.connections[key].turn(can_write, &self.batches, &mut buffer, &self.poller) {
                    Ok(Turn::Waits) => continue,
                    Ok(Turn::Answered(started)) => {
                        answered += self.batches[0].requests as u64;
                        if shared.phase.load(Ordering::Relaxed) == MEASURING {
                            self.outcome.latencies.saturating_record(started.elapsed().as_nanos() as u64);
                        }
                        if self.arguments.workload.close {
                            self.open(key)?;
                        }
                    }
                    Err(error) => {
                        self.fail(error, shared)?;
                        self.open(key)?;
                    }
                }
                let begun = match &mut schedule {
                    None => self.begin(key, Instant::now()),
                    Some(schedule) => schedule.give_back(key).map_or(Ok(()), |(key, due)| self.begin(key, due)),
                };
                begun.or_else(|error| self.fail(error, shared))?;
            }
            shared.requests.fetch_add(answered, Ordering::Relaxed);
            if let Some(schedule) = &mut schedule {
                while let Some((key, due)) = schedule.take_due() {
                    self.begin(key, due).or_else(|error| self.fail(error, shared))?;
                }
            }
        }
        self.count_unanswered(schedule.map(|schedule| schedule.waiting).unwrap_or_default(), shared)?;
        Ok(self.outcome)
    }

    /// What has no answer at the end counts with the time that it has waited, and as an error where that is too long: a
    /// proxy that forgets a connection is not fast.
    fn count_unanswered(&mut self, waiting: VecDeque<Instant>, shared: &Shared) -> anyhow::Result<()> {
        let outstanding = self.outcome.connections.iter().filter_map(Connection::waits_since);
        let ages: Vec<_> = outstanding.chain(waiting).map(|started| started.elapsed()).collect();
        for age in ages {
            if self.arguments.rate > 0.0 {
                self.outcome.latencies.saturating_record(age.as_nanos() as u64);
            }
            if age > LONGEST_WAIT {
                self.fail(anyhow::anyhow!("a request had no answer after {age:?}"), shared)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, key: usize, started: Instant) -> anyhow::Result<()> {
        let number = self.next;
        self.next = (self.next + 1) % self.batches.len();
        debug_assert!(self.outcome.connections[key].is_idle());
        self.outcome.connections[key].begin(number, &self.batches, started, &self.poller)
    }

    /// A new connection in this one's place.
    fn open(&mut self, key: usize) -> anyhow::Result<()> {
        let arguments = &self.arguments;
        self.outcome.connections[key] =
            Connection::open(arguments.connect, key as u64, arguments.workload.websocket, &self.poller)?;
        Ok(())
    }

    fn fail(&mut self, error: anyhow::Error, shared: &Shared) -> anyhow::Result<()> {
        self.outcome.first_error.get_or_insert_with(|| format!("{error:#}"));
        let before = shared.errors.fetch_add(1, Ordering::Relaxed);
        anyhow::ensure!(before < MOST_ERRORS, "more than {MOST_ERRORS} errors; the first: {error:#}");
        Ok(())
    }
}

/// When requests are due, and which connections are free for them.
struct Schedule {
    start: Instant,
    gap: Duration,
    /// Requests that were due so far.
    count: u32,
    free: VecDeque<usize>,
    /// Requests that were due while no connection was free.
    waiting: VecDeque<Instant>,
}

impl Schedule {
    fn new(rate: f64, connections: usize) -> Self {
        let gap = Duration::from_secs_f64(1.0 / rate);
        Self { start: Instant::now(), gap, count: 0, free: (0..connections).collect(), waiting: VecDeque::new() }
    }

    fn due(&self) -> Instant {
        self.start + self.gap * self.count
    }

    fn until_next(&self) -> Duration {
        self.due().saturating_duration_since(Instant::now())
    }

    /// The next request that is due, and the connection that takes it.
    fn take_due(&mut self) -> Option<(usize, Instant)> {
        while self.due() <= Instant::now() {
            let due = self.due();
            self.count += 1;
            match self.free.pop_front() {
                Some(key) => return Some((key, due)),
                None => self.waiting.push_back(due),
            }
        }
        None
    }

    /// A connection is free again; it takes what waits longest.
    fn give_back(&mut self, key: usize) -> Option<(usize, Instant)> {
        match self.waiting.pop_front() {
            Some(due) => Some((key, due)),
            None => {
                self.free.push_back(key);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_connection_counts_from_when_it_was_due() {
        let mut schedule = Schedule::new(1e6, 1);
        let start = schedule.start;
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(schedule.take_due(), Some((0, start)));
        assert_eq!(schedule.take_due(), None);
        assert!(schedule.waiting.len() > 900);
        assert_eq!(schedule.give_back(0), Some((0, start + Duration::from_micros(1))));
    }
}
