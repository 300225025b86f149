//! A world in memory: tasks, virtual time, connections that cut, stall and break, all from one seed.

use std::cell::{Cell, RefCell};
use std::collections::{BinaryHeap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use ringress::snapshot::Address;
use ringress::upstream::evidence::{Delivery, Peek, State};
use ringress::worker::engine::{Receive, Socket, Transmit, Transport};

/// Bytes that fit into one direction of a connection.
const PIPE_BYTES: usize = 700;
/// How long an end or a reset is on its way, in microseconds.
const LATENCY_US: u64 = 300;
/// How long a kernel puts an acknowledgement off, in microseconds.
const DELAYED_ACK_US: u64 = 40_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;
/// Takes the other end of a connection that the proxy opens to this address.
type Accept = Box<dyn Fn(&World, Socket<World>, SocketAddr)>;

/// The host that is the proxy itself.
pub const SELF: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

/// A handle to the world; clones are the same world.
#[derive(Clone)]
pub struct World(Rc<Inner>);

struct Inner {
    random: Cell<u64>,
    now_us: Cell<u64>,
    sequence: Cell<u64>,
    tasks: RefCell<Vec<Option<Task>>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
    timers: RefCell<BinaryHeap<std::cmp::Reverse<(u64, u64)>>>,
    sleepers: RefCell<Vec<(u64, Waker)>>,
    accept: RefCell<Option<Accept>>,
    is_over: Cell<bool>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World at {} us", self.0.now_us.get())
    }
}

struct TaskWaker {
    ready: Arc<Mutex<VecDeque<usize>>>,
    task: usize,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap();
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            random: Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1),
            now_us: Cell::new(1_000_000),
            sequence: Cell::new(0),
            tasks: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            sleepers: RefCell::default(),
            accept: RefCell::default(),
            is_over: Cell::new(false),
        }))
    }

    /// What happens to a connection that the proxy opens.
    pub fn on_connect(&self, accept: impl Fn(&World, Socket<World>, SocketAddr) + 'static) {
        *self.0.accept.borrow_mut() = Some(Box::new(accept));
    }

    /// A number from 0 to below `below`.
    pub fn below(&self, below: usize) -> usize {
        usize::try_from(self.random() >> 16).unwrap() % below
    }

    /// True once in so many times.
    pub fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn now_ms(&self) -> u64 {
        self.0.now_us.get() / 1_000
    }

    /// Runs until nothing can happen before `until_ms`; ready tasks go in random order.
    pub fn run(&self, until_ms: u64) {
        let mut steps = 0_u64;
        loop {
            while let Some(task) = self.next_ready() {
                steps += 1;
                assert!(steps < 3_000_000, "the world does not come to rest");
                self.poll_task(task);
            }
            let Some(std::cmp::Reverse((at_us, sequence))) = self.0.timers.borrow_mut().pop() else { return };
            if at_us > until_ms * 1_000 {
                return;
            }
            self.0.now_us.set(at_us.max(self.0.now_us.get()));
            let sleeper = {
                let mut sleepers = self.0.sleepers.borrow_mut();
                let at = sleepers.iter().position(|(of, _)| *of == sequence);
                at.map(|at| sleepers.swap_remove(at).1)
            };
            if let Some(waker) = sleeper {
                waker.wake();
            }
        }
    }

    fn next_ready(&self) -> Option<usize> {
        let mut ready = self.0.ready.lock().unwrap();
        if ready.is_empty() {
            return None;
        }
        let at = self.below(ready.len());
        ready.swap_remove_back(at)
    }

    fn poll_task(&self, task: usize) {
        let taken = self.0.tasks.borrow_mut()[task].take();
        let Some(mut future) = taken else { return };
        let waker = Waker::from(Arc::new(TaskWaker { ready: Arc::clone(&self.0.ready), task }));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.0.tasks.borrow_mut()[task] = Some(future);
        }
    }

    /// Ends everything, so that the next seed begins with nothing.
    pub fn end(&self) {
        self.0.is_over.set(true);
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        self.0.accept.borrow_mut().take();
    }
}

impl Transport for World {
    type Receiver = End;
    type Sender = Start;

    fn now_us(&self) -> u64 {
        self.0.now_us.get()
    }

    fn coarse_ms(&self) -> u64 {
        self.0.now_us.get() / 4_000 * 4
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.0.now_us.get())
    }

    fn random(&self) -> u64 {
        let mut state = self.0.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.random.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if self.0.is_over.get() {
            return;
        }
        let mut tasks = self.0.tasks.borrow_mut();
        tasks.push(Some(Box::pin(task)));
        self.0.ready.lock().unwrap().push_back(tasks.len() - 1);
    }

    async fn sleep(&self, ms: u64) {
        self.sleep_us(ms * 1_000).await;
    }

    async fn connect(&self, to: &Address) -> io::Result<Socket<Self>> {
        let Address::Tcp(address) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        match address.port() {
            1 => return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
            2 => std::future::pending::<()>().await,
            3 => panic!("a bug, on purpose"),
            _ => {}
        }
        self.sleep(self.below(3) as u64).await;
        let (ours, theirs) = pair(self);
        self.0.accept.borrow().as_ref().unwrap()(self, theirs, *address);
        Ok(ours)
    }
}

impl World {
    async fn sleep_us(&self, us: u64) {
        let at_us = self.0.now_us.get() + us;
        let sequence = self.0.sequence.get();
        self.0.sequence.set(sequence + 1);
        self.0.timers.borrow_mut().push(std::cmp::Reverse((at_us, sequence)));
        std::future::poll_fn(|cx| {
            if self.0.now_us.get() >= at_us {
                return Poll::Ready(());
            }
            let mut sleepers = self.0.sleepers.borrow_mut();
            sleepers.retain(|(of, _)| *of != sequence);
            sleepers.push((sequence, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// One direction of a connection, as TCP has it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Default, Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer's end has arrived.
    is_finished: bool,
    /// A reset has arrived: at the reader, or at the writer.
    is_reset: bool,
    /// It is not a reset, but the kernel has given up.
    is_timed_out: bool,
    /// The reader has closed: what is sent now is lost, and answered with a reset.
    is_void: bool,
    has_lost: bool,
    /// Bytes that the reader's kernel took.
    taken_bytes: u64,
    /// Bytes that it has acknowledged: with its own next bytes or its end, else a while later.
    acked_bytes: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

type Shared = Rc<RefCell<Pipe>>;

/// Both ends of a new connection.
pub fn pair(world: &World) -> (Socket<World>, Socket<World>) {
    let (up, down): (Shared, Shared) = (Rc::default(), Rc::default());
    let half = |come: &Shared, go: &Shared| Socket {
        receiver: End { world: world.clone(), pipe: Rc::clone(come), back: Rc::clone(go), in_flight: None },
        sender: Start { world: world.clone(), pipe: Rc::clone(go), back: Rc::clone(come), in_flight: None },
    };
    (half(&down, &up), half(&up, &down))
}

/// Where bytes come out.
#[derive(Debug)]
pub struct End {
    world: World,
    pipe: Shared,
    back: Shared,
    in_flight: Option<Vec<u8>>,
}

impl End {
    /// Bytes that the kernel took and nobody has read.
    pub fn unread(&self) -> Vec<u8> {
        self.pipe.borrow().bytes.iter().copied().collect()
    }
}

impl Receive for End {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.in_flight.is_none() {
            ringress::worker::engine::make_room(inbox);
            self.in_flight = Some(std::mem::take(inbox));
        }
        assert!(inbox.capacity() == 0, "the buffer of an operation in flight was replaced");
        let mut pipe = self.pipe.borrow_mut();
        if pipe.bytes.is_empty() && !pipe.is_finished && !pipe.is_reset {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut buffer = self.in_flight.take().unwrap_or_default();
        if pipe.bytes.is_empty() {
            *inbox = buffer;
            let errno = if pipe.is_timed_out { libc::ETIMEDOUT } else { libc::ECONNRESET };
            let reset = io::Error::from_raw_os_error(errno);
            return Poll::Ready(if pipe.is_reset { Err(reset) } else { Ok(0) });
        }
        // Cut anywhere.
        let most = pipe.bytes.len().min(buffer.capacity() - buffer.len());
        let bytes = if self.world.one_in(3) { 1 + self.world.below(most) } else { most };
        buffer.extend(pipe.bytes.drain(..bytes));
        *inbox = buffer;
        pipe.wake();
        Poll::Ready(Ok(bytes))
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        let mut pipe = self.pipe.borrow_mut();
        let most = pipe.bytes.len().min(inbox.capacity() - inbox.len());
        if self.in_flight.is_some() || most == 0 {
            return 0;
        }
        let bytes = self.world.below(most + 1);
        inbox.extend(pipe.bytes.drain(..bytes));
        pipe.wake();
        bytes
    }

    fn is_seen(&self) -> bool {
        true
    }

    fn peek(&self) -> Peek {
        let pipe = self.pipe.borrow();
        match (pipe.bytes.is_empty(), pipe.is_finished || pipe.is_reset) {
            (false, _) => Peek::Bytes,
            (true, true) => Peek::End,
            (true, false) => Peek::Quiet,
        }
    }

    fn delivery(&self) -> Option<Delivery> {
        let (come, go) = (self.pipe.borrow(), self.back.borrow());
        let state = match (come.is_reset || go.is_reset, come.is_finished) {
            (true, _) => State::Close,
            (false, true) => State::CloseWait,
            (false, false) => State::Established,
        };
        Some(Delivery { state, acked_bytes: 1 + go.acked_bytes, round_trip_us: 600 })
    }
}

/// Where bytes go in.
#[derive(Debug)]
pub struct Start {
    world: World,
    pipe: Shared,
    back: Shared,
    in_flight: Option<Vec<u8>>,
}

impl Start {
    /// Nothing comes through any more, acknowledgements neither: the other end's kernel gives up.
    pub fn vanish(&mut self) {
        self.pipe.borrow_mut().is_timed_out = true;
        self.reset();
    }
}

impl Transmit for Start {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let buffer = self.in_flight.take().unwrap_or_else(|| std::mem::take(out));
        assert!(from < buffer.len(), "an empty send");
        let mut pipe = self.pipe.borrow_mut();
        if pipe.is_reset || pipe.is_finished || self.back.borrow().is_reset {
            *out = buffer;
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        let room = if pipe.is_void { usize::MAX } else { PIPE_BYTES.saturating_sub(pipe.bytes.len()) };
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            self.in_flight = Some(buffer);
            return Poll::Pending;
        }
        let most = room.min(buffer.len() - from);
        let bytes = if self.world.one_in(4) { 1 + self.world.below(most) } else { most };
        if !pipe.is_void {
            pipe.bytes.extend(&buffer[from..from + bytes]);
            pipe.taken_bytes += bytes as u64;
            let mut back = self.back.borrow_mut();
            back.acked_bytes = back.taken_bytes;
            self.world.later(DELAYED_ACK_US, &self.pipe, |pipe| pipe.acked_bytes = pipe.taken_bytes);
        } else if !std::mem::replace(&mut pipe.has_lost, true) {
            self.world.later(LATENCY_US, &self.pipe, |pipe| pipe.is_reset = true);
        }
        *out = buffer;
        pipe.wake();
        Poll::Ready(Ok(bytes))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        let mut pipe = self.pipe.borrow_mut();
        pipe.is_finished = true;
        pipe.wake();
        Poll::Ready(())
    }

    fn reset(&mut self) {
        for pipe in [&self.pipe, &self.back] {
            let mut pipe = pipe.borrow_mut();
            pipe.is_reset = true;
            pipe.wake();
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        // A close with bytes that nobody read is a reset, as TCP has it.
        let has_unread = !self.back.borrow().bytes.is_empty();
        if has_unread {
            let mut pipe = self.pipe.borrow_mut();
            pipe.is_reset = true;
            pipe.wake();
        } else if !self.pipe.borrow().is_finished && !self.pipe.borrow().is_reset {
            let mut back = self.back.borrow_mut();
            back.acked_bytes = back.taken_bytes;
            self.world.later(LATENCY_US, &self.pipe, |pipe| pipe.is_finished = true);
        }
        let mut back = self.back.borrow_mut();
        back.is_void = true;
        back.wake();
    }
}

impl World {
    /// What happens at the other end of a connection, when the news of it has arrived.
    fn later(&self, us: u64, pipe: &Shared, change: fn(&mut Pipe)) {
        let (world, pipe) = (self.clone(), Rc::clone(pipe));
        self.spawn(async move {
            world.sleep_us(us).await;
            let mut pipe = pipe.borrow_mut();
            change(&mut pipe);
            pipe.wake();
        });
    }
}
