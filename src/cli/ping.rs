//! `ringress ping`: asks the admin listener of a running process whether it serves, for probes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::arguments::FAILED;
use crate::units::EndpointAddress;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks, and tells what is wrong; the exit code.
pub(super) fn ping(address: &EndpointAddress) -> i32 {
    let answer = match address {
        EndpointAddress::Tcp(socket) => connect(*socket).and_then(ask),
        EndpointAddress::Unix(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }),
        EndpointAddress::Name(name, port) if &**name == "localhost" => {
            connect(SocketAddr::from(([127, 0, 0, 1], *port))).and_then(ask)
        }
        EndpointAddress::Name(..) => Err(std::io::Error::other("write an address, or unix:/path")),
    };
    match answer {
        Ok(head) if head.split(' ').nth(1) == Some("200") => 0,
        Ok(head) => {
            eprintln!("{address}: {}", head.lines().next().unwrap_or("it does not answer"));
            FAILED
        }
        Err(error) => {
            eprintln!("{address}: {error}");
            FAILED
        }
    }
}

fn connect(socket: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&socket, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 256];
    let length = stream.read(&mut head)?;
    Ok(String::from_utf8_lossy(&head[..length]).into_owned())
}
