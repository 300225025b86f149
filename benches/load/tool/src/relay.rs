//! The reference relay: takes bytes from one side to the other and parses nothing.

use std::net::TcpStream;

use crate::net::{self, Poller};

const LISTENER: u64 = u64::MAX;

/// One side of a pair; the other has the number with the last bit flipped.
struct Side {
    stream: TcpStream,
    /// What this side's socket did not take yet.
    pending: Vec<u8>,
}

/// Relays until the process ends; each client connection has a connection to the origin of its own.
pub fn run(port: u16, origin: u16) -> anyhow::Result<()> {
    let listener = net::listen(port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER)?;
    let mut sides: Vec<Option<Side>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut ready = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        poller.wait(None, &mut ready)?;
        for &(key, _) in &ready {
            if key == LISTENER {
                net::accept_all(&listener, |client| {
                    let upstream = net::connect(origin).map_err(std::io::Error::other)?;
                    let key = free.pop().unwrap_or_else(|| {
                        sides.extend([None, None]);
                        sides.len() - 2
                    });
                    for (key, stream) in [(key, client), (key + 1, upstream)] {
                        poller.add(&stream, key as u64)?;
                        sides[key] = Some(Side { stream, pending: Vec::new() });
                    }
                    Ok(())
                })?;
                continue;
            }
            let key = key as usize;
            if !turn(key, &mut sides, &mut buffer, &poller).unwrap_or(false) {
                let pair = key & !1;
                if sides[pair].take().is_some() {
                    free.push(pair);
                }
                sides[pair + 1] = None;
            }
        }
    }
}

/// Moves what has come; false when the pair has ended.
fn turn(key: usize, sides: &mut [Option<Side>], buffer: &mut [u8], poller: &Poller) -> anyhow::Result<bool> {
    let pair = key & !1;
    let [Some(first), Some(second)] = &mut sides[pair..pair + 2] else { return Ok(true) };
    let (from, to) = if key == pair { (first, second) } else { (second, first) };
    if !from.pending.is_empty() {
        let sent = net::send(&from.stream, &from.pending)?;
        from.pending.drain(..sent);
        if !from.pending.is_empty() {
            return Ok(true);
        }
        // The other side was not read while this one was blocked.
        poller.want(&from.stream, key as u64, true, false)?;
        poller.want(&to.stream, (key ^ 1) as u64, true, !to.pending.is_empty())?;
    }
    if !to.pending.is_empty() {
        return Ok(true);
    }
    let Some(length) = net::receive(&from.stream, buffer)? else { return Ok(true) };
    if length == 0 {
        return Ok(false);
    }
    let sent = net::send(&to.stream, &buffer[..length])?;
    if sent < length {
        to.pending.extend_from_slice(&buffer[sent..length]);
        poller.want(&to.stream, (key ^ 1) as u64, from.pending.is_empty(), true)?;
        poller.want(&from.stream, key as u64, false, !from.pending.is_empty())?;
    }
    Ok(true)
}
