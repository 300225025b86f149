//! A client connection of the load generator.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use crate::net::{self, Poller};
use crate::requests::Batch;
use crate::response::Reader;

/// One connection and what is under way on it.
pub struct Connection {
    stream: TcpStream,
    key: u64,
    protocol: Protocol,
    /// Number of the batch that was sent last, and how much of it the socket took.
    batch: usize,
    sent: usize,
    is_blocked: bool,
    /// Answers that have not ended.
    outstanding: usize,
    /// When the batch was, or should have been, sent.
    started: Instant,
}

enum Protocol {
    Http(Reader),
    /// Bytes of the message that have come.
    WebSocket(u64),
}

/// What a connection did in its turn.
pub enum Turn {
    Waits,
    /// All answers to the batch have come; when it should have been sent.
    Answered(Instant),
}

impl Connection {
    pub fn open(port: u16, key: u64, is_websocket: bool, poller: &Poller) -> anyhow::Result<Self> {
        let stream = net::connect(port)?;
        let protocol = if is_websocket {
            upgrade(&stream)?;
            Protocol::WebSocket(0)
        } else {
            Protocol::Http(Reader::default())
        };
        poller.add(&stream, key)?;
        Ok(Self {
            stream,
            key,
            protocol,
            batch: 0,
            sent: 0,
            is_blocked: false,
            outstanding: 0,
            started: Instant::now(),
        })
    }

    pub fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    /// When the batch that is not answered yet was, or should have been, sent.
    pub fn waits_since(&self) -> Option<Instant> {
        (!self.is_idle()).then_some(self.started)
    }

    /// Sends the batch with this number.
    pub fn begin(&mut self, number: usize, batches: &[Batch], started: Instant, poller: &Poller) -> anyhow::Result<()> {
        let batch = &batches[number];
        (self.batch, self.sent, self.outstanding, self.started) = (number, 0, batch.requests, started);
        self.go_on(batch, poller)
    }

    fn go_on(&mut self, batch: &Batch, poller: &Poller) -> anyhow::Result<()> {
        self.sent += net::send(&self.stream, &batch.bytes[self.sent..])?;
        let is_blocked = self.sent < batch.bytes.len();
        if self.is_blocked != is_blocked {
            self.is_blocked = is_blocked;
            poller.want(&self.stream, self.key, true, is_blocked)?;
        }
        Ok(())
    }

    /// Does what can be done.
    pub fn turn(
        &mut self,
        can_write: bool,
        batches: &[Batch],
        buffer: &mut [u8],
        poller: &Poller,
    ) -> anyhow::Result<Turn> {
        let batch = &batches[self.batch];
        if can_write && self.sent < batch.bytes.len() {
            self.go_on(batch, poller)?;
        }
        let Some(length) = net::receive(&self.stream, buffer)? else { return Ok(Turn::Waits) };
        anyhow::ensure!(length > 0, "the proxy closed a connection");
        let mut data = &buffer[..length];
        while !data.is_empty() {
            anyhow::ensure!(self.outstanding > 0, "bytes that nobody asked for");
            let (taken, bytes) = match &mut self.protocol {
                Protocol::Http(reader) => {
                    let (taken, response) = reader.take(data, 200)?;
                    (taken, response.map(|response| response.bytes))
                }
                Protocol::WebSocket(come) => {
                    let taken = (batch.answer - *come).min(data.len() as u64);
                    *come += taken;
                    let bytes = (*come == batch.answer).then(|| std::mem::take(come));
                    (taken as usize, bytes)
                }
            };
            data = &data[taken..];
            if let Some(bytes) = bytes {
                anyhow::ensure!(bytes == batch.answer, "{bytes} bytes instead of {}", batch.answer);
                self.outstanding -= 1;
            }
        }
        Ok(if self.outstanding == 0 { Turn::Answered(self.started) } else { Turn::Waits })
    }
}

/// Makes the connection one of WebSocket.
fn upgrade(mut stream: &TcpStream) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.write_all(
        b"GET /200 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let mut reader = Reader::default();
    let mut byte = [0];
    loop {
        anyhow::ensure!(stream.read(&mut byte)? == 1, "the proxy closed the connection instead of an upgrade");
        if reader.take(&byte, 101)?.1.is_some() {
            break;
        }
    }
    stream.set_nonblocking(true)?;
    Ok(())
}
