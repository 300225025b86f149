//! HTTP/2, from bytes to heads and back: a connection says the same however its bytes are cut, whatever comes never makes it
//! send what is no frame, a head that it hands on is one head of HTTP/1.1, and what HTTP/1.1 lets pass can be said in HTTP/2.
#![no_main]

use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use libfuzzer_sys::fuzz_target;
use ringress::encode::hop::{Asked, Hop, HopFields, UpstreamTarget};
use ringress::encode::request::h2_request;
use ringress::encode::response::{Persistence, ResponseTerms, UpstreamResponse, h2_response};
use ringress::encode::wire::trailer_fields;
use ringress::filter::edits::FieldEdits;
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::response::ResponseHead;
use ringress::proto::h1::rules::{ForwardedPath, HeadRules, Leniency, Underscores};
use ringress::proto::h1::scan::HeadScan;
use ringress::proto::h1::target::HiddenDots;
use ringress::proto::h2::connection::Connection;
use ringress::proto::h2::fields::FieldList;
use ringress::proto::h2::hpack::decoder::Decoder;
use ringress::proto::h2::hpack::encoder::Encoder;
use ringress::proto::h2::hpack::huffman;
use ringress::proto::h2::message::BlockFields;
use ringress::proto::h2::reader::FrameReader;
use ringress::proto::h2::window::WindowBudget;
use ringress::proto::h2::{PREFACE, Role};

/// What a connection does with these bytes, in parts of `step`: the requests that it hands on, what ended it, and what was read.
fn serve(data: &[u8], step: usize, budget: &Rc<WindowBudget>) -> (Vec<Vec<u8>>, Option<&'static str>, Vec<u8>) {
    let mut connection = Connection::new(Role::Server, 1 << 20, Rc::clone(budget));
    connection.receive(PREFACE, 0);
    let (mut heads, mut keys, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for part in data.chunks(step) {
        connection.receive(part, 7);
        while let Some(accepted) = connection.accept() {
            heads.push(accepted.head);
            keys.push(accepted.key);
        }
        sent.append(connection.writer().out());
    }
    let mut read = Vec::new();
    let cx = Context::from_waker(Waker::noop());
    for key in keys {
        let mut inbox = Vec::with_capacity(64);
        while connection.stream(key).poll_read(&mut inbox, &cx).is_ready_and(|bytes| *bytes > 0) {
            read.append(&mut inbox);
            inbox.reserve(64);
        }
        let mut answer = FieldList::default();
        answer.push(b":status", b"200");
        let _ = connection.stream(key).put_head(&answer, false, true);
        connection.stream(key).release();
    }
    connection.expire(10_000);
    while let Some(accepted) = connection.accept() {
        connection.stream(accepted.key).release();
    }
    assert!(connection.held() == 0 || connection.fault().is_some(), "nobody holds a stream any more");
    sent.append(connection.writer().out());
    check_frames(&sent);
    (heads, connection.fault().map(|fault| fault.name), read)
}

trait IsReadyAnd<T> {
    fn is_ready_and(&self, test: impl FnOnce(&T) -> bool) -> bool;
}

impl<T, E> IsReadyAnd<T> for std::task::Poll<Result<T, E>> {
    fn is_ready_and(&self, test: impl FnOnce(&T) -> bool) -> bool {
        matches!(self, std::task::Poll::Ready(Ok(value)) if test(value))
    }
}

/// What goes out is frames that a reader takes.
fn check_frames(mut sent: &[u8]) {
    let mut reader = FrameReader::default();
    while reader.next(&mut sent).expect("what we send are frames").is_some() {}
    assert!(!reader.is_unfinished());
}

/// An upstream that says this to a GET.
fn ask(data: &[u8], step: usize) -> Vec<u8> {
    let mut connection = Connection::new(Role::Client, 1 << 20, Rc::default());
    let mut request = FieldList::default();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")] {
        request.push(name.as_bytes(), value.as_bytes());
    }
    let key = connection.open(&request, true).expect("a connection that begins has room");
    let cx = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    for part in data.chunks(step) {
        connection.receive(part, 7);
    }
    let mut inbox = Vec::with_capacity(64);
    while connection.stream(key).poll_read(&mut inbox, &cx).is_ready_and(|bytes| *bytes > 0) {
        read.append(&mut inbox);
        inbox.reserve(64);
    }
    connection.stream(key).release();
    assert_eq!(connection.held(), 0);
    let sent = std::mem::take(connection.writer().out());
    check_frames(&sent[PREFACE.len()..]);
    read
}

/// A block that can be read can be written again, and means the same.
fn check_block(data: &[u8]) {
    let mut fields = Vec::new();
    if Decoder::new(4096).decode(data, |name, value| fields.push((name.to_vec(), value.to_vec()))).is_err() {
        return;
    }
    fields.truncate(200);
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(4096));
    for _ in 0..2 {
        let mut block = Vec::new();
        encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])), &mut block);
        let mut found = Vec::new();
        let decoded = decoder.decode(&block, |name, value| found.push((name.to_vec(), value.to_vec())));
        assert!(decoded.is_ok() && found == fields);
    }
    let mut block = BlockFields::default();
    fields.iter().for_each(|(name, value)| block.add(name, value));
    check_message(&block);
}

const KEEP: HeadRules = HeadRules { underscores: Underscores::Keep, hidden_dots: HiddenDots::Keep };

/// What would be two heads, or a head and something behind it, must not be taken for one.
fn check_message(block: &BlockFields) {
    for ends_stream in [true, false] {
        let mut out = Vec::new();
        if block.put_request(&mut out, block.body(ends_stream)).is_err() {
            continue;
        }
        let is_one = HeadScan::default().advance(&out) == Ok(Some(out.len()));
        if RequestHead::default().parse(out, KEEP).is_ok() {
            assert!(is_one, "one head and nothing behind it");
        }
    }
    if let Ok(status) = block.status() {
        let mut out = Vec::new();
        block.put_response(&mut out, status, false, false);
        assert_eq!(HeadScan::default().advance(&out), Ok(Some(out.len())));
    }
}

fn check_huffman(data: &[u8]) {
    let mut coded = Vec::new();
    huffman::encode(data, &mut coded);
    let mut plain = Vec::new();
    assert!(huffman::decode(&coded, &mut plain).is_ok() && plain == data);
    let mut plain = Vec::new();
    if huffman::decode(data, &mut plain).is_ok() {
        let mut coded = Vec::new();
        huffman::encode(&plain, &mut coded);
        assert_eq!(coded, data, "a string has one code");
    }
}

/// A request of HTTP/1.1 that is taken can be said in HTTP/2, and is read there as what it was.
fn check_h2_request(data: &[u8]) {
    let mut head = RequestHead::default();
    if head.parse(data.to_vec(), KEEP).is_err() {
        return;
    }
    let peer = IpAddr::from([127, 0, 0, 1]);
    let hop = Hop {
        peer,
        client: peer,
        is_trusted: true,
        keeps_id: false,
        asked: Asked { scheme: "http", port: 80 },
        scheme: "http",
        client_certificate: None,
        is_early: false,
        request_id: 1,
        writes: HopFields { forwarded: true, via: true },
    };
    let target = UpstreamTarget { host: None, fallback: b"localhost", path: ForwardedPath::default(), length: None };
    let request = h2_request(&head, &hop, &target, &FieldEdits::default(), "https");
    let mut block = BlockFields::default();
    request.fields.iter().for_each(|(name, value)| block.add(name, value));
    if request.fields.size() <= 64 * 1024 {
        let mut out = Vec::new();
        block.put_request(&mut out, block.body(true)).expect("what was taken is well-formed");
    }
}

/// A response of HTTP/1.1 that is taken can be said in HTTP/2.
fn check_h2_response(data: &[u8]) {
    let mut head = ResponseHead::default();
    if head.parse(data, false, Leniency::default()).is_err() {
        return;
    }
    let terms = ResponseTerms {
        framing: head.framing(),
        persistence: Persistence::KeepAlive,
        passes_length: false,
        grpc_web: None,
        now: None,
    };
    let response = h2_response(UpstreamResponse { head: &head, bytes: data }, &terms, [None; 4]);
    assert!(response.is_some() || head.status() == 101);
}

fuzz_target!(|data: &[u8]| {
    let budget = Rc::new(WindowBudget::default());
    let whole = serve(data, data.len().max(1), &budget);
    for step in [1, 3, 16] {
        assert_eq!(serve(data, step, &budget), whole);
    }
    assert_eq!(budget.raised(), 0, "every window that was raised is given back");
    let answer = ask(data, data.len().max(1));
    assert_eq!(ask(data, 5), answer);
    check_block(data);
    check_huffman(data);
    check_h2_request(data);
    check_h2_response(data);
    let _ = trailer_fields(data);
});
