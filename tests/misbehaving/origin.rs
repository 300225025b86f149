//! The origin: HTTP/1.1 on threads, one manner for all its connections.

#![expect(clippy::wildcard_enum_match_arm, reason = "most manners share what is usual")]

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How the origin misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Well,
    /// Closes after each response, and says so.
    SaysClose,
    /// Closes after each response without saying so.
    Closes,
    /// Closes a connection that was idle for 1 ms.
    Idle1,
    /// Closes a connection that was idle for 2 to 8 ms.
    Idle5,
    /// Closes a connection that was idle for 200 ms.
    Idle200,
    /// Resets on the second request of a connection, before it has read it.
    ResetsSecondUnread,
    /// Resets on the second request of a connection, after it has read it and before it is executed.
    ResetsSecondRead,
    /// Executes one request in three, then closes without an answer.
    ExecutesCloses,
    /// Executes one request in three, then resets.
    ExecutesResets,
    /// Ends one response in three inside its head.
    HalfHead,
    /// Ends one response in three inside its body.
    HalfBody,
    /// Ends one response in three inside its chunks.
    HalfChunks,
    /// Closes every connection as it comes.
    ClosesOnAccept,
    /// Closes one connection in ten as it comes, and each after its response, saying so.
    ClosesTenthOnAccept,
    /// Never answers one request in forty.
    Silent,
    /// Sends the body of one response in a hundred at one byte a second.
    Drips,
    /// Sends 100 and 103 before the answer.
    Interim,
    /// Answers before the body has come, then closes.
    EarlyCloses,
    /// Answers before the body has come, then resets.
    EarlyResets,
    /// Sends a 408 on a connection that was idle for 2 ms, and closes.
    Unsolicited408,
    /// Sends a second answer that nobody asked for.
    SecondAnswer,
    /// HTTP/1.0 without a length.
    Http10,
    /// One answer in three has both a length and chunks.
    WrongFraming,
}

/// Every mode with its name.
pub const MODES: [(&str, Mode); 24] = [
    ("well", Mode::Well),
    ("says_close", Mode::SaysClose),
    ("closes", Mode::Closes),
    ("idle_1ms", Mode::Idle1),
    ("idle_5ms_jittered", Mode::Idle5),
    ("idle_200ms", Mode::Idle200),
    ("resets_second_unread", Mode::ResetsSecondUnread),
    ("resets_second_read", Mode::ResetsSecondRead),
    ("executes_then_closes", Mode::ExecutesCloses),
    ("executes_then_resets", Mode::ExecutesResets),
    ("half_head", Mode::HalfHead),
    ("half_body", Mode::HalfBody),
    ("half_chunks", Mode::HalfChunks),
    ("closes_on_accept", Mode::ClosesOnAccept),
    ("closes_tenth_on_accept", Mode::ClosesTenthOnAccept),
    ("silent_at_times", Mode::Silent),
    ("drips", Mode::Drips),
    ("interim", Mode::Interim),
    ("early_answer_closes", Mode::EarlyCloses),
    ("early_answer_resets", Mode::EarlyResets),
    ("unsolicited_408", Mode::Unsolicited408),
    ("second_answer", Mode::SecondAnswer),
    ("http_1_0_no_length", Mode::Http10),
    ("wrong_framing", Mode::WrongFraming),
];

/// A running origin; it ends with the process.
#[derive(Clone)]
pub struct Origin {
    pub address: SocketAddr,
    book: Arc<Book>,
}

#[derive(Default)]
struct Book {
    executed: Mutex<HashMap<u64, u32>>,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Origin {
    /// Listens on `address`, whose port may be 0.
    pub fn start(mode: Mode, address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let origin = Self { address: listener.local_addr()?, book: Arc::default() };
        let book = Arc::clone(&origin.book);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = book.connections.fetch_add(1, Ordering::SeqCst);
                let is_refused =
                    mode == Mode::ClosesOnAccept || (mode == Mode::ClosesTenthOnAccept && number % 10 == 9);
                if is_refused {
                    continue;
                }
                let book = Arc::clone(&book);
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut connection = Connection { stream, buffer: Vec::new(), mode, book, number };
                    // A client that goes away ends its connection and nothing else.
                    let _ = connection.serve();
                });
            }
        });
        Ok(origin)
    }

    /// Executions of each request.
    pub fn executed(&self) -> HashMap<u64, u32> {
        self.book.executed.lock().unwrap().clone()
    }

    /// Connections accepted.
    pub fn connections(&self) -> u64 {
        self.book.connections.load(Ordering::SeqCst)
    }

    /// Forgets what was executed.
    pub fn forget(&self) {
        self.book.executed.lock().unwrap().clear();
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    mode: Mode,
    book: Arc<Book>,
    number: u64,
}

/// A request whose head was read.
struct Request {
    id: u64,
    length: Option<usize>,
    is_chunked: bool,
}

impl Connection {
    fn serve(&mut self) -> io::Result<()> {
        for turn in 0.. {
            if turn > 0 && !self.wait_for_next()? {
                return Ok(());
            }
            if turn == 1 && self.mode == Mode::ResetsSecondUnread {
                self.stream.peek(&mut [0])?;
                return self.reset();
            }
            let Some(request) = self.head()? else { return Ok(()) };
            if matches!(self.mode, Mode::EarlyCloses | Mode::EarlyResets) {
                self.execute(&request);
                self.answer(&request, "")?;
                // A moment for the answer to be on its way.
                thread::sleep(Duration::from_millis(2));
                return if self.mode == Mode::EarlyResets { self.reset() } else { Ok(()) };
            }
            self.body(&request)?;
            if turn == 1 && self.mode == Mode::ResetsSecondRead {
                return self.reset();
            }
            self.execute(&request);
            let number = self.book.requests.fetch_add(1, Ordering::SeqCst);
            if !self.reply(&request, number)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// True where the connection goes on.
    fn reply(&mut self, request: &Request, number: u64) -> io::Result<bool> {
        let is_third = number % 3 == 2;
        let whole = |fields: &str| answer(request.id, fields);
        match self.mode {
            Mode::ExecutesCloses if is_third => Ok(false),
            Mode::ExecutesResets if is_third => self.reset().map(|()| false),
            Mode::HalfHead if is_third => self.stream.write_all(&whole("")[..40]).map(|()| false),
            Mode::HalfBody if is_third => {
                let whole = whole("");
                self.stream.write_all(&whole[..whole.len() - 4]).map(|()| false)
            }
            Mode::HalfChunks => {
                let text = body(request.id);
                let end = if is_third { "" } else { "0\r\n\r\n" };
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                write!(self.stream, "{head}{:x}\r\n{text}\r\n{end}", text.len())?;
                Ok(!is_third)
            }
            Mode::Silent if number % 40 == 39 => {
                thread::sleep(Duration::from_secs(30));
                Ok(false)
            }
            Mode::Drips if number % 100 == 99 => {
                let whole = whole("");
                self.stream.write_all(&whole[..whole.len() - 3])?;
                for byte in &whole[whole.len() - 3..] {
                    thread::sleep(Duration::from_secs(1));
                    self.stream.write_all(&[*byte])?;
                }
                Ok(true)
            }
            Mode::Interim => {
                self.stream
                    .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
                self.answer(request, "").map(|()| true)
            }
            Mode::SecondAnswer => {
                self.answer(request, "")?;
                thread::sleep(Duration::from_micros(300));
                self.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged").map(|()| true)
            }
            Mode::Http10 => write!(self.stream, "HTTP/1.0 200 OK\r\n\r\n{}", body(request.id)).map(|()| false),
            Mode::WrongFraming if is_third => {
                let text = body(request.id);
                let fields = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", text.len());
                write!(self.stream, "HTTP/1.1 200 OK\r\n{fields}\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len())?;
                Ok(false)
            }
            Mode::SaysClose | Mode::ClosesTenthOnAccept => {
                self.answer(request, "Connection: close\r\n").map(|()| false)
            }
            Mode::Closes => self.answer(request, "").map(|()| false),
            _ => self.answer(request, "").map(|()| true),
        }
    }

    /// Waits on an idle connection; false where the origin ends it.
    fn wait_for_next(&mut self) -> io::Result<bool> {
        let patience = match self.mode {
            Mode::Idle1 => Duration::from_millis(1),
            Mode::Idle5 => Duration::from_micros(2_000 + self.number * 7_919 % 6_000),
            Mode::Idle200 => Duration::from_millis(200),
            Mode::Unsolicited408 => Duration::from_millis(2),
            _ => return Ok(true),
        };
        self.stream.set_read_timeout(Some(patience))?;
        let waited = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(None)?;
        match waited {
            Ok(bytes) => Ok(bytes > 0),
            Err(_) => {
                if self.mode == Mode::Unsolicited408 {
                    let head = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    self.stream.write_all(head.as_bytes())?;
                }
                Ok(false)
            }
        }
    }

    fn answer(&mut self, request: &Request, fields: &str) -> io::Result<()> {
        self.stream.write_all(&answer(request.id, fields))
    }

    fn execute(&self, request: &Request) {
        *self.book.executed.lock().unwrap().entry(request.id).or_default() += 1;
    }

    /// Ends the connection with a reset.
    fn reset(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16_384];
        let bytes = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..bytes]);
        Ok(bytes > 0)
    }

    /// Takes what ends with `end` off the buffer.
    fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(Some(self.buffer.drain(..at + end.len()).collect()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn head(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.until(b"\r\n\r\n")? else { return Ok(None) };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let target = head.split(' ').nth(1).unwrap_or_default();
        Ok(Some(Request {
            id: target.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(u64::MAX),
            length: field("content-length:").and_then(|length| length.parse().ok()),
            is_chunked: field("transfer-encoding:").is_some(),
        }))
    }

    /// Reads the whole body, or fails.
    fn body(&mut self, request: &Request) -> io::Result<()> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let mut left = request.length.unwrap_or(0);
        loop {
            if request.is_chunked {
                let line = self.until(b"\r\n")?.ok_or_else(ended)?;
                let size = std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
                left = size.ok_or_else(ended)? + 2;
            }
            let is_last = !request.is_chunked || left == 2;
            while self.buffer.len() < left {
                if !self.fill()? {
                    return Err(ended());
                }
            }
            self.buffer.drain(..left);
            if is_last {
                return Ok(());
            }
        }
    }
}

/// The body of the answer to a request: no two are alike.
pub fn body(id: u64) -> String {
    format!("the answer to request {id:>12}\n")
}

fn answer(id: u64, fields: &str) -> Vec<u8> {
    let text = body(id);
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{fields}Content-Length: {}\r\n\r\n{text}", text.len())
        .into_bytes()
}
