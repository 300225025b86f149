//! The exchange over simulated connections: seeds, virtual time, peers that cut, stall, break and lie.
//!
//! `RINGRESS_SEEDS` is how many seeds are run, `RINGRESS_SEED` runs one alone.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests end the test")]
#![expect(clippy::disallowed_types, reason = "wakers may cross threads, though none does here")]
#![expect(unreachable_pub, reason = "modules of one test program")]

mod application;
mod origin;
mod pair;
mod peers;
mod world;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use application::{Spoken, application};
use origin::Manner;
use peers::{Book, Seen};
use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::snapshot::{Peer, Snapshot};
use ringress::worker::engine::{Socket, Transport as _};
use ringress::worker::http::serve::serve;
use ringress::worker::{Worker, WorkerSettings};
use world::World;

const CONFIG: &str = "
[listeners.web]
address = '127.0.0.1:80'
[listeners.secure]
address = '127.0.0.1:443'
tls = {}
[[routes]]
name = 's'
service = 's'
[[routes]]
name = 'buffered'
service = 's'
paths = [{ prefix = '/buffered' }]
filters = [{ buffer = { max = '64KiB' } }]
[[routes]]
name = 'over-tls'
service = 'over-tls'
listeners = ['web']
paths = [{ prefix = '/over-tls' }]
[services.over-tls]
endpoints = ['10.0.0.3:443']
protocol = 'http1'
tls = { insecure_skip_verify = true }
[[routes]]
name = 'over-h2'
service = 'over-h2'
listeners = ['web']
paths = [{ prefix = '/over-h2' }]
[services.over-h2]
endpoints = ['10.0.0.3:81']
protocol = 'h2'
[[routes]]
name = 'over-both'
service = 'over-both'
listeners = ['web']
paths = [{ prefix = '/over-both' }]
[services.over-both]
endpoints = ['10.0.0.3:443']
protocol = 'h2'
tls = { insecure_skip_verify = true }
[listeners.inner]
address = '127.0.0.1:81'
[services.s]
endpoints = ['10.0.0.1:80', '10.0.0.2:80']
[[routes]]
name = 'uwsgi'
service = 'uwsgi'
paths = [{ prefix = '/uwsgi' }]
[services.uwsgi]
endpoints = ['10.0.0.1:9000', '10.0.0.2:9000']
protocol = 'uwsgi'
[[routes]]
name = 'scgi'
service = 'scgi'
paths = [{ prefix = '/scgi' }]
[services.scgi]
endpoints = ['10.0.0.1:9001', '10.0.0.2:9001']
protocol = 'scgi'
[[routes]]
name = 'fastcgi'
service = 'fastcgi'
paths = [{ prefix = '/fastcgi' }]
[services.fastcgi]
endpoints = ['10.0.0.1:9002', '10.0.0.2:9002']
protocol = 'fastcgi'
[[routes]]
name = 'kept'
service = 'kept'
paths = [{ prefix = '/kept' }]
[services.kept]
endpoints = ['10.0.0.1:9002', '10.0.0.2:9002']
protocol = 'fastcgi'
fastcgi_keep_conn = true
[[routes]]
name = 'refused'
service = 'refused'
paths = [{ prefix = '/refused' }]
[services.refused]
endpoints = ['10.0.0.1:1']
[[routes]]
name = 'hole'
service = 'hole'
paths = [{ prefix = '/hole' }]
[services.hole]
endpoints = ['10.0.0.1:2']
[[routes]]
name = 'panic'
service = 'panic'
paths = [{ prefix = '/panic' }]
[services.panic]
endpoints = ['10.0.0.1:3']
";

/// Longer than all timeouts of an exchange one after the other, in milliseconds of virtual time.
const LONGEST_MS: u64 = 2_000_000;

fn snapshot() -> Arc<Snapshot> {
    let source = Source::parse(CONFIG, Syntax::Toml, Path::new("simulation"), &|_| None).unwrap();
    Arc::new(compile(&source, &Resolved::new(), &mut Kept::default(), 1).unwrap().snapshot)
}

/// By these ways a request reaches an origin: at once, once its body is read whole, as variables, or through the proxy's own other
/// listeners.
const WAYS: [&str; 9] = ["s", "buffered", "uwsgi", "scgi", "fastcgi", "kept", "over-tls", "over-h2", "over-both"];
/// Those of them that lead to an origin at once.
const SHORT_WAYS: usize = 6;
/// One seed of so many takes the longer ways: their handshakes cost more than all the rest.
const SEEDS_PER_LONG_WAY: u64 = 16;

/// Runs one seed; the statuses that clients got, or what is wrong.
fn run(seed: u64, snapshot: &Arc<Snapshot>) -> Result<Vec<u16>, String> {
    let world = World::new(seed);
    let worker = Worker::new(world.clone(), WorkerSettings::alone(1_000));
    worker.publish(snapshot);
    let clients = 1 + world.below(3);
    let requests = 1 + world.below(3);
    let book: Book = Book::default();
    book.borrow_mut().resize(clients * requests, Seen::default());
    let seen = book.clone();
    let label_of = |name: &str| {
        snapshot
            .listeners
            .iter()
            .map(|entrance| &entrance.listener)
            .find(|listener| &*listener.name == name)
            .unwrap()
            .label
    };
    let (label, inner, secure) = (label_of("web"), label_of("inner"), label_of("secure"));
    let own = worker.clone();
    world.on_connect(move |world, socket, to| match (to.ip() == world::SELF, to.port()) {
        (false, port) => meet(world, socket, port, &seen),
        (true, 443) => world.spawn(serve(own.clone(), socket, Peer::LOCAL, secure)),
        (true, _) => world.spawn(serve(own.clone(), socket, Peer::LOCAL, inner)),
    });
    let ways = if seed.is_multiple_of(SEEDS_PER_LONG_WAY) { &WAYS[..] } else { &WAYS[..SHORT_WAYS] };
    for client in 0..clients {
        let (ours, theirs) = world::pair(&world);
        let ids = client * requests..(client + 1) * requests;
        world.spawn(peers::client(world.clone(), theirs, book.clone(), ids, ways));
        world.spawn(serve(worker.clone(), ours, Peer::LOCAL, label));
    }
    world.run(LONGEST_MS);
    let verdict = judge(&book.borrow(), worker.connections());
    world.end();
    let statuses = book.borrow().iter().filter_map(|seen| seen.status).collect();
    verdict.map(|()| statuses)
}

/// An upstream takes a connection of the proxy's.
fn meet(world: &World, socket: Socket<World>, port: u16, book: &Book) {
    match Spoken::of(port) {
        Some(spoken) => world.spawn(application(world.clone(), socket, Rc::clone(book), spoken)),
        None => world.spawn(origin::origin(world.clone(), socket, Rc::clone(book))),
    }
}

/// Runs one seed in which the requests are our own; the statuses that came of them, 599 for a failure, or what is wrong.
fn run_own(seed: u64, snapshot: &Arc<Snapshot>) -> Result<Vec<u16>, String> {
    let world = World::new(seed);
    let worker = Worker::new(world.clone(), WorkerSettings::alone(1_000));
    worker.publish(snapshot);
    let requests = 1 + world.below(6);
    let book: Book = Book::default();
    book.borrow_mut().resize(requests, Seen::default());
    let seen = book.clone();
    world.on_connect(move |world, socket, to| meet(world, socket, to.port(), &seen));
    let service = snapshot.services.iter().find(|service| &*service.name == "s").unwrap().label;
    world.spawn(peers::own_requests(world.clone(), worker, service, book.clone()));
    world.run(LONGEST_MS);
    let verdict = judge(&book.borrow(), 0);
    world.end();
    let statuses = book.borrow().iter().map(|seen| seen.status.unwrap_or(599)).collect();
    verdict.map(|()| statuses)
}

fn judge(book: &[Seen], connections: usize) -> Result<(), String> {
    if connections != 0 {
        return Err(format!("{connections} client connections are still open"));
    }
    for (id, seen) in book.iter().enumerate() {
        let wrong = |what: &str| Err(format!("request {id}: {what}: {seen:?}"));
        // The free attempt after a stale reuse, and two others.
        let executed_max = match (seen.is_idempotent, seen.is_passed_twice) {
            (false, _) => 1,
            (true, false) => 4,
            (true, true) => 4 * 4,
        };
        if seen.executed > executed_max {
            return wrong("executed twice");
        }
        if seen.is_body_wrong {
            return wrong("the origin got another body");
        }
        if seen.is_answer_wrong && !seen.is_forged {
            return wrong("the client got another answer");
        }
        if seen.status == Some(200) && seen.executed == 0 && !seen.is_forged {
            return wrong("answered without having been executed");
        }
        let is_cut = seen.status == Some(200) && !seen.is_whole;
        if seen.is_client_healthy && is_cut && seen.faults.is_empty() && !seen.is_origin_faulty {
            return wrong("cut though nobody misbehaved");
        }
        let is_lost = seen.status != Some(200) && !seen.is_forged;
        if seen.is_client_healthy && seen.is_routed && is_lost && !may_be_lost(seen) {
            return wrong("lost though the table says it is saved");
        }
        if seen.status == Some(500) && seen.executed > 0 {
            return wrong("a bug of ours");
        }
    }
    Ok(())
}

/// What no retry may save, by the table. Two attempts after the first, of which one may follow a connection that
/// closed without an answer, and a free one after a stale reuse.
fn may_be_lost(seen: &Seen) -> bool {
    let answered_badly = [Manner::Silent, Manner::Truncates, Manner::Garbage];
    if seen.faults.iter().any(|fault| answered_badly.contains(fault)) {
        return true;
    }
    if seen.is_idempotent {
        let closed = seen.faults.iter().filter(|fault| {
            matches!(fault, Manner::ClosesBefore | Manner::ClosesUnread | Manner::Resets | Manner::Vanishes)
        });
        return closed.count() + seen.taken >= 2;
    }
    // Once an origin, or its kernel, has bytes of it, nobody can say that it was not executed.
    !seen.faults.is_empty() || seen.taken > 0
}

/// Panics on purpose must not fill the test's output.
fn quiet_on_purpose() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_on_purpose = info.payload().downcast_ref::<&str>().is_some_and(|text| text.contains("on purpose"));
        if !is_on_purpose {
            usual(info);
        }
    }));
}

/// Runs all seeds on all CPUs; how often each status came.
fn run_seeds(seeds: u64, run: fn(u64, &Arc<Snapshot>) -> Result<Vec<u16>, String>) -> (u64, Vec<(usize, u64)>) {
    quiet_on_purpose();
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = number("RINGRESS_SEEDS").unwrap_or(seeds);
    let (first, count) = number("RINGRESS_SEED").map_or((0, seeds), |seed| (seed, 1));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(first);
    let counts: [AtomicU64; 600] = std::array::from_fn(|_| AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let snapshot = snapshot();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run(seed, &snapshot) {
                        Err(what) => panic!("RINGRESS_SEED={seed}: {what}"),
                        Ok(statuses) => statuses.iter().for_each(|status| {
                            counts[usize::from(*status)].fetch_add(1, Ordering::Relaxed);
                        }),
                    }
                }
            });
        }
    });
    let counted = counts.iter().enumerate().map(|(status, count)| (status, count.load(Ordering::Relaxed)));
    let counted: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
    println!("{count} seeds, answers by status: {counted:?}");
    (count, counted)
}

#[test]
fn no_seed_breaks_a_promise() {
    let (count, counted) = run_seeds(100_000, run);
    // A world in which nothing goes wrong, or everything, would prove nothing.
    if count >= 10_000 {
        let statuses: Vec<_> = counted.iter().map(|(status, _)| *status).collect();
        assert!([200, 408, 500, 502, 504].iter().all(|status| statuses.contains(status)), "{counted:?}");
        assert!(counted.iter().any(|(status, of)| *status == 200 && *of > count), "{counted:?}");
    }
}

#[test]
fn no_seed_breaks_a_promise_to_a_request_of_our_own() {
    let (count, counted) = run_seeds(20_000, run_own);
    if count >= 10_000 {
        assert!([200, 599].iter().all(|status| counted.iter().any(|(of, _)| of == status)), "{counted:?}");
        assert!(counted.iter().any(|(status, of)| *status == 200 && *of > count), "{counted:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    quiet_on_purpose();
    let snapshot = snapshot();
    let trace = |seed| {
        let world = World::new(seed);
        let worker = Worker::new(world.clone(), WorkerSettings::alone(10));
        worker.publish(&snapshot);
        let book: Book = Book::default();
        book.borrow_mut().resize(3, Seen::default());
        let seen = book.clone();
        world.on_connect(move |world, socket, to| meet(world, socket, to.port(), &seen));
        let (ours, theirs) = world::pair(&world);
        world.spawn(peers::client(world.clone(), theirs, book.clone(), 0..3, &WAYS[..SHORT_WAYS]));
        let web = snapshot.listeners.iter().map(|entrance| &entrance.listener).find(|web| &*web.name == "web").unwrap();
        world.spawn(serve(worker, ours, Peer::LOCAL, web.label));
        world.run(LONGEST_MS);
        let trace = format!("{:?} {}", book.borrow(), world.now_ms());
        world.end();
        trace
    };
    assert!((0..200).all(|seed| trace(seed) == trace(seed)));
}
