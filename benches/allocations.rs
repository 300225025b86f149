//! Allocations of a worker for one kept-alive request, counted by a test allocator.
//!
//! The worker runs inside this process; only its thread's allocations count. The target is 0.
#![expect(clippy::unwrap_used, reason = "a bench ends at the first surprise")]
#![expect(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use ringress::config::document::Syntax;
use ringress::config::{EngineChoice, Source};
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::control::listeners::Bound;
use ringress::mailbox::{self, Order};
use ringress::worker::WorkerSettings;
use ringress::worker::thread::{ThreadSettings, start};

thread_local! {
    static IS_WORKER: Cell<Option<bool>> = const { Cell::new(None) };
}
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count(bytes: usize) {
    // The name is looked up once for a thread; looking it up may allocate.
    let is_worker = IS_WORKER.with(|is_worker| {
        is_worker.get().unwrap_or_else(|| {
            is_worker.set(Some(false));
            let found = std::thread::current().name().is_some_and(|name| name.starts_with("worker-"));
            is_worker.set(Some(found));
            found
        })
    });
    if is_worker {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers whatever comes in one piece with 200 bytes.
fn origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 200\r\nServer: x\r\n\r\n{}", "x".repeat(200));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            let response = response.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
                    stream.write_all(response.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

fn main() {
    const REQUESTS: u64 = 20_000;
    for engine in [EngineChoice::IoUring, EngineChoice::Epoll] {
        let text = format!(
            "[listeners.web]\naddress = \"127.0.0.1:0\"\n[[routes]]\nname = \"all\"\nservice = \"s\"\n[services.s]\nendpoints = [\"{}\"]\n",
            origin()
        );
        let source = Source::parse(&text, Syntax::Toml, Path::new("bench"), &|_| None).unwrap();
        let snapshot = compile(&source, &Resolved::new(), &mut Kept::default(), 1).unwrap().snapshot;
        let change = Bound::default().prepare(&snapshot, 1).unwrap();
        let (mailbox, inbox) = mailbox::pair().unwrap();
        let (started, outcome) = channel();
        let settings = ThreadSettings { worker: WorkerSettings::alone(1_000), cpu: None, engine, started };
        start(settings, inbox).unwrap();
        outcome.recv().unwrap().unwrap();
        mailbox.give(Order::Publish(Arc::new(snapshot)));
        let (label, sockets) = change.added.into_iter().next().unwrap();
        let acceptor = sockets.into_iter().flatten().next().unwrap();
        let mailbox::Acceptor::Tcp(socket) = &acceptor else { return };
        let address = socket.local_addr().unwrap();
        mailbox.give(Order::Listen(label, acceptor));

        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        let request = b"GET /some/path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
        let mut buffer = vec![0; 65_536];
        let mut ask = || {
            client.write_all(request).unwrap();
            assert!(client.read(&mut buffer).unwrap() > 200);
        };
        (0..2_000).for_each(|_| ask());
        let before = (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        (0..REQUESTS).for_each(|_| ask());
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before.0;
        let bytes = BYTES.load(Ordering::Relaxed) - before.1;
        println!("{engine:?}: {allocations} allocations, {bytes} bytes in {REQUESTS} kept-alive requests");
    }
}
