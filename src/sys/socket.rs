//! Sockets: listening ones with their options, and what can be done to a descriptor that an engine owns.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

use crate::upstream::evidence::{Delivery, Peek, State};

/// Connections that wait to be accepted, at most; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

// Instructions of a classic BPF program (linux/bpf_common.h).
const BPF_LD_BYTE: u16 = 0x30;
const BPF_AND: u16 = 0x54;
const BPF_JUMP_EQUAL: u16 = 0x15;
const BPF_RETURN: u16 = 0x06;

// The kernel's numbers of TCP states (include/net/tcp_states.h).
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;

/// Binds and listens with `SO_REUSEPORT`, so that each worker has a queue of its own. `TCP_NODELAY` and
/// keep-alive probes are set here, for accepted sockets inherit them.
///
/// # Errors
/// Those of the operating system.
pub fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = bind_shared(address)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds with `SO_REUSEPORT`: with others of the same user that do so, too.
fn bind_shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Fails where somebody listens on this address who does not share it. Nobody is listened to meanwhile: a connection that came would be lost.
///
/// # Errors
/// `AddrInUse`, or what else binding fails with.
pub fn check_shared(address: SocketAddr) -> io::Result<()> {
    bind_shared(address).map(drop)
}

/// Binds and listens, alone on this address: an IPv6 one is for IPv6.
///
/// # Errors
/// Those of the operating system.
pub fn listen_alone(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = tcp_socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// A socket that is to listen on this address: one of IPv6 is for IPv6 alone.
fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// True where this host does not have the address's family, such as IPv6.
#[must_use]
pub fn has_no_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Fails where somebody else already listens on this address, which `SO_REUSEPORT` would hide.
///
/// # Errors
/// `AddrInUse`, or what else binding fails with.
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    listen_alone(address).map(drop)
}

/// Binds and listens on a path, for those whom mode and group let connect. A socket file that nobody listens on any more is replaced; any other file is not.
///
/// # Errors
/// Those of the operating system; `AddrInUse` where somebody listens there.
pub fn listen_unix(path: &Path, mode: u32, group: Option<u32>) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let given = give_access(path, mode, group);
    if given.is_err() {
        let _ = std::fs::remove_file(path);
    }
    given.map(|()| listener)
}

/// Says who may connect to a Unix socket: by the bits of its mode, and by its group where one is given.
///
/// # Errors
/// Those of the operating system.
pub fn give_access(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Ends both directions of a connection, or the accepting of a listener: pending operations complete.
pub fn shutdown_both(fd: RawFd) {
    shutdown(fd, Shutdown::Both);
}

/// Lets no further connection begin at a TCP listener: what has begun comes to its accept queue, and what comes later is not answered,
/// so that its client asks again a second later, of whoever listens then. Without it a connection that is made between the last
/// accept and the end of the listener would be reset.
pub fn begin_no_more(fd: RawFd) {
    let statement = |code, k| SockFilter::new(code, 0, 0, k);
    let filter = [
        // The flags of the TCP header, of which SYN and ACK tell a connection that begins.
        statement(BPF_LD_BYTE, 13),
        statement(BPF_AND, 0x12),
        SockFilter::new(BPF_JUMP_EQUAL, 0, 1, 0x02),
        statement(BPF_RETURN, 0),
        statement(BPF_RETURN, u32::MAX),
    ];
    // A Unix socket has no such filter, and its queue is all workers' together.
    let _ = SockRef::from(&borrowed(fd)).attach_filter(&filter);
}

/// Tells the peer that nothing more will be sent.
pub fn shutdown_send(fd: RawFd) {
    shutdown(fd, Shutdown::Write);
}

/// Looks into a connection without taking anything out of it.
#[must_use]
pub fn peek(fd: RawFd) -> Peek {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the pointer is to one byte of this frame, and the length says so.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    let received = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, flags) };
    match received {
        0 => Peek::End,
        1.. => Peek::Bytes,
        _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => Peek::Quiet,
        _ => Peek::End,
    }
}

/// Connects to a Unix socket, which takes no time; `None` where its queue is full.
///
/// # Errors
/// Those of the operating system.
pub fn connect_unix(path: &Path, is_nonblocking: bool) -> io::Result<Option<UnixStream>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    }
    let stream = UnixStream::from(std::os::fd::OwnedFd::from(socket));
    if !is_nonblocking {
        stream.set_nonblocking(false)?;
    }
    Ok(Some(stream))
}

/// Takes what has come into the spare capacity of `inbox` and says how many bytes; 0 where there is nothing to take.
pub fn receive_at_once(fd: RawFd, inbox: &mut Vec<u8>) -> usize {
    let spare = inbox.spare_capacity_mut();
    // SAFETY: the pointer and the length are those of memory that the vector has and does not use.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    let received = unsafe { libc::recv(fd, spare.as_mut_ptr().cast(), spare.len(), libc::MSG_DONTWAIT) };
    let bytes = usize::try_from(received).unwrap_or(0);
    // SAFETY: the kernel has just written so many bytes behind those that were there.
    #[expect(unsafe_code, reason = "they become part of the vector")]
    unsafe {
        inbox.set_len(inbox.len() + bytes);
    }
    bytes
}

/// What the kernel knows of the delivery of what was sent; `None` where the socket is no TCP connection.
#[must_use]
pub fn delivery(fd: RawFd) -> Option<Delivery> {
    // SAFETY: it is a structure of numbers, for which all zeroes is a value.
    #[expect(unsafe_code, reason = "libc offers no other way to make one")]
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or_default();
    let (value, length) = ((&raw mut info).cast(), &raw mut size);
    // SAFETY: both pointers are to values of this frame, and the size is the structure's own.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    let outcome = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, value, length) };
    // `tcpi_bytes_acked` came with Linux 4.1; an older kernel leaves it out of the size.
    if outcome != 0 || (size as usize) < std::mem::offset_of!(libc::tcp_info, tcpi_bytes_received) {
        return None;
    }
    let state = match info.tcpi_state {
        TCP_ESTABLISHED => State::Established,
        TCP_CLOSE => State::Close,
        TCP_CLOSE_WAIT => State::CloseWait,
        _ => State::Other,
    };
    Some(Delivery { state, acked_bytes: info.tcpi_bytes_acked, round_trip_us: info.tcpi_rtt })
}

/// Accepts the connection that waits longest, if one does, without waiting for one.
#[must_use]
pub fn accept_waiting(listener: RawFd) -> Option<std::os::fd::OwnedFd> {
    let mut poll = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one pollfd of this frame, and the count says so.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if ready != 1 || poll.revents & libc::POLLIN == 0 {
        return None;
    }
    // SAFETY: both pointers are null, so nothing is written; the result is a new descriptor or an error.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    let accepted = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
    if accepted < 0 {
        return None;
    }
    // SAFETY: the descriptor was just made, and nobody else has it.
    #[expect(unsafe_code, reason = "a raw descriptor becomes an owned one")]
    Some(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(accepted) })
}

/// Acknowledges now what has come, and what comes next without delay: a peer that holds the rest of a message back until its
/// beginning is acknowledged (Nagle) would wait out the kernel's delay, 40 ms.
pub fn acknowledge(fd: RawFd) {
    // A socket that is no TCP connection has nothing to acknowledge.
    let _ = SockRef::from(&borrowed(fd)).set_tcp_quickack(true);
}

fn shutdown(fd: RawFd, how: Shutdown) {
    // A socket that is not connected any more is already what was asked for.
    let _ = SockRef::from(&borrowed(fd)).shutdown(how);
}

/// A descriptor that its caller owns, for the time of a call.
fn borrowed<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the caller owns the descriptor, and what is made here is gone before it returns.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    unsafe {
        BorrowedFd::borrow_raw(fd)
    }
}

/// Resets a TCP connection at once, so that the peer cannot take its end for an orderly one. What was not sent yet
/// is thrown away. `SO_LINGER` would do it at the close, but monoio shuts the socket down before it closes it, and
/// then a FIN goes first.
pub fn reset(fd: RawFd) {
    let nowhere =
        libc::sockaddr { sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or(0), sa_data: [0; 14] };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).unwrap_or_default();
    // SAFETY: the pointer is to a sockaddr of this frame, and the size is its own; the call only reads it.
    #[expect(unsafe_code, reason = "the engine owns the socket, so no library type is at hand")]
    // A connection that is gone already needs no reset; a Unix socket knows none, and its peer sees the close.
    let _ = unsafe { libc::connect(fd, &raw const nowhere, size) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn two_workers_share_a_port_and_a_stranger_is_noticed() {
        let first = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen_tcp(address).unwrap();
        assert_eq!(check_free(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((first, second));
        check_free(address).unwrap();
    }

    #[test]
    fn what_has_begun_is_accepted_and_nothing_else_begins() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut before = std::net::TcpStream::connect(address).unwrap();
        begin_no_more(listener.as_raw_fd());
        let patience = std::time::Duration::from_millis(300);
        let error = std::net::TcpStream::connect_timeout(&address, patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let accepted = accept_waiting(listener.as_raw_fd()).unwrap();
        std::io::Write::write_all(&mut before, b"x").unwrap();
        let mut accepted = std::net::TcpStream::from(accepted);
        accepted.read_exact(&mut [0]).unwrap();
        assert!(accept_waiting(listener.as_raw_fd()).is_none());
    }

    #[test]
    fn a_reset_is_seen_by_the_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut &server, b"part").unwrap();
        reset(server.as_raw_fd());
        shutdown_send(server.as_raw_fd());
        drop(server);
        client.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn the_kernel_tells_what_arrived() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let of = || delivery(client.as_raw_fd()).unwrap();
        assert_eq!((of().state, of().acked_bytes), (State::Established, 1), "the SYN");
        std::io::Write::write_all(&mut &client, &[0; 100]).unwrap();
        server.read_exact(&mut [0; 100]).unwrap();
        std::io::Write::write_all(&mut server, b"answer").unwrap();
        (&client).read_exact(&mut [0; 6]).unwrap();
        assert_eq!(of().acked_bytes, 101);
        // A close before our bytes come is answered with a reset, and they stay unacknowledged.
        drop(server);
        while of().state == State::Established {}
        assert_eq!(of().state, State::CloseWait);
        std::io::Write::write_all(&mut &client, &[0; 50]).unwrap();
        while of().state != State::Close {}
        assert_eq!(of().acked_bytes, 101);
        let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(delivery(unix.as_raw_fd()), None);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_another_file_is_not() {
        let path = std::env::temp_dir().join(format!("ringress-sys-{}.sock", std::process::id()));
        let first = listen_unix(&path, 0o666, None).unwrap();
        assert_eq!(listen_unix(&path, 0o666, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(listen_unix(&path, 0o666, None).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "data").unwrap();
        assert!(listen_unix(&path, 0o666, None).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
        std::fs::remove_file(&path).unwrap();
    }
}
