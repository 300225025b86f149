//! The whole exchange with bytes of the fuzzer's on both sides: no panic, no connection left open, and what is
//! forwarded is valid.
#![no_main]

#[path = "../../tests/simulation/world.rs"]
#[allow(dead_code, reason = "the simulation uses more of it")]
mod world;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::rules::{HeadRules, Underscores};
use ringress::proto::h1::scan::HeadScan;
use ringress::snapshot::{Peer, Snapshot};
use ringress::worker::{Worker, WorkerSettings};
use ringress::worker::engine::{Socket, Transport as _, finish, receive, send};
use ringress::worker::http::serve::serve;
use world::World;

const CONFIG: &str = "
[listeners.web]
address = '127.0.0.1:80'
trusted_proxies = ['127.0.0.0/8']
[[routes]]
name = 's'
service = 's'
[services.s]
endpoints = ['10.0.0.1:80']
[[routes]]
name = 'api'
service = 's'
paths = [{ prefix = '/api' }]
filters = [{ strip_prefix = '/api' }, { request_headers = { remove = ['x'], set = { y = 'z' } } }]
[[routes]]
name = 'old'
paths = [{ prefix = '/old' }]
filters = [{ redirect = { scheme = 'https' } }]
";

thread_local! {
    static SNAPSHOT: Arc<Snapshot> = {
        let source = Source::parse(CONFIG, Syntax::Toml, Path::new("fuzz"), &|_| None).expect("it is valid");
        Arc::new(compile(&source, &Resolved::new(), &mut Kept::default(), 1).expect("it is valid").snapshot)
    };
}

async fn say(mut socket: Socket<World>, bytes: Vec<u8>, heard: Rc<RefCell<Vec<u8>>>) {
    let length = bytes.len();
    let (mut out, mut sent) = (bytes, 0);
    while sent < length {
        match send(&mut socket.sender, &mut out, sent).await {
            Ok(bytes) => sent += bytes,
            Err(_) => break,
        }
    }
    finish(&mut socket.sender).await;
    let mut buffer = Vec::with_capacity(512);
    while matches!(receive(&mut socket.receiver, &mut buffer).await, Ok(bytes) if bytes > 0) {
        heard.borrow_mut().append(&mut buffer);
        buffer.reserve(512);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, rest)) = data.split_first() else { return };
    let cut = rest.windows(4).position(|window| window == b"----").unwrap_or(rest.len());
    let (request, response) = (rest[..cut].to_vec(), rest.get(cut + 4..).unwrap_or_default().to_vec());
    let world = World::new(u64::from(*seed));
    let worker = Worker::new(world.clone(), WorkerSettings::alone(10));
    let label = SNAPSHOT.with(|snapshot| {
        worker.publish(snapshot);
        snapshot.listeners[0].listener.label
    });
    let heard: Rc<RefCell<Vec<Rc<RefCell<Vec<u8>>>>>> = Rc::default();
    let connections = Rc::clone(&heard);
    world.on_connect(move |world, socket, _| {
        let heard = Rc::default();
        connections.borrow_mut().push(Rc::clone(&heard));
        world.spawn(say(socket, response.clone(), heard));
    });
    let (ours, theirs) = world::pair(&world);
    world.spawn(say(theirs, request, Rc::default()));
    world.spawn(serve(worker.clone(), ours, Peer::LOCAL, label));
    world.run(2_000_000);
    assert_eq!(worker.connections(), 0, "a connection is left open");
    assert_eq!(worker.report("", 0).metrics.counters.panics, 0, "a panic was caught");
    for heard in heard.borrow().iter() {
        let heard = heard.borrow();
        if let Ok(Some(length)) = HeadScan::default().advance(&heard) {
            let mut head = RequestHead::default();
            if let Err(fault) = head.parse(heard[..length].to_vec(), HeadRules { underscores: Underscores::Reject, ..HeadRules::default() }) {
                let text = String::from_utf8_lossy(&heard[..length]).into_owned();
                assert!(head.fields().count() > 100, "{fault:?}: {text}");
            }
        }
    }
    world.end();
});
