//! What the pieces of the request path cost, one by one and together, without a kernel.
//!
//! `cargo bench --bench pieces` prints nanoseconds; `-- PIECE TIMES` runs one piece so many times and prints nothing, for
//! `benches/pieces/instructions`, which counts instructions.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "a bench has a clock")]
#![expect(unreachable_pub, reason = "modules of one program")]

mod memory;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Instant;

use memory::{FarEnd, Memory};
use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::encode::hop::{Asked, Hop, HopFields, UpstreamTarget};
use ringress::encode::request::put_request_head;
use ringress::encode::response::{Persistence, ResponseTerms, UpstreamResponse, put_response_head};
use ringress::filter::edits::Edits;
use ringress::proto::h1::chunked::BodyOf;
use ringress::proto::h1::encode::put_chunk;
use ringress::proto::h1::framing::{BodyDecoder, Framing};
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::response::ResponseHead;
use ringress::proto::h1::rules::{ForwardedPath, HeadRules, Leniency};
use ringress::proto::h1::scan::HeadScan;
use ringress::snapshot::{Peer, Snapshot};
use ringress::worker::http::serve::serve;
use ringress::worker::time::wheel::Wheel;
use ringress::worker::{Worker, WorkerSettings};

const SMALL: &str = "GET /200 HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BROWSER: &str = "GET /catalogue/garden/tools?page=3&sort=price HTTP/1.1\r\nHost: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Language: de-CH,de;q=0.9,fr;q=0.8,en-US;q=0.7,en;q=0.6\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
Cache-Control: max-age=0\r\nDNT: 1\r\nSec-CH-UA-Mobile: ?0\r\nSec-CH-UA-Platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
Referer: https://www.example.com/catalogue/garden\r\nX-Requested-With: XMLHttpRequest\r\n\
X-Correlation-Id: 5f0c6a0e-2f3b-4f0e-9a55-0c0ffee0c0de\r\nAuthorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln\r\n\
Cookie: session=3b1f8e0a9d7c4e52b6a1f0c9e8d7a6b5; preferences=theme%3Ddark; consent=necessary; basket=17f3a2c4-9b0d\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nDate: Sun, 01 Nov 2026 10:00:00 GMT\r\n\
Content-Length: 200\r\nCache-Control: max-age=60\r\n\r\n";

/// A piece: prepared, then run so many times.
type Run = Box<dyn FnMut(u32)>;
/// A name and what prepares it.
type Piece = (&'static str, fn() -> Run);

const PIECES: [Piece; 17] = [
    ("scan a head", || scan(SMALL)),
    ("scan a browser's head", || scan(BROWSER)),
    ("parse a request head", || parse(SMALL)),
    ("parse a browser's request head", || parse(BROWSER)),
    ("parse a response head", parse_response),
    ("write a request head", || write_request(SMALL)),
    ("write a browser's request head", || write_request(BROWSER)),
    ("write a response head", write_response),
    ("decode and encode 4 chunks of 1 KiB", chunks),
    ("find one of 10 routes", || find(10)),
    ("find one of 1,000 routes", || find(1_000)),
    ("find one of 10,000 routes", || find(10_000)),
    ("arm, rearm and disarm a timer", timer),
    ("turn the wheel by a tick, 10,000 timers", turn),
    ("compile a snapshot of 100 routes", || compile_routes(100)),
    ("an exchange, pool and all", || exchange(SMALL)),
    ("a browser's exchange, pool and all", || exchange(BROWSER)),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [name, times] = &arguments[..] {
        let piece = PIECES.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no piece {name}"));
        piece.1()(times.parse().unwrap());
        return;
    }
    if arguments.first().is_some_and(|argument| argument == "list") {
        PIECES.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    println!("| piece | ns (median of 7) |\n|---|---|");
    for (name, prepare) in PIECES {
        let mut run = prepare();
        let start = Instant::now();
        run(10);
        // Some 20 ms a sample.
        let times =
            u32::try_from(200_000_000 / start.elapsed().as_nanos().max(1)).unwrap_or(u32::MAX).clamp(10, 1_000_000);
        let mut samples: Vec<_> = (0..7)
            .map(|_| {
                let start = Instant::now();
                run(times);
                start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        println!("| {name} | {:.0} |", samples[3]);
    }
}

fn parsed(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.parse(text.as_bytes().to_vec(), HeadRules::default()).unwrap();
    head
}

fn scan(text: &'static str) -> Run {
    Box::new(move |times| {
        for _ in 0..times {
            assert_eq!(HeadScan::default().advance(black_box(text.as_bytes())).unwrap(), Some(text.len()));
        }
    })
}

fn parse(text: &'static str) -> Run {
    let mut head = RequestHead::default();
    Box::new(move |times| {
        for _ in 0..times {
            let mut bytes = head.take_bytes();
            bytes.extend_from_slice(black_box(text.as_bytes()));
            head.parse(bytes, HeadRules::default()).unwrap();
        }
    })
}

fn parse_response() -> Run {
    let mut head = ResponseHead::default();
    Box::new(move |times| {
        for _ in 0..times {
            head.parse(black_box(RESPONSE.as_bytes()), false, Leniency::default()).unwrap();
        }
    })
}

fn write_request(text: &'static str) -> Run {
    let head = parsed(text);
    let mut out = Vec::with_capacity(4096);
    Box::new(move |times| {
        for _ in 0..times {
            let hop = Hop {
                peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                is_trusted: false,
                keeps_id: false,
                asked: Asked { scheme: "http", port: 80 },
                scheme: "http",
                client_certificate: None,
                is_early: false,
                request_id: 1 << 100,
                writes: HopFields { forwarded: false, via: false },
            };
            let target =
                UpstreamTarget { host: None, fallback: b"origin", path: ForwardedPath::default(), length: None };
            out.clear();
            put_request_head(black_box(&mut out), &head, &hop, &target, &Edits::NONE.request, true);
        }
    })
}

fn write_response() -> Run {
    let mut head = ResponseHead::default();
    head.parse(RESPONSE.as_bytes(), false, Leniency::default()).unwrap();
    let mut out = Vec::with_capacity(4096);
    Box::new(move |times| {
        for _ in 0..times {
            let terms = ResponseTerms {
                framing: head.framing(),
                persistence: Persistence::KeepAlive,
                passes_length: false,
                grpc_web: None,
                now: None,
            };
            out.clear();
            let response = UpstreamResponse { head: &head, bytes: RESPONSE.as_bytes() };
            put_response_head(black_box(&mut out), response, &terms, [None; 4]);
        }
    })
}

fn chunks() -> Run {
    let body = format!("{}0\r\n\r\n", format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(4)).into_bytes();
    let mut out = Vec::with_capacity(8192);
    Box::new(move |times| {
        for _ in 0..times {
            let mut decoder = BodyDecoder::new(BodyOf::Request, Framing::Chunked);
            let (mut taken, mut trailers) = (0, Vec::new());
            out.clear();
            while !decoder.is_done() {
                let piece = decoder.decode(black_box(&body[taken..]), &mut trailers).unwrap();
                let data = &body[taken..][piece.data];
                if !data.is_empty() {
                    put_chunk(&mut out, data);
                }
                taken += piece.consumed;
            }
        }
    })
}

fn source(routes: usize) -> Source {
    let mut text =
        "[listeners.web]\naddress = \"127.0.0.1:80\"\n[services.s]\nendpoints = [\"10.0.0.1:80\"]\n".to_owned();
    for number in 0..routes {
        let route = format!(
            "[[routes]]\nname = \"r{number}\"\nservice = \"s\"\nhosts = [\"h{number}.example\"]\npaths = [{{ prefix = \"/app{number}/\" }}]\n"
        );
        text.push_str(&route);
    }
    text += "[[routes]]\nname = \"all\"\nservice = \"s\"\n";
    Source::parse(&text, Syntax::Toml, Path::new("bench"), &|_| None).unwrap()
}

fn snapshot(routes: usize) -> Snapshot {
    compile(&source(routes), &Resolved::new(), &mut Kept::default(), 1).unwrap().snapshot
}

fn find(routes: usize) -> Run {
    let snapshot = snapshot(routes);
    let heads: Vec<_> = (0..64)
        .map(|at| at * routes / 64)
        .map(|number| parsed(&format!("GET /app{number}/users/17?x=1 HTTP/1.1\r\nHost: h{number}.example\r\n\r\n")))
        .collect();
    Box::new(move |times| {
        for at in 0..times as usize {
            black_box(snapshot.listeners[0].table.router.find(black_box(&heads[at % heads.len()]))).unwrap();
        }
    })
}

fn compile_routes(routes: usize) -> Run {
    let source = source(routes);
    Box::new(move |times| {
        for _ in 0..times {
            black_box(compile(black_box(&source), &Resolved::new(), &mut Kept::default(), 1).unwrap().snapshot);
        }
    })
}

fn timer() -> Run {
    let mut wheel = Wheel::new(0);
    let key = wheel.insert();
    Box::new(move |times| {
        for _ in 0..times {
            wheel.arm(black_box(key), 1_000, false);
            wheel.arm(key, 2_000, true);
            wheel.disarm(key);
        }
    })
}

fn turn() -> Run {
    let mut wheel = Wheel::new(0);
    let keys: Vec<_> = (0..10_000).map(|_| wheel.insert()).collect();
    let (mut now, mut first, mut woken) = (0, 0, Vec::new());
    Box::new(move |times| {
        for _ in 0..times {
            now += 1;
            first = (first + 1) % 1_000;
            // As under load: all are put off long before they are due, a few at a time.
            for key in keys.iter().skip(first).step_by(1_000) {
                wheel.arm(*key, now + 7_500, true);
            }
            wheel.advance(now, &mut woken);
            woken.clear();
        }
    })
}

fn exchange(text: &'static str) -> Run {
    let memory = Memory::default();
    let worker = Worker::new(memory.clone(), WorkerSettings::alone(1_000));
    let snapshot = snapshot(0);
    let label = snapshot.listeners[0].listener.label;
    worker.publish(&snapshot);
    let response = format!("{RESPONSE}{}", "x".repeat(200));
    Box::new(move |times| {
        let client = FarEnd::default();
        let mut serving = pin!(serve(worker.clone(), client.socket(), Peer::LOCAL, label));
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..times {
            client.coming.borrow_mut().extend_from_slice(text.as_bytes());
            assert!(serving.as_mut().poll(cx).is_pending());
            assert!(!memory.origin.sent.borrow().is_empty(), "the origin gets the request");
            memory.origin.sent.borrow_mut().clear();
            memory.origin.coming.borrow_mut().extend_from_slice(response.as_bytes());
            assert!(serving.as_mut().poll(cx).is_pending());
            assert!(client.sent.borrow().len() >= 200, "the client gets the answer");
            client.sent.borrow_mut().clear();
        }
    })
}
