//! Application servers of the simulated world: they take requests in packets or records, by another reading of the specifications.

use std::collections::HashMap;

use ringress::worker::engine::{Socket, Transmit as _, Transport as _};

use crate::origin::{Manner, leave};
use crate::peers::{Book, body, fill, note_executed, send_all};
use crate::world::World;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoken {
    Uwsgi,
    Scgi,
    FastCgi,
}

impl Spoken {
    /// By the port that it is reached at.
    pub const fn of(port: u16) -> Option<Self> {
        match port {
            9_000 => Some(Self::Uwsgi),
            9_001 => Some(Self::Scgi),
            9_002 => Some(Self::FastCgi),
            _ => None,
        }
    }
}

fn manner(world: &World) -> Manner {
    match world.below(80) {
        0..10 => Manner::UntilClose,
        15 => Manner::Silent,
        16 => Manner::ClosesBefore,
        17 => Manner::Truncates,
        18 => Manner::Garbage,
        20..23 => Manner::ClosesUnread,
        28..30 => Manner::Resets,
        30..34 => Manner::Refuses,
        _ => Manner::Well,
    }
}

/// A server's connection.
pub async fn application(world: World, mut socket: Socket<World>, book: Book, spoken: Spoken) {
    let mut reader = Reader { spoken, socket: &mut socket, buffer: Vec::new() };
    let mut is_kept = true;
    while is_kept {
        let Some((variables, keeps)) = reader.variables().await else { return };
        let target = &variables["REQUEST_URI"];
        let id: usize = target.split(['/', '?']).nth(2).unwrap().parse().unwrap();
        let sent: usize = target.split("n=").nth(1).unwrap().parse().unwrap();
        let manner = manner(&world);
        let is_refused = manner == Manner::Refuses && spoken == Spoken::FastCgi && !book.borrow()[id].is_refused;
        if !matches!(manner, Manner::Well | Manner::UntilClose | Manner::Refuses) {
            book.borrow_mut()[id].faults.push(manner);
        }
        if manner == Manner::ClosesUnread {
            leave(&book, reader.socket);
            return;
        }
        let length =
            variables.get("CONTENT_LENGTH").filter(|text| !text.is_empty()).map_or(0, |text| text.parse().unwrap());
        let Some(content) = reader.body(length).await else { return };
        if is_refused {
            // Once for a request, so that another attempt must save it.
            book.borrow_mut()[id].is_refused = true;
            send_all(&world, reader.socket, &record(3, &[0, 0, 0, 0, 2, 0, 0, 0], 0)).await;
            return;
        }
        note_executed(&book, id, content == body(id, sent));
        world.sleep(world.below(30) as u64).await;
        is_kept = answer(&world, reader.socket, (id, manner, spoken)).await && keeps;
        // An end that nobody announced.
        if is_kept && world.one_in(6) {
            world.sleep(world.below(60) as u64).await;
            is_kept = false;
        }
    }
    leave(&book, &socket);
}

/// Reads requests off a connection.
struct Reader<'a> {
    spoken: Spoken,
    socket: &'a mut Socket<World>,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !fill(self.socket, &mut self.buffer).await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// The variables, and whether the connection is to stay open.
    async fn variables(&mut self) -> Option<(HashMap<String, String>, bool)> {
        let texts = match self.spoken {
            Spoken::Uwsgi => {
                let head = self.take(4).await?;
                let packet = self.take(usize::from(u16::from_le_bytes([head[1], head[2]]))).await?;
                let (mut at, mut texts) = (0, Vec::new());
                while at < packet.len() {
                    let length = usize::from(u16::from_le_bytes([packet[at], packet[at + 1]]));
                    texts.push(packet[at + 2..at + 2 + length].to_vec());
                    at += 2 + length;
                }
                texts
            }
            Spoken::Scgi => {
                let mut digits = Vec::new();
                loop {
                    match self.take(1).await?[0] {
                        b':' => break,
                        digit => digits.push(digit),
                    }
                }
                let netstring = self.take(std::str::from_utf8(&digits).unwrap().parse().unwrap()).await?;
                assert_eq!(self.take(1).await?, b",");
                netstring.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
            }
            Spoken::FastCgi => return self.records().await,
        };
        Some((pairs(texts), false))
    }

    async fn record(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.take(8).await?;
        assert_eq!((head[0], head[2], head[3]), (1, 0, 1));
        let contents = self.take(usize::from(u16::from_be_bytes([head[4], head[5]]))).await?;
        self.take(head[6].into()).await?;
        Some((head[1], contents))
    }

    async fn records(&mut self) -> Option<(HashMap<String, String>, bool)> {
        let (kind, begin) = self.record().await?;
        assert_eq!((kind, begin[0], begin[1]), (1, 0, 1));
        let mut texts = Vec::new();
        loop {
            let (kind, contents) = self.record().await?;
            assert_eq!(kind, 4);
            if contents.is_empty() {
                return Some((pairs(texts), begin[2] & 1 == 1));
            }
            let mut at = 0;
            while at < contents.len() {
                let mut length = || {
                    let width = if contents[at] < 128 { 1 } else { 4 };
                    let digits = &contents[at..at + width];
                    at += width;
                    digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)) & 0x7fff_ffff
                };
                let (name, value) = (length(), length());
                texts.push(contents[at..at + name].to_vec());
                texts.push(contents[at + name..at + name + value].to_vec());
                at += name + value;
            }
        }
    }

    /// The body, where it came whole.
    async fn body(&mut self, length: usize) -> Option<Vec<u8>> {
        if self.spoken != Spoken::FastCgi {
            return self.take(length).await;
        }
        let mut body = Vec::new();
        loop {
            let (kind, contents) = self.record().await?;
            assert_eq!(kind, 5);
            if contents.is_empty() {
                assert_eq!(body.len(), length, "the length is the body's");
                return Some(body);
            }
            body.extend_from_slice(&contents);
        }
    }
}

fn pairs(texts: Vec<Vec<u8>>) -> HashMap<String, String> {
    let texts: Vec<_> = texts.into_iter().map(|text| String::from_utf8(text).unwrap()).collect();
    texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn record(kind: u8, contents: &[u8], padding: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let mut record = vec![1, kind, 0, 1, high, low, u8::try_from(padding).unwrap(), 0];
    record.extend_from_slice(contents);
    record.resize(record.len() + padding, b'#');
    record
}

/// An answer in records of any length, with words to whoever runs the program among them.
fn in_records(world: &World, answer: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), answer);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(1 + world.below(rest.len()));
        rest = after;
        out.append(&mut record(6, part, world.below(9)));
        if world.one_in(4) {
            out.append(&mut record(7, b"careful", world.below(3)));
        }
    }
    out.append(&mut record(3, &[0; 8], world.below(3)));
    out
}

/// Answers one request; true where the connection may go on.
async fn answer(world: &World, socket: &mut Socket<World>, (id, manner, spoken): (usize, Manner, Spoken)) -> bool {
    let content = body(id, if world.one_in(3) { world.below(4_000) } else { world.below(40) });
    // The end of a packet's answer is the connection's: one that is cut must say how long it is.
    let is_cut_silently = spoken != Spoken::FastCgi && manner == Manner::Truncates;
    let length = if manner == Manner::UntilClose || (world.one_in(2) && !is_cut_silently) {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", content.len())
    };
    let first = ["", "Status: 200 OK\r\n", "HTTP/1.1 200 OK\r\n"][world.below(3)];
    let mut bytes = format!("{first}X-Id: {id}\r\nX-Length: {}\r\n{length}\r\n", content.len()).into_bytes();
    bytes.extend_from_slice(&content);
    if spoken == Spoken::FastCgi {
        bytes = in_records(world, &bytes);
    }
    if manner == Manner::Silent {
        world.sleep(500_000).await;
    } else if manner == Manner::ClosesBefore {
        return false;
    } else if manner == Manner::Resets {
        socket.sender.reset();
        return false;
    } else if manner == Manner::Truncates {
        bytes.truncate(world.below(bytes.len()));
    } else if manner == Manner::Garbage {
        bytes = b"no field\r\n\r\n".to_vec();
    }
    let is_sent = bytes.is_empty() || send_all(world, socket, &bytes).await;
    is_sent && matches!(manner, Manner::Well | Manner::UntilClose | Manner::Refuses)
}
