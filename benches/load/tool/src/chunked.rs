//! The chunked coding, read as it comes and thrown away.

/// Where in a chunked body the reader is.
#[derive(Default)]
pub struct Chunked {
    state: State,
    /// Bytes left of the chunk, or its size as far as it has been read.
    left: u64,
    /// Bytes of the body itself.
    pub bytes: u64,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    Size,
    SizeLine,
    Data,
    DataEnd,
    /// A line of the trailer section, and whether it has a byte yet.
    Trailer(bool),
    Done,
}

impl Chunked {
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes up to the body's end and tells how many.
    pub fn take(&mut self, data: &[u8]) -> anyhow::Result<usize> {
        let mut at = 0;
        while at < data.len() && self.state != State::Done {
            let byte = data[at];
            match self.state {
                State::Data => {
                    let taken = self.left.min((data.len() - at) as u64);
                    self.left -= taken;
                    self.bytes += taken;
                    at += taken as usize;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                    }
                    continue;
                }
                State::Size => match (byte as char).to_digit(16) {
                    Some(digit) => self.left = self.left * 16 + u64::from(digit),
                    None if byte == b'\n' => self.end_size(),
                    None => self.state = State::SizeLine,
                },
                State::SizeLine if byte == b'\n' => self.end_size(),
                State::SizeLine => {}
                State::DataEnd => match byte {
                    b'\n' => self.state = State::Size,
                    b'\r' => {}
                    _ => anyhow::bail!("a chunk is longer than its size"),
                },
                State::Trailer(has_byte) => match byte {
                    b'\n' => self.state = if has_byte { State::Trailer(false) } else { State::Done },
                    b'\r' => {}
                    _ => self.state = State::Trailer(true),
                },
                State::Done => {}
            }
            at += 1;
        }
        Ok(at)
    }

    fn end_size(&mut self) {
        self.state = if self.left == 0 { State::Trailer(false) } else { State::Data };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cut_anywhere_is_read_to_its_end() {
        let body = b"4\r\nabcd\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\nrest";
        for cut in 0..body.len() {
            let mut chunked = Chunked::default();
            let first = chunked.take(&body[..cut]).unwrap();
            let second = chunked.take(&body[first..]).unwrap();
            assert!(chunked.is_done());
            assert_eq!((chunked.bytes, &body[first + second..]), (20, &b"rest"[..]));
        }
    }
}
