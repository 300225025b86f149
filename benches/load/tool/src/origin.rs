//! The lightest origin that answers correctly: whole responses that were made before, one send each.

use std::net::TcpStream;

use memchr::memmem;

use crate::chunked::Chunked;
use crate::net::{self, Poller};
use crate::response::field;
use crate::websocket;

const LISTENER: u64 = u64::MAX;
/// What one read takes at most.
const READ_BYTES: usize = 256 << 10;

/// A path and its whole response.
type Answer = (&'static str, Vec<u8>);

fn answers() -> Vec<Answer> {
    let sized = |path, length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        (path, [head.into_bytes(), vec![b'x'; length]].concat())
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    // 2 MB in chunks of this size, which a server writes that renders or compresses while it sends.
    let pieces = |path, size: usize| {
        let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        (path, format!("{head}{}0\r\n\r\n", chunk.repeat(2_000_000 / size)).into_bytes())
    };
    vec![
        pieces("/pieces-100", 100),
        pieces("/pieces-1000", 1_000),
        pieces("/pieces-4096", 4_096),
        pieces("/pieces-16384", 16_384),
        sized("/200", 200),
        sized("/1k", 1 << 10),
        sized("/4k", 4 << 10),
        sized("/16k", 16 << 10),
        sized("/64k", 64 << 10),
        sized("/256k", 256 << 10),
        sized("/1m", 1 << 20),
        ("/chunked", format!("{head}{}0\r\n\r\n", chunk.repeat(4)).into_bytes()),
    ]
}

/// What a connection reads.
enum State {
    Head,
    /// Bytes left of the body, then the answer with this number.
    Fixed(u64, usize),
    Chunked(Chunked, usize),
    WebSocket,
}

struct Connection {
    stream: TcpStream,
    state: State,
    /// A head or a frame that has not ended, as far as it has come.
    partial: Vec<u8>,
    /// What the socket did not take yet.
    pending: Vec<u8>,
    closes: bool,
}

/// Serves until the process ends.
pub fn run(port: u16) -> anyhow::Result<()> {
    let listener = net::listen(port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER)?;
    let answers = answers();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut ready = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    loop {
        poller.wait(None, &mut ready)?;
        for &(key, _) in &ready {
            if key == LISTENER {
                net::accept_all(&listener, |stream| {
                    let key = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poller.add(&stream, key as u64)?;
                    let (partial, pending) = (Vec::new(), Vec::new());
                    connections[key] = Some(Connection { stream, state: State::Head, partial, pending, closes: false });
                    Ok(())
                })?;
                continue;
            }
            let slot = &mut connections[key as usize];
            let Some(connection) = slot else { continue };
            // What a client does wrong ends its connection; a broken one is not the origin's affair.
            if !connection.turn(key, &poller, &answers, &mut buffer, &mut out).unwrap_or(false) {
                *slot = None;
                free.push(key as usize);
            }
        }
    }
}

impl Connection {
    /// Does what can be done; false when the connection has ended.
    fn turn(
        &mut self,
        key: u64,
        poller: &Poller,
        answers: &[Answer],
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> anyhow::Result<bool> {
        if !self.pending.is_empty() {
            let sent = net::send(&self.stream, &self.pending)?;
            self.pending.drain(..sent);
            if self.pending.is_empty() {
                poller.want(&self.stream, key, true, false)?;
            }
            return Ok(!(self.closes && self.pending.is_empty()));
        }
        let Some(length) = net::receive(&self.stream, buffer)? else { return Ok(true) };
        if length == 0 {
            return Ok(false);
        }
        out.clear();
        let mut whole = None;
        if self.partial.is_empty() {
            self.take(&buffer[..length], answers, out, &mut whole)?;
        } else {
            let mut data = std::mem::take(&mut self.partial);
            data.extend_from_slice(&buffer[..length]);
            self.take(&data, answers, out, &mut whole)?;
        }
        // The usual case is one answer for one read: it is sent from where it was made.
        let bytes = whole.map_or(&out[..], |answer: usize| &answers[answer].1);
        let sent = if bytes.is_empty() { 0 } else { net::send(&self.stream, bytes)? };
        if sent < bytes.len() {
            self.pending.extend_from_slice(&bytes[sent..]);
            poller.want(&self.stream, key, false, true)?;
            return Ok(true);
        }
        Ok(!self.closes)
    }

    fn take(
        &mut self,
        mut data: &[u8],
        answers: &[Answer],
        out: &mut Vec<u8>,
        whole: &mut Option<usize>,
    ) -> anyhow::Result<()> {
        while !data.is_empty() {
            let answer = match &mut self.state {
                State::Head => {
                    let Some(end) = memmem::find(data, b"\r\n\r\n") else {
                        self.partial.extend_from_slice(data);
                        return Ok(());
                    };
                    let head = &data[..end + 2];
                    data = &data[end + 4..];
                    self.begin(head, answers, out)?
                }
                State::Fixed(left, answer) => {
                    let taken = (*left).min(data.len() as u64);
                    data = &data[taken as usize..];
                    *left -= taken;
                    (*left == 0).then_some(*answer)
                }
                State::Chunked(chunked, answer) => {
                    data = &data[chunked.take(data)?..];
                    chunked.is_done().then_some(*answer)
                }
                State::WebSocket => {
                    let taken = websocket::echo(data, out)?;
                    self.partial.extend_from_slice(&data[taken..]);
                    return Ok(());
                }
            };
            if let Some(answer) = answer {
                self.state = State::Head;
                match whole.take() {
                    None if out.is_empty() => *whole = Some(answer),
                    first => {
                        first.into_iter().chain([answer]).for_each(|answer| out.extend_from_slice(&answers[answer].1));
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins with a head; the answer when no body follows.
    fn begin(&mut self, head: &[u8], answers: &[Answer], out: &mut Vec<u8>) -> anyhow::Result<Option<usize>> {
        if let Some(key) = field(head, b"sec-websocket-key") {
            let accept = websocket::accept(key);
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            out.extend_from_slice(answer.as_bytes());
            self.state = State::WebSocket;
            return Ok(None);
        }
        self.closes = head.starts_with(b"GET")
            && field(head, b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        // A route's prefix stands before the path.
        let path = target.iter().rposition(|byte| *byte == b'/').map_or(target, |at| &target[at..]);
        let answer = answers.iter().position(|(known, _)| known.as_bytes() == path).unwrap_or(0);
        if let Some(length) = field(head, b"content-length") {
            let length: u64 = std::str::from_utf8(length)?.parse()?;
            if length > 0 {
                self.state = State::Fixed(length, answer);
                return Ok(None);
            }
        } else if field(head, b"transfer-encoding").is_some() {
            self.state = State::Chunked(Chunked::default(), answer);
            return Ok(None);
        }
        Ok(Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(parts: &[&[u8]]) -> Vec<u8> {
        let (stream, _) = (TcpStream::connect(net::listen(0).unwrap().local_addr().unwrap()).unwrap(), ());
        let mut connection =
            Connection { stream, state: State::Head, partial: Vec::new(), pending: Vec::new(), closes: false };
        let answers = answers();
        let mut all = Vec::new();
        for part in parts {
            let (mut out, mut whole) = (Vec::new(), None);
            let data = [&std::mem::take(&mut connection.partial)[..], part].concat();
            connection.take(&data, &answers, &mut out, &mut whole).unwrap();
            all.extend_from_slice(whole.map_or(&out[..], |answer: usize| &answers[answer].1));
        }
        all
    }

    #[test]
    fn requests_cut_anywhere_and_pipelined_are_answered_once_each() {
        let stream = b"POST /a/200 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /chunked HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        let expected = answer(&[stream]);
        assert_eq!(memmem::find_iter(&expected, b"HTTP/1.1 200 OK").count(), 3);
        for cut in 1..stream.len() {
            assert_eq!(answer(&[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
    }
}
