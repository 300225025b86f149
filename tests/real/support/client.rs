//! A client on a plain socket: what it sends is what a test says, and what comes back is parsed strictly.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub struct Client {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
    /// False where the connection ended before the body did.
    pub is_whole: bool,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response("GET")
    }

    /// As [`Self::get`]; `None` where the proxy has closed.
    pub fn get_or_closed(&mut self, target: &str) -> Option<Response> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        let is_sent = self.stream.write_all(request.as_bytes()).is_ok();
        (is_sent && self.fill()).then(|| self.response("GET"))
    }

    /// Leaves for good: with a reset, as of a program that was killed with unread bytes. One that just closes is not told from one
    /// that has said all and reads on.
    pub fn abort(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// More bytes; false at the end of the connection, however it came.
    pub fn fill(&mut self) -> bool {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(bytes) => {
                self.buffer.extend_from_slice(&chunk[..bytes]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    fn line_end(&mut self, end: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(at + end.len());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next head, interim ones included.
    pub fn head(&mut self) -> String {
        let end = self.line_end(b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(&self.buffer)));
        String::from_utf8(self.buffer.drain(..end).collect()).unwrap()
    }

    /// The next final response.
    pub fn response(&mut self, method: &str) -> Response {
        let (head, status) = loop {
            let head = self.head();
            assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
            let status: u16 = head[9..12].parse().unwrap();
            if status >= 200 || status == 101 {
                break (head, status);
            }
        };
        let mut response = Response { status, head, body: Vec::new(), trailers: String::new(), is_whole: true };
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return response;
        }
        match (response.field("content-length"), response.field("transfer-encoding")) {
            (Some(length), None) => {
                let length: usize = length.parse().unwrap();
                while self.buffer.len() < length && response.is_whole {
                    response.is_whole = self.fill();
                }
                response.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
            }
            (None, Some("chunked")) => response.is_whole = self.chunks(&mut response),
            (None, None) => {
                while self.fill() {}
                response.body = std::mem::take(&mut self.buffer);
            }
            other => panic!("{other:?}"),
        }
        response
    }

    fn chunks(&mut self, response: &mut Response) -> bool {
        loop {
            let Some(end) = self.line_end(b"\r\n") else { return false };
            let line: Vec<_> = self.buffer.drain(..end).collect();
            let size = usize::from_str_radix(std::str::from_utf8(&line[..end - 2]).unwrap(), 16).unwrap();
            if size == 0 {
                loop {
                    let Some(end) = self.line_end(b"\r\n") else { return false };
                    let line: Vec<_> = self.buffer.drain(..end).collect();
                    if line == b"\r\n" {
                        return true;
                    }
                    response.trailers.push_str(std::str::from_utf8(&line).unwrap());
                }
            }
            while self.buffer.len() < size + 2 {
                if !self.fill() {
                    return false;
                }
            }
            response.body.extend(self.buffer.drain(..size));
            assert_eq!(self.buffer.drain(..2).collect::<Vec<_>>(), b"\r\n");
        }
    }

    /// True where the proxy has closed and sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        let closed = !self.fill();
        closed && self.buffer.is_empty()
    }
}
