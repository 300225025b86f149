//! Reads responses as far as a load generator must: status, framing, length.

use memchr::memmem;

use crate::chunked::Chunked;

/// Reads one response after the other from one connection.
#[derive(Default)]
pub struct Reader {
    state: State,
    /// A head that has not ended, as far as it has come.
    partial: Vec<u8>,
    bytes: u64,
}

#[derive(Default)]
enum State {
    #[default]
    Head,
    Fixed(u64),
    Chunked(Chunked),
}

/// A response that has ended.
pub struct Response {
    /// Bytes of its body.
    pub bytes: u64,
}

impl Reader {
    /// Takes bytes up to a response's end; tells how many, and the response if it ended.
    ///
    /// # Errors
    /// What makes the measurement void: a status that was not asked for, a head without framing.
    pub fn take(&mut self, data: &[u8], status: u16) -> anyhow::Result<(usize, Option<Response>)> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Head => {
                    let (head, length) = if self.partial.is_empty() {
                        match memmem::find(&data[at..], b"\r\n\r\n") {
                            Some(end) => (&data[at..at + end + 2], end + 4),
                            None => {
                                self.partial.extend_from_slice(&data[at..]);
                                return Ok((data.len(), None));
                            }
                        }
                    } else {
                        let before = self.partial.len();
                        self.partial.extend_from_slice(&data[at..]);
                        match memmem::find(&self.partial, b"\r\n\r\n") {
                            Some(end) => (&self.partial[..end + 2], end + 4 - before),
                            None => return Ok((data.len(), None)),
                        }
                    };
                    self.state = framing(head, status)?;
                    self.partial.clear();
                    self.bytes = 0;
                    at += length;
                }
                State::Fixed(left) => {
                    let taken = (*left).min((data.len() - at) as u64);
                    *left -= taken;
                    self.bytes += taken;
                    at += taken as usize;
                    if *left > 0 {
                        return Ok((at, None));
                    }
                    return Ok((at, Some(self.end())));
                }
                State::Chunked(chunked) => {
                    at += chunked.take(&data[at..])?;
                    self.bytes = chunked.bytes;
                    if !chunked.is_done() {
                        return Ok((at, None));
                    }
                    return Ok((at, Some(self.end())));
                }
            }
        }
    }

    fn end(&mut self) -> Response {
        self.state = State::Head;
        Response { bytes: self.bytes }
    }
}

fn framing(head: &[u8], status: u16) -> anyhow::Result<State> {
    let found = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    anyhow::ensure!(
        found == Some(status),
        "the response begins with {:?}",
        String::from_utf8_lossy(&head[..head.len().min(300)])
    );
    if status == 101 {
        return Ok(State::Fixed(0));
    }
    let value = |name: &[u8]| field(head, name);
    if let Some(length) = value(b"content-length") {
        return Ok(State::Fixed(std::str::from_utf8(length)?.trim().parse()?));
    }
    anyhow::ensure!(
        value(b"transfer-encoding").is_some(),
        "a response without length: {:?}",
        String::from_utf8_lossy(head)
    );
    Ok(State::Chunked(Chunked::default()))
}

/// The value of a field in a head of lines.
pub fn field<'head>(head: &'head [u8], name: &[u8]) -> Option<&'head [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let found = line.get(..name.len())?;
        if !found.eq_ignore_ascii_case(name) || line.get(name.len()) != Some(&b':') {
            return None;
        }
        Some(line[name.len() + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_cut_anywhere_end_where_they_end() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n";
        for cut in 0..stream.len() {
            let mut reader = Reader::default();
            let mut lengths = Vec::new();
            for mut part in [&stream[..cut], &stream[cut..]] {
                while !part.is_empty() {
                    let (taken, response) = reader.take(part, 200).unwrap();
                    lengths.extend(response.map(|response| response.bytes));
                    part = &part[taken..];
                }
            }
            assert_eq!(lengths, [3, 2], "cut at {cut}");
        }
        assert!(Reader::default().take(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", 200).is_err());
    }
}
