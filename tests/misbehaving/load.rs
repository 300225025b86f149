//! The clients: so many at a time, each looking closely at what it gets.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::origin::body;

/// What is sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Requests in all.
    pub requests: u64,
    /// Clients at a time.
    pub at_once: usize,
    /// Each client keeps its connection as long as it may.
    pub keep_alive: bool,
    /// Shortest and longest pause of a client before a request, in microseconds.
    pub pause_us: (u64, u64),
    /// The first number: no two requests of an origin share one.
    pub first_id: u64,
}

/// What the clients saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Answers that were right and whole.
    pub right: u64,
    /// Other answers, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections that ended without an answer.
    pub silent: u64,
    /// Answers of 200 that were cut, and the client could tell.
    pub cut: u64,
    /// Answers of 200 that looked whole and were not those to the request.
    pub wrong: u64,
}

impl Outcome {
    /// Requests that got no right answer.
    pub fn lost(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.silent + self.cut + self.wrong
    }

    fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.silent += other.silent;
        self.cut += other.cut;
        self.wrong += other.wrong;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
    }
}

/// Runs them all.
pub fn run(to: SocketAddr, clients: Clients) -> Outcome {
    let next = AtomicU64::new(0);
    let mut sum = Outcome::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..clients.at_once)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcome = Outcome::default();
                    let mut client = Client { to, stream: None, buffer: Vec::new() };
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= clients.requests {
                            return outcome;
                        }
                        let (shortest, longest) = clients.pause_us;
                        if longest > 0 {
                            // Spread without chance, so that a run can be repeated.
                            let spread = number.wrapping_mul(7_919) % (longest - shortest + 1);
                            thread::sleep(Duration::from_micros(shortest + spread));
                        }
                        client.ask(clients.first_id + number, &clients, &mut outcome);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| sum.add(&worker.join().unwrap()));
    });
    sum
}

struct Client {
    to: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    fn ask(&mut self, id: u64, clients: &Clients, outcome: &mut Outcome) {
        if self.stream.is_none() {
            self.buffer.clear();
            let Ok(stream) = TcpStream::connect(self.to) else {
                outcome.silent += 1;
                return;
            };
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.set_nodelay(true).unwrap();
            self.stream = Some(stream);
        }
        let close = if clients.keep_alive { "" } else { "Connection: close\r\n" };
        let length = match clients.method {
            "GET" => String::new(),
            _ => format!("Content-Length: {}\r\n", clients.body_bytes),
        };
        let mut bytes =
            format!("{} /r/{id} HTTP/1.1\r\nHost: test\r\n{close}{length}\r\n", clients.method).into_bytes();
        bytes.resize(bytes.len() + clients.body_bytes, b'x');
        // An early answer may end the connection before all is sent; it is there to be read all the same.
        let _ = self.stream.as_mut().unwrap().write_all(&bytes);
        if !self.answer(id, outcome) || !clients.keep_alive {
            self.stream = None;
        }
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16_384];
        match self.stream.as_mut().unwrap().read(&mut chunk) {
            Ok(bytes) if bytes > 0 => {
                self.buffer.extend_from_slice(&chunk[..bytes]);
                true
            }
            _ => false,
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads and judges an answer; true where the connection goes on.
    fn answer(&mut self, id: u64, outcome: &mut Outcome) -> bool {
        let (head, status) = loop {
            let Some(head) = self.until(b"\r\n\r\n") else {
                outcome.silent += 1;
                return false;
            };
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
            if !(100..200).contains(&status) {
                break (head, status);
            }
        };
        let (text, is_whole) = self.body(&head);
        match status {
            200 if !is_whole => outcome.cut += 1,
            200 if text == body(id).as_bytes() => outcome.right += 1,
            200 => outcome.wrong += 1,
            _ => *outcome.refused.entry(status).or_default() += 1,
        }
        is_whole && !head.contains("connection: close") && !head.starts_with("http/1.0")
    }

    fn body(&mut self, head: &str) -> (Vec<u8>, bool) {
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("transfer-encoding:").is_some() {
            return self.chunks();
        }
        let Some(length) = field("content-length:").and_then(|length| length.parse::<usize>().ok()) else {
            while self.fill() {}
            return (std::mem::take(&mut self.buffer), true);
        };
        while self.buffer.len() < length {
            if !self.fill() {
                return (std::mem::take(&mut self.buffer), false);
            }
        }
        (self.buffer.drain(..length).collect(), true)
    }

    fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n") else { return (body, false) };
            let size = std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
            let Some(size) = size else { return (body, false) };
            while self.buffer.len() < size + 2 {
                if !self.fill() {
                    return (body, false);
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return (body, true);
            }
        }
    }
}
