//! Origins of the simulated world: how they treat the requests that reach them.

#![expect(clippy::wildcard_enum_match_arm, reason = "most manners share what is usual")]

use ringress::worker::engine::{Socket, Transmit as _, Transport as _};

use crate::peers::{Book, body, framed, head, note_executed, read_body, send_all};
use crate::world::World;

/// How an origin treats one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Well,
    Interim,
    UntilClose,
    ClosesAfter,
    SaysClose,
    Silent,
    ClosesBefore,
    /// Closes before it has read anything.
    ClosesUnread,
    /// Executes the request and resets.
    Resets,
    /// Executes the request, and nothing more comes through.
    Vanishes,
    Truncates,
    Garbage,
    Unsolicited,
    /// Says that it does not begin with the request (FastCGI).
    Refuses,
}

fn manner(world: &World) -> Manner {
    match world.below(80) {
        0..6 => Manner::Interim,
        6..10 => Manner::UntilClose,
        10..14 => Manner::SaysClose,
        15 => Manner::Silent,
        16 => Manner::ClosesBefore,
        17 => Manner::Truncates,
        18 => Manner::Garbage,
        19 => Manner::Unsolicited,
        20..24 => Manner::ClosesUnread,
        28..30 => Manner::Resets,
        30 => Manner::Vanishes,
        14 | 24..28 => Manner::ClosesAfter,
        _ => Manner::Well,
    }
}

/// An origin's connection.
pub async fn origin(world: World, mut socket: Socket<World>, book: Book) {
    let mut buffer = Vec::new();
    if world.one_in(40) {
        // It is gone before, or while, anything comes.
        world.sleep(world.below(3) as u64).await;
        leave(&book, &socket);
        return;
    }
    while let Some(text) = head(&mut socket, &mut buffer).await {
        let target = text.split(' ').nth(1).unwrap();
        let id: usize = target.split(['/', '?']).nth(2).unwrap().parse().unwrap();
        let sent: usize = target.split("n=").nth(1).unwrap().parse().unwrap();
        let manner = manner(&world);
        let is_faulty = !matches!(manner, Manner::Well | Manner::Interim | Manner::UntilClose | Manner::SaysClose);
        if manner == Manner::Unsolicited {
            book.borrow_mut().iter_mut().for_each(|seen| seen.is_forged = true);
        }
        if is_faulty {
            book.borrow_mut()[id].faults.push(manner);
        }
        if manner == Manner::ClosesUnread {
            leave(&book, &socket);
            return;
        }
        let (content, is_whole) = read_body(&mut socket, &mut buffer, &text, false).await;
        if !is_whole {
            return;
        }
        note_executed(&book, id, content == body(id, sent));
        world.sleep(world.below(30) as u64).await;
        if !answer(&world, &mut socket, id, manner).await {
            leave(&book, &socket);
            return;
        }
        // An idle timeout that nobody announced.
        if manner == Manner::Well && world.one_in(6) {
            world.sleep(world.below(60) as u64).await;
            leave(&book, &socket);
            return;
        }
    }
}

/// Closes; notes the request that the kernel took and nobody reads.
pub fn leave(book: &Book, socket: &Socket<World>) {
    let unread = String::from_utf8_lossy(&socket.receiver.unread()).into_owned();
    if unread.is_empty() {
        return;
    }
    let of_head = |text: &str| text.split(['/', '?']).nth(2).and_then(|id| id.parse::<usize>().ok());
    match unread.lines().next().and_then(of_head) {
        Some(id) if id < book.borrow().len() => book.borrow_mut()[id].taken += 1,
        // The middle of one: whose it is cannot be said.
        _ => book.borrow_mut().iter_mut().for_each(|seen| seen.taken += 1),
    }
}

/// Answers one request; true where the connection goes on.
async fn answer(world: &World, socket: &mut Socket<World>, id: usize, manner: Manner) -> bool {
    let content = body(id, if world.one_in(3) { world.below(4_000) } else { world.below(40) });
    let own = format!("X-Id: {id}\r\nX-Length: {}\r\n", content.len());
    let (fields, payload) = match manner {
        Manner::UntilClose => (String::new(), content.clone()),
        _ => framed(world, &content),
    };
    let close = if manner == Manner::SaysClose { "Connection: close\r\n" } else { "" };
    let mut bytes = Vec::new();
    if manner == Manner::Interim {
        bytes.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    }
    bytes.extend_from_slice(format!("HTTP/1.1 200 OK\r\n{own}{close}{fields}\r\n").as_bytes());
    bytes.extend_from_slice(&payload);
    match manner {
        Manner::Silent => world.sleep(500_000).await,
        Manner::ClosesBefore | Manner::ClosesUnread => return false,
        Manner::Resets => {
            socket.sender.reset();
            return false;
        }
        Manner::Vanishes => {
            socket.sender.vanish();
            return false;
        }
        Manner::Truncates => bytes.truncate(world.below(bytes.len())),
        Manner::Garbage => bytes = b"HTTP/1.1 2OO what\r\nno field\r\n\r\n".to_vec(),
        Manner::Unsolicited => bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
        _ => {}
    }
    if !bytes.is_empty() && !send_all(world, socket, &bytes).await {
        return false;
    }
    matches!(manner, Manner::Well | Manner::Interim | Manner::Unsolicited)
}
