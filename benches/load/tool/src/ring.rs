//! The reference relay on an io_uring, without an engine between: what a ring can do at best.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::net;

/// How bytes are received.
#[derive(Clone, Copy, PartialEq)]
pub enum Receive {
    /// A receive for each read, into the side's own buffer.
    Single,
    /// One receive that lasts, into buffers that all sides share.
    Multishot,
}

const BUFFER_BYTES: usize = 32 << 10;
/// Buffers that all sides share; a power of two.
const BUFFERS: u16 = 1024;
const GROUP: u16 = 0;
/// Completions that a turn waits for when it may wait a little longer.
const ENOUGH: usize = 16;

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Accept,
    Receive,
    Send,
}

/// Bytes that were received and are to be sent.
struct Piece {
    /// Number of the shared buffer, or none for the sender's own.
    shared: Option<u16>,
    length: usize,
}

struct Side {
    stream: TcpStream,
    own: Vec<u8>,
    /// What this side received and the other has not taken, in order; the first is being sent.
    pieces: VecDeque<Piece>,
    sent: usize,
    /// Operations that the kernel has.
    in_kernel: u32,
    /// This side sends no more.
    has_ended: bool,
    is_over: bool,
}

struct Relay {
    ring: IoUring,
    receive: Receive,
    min_wait_us: u32,
    shared: SharedBuffers,
    sides: Vec<Option<Side>>,
    free: Vec<usize>,
    origin: u16,
}

/// Relays until the process ends; each client connection has a connection to the origin of its own.
pub fn run(port: u16, origin: u16, receive: Receive, min_wait_us: u32) -> anyhow::Result<()> {
    let listener = net::listen(port)?;
    listener.set_nonblocking(false)?;
    let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_cqsize(16 << 10).build(4096)?;
    let shared = SharedBuffers::new(&ring)?;
    let mut relay = Relay { ring, receive, min_wait_us, shared, sides: Vec::new(), free: Vec::new(), origin };
    relay.push(&opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build(), 0, Operation::Accept)?;
    let mut completions = Vec::new();
    loop {
        relay.wait()?;
        completions.clear();
        completions.extend(relay.ring.completion());
        for completion in &completions {
            relay.complete(completion)?;
        }
    }
}

impl Relay {
    /// Submits what was pushed and waits for a completion, a little longer for more of them where that was asked for.
    fn wait(&self) -> io::Result<()> {
        const GET_EVENTS: u32 = 1;
        const EXTENDED_ARGUMENT: u32 = 1 << 3;
        /// The kernel's io_uring_getevents_arg.
        #[repr(C)]
        struct Argument {
            sigmask: u64,
            sigmask_size: u32,
            min_wait_us: u32,
            timeout: u64,
        }
        if self.min_wait_us == 0 {
            self.ring.submit_and_wait(1)?;
            return Ok(());
        }
        // SAFETY: nothing else uses the submission queue meanwhile.
        let pushed = unsafe { self.ring.submission_shared() }.len() as u32;
        // Without a timeout behind it the short wait would end with nothing, again and again.
        let timeout = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let argument =
            Argument { sigmask: 0, sigmask_size: 0, min_wait_us: self.min_wait_us, timeout: &raw const timeout as u64 };
        // SAFETY: the argument and its timeout are of the kernel's layout and live through the call.
        let entered = unsafe {
            self.ring.submitter().enter(pushed, ENOUGH as u32, GET_EVENTS | EXTENDED_ARGUMENT, Some(&argument))
        };
        match entered {
            // The time was over before there was enough.
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn push(&mut self, entry: &squeue::Entry, key: usize, operation: Operation) -> io::Result<()> {
        let entry = entry.clone().user_data((key as u64) << 2 | operation as u64);
        // SAFETY: buffers and sockets live until their side's last completion.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let key = (completion.user_data() >> 2) as usize;
        let result = completion.result();
        match completion.user_data() & 3 {
            0 => self.accepted(result),
            1 => {
                let is_last = !cqueue::more(completion.flags());
                self.received(key, result, cqueue::buffer_select(completion.flags()), is_last)
            }
            _ => self.sent(key, result),
        }
    }

    fn accepted(&mut self, fd: i32) -> io::Result<()> {
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(-fd));
        }
        // SAFETY: the kernel has just given this descriptor to nobody else.
        let client: TcpStream = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
        client.set_nodelay(true)?;
        let upstream = net::connect(self.origin).map_err(io::Error::other)?;
        // A blocked socket completes later; one that must not block fails.
        upstream.set_nonblocking(false)?;
        let pair = self.free.pop().unwrap_or_else(|| {
            self.sides.extend([None, None]);
            self.sides.len() - 2
        });
        for (key, stream) in [(pair, client), (pair + 1, upstream)] {
            let own = if self.receive == Receive::Single { vec![0; BUFFER_BYTES] } else { Vec::new() };
            let pieces = VecDeque::new();
            self.sides[key] =
                Some(Side { stream, own, pieces, sent: 0, in_kernel: 0, has_ended: false, is_over: false });
            self.receive(key)?;
        }
        Ok(())
    }

    fn receive(&mut self, key: usize) -> io::Result<()> {
        let side = self.sides[key].as_mut().expect("a side that is there");
        side.in_kernel += 1;
        let fd = Fd(side.stream.as_raw_fd());
        let entry = match self.receive {
            Receive::Single => opcode::Recv::new(fd, side.own.as_mut_ptr(), side.own.len() as u32).build(),
            Receive::Multishot => opcode::RecvMulti::new(fd, GROUP).build(),
        };
        self.push(&entry, key, Operation::Receive)
    }

    fn received(&mut self, key: usize, result: i32, shared: Option<u16>, is_last: bool) -> io::Result<()> {
        let side = self.sides[key].as_mut().expect("a side that is there");
        if is_last {
            side.in_kernel -= 1;
        }
        if result == -libc::ENOBUFS {
            return self.receive(key);
        }
        if result == 0 && !side.is_over && !side.pieces.is_empty() {
            // What came before the end goes out first.
            side.has_ended = true;
            return Ok(());
        }
        if result <= 0 || side.is_over {
            shared.into_iter().for_each(|number| self.shared.give_back(number));
            return self.end(key);
        }
        side.pieces.push_back(Piece { shared, length: result as usize });
        let is_first = side.pieces.len() == 1;
        if is_last && self.receive == Receive::Multishot {
            self.receive(key)?;
        }
        if is_first { self.send(key) } else { Ok(()) }
    }

    /// Sends the first piece that this side received, as far as it has not been sent, to the other side.
    fn send(&mut self, key: usize) -> io::Result<()> {
        let [Some(first), Some(second)] = &mut self.sides[key & !1..][..2] else { return Ok(()) };
        let (from, to) = if key & 1 == 0 { (first, second) } else { (second, first) };
        let piece = &from.pieces[0];
        let bytes = match piece.shared {
            Some(number) => self.shared.bytes(number),
            None => from.own.as_ptr(),
        };
        let fd = Fd(to.stream.as_raw_fd());
        let left = (piece.length - from.sent) as u32;
        let entry = opcode::Send::new(fd, bytes.wrapping_add(from.sent), left).flags(libc::MSG_NOSIGNAL).build();
        from.in_kernel += 1;
        self.push(&entry, key, Operation::Send)
    }

    fn sent(&mut self, key: usize, result: i32) -> io::Result<()> {
        let side = self.sides[key].as_mut().expect("a side that is there");
        side.in_kernel -= 1;
        if result <= 0 || side.is_over {
            return self.end(key);
        }
        side.sent += result as usize;
        if side.sent < side.pieces[0].length {
            return self.send(key);
        }
        side.sent = 0;
        let piece = side.pieces.pop_front().expect("the piece that was sent");
        let has_more = !side.pieces.is_empty();
        let has_ended = side.has_ended;
        match piece.shared {
            Some(number) => self.shared.give_back(number),
            None => return self.receive(key),
        }
        if has_more {
            self.send(key)
        } else if has_ended {
            self.end(key)
        } else {
            Ok(())
        }
    }

    /// Ends the pair, and frees it when the kernel has none of its operations.
    fn end(&mut self, key: usize) -> io::Result<()> {
        let pair = key & !1;
        for key in [pair, pair + 1] {
            let Some(side) = &mut self.sides[key] else { return Ok(()) };
            if !side.is_over {
                side.is_over = true;
                let _ = side.stream.shutdown(std::net::Shutdown::Both);
            }
        }
        if [pair, pair + 1].iter().all(|key| self.sides[*key].as_ref().is_some_and(|side| side.in_kernel == 0)) {
            for key in [pair, pair + 1] {
                let side = self.sides[key].take().expect("a side that is there");
                side.pieces.iter().filter_map(|piece| piece.shared).for_each(|number| self.shared.give_back(number));
            }
            self.free.push(pair);
        }
        Ok(())
    }
}

/// A ring of buffers of which the kernel takes one when bytes arrive.
struct SharedBuffers {
    ring: *mut BufRingEntry,
    memory: Vec<u8>,
    tail: u16,
}

impl SharedBuffers {
    fn new(ring: &IoUring) -> io::Result<Self> {
        let bytes = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        // SAFETY: anonymous memory of its own.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_ANONYMOUS | libc::MAP_PRIVATE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the memory is never given back, and as long as the ring of that many entries.
        unsafe { ring.submitter().register_buf_ring_with_flags(memory as u64, BUFFERS, GROUP, 0)? };
        let memory_of_all = vec![0; usize::from(BUFFERS) * BUFFER_BYTES];
        let mut buffers = Self { ring: memory.cast(), memory: memory_of_all, tail: 0 };
        (0..BUFFERS).for_each(|number| buffers.give_back(number));
        Ok(buffers)
    }

    fn bytes(&self, number: u16) -> *const u8 {
        self.memory[usize::from(number) * BUFFER_BYTES..].as_ptr()
    }

    fn give_back(&mut self, number: u16) {
        let address = self.bytes(number) as u64;
        // SAFETY: the index is below the ring's length; the kernel reads the entry after the tail says so.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(number);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the ring's first entry and is read by the kernel as an atomic.
        unsafe {
            let tail = BufRingEntry::tail(self.ring).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }
}
