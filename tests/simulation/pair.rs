//! Two ends of one HTTP/2 connection in memory: bodies both ways, cut anywhere, some streams reset or left by one side. What one
//! stream does, the others never feel.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use ringress::proto::h1::chunked::BodyOf;
use ringress::proto::h1::framing::{BodyDecoder, Framing};
use ringress::proto::h1::scan::HeadScan;
use ringress::proto::h2::Role;
use ringress::proto::h2::connection::Connection;
use ringress::proto::h2::core::ConnectionStanding;
use ringress::proto::h2::fields::FieldList;
use ringress::proto::h2::frame::ErrorCode;
use ringress::proto::h2::stream::{StreamEnd, StreamKey};
use ringress::proto::h2::window::WindowBudget;

/// How a stream is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// By nobody: it must come to its end, whole.
    Left,
    /// Its client resets it.
    Reset,
    /// Its server lets go of it before it has answered.
    Dropped,
}

/// The `at`th byte of the body of a stream in one direction.
fn byte(stream: usize, direction: u8, at: usize) -> u8 {
    (stream * 31 + at * 7 + usize::from(direction)).to_le_bytes()[0]
}

/// A message on its way: what is left to be put, and what was read of the other one.
struct Message {
    key: StreamKey,
    direction: u8,
    length: usize,
    put: usize,
    has_ended: bool,
    text: Vec<u8>,
    decoder: Option<BodyDecoder>,
    got: usize,
}

impl Message {
    fn new(key: StreamKey, direction: u8, length: usize) -> Self {
        let (text, decoder) = (Vec::new(), None);
        Self { key, direction, length, put: 0, has_ended: false, text, decoder, got: 0 }
    }

    /// Puts a part of the body. An end of the stream is told.
    fn put(&mut self, connection: &mut Connection, stream: usize, rng: &mut Rng) -> Result<(), StreamEnd> {
        if self.has_ended {
            return Ok(());
        }
        let part = (self.length - self.put).min(rng.usize(0..40_000));
        let data: Vec<u8> = (self.put..self.put + part).map(|at| byte(stream, self.direction, at)).collect();
        let is_last = self.put + part == self.length;
        match connection.stream(self.key).poll_send(&data, is_last, &Context::from_waker(Waker::noop())) {
            Poll::Ready(sent) => {
                self.put += sent?;
                self.has_ended = is_last && self.put == self.length;
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    /// Reads what has come; true once the whole message was read. `has_head` where a head comes first.
    fn read(&mut self, connection: &mut Connection, stream: usize, has_head: bool) -> Result<bool, StreamEnd> {
        let mut inbox = Vec::with_capacity(5_000);
        let cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(read) = connection.stream(self.key).poll_read(&mut inbox, &cx) {
            read?;
            self.text.append(&mut inbox);
        }
        if has_head && self.decoder.is_none() {
            let Ok(Some(end)) = HeadScan::default().advance(&self.text) else { return Ok(false) };
            let head: Vec<u8> = self.text.drain(..end).collect();
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            self.decoder = Some(BodyDecoder::new(BodyOf::Request, length.map_or(Framing::Chunked, Framing::Length)));
        }
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let (mut taken, mut trailers) = (0, Vec::new());
        while taken < self.text.len() && !decoder.is_done() {
            let piece = decoder.decode(&self.text[taken..], &mut trailers).unwrap();
            for found in &self.text[taken..][piece.data] {
                assert_eq!(*found, byte(stream, 1 - self.direction, self.got), "stream {stream}, byte {}", self.got);
                self.got += 1;
            }
            taken += piece.consumed;
        }
        self.text.drain(..taken);
        Ok(decoder.is_done())
    }
}

/// One exchange, as both sides know it.
struct Exchange {
    fate: Fate,
    lengths: [usize; 2],
    client: Option<Message>,
    server: Option<Message>,
    is_whole: [bool; 2],
}

/// A connection, and what is on its way from its other end.
struct Side {
    connection: Connection,
    coming: Vec<u8>,
}

impl Side {
    /// Takes what the other side has put, in parts of any size.
    fn receive(&mut self, other: &mut Self, rng: &mut Rng, now_ms: u64) {
        self.coming.append(other.connection.writer().out());
        other.connection.wake_senders();
        let part = rng.usize(0..=self.coming.len().min(50_000));
        self.connection.receive(&self.coming[..part], now_ms);
        self.coming.drain(..part);
    }
}

fn fields(list: &[(&str, String)]) -> FieldList {
    let mut fields = FieldList::default();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

/// The head of a message with a body of this length, which is told or not.
fn head(of: &[(&str, String)], length: usize, rng: &mut Rng) -> FieldList {
    let mut list = of.to_vec();
    if rng.bool() {
        list.push(("content-length", length.to_string()));
    }
    fields(&list)
}

struct Pair {
    rng: Rng,
    now_ms: u64,
    client: Side,
    server: Side,
    exchanges: Vec<Exchange>,
}

impl Pair {
    fn new(seed: u64, budget: &Rc<WindowBudget>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut side = |role| {
            let window_max = 1 << rng.u32(16..24);
            Side { connection: Connection::new(role, window_max, Rc::clone(budget)), coming: Vec::new() }
        };
        let (client, server) = (side(Role::Client), side(Role::Server));
        let exchanges = (0..rng.usize(1..20)).map(|_| Exchange {
            fate: [Fate::Left, Fate::Left, Fate::Left, Fate::Reset, Fate::Dropped][rng.usize(0..5)],
            lengths: [rng.usize(0..200_000), rng.usize(0..200_000)]
                .map(|length| if length < 20_000 { 0 } else { length }),
            client: None,
            server: None,
            is_whole: [false; 2],
        });
        let exchanges = exchanges.collect();
        Self { rng, now_ms: 0, client, server, exchanges }
    }

    fn accept(&mut self) {
        while let Some(accepted) = self.server.connection.accept() {
            assert_eq!(accepted.carried.err(), None);
            let text = String::from_utf8(accepted.head.clone()).unwrap();
            let number: usize = text.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let exchange = &mut self.exchanges[number];
            let mut message = Message::new(accepted.key, 1, exchange.lengths[1]);
            message.text = accepted.head;
            exchange.server = Some(message);
        }
    }

    /// One exchange goes on by a step on one of its sides.
    fn step(&mut self, number: usize) {
        let Self { rng, client, server, exchanges, .. } = self;
        let exchange = &mut exchanges[number];
        let Some(message) = &mut exchange.client else {
            if client.connection.has_room() {
                let of = [
                    (":method", "POST".to_owned()),
                    (":scheme", "http".to_owned()),
                    (":authority", "a".to_owned()),
                    (":path", format!("/{number}")),
                ];
                let head = head(&of, exchange.lengths[0], rng);
                let key = client.connection.open(&head, false).unwrap();
                exchange.client = Some(Message::new(key, 0, exchange.lengths[0]));
            }
            return;
        };
        if exchange.fate == Fate::Reset && rng.u8(0..20) == 0 {
            client.connection.stream(message.key).reset(ErrorCode::Cancel);
        }
        let on_client = message
            .put(&mut client.connection, number, rng)
            .and_then(|()| message.read(&mut client.connection, number, true));
        exchange.is_whole[0] |= check(exchange.fate, on_client, number);
        let Some(message) = &mut exchange.server else { return };
        if exchange.fate == Fate::Dropped && rng.u8(0..20) == 0 {
            server.connection.stream(message.key).reset(ErrorCode::Internal);
        }
        if message.put == 0 && message.decoder.is_none() {
            let head = head(&[(":status", "200".to_owned())], exchange.lengths[1], rng);
            let _ = server.connection.stream(message.key).put_head(&head, false, false);
        }
        let on_server = message
            .read(&mut server.connection, number, true)
            .and_then(|is_whole| message.put(&mut server.connection, number, rng).map(|()| is_whole));
        exchange.is_whole[1] |= check(exchange.fate, on_server, number);
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..200_000 {
            self.now_ms += self.rng.u64(0..3);
            if self.rng.bool() {
                self.server.receive(&mut self.client, &mut self.rng, self.now_ms);
            } else {
                self.client.receive(&mut self.server, &mut self.rng, self.now_ms);
            }
            self.accept();
            let number = self.rng.usize(0..self.exchanges.len());
            self.step(number);
            let is_over = |side: &Side| side.connection.standing() != ConnectionStanding::Open;
            if is_over(&self.client) || is_over(&self.server) {
                return Err(format!("the connection ended: {:?}", self.server.connection.fault()));
            }
            let has_come = |one: &Exchange| {
                let has_put = |message: &Option<Message>| message.as_ref().is_some_and(|message| message.has_ended);
                one.is_whole == [true; 2] && has_put(&one.client) && has_put(&one.server)
            };
            if self.exchanges.iter().all(|one| one.fate != Fate::Left || has_come(one)) {
                return Ok(());
            }
        }
        Err("it never came to its end".to_owned())
    }
}

/// Whether the message is whole; one that was left alone may not fail.
fn check(fate: Fate, outcome: Result<bool, StreamEnd>, number: usize) -> bool {
    match outcome {
        Ok(is_whole) => is_whole,
        Err(end) => {
            assert_ne!(fate, Fate::Left, "stream {number} was left alone and ended by {end:?}");
            true
        }
    }
}

#[test]
fn what_one_stream_does_the_others_never_feel() {
    let seeds: u32 = std::env::var("RINGRESS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2_000);
    let mut moved = 0;
    for seed in 0..u64::from(seeds) {
        let budget = Rc::new(WindowBudget::default());
        let mut pair = Pair::new(seed, &budget);
        pair.run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        for exchange in &pair.exchanges {
            for (message, side) in [(&exchange.client, &mut pair.client), (&exchange.server, &mut pair.server)] {
                if let Some(message) = message {
                    moved += message.got;
                    side.connection.stream(message.key).release();
                }
            }
        }
        assert_eq!((pair.client.connection.held(), pair.server.connection.held()), (0, 0), "seed {seed}");
        drop(pair);
        assert_eq!(budget.raised(), 0, "seed {seed}: every window that was raised is given back");
    }
    // A world in which nothing moves would prove nothing.
    assert!(moved / 100_000 > seeds as usize, "{moved}");
}
