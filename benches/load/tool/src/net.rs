//! Sockets that do not block, and the poller that tells which are ready.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use socket2::{Domain, Socket, Type};

/// Level-triggered readiness, each source known by a number.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(1024) })
    }

    pub fn add(&self, source: impl AsFd, key: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(key), EventFlags::IN)?)
    }

    /// What is to be told of the source from now on.
    pub fn want(&self, source: impl AsFd, key: u64, read: bool, write: bool) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, read);
        flags.set(EventFlags::OUT, write);
        Ok(epoll::modify(&self.epoll, source, EventData::new_u64(key), flags)?)
    }

    /// Waits for at most the timeout, to the nanosecond, and puts what is ready into `ready` as (key, can be written).
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<(u64, bool)>) -> io::Result<()> {
        let timeout =
            timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            (event.data.u64(), flags.contains(EventFlags::OUT))
        }));
        Ok(())
    }
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A listener of one thread among those that share the port.
pub fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&loopback(port).into()).with_context(|| format!("port {port}"))?;
    socket.listen(8192)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

pub fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(loopback(port)).with_context(|| format!("connect to port {port}"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Takes what has come: its length, 0 at the end, nothing when there is nothing.
pub fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::net::recv(stream, buffer, rustix::net::RecvFlags::empty()) {
        Ok((_, length)) => Ok(Some(length)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives what the socket takes: how much that was.
pub fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(stream, bytes, rustix::net::SendFlags::NOSIGNAL) {
        Ok(length) => Ok(length),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// All connections that wait at the listener.
pub fn accept_all(listener: &TcpListener, mut take: impl FnMut(TcpStream) -> io::Result<()>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                take(stream)?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

pub fn raise_file_limit() -> anyhow::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the structure is valid for the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
    Ok(())
}

/// Runs the same in each thread, the last one being this.
pub fn in_threads(
    count: usize,
    run: impl Fn(usize) -> anyhow::Result<()> + Send + Copy + 'static,
) -> anyhow::Result<()> {
    for number in 1..count {
        std::thread::spawn(move || {
            if let Err(error) = run(number) {
                eprintln!("{error:#}");
                std::process::exit(1);
            }
        });
    }
    run(0)
}
