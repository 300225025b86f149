//! An origin whose manners are a closure. It keeps every request, so that a test can say what reached it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub struct Request {
    /// The head as it came.
    pub head: String,
    /// The decoded body.
    pub body: Vec<u8>,
    /// Counts the requests of one connection, from 1.
    pub number: usize,
    /// Counts the connections, from 1.
    pub connection: usize,
}

impl Request {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What follows a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Next,
    Close,
}

pub struct Origin {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Origin {
    /// Answers each request by `answer`, which gets the request with its body.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) -> After + Send + Sync + 'static) -> Self {
        Self::raw(move |stream, seen, connection| {
            let mut buffer = Vec::new();
            for number in 1.. {
                let Some(mut request) = read_head(stream, &mut buffer) else { return };
                request.number = number;
                request.connection = connection;
                if !read_body(stream, &mut buffer, &mut request) {
                    return;
                }
                seen.lock().unwrap().push(request.clone());
                if answer(&request, stream) == After::Close {
                    return;
                }
            }
        })
    }

    /// Answers every request with this text.
    pub fn text(body: &'static str) -> Self {
        Self::start(move |_, stream| reply(stream, body.as_bytes()))
    }

    /// Treats a whole connection by `serve`.
    pub fn raw(serve: impl Fn(&mut TcpStream, &Mutex<Vec<Request>>, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections, open) =
            (Arc::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let origin = Self {
            address,
            requests: Arc::clone(&requests),
            connections: Arc::clone(&connections),
            open: Arc::clone(&open),
        };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let connection = connections.fetch_add(1, Ordering::SeqCst) + 1;
                open.fetch_add(1, Ordering::SeqCst);
                let (serve, requests, open) = (Arc::clone(&serve), Arc::clone(&requests), Arc::clone(&open));
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    serve(&mut stream, &requests, connection);
                    drop(stream);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that the proxy has not closed.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// A response of 200 with this body.
pub fn reply(stream: &mut TcpStream, body: &[u8]) -> After {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    write(stream, &[head.as_bytes(), body].concat())
}

/// Writes as far as the peer takes it.
pub fn write(stream: &mut TcpStream, bytes: &[u8]) -> After {
    if stream.write_all(bytes).is_ok() { After::Next } else { After::Close }
}

/// Reads what is there; false at the end.
pub fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 65_536];
    match stream.read(&mut chunk) {
        Ok(bytes) if bytes > 0 => {
            buffer.extend_from_slice(&chunk[..bytes]);
            true
        }
        _ => false,
    }
}

/// The next head, its body not read.
pub fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer.drain(..at + 4).collect()).unwrap();
            return Some(Request { head, body: Vec::new(), number: 0, connection: 0 });
        }
        if !fill(stream, buffer) {
            return None;
        }
    }
}

/// The body that the head announces; false where it did not come whole.
pub fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &mut Request) -> bool {
    if let Some(length) = request.field("content-length") {
        let length: usize = length.parse().unwrap();
        while buffer.len() < length {
            if !fill(stream, buffer) {
                return false;
            }
        }
        request.body = buffer.drain(..length).collect();
        return true;
    }
    if request.field("transfer-encoding").is_none() {
        return true;
    }
    loop {
        let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") else {
            if !fill(stream, buffer) {
                return false;
            }
            continue;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).unwrap(), 16).unwrap();
        while buffer.len() < end + 2 + size + 2 {
            if !fill(stream, buffer) {
                return false;
            }
        }
        if size == 0 {
            return read_trailers(stream, buffer, request, end + 2);
        }
        request.body.extend_from_slice(&buffer[end + 2..end + 2 + size]);
        buffer.drain(..end + 2 + size + 2);
    }
}

/// Appends trailer lines to the head, where tests look for fields.
fn read_trailers(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &mut Request, from: usize) -> bool {
    buffer.drain(..from);
    loop {
        let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") else {
            if !fill(stream, buffer) {
                return false;
            }
            continue;
        };
        let line: Vec<_> = buffer.drain(..end + 2).collect();
        if end == 0 {
            return true;
        }
        request.head.push_str("trailer-");
        request.head.push_str(std::str::from_utf8(&line).unwrap());
    }
}
