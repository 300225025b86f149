//! Those who ask in the simulated world, well-behaved or not, and what the whole world saw of each request.

use std::cell::RefCell;
use std::rc::Rc;

use ringress::encode::subrequest::Subrequest;
use ringress::snapshot::Label;
use ringress::worker::Worker;
use ringress::worker::engine::{Socket, Transmit as _, Transport as _, finish, receive, send};
use ringress::worker::http::subrequest::ask;

use crate::origin::Manner;
use crate::world::World;

/// What the whole world saw of one request.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// How often an origin read it whole.
    pub executed: usize,
    /// Its body reached an origin whole and was another than the client's.
    pub is_body_wrong: bool,
    /// It was sent to a service whose endpoints are there.
    pub is_routed: bool,
    /// It went through the proxy twice: once more after its own word.
    pub is_passed_twice: bool,
    /// What an answer without an origin's mark says.
    pub told: String,
    /// The status the client got, if a head came.
    pub status: Option<u16>,
    /// The response's body came whole, by its framing.
    pub is_whole: bool,
    /// A response of an origin with another body than this request's.
    pub is_answer_wrong: bool,
    /// The client behaved for this request and all before it.
    pub is_client_healthy: bool,
    /// It may be sent twice.
    pub is_idempotent: bool,
    /// An origin misbehaved in a way that may reach requests of others.
    pub is_origin_faulty: bool,
    /// How origins that had read its head misbehaved.
    pub faults: Vec<Manner>,
    /// An application server has said that it does not begin with it.
    pub is_refused: bool,
    /// How often an origin closed without reading bytes of it that its kernel had taken.
    pub taken: usize,
    /// An origin of this world sent an answer that nobody had asked for. Where it comes late, on a connection that
    /// is in use again, nobody can tell it from the answer.
    pub is_forged: bool,
}

pub type Book = Rc<RefCell<Vec<Seen>>>;

/// An upstream has read a request whole.
pub fn note_executed(book: &Book, id: usize, is_right: bool) {
    let seen = &mut book.borrow_mut()[id];
    seen.executed += 1;
    seen.is_body_wrong |= !is_right;
}

/// The body of request or response `id`.
pub fn body(id: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + u8::try_from((id * 7 + at) % 26).unwrap()).collect()
}

pub async fn send_all(world: &World, socket: &mut Socket<World>, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = 1 + world.below(rest.len());
        let mut out = rest[..length].to_vec();
        rest = &rest[length..];
        let mut sent = 0;
        while sent < length {
            match send(&mut socket.sender, &mut out, sent).await {
                Ok(bytes) => sent += bytes,
                Err(_) => return false,
            }
        }
        if world.one_in(8) {
            world.sleep(world.below(20) as u64).await;
        }
    }
    true
}

pub async fn fill(socket: &mut Socket<World>, buffer: &mut Vec<u8>) -> bool {
    buffer.reserve(256);
    matches!(receive(&mut socket.receiver, buffer).await, Ok(bytes) if bytes > 0)
}

/// A head off the buffer, as text.
pub async fn head(socket: &mut Socket<World>, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(String::from_utf8(buffer.drain(..at + 4).collect()).unwrap());
        }
        if !fill(socket, buffer).await {
            return None;
        }
    }
}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The body behind a head; true where it came whole.
pub async fn read_body(
    socket: &mut Socket<World>,
    buffer: &mut Vec<u8>,
    head: &str,
    until_close: bool,
) -> (Vec<u8>, bool) {
    if let Some(length) = field(head, "content-length") {
        let length: usize = length.parse().unwrap();
        while buffer.len() < length {
            if !fill(socket, buffer).await {
                return (std::mem::take(buffer), false);
            }
        }
        return (buffer.drain(..length).collect(), true);
    }
    let mut body = Vec::new();
    if field(head, "transfer-encoding").is_none() {
        if until_close {
            while fill(socket, buffer).await {}
            body = std::mem::take(buffer);
        }
        return (body, true);
    }
    loop {
        let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") else {
            if !fill(socket, buffer).await {
                return (body, false);
            }
            continue;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).unwrap(), 16).unwrap();
        while buffer.len() < end + 2 + size + 2 {
            if !fill(socket, buffer).await {
                return (body, false);
            }
        }
        body.extend_from_slice(&buffer[end + 2..end + 2 + size]);
        buffer.drain(..end + 4 + size);
        if size == 0 {
            return (body, true);
        }
    }
}

pub fn framed(world: &World, body: &[u8]) -> (String, Vec<u8>) {
    if world.one_in(2) {
        return (format!("Content-Length: {}\r\n", body.len()), body.to_vec());
    }
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let length = 1 + world.below(rest.len());
        out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        out.extend_from_slice(&rest[..length]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[length..];
    }
    out.extend_from_slice(b"0\r\n\r\n");
    ("Transfer-Encoding: chunked\r\n".to_owned(), out)
}

/// How a client ends its request badly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misdeed {
    None,
    Cut,
    Reset,
    Stall,
}

/// A client that sends requests over one connection, waits for each answer, and checks it.
///
/// `ways` are the routes that lead to an origin, each by another way.
pub async fn client(
    world: World,
    mut socket: Socket<World>,
    book: Book,
    ids: std::ops::Range<usize>,
    ways: &'static [&'static str],
) {
    let mut buffer = Vec::new();
    for id in ids {
        let has_body = world.one_in(2);
        let length = if world.one_in(3) { world.below(4_000) } else { world.below(40) };
        let content = body(id, if has_body { length } else { 0 });
        let (fields, mut payload) = if has_body { framed(&world, &content) } else { (String::new(), Vec::new()) };
        let route = match world.below(40) {
            0 => "refused",
            1 => "hole",
            2 => "panic",
            _ => ways[world.below(ways.len())],
        };
        let method = if has_body { "POST" } else { "GET" };
        let mut bytes =
            format!("{method} /{route}/{id}?n={} HTTP/1.1\r\nHost: x\r\n{fields}\r\n", content.len()).into_bytes();
        bytes.append(&mut payload);
        book.borrow_mut()[id].is_idempotent = !has_body;
        // Long enough for reuse to be earned, now and then.
        if world.one_in(3) {
            world.sleep(world.below(120) as u64).await;
        }
        let misdeed = match world.below(60) {
            0 => Misdeed::Cut,
            1 => Misdeed::Reset,
            2 => Misdeed::Stall,
            _ => Misdeed::None,
        };
        book.borrow_mut()[id].is_client_healthy = misdeed == Misdeed::None;
        book.borrow_mut()[id].is_routed = ways.contains(&route);
        book.borrow_mut()[id].is_passed_twice = route.starts_with("over-");
        if misdeed != Misdeed::None {
            bytes.truncate(world.below(bytes.len()));
        }
        let is_sent = send_all(&world, &mut socket, &bytes).await;
        match misdeed {
            Misdeed::None => {}
            Misdeed::Cut => finish(&mut socket.sender).await,
            Misdeed::Reset => return socket.sender.reset(),
            Misdeed::Stall => world.sleep(200_000).await,
        }
        // An early answer may close before the request is sent; it is still there to be read.
        if !take_response(&world, &mut socket, &mut buffer, &book, id).await || !is_sent || misdeed != Misdeed::None {
            return;
        }
    }
}

/// Reads and checks one response; true where the connection goes on.
async fn take_response(
    world: &World,
    socket: &mut Socket<World>,
    buffer: &mut Vec<u8>,
    book: &Book,
    id: usize,
) -> bool {
    if world.one_in(10) {
        world.sleep(world.below(100) as u64).await;
    }
    let (text, status) = loop {
        let Some(text) = head(socket, buffer).await else { return false };
        let status: u16 = text[9..12].parse().unwrap();
        if status >= 200 {
            break (text, status);
        }
    };
    let (content, is_whole) = read_body(socket, buffer, &text, true).await;
    let mut book = book.borrow_mut();
    book[id].status = Some(status);
    book[id].is_whole = is_whole;
    if let Some(length) = field(&text, "x-length") {
        let expected = body(id, length.parse().unwrap());
        let is_right = if is_whole { content == expected } else { expected.starts_with(&content) };
        book[id].is_answer_wrong = !is_right || field(&text, "x-id") != Some(id.to_string().as_str());
    } else {
        book[id].told = String::from_utf8_lossy(&content).into_owned();
    }
    is_whole && field(&text, "connection") != Some("close")
}

/// Asks with requests of our own, one after the other, and checks each answer.
pub async fn own_requests(world: World, worker: Rc<Worker<World>>, service: Label, book: Book) {
    let count = book.borrow().len();
    for id in 0..count {
        let has_body = world.one_in(2);
        let content = body(id, if has_body { world.below(2_000) } else { 0 });
        book.borrow_mut()[id].is_idempotent = !has_body;
        book.borrow_mut()[id].is_client_healthy = true;
        book.borrow_mut()[id].is_routed = true;
        let request = Subrequest {
            method: if has_body { b"POST".to_vec() } else { b"GET".to_vec() },
            target: format!("/s/{id}?n={}", content.len()).into_bytes(),
            body: content,
            ..Subrequest::default()
        };
        if world.one_in(3) {
            world.sleep(world.below(120) as u64).await;
        }
        // Now and then less is kept than there is.
        let body_max = if world.one_in(8) { world.below(30) } else { 10_000 };
        let Ok(reply) = ask(&worker, service, &request, body_max).await else { continue };
        let field = |name: &[u8]| {
            let mut fields = reply.head.fields(&reply.head_bytes);
            let found = fields.find(|(_, field, _)| field.eq_ignore_ascii_case(name));
            found.map(|(.., value)| String::from_utf8(value.to_vec()).unwrap())
        };
        let mut book = book.borrow_mut();
        book[id].status = Some(reply.head.status());
        book[id].is_whole = true;
        let Some(length) = field(b"x-length") else { continue };
        let expected = body(id, length.parse().unwrap());
        let is_right = if reply.is_whole { reply.body == expected } else { expected.starts_with(&reply.body) };
        let is_cut_as_asked = reply.is_whole == (expected.len() <= body_max) && reply.body.len() <= body_max;
        book[id].is_answer_wrong = !is_right || !is_cut_as_asked || field(b"x-id") != Some(id.to_string());
    }
}
