//! Decodes the chunked coding (RFC 9112 §7.1) as bytes come, without holding data.

use std::ops::Range;

use super::hex;
use crate::limits::{
    BODY_EXTENSION_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
};

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkFault {
    /// A size that is empty, not hexadecimal, or longer than 16 digits.
    Size,
    /// Extensions beyond their limit, or with control characters.
    Extension,
    /// A line that does not end in CR LF.
    LineEnd,
    /// A trailer section beyond its limit, or malformed.
    Trailer,
}

impl ChunkFault {
    /// The stable name of the rule.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Size => "chunk_size",
            Self::Extension => "chunk_extension",
            Self::LineEnd => "chunk_line_end",
            Self::Trailer => "trailer",
        }
    }
}

/// What a decoder found in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// Where in the input the body's own bytes are; lies within `consumed`.
    pub data: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    TrailerLine,
    TrailerLf,
    LastLf,
    Done,
}

/// The state between two receives.
#[derive(Clone, Debug, Default)]
pub struct ChunkDecoder {
    state: ChunkState,
    left: u64,
    digits: u8,
    extension_bytes: u32,
    body_extension_bytes: u32,
    trailer_lines: usize,
}

impl ChunkDecoder {
    /// True once the last chunk and the trailer section have passed.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, ChunkState::Done)
    }

    /// Consumes input up to and including the next piece of data. Trailer lines are appended to `trailers`
    /// as they came, with their line ends.
    ///
    /// # Errors
    /// [`ChunkFault`]; nothing after it can be trusted.
    pub fn decode(&mut self, input: &[u8], trailers: &mut Vec<u8>) -> Result<Piece, ChunkFault> {
        let mut at = 0;
        while at < input.len() {
            if self.state == ChunkState::Data {
                let rest = input.len() - at;
                let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
                return Ok(Piece { consumed: at + take, data: at..at + take });
            }
            if self.state == ChunkState::Done {
                break;
            }
            self.step(input[at], trailers)?;
            at += 1;
        }
        Ok(Piece { consumed: at, data: 0..0 })
    }

    /// One byte of anything but data.
    fn step(&mut self, byte: u8, trailers: &mut Vec<u8>) -> Result<(), ChunkFault> {
        self.state = match (self.state, byte) {
            (ChunkState::Size, _) => self.size_byte(byte)?,
            (ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, _) => self.extension_byte(byte)?,
            (ChunkState::SizeLf, b'\n') if self.left == 0 => ChunkState::Trailer,
            (ChunkState::SizeLf, b'\n') => ChunkState::Data,
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => {
                self.digits = 0;
                ChunkState::Size
            }
            (ChunkState::Trailer, b'\r') => ChunkState::LastLf,
            (ChunkState::Trailer | ChunkState::TrailerLine, _) => self.trailer_byte(byte, trailers)?,
            (ChunkState::TrailerLf, b'\n') => {
                trailers.extend_from_slice(b"\r\n");
                ChunkState::Trailer
            }
            (ChunkState::LastLf, b'\n') => ChunkState::Done,
            (
                ChunkState::SizeLf
                | ChunkState::DataCr
                | ChunkState::DataLf
                | ChunkState::TrailerLf
                | ChunkState::LastLf,
                _,
            ) => {
                return Err(ChunkFault::LineEnd);
            }
            (ChunkState::Data | ChunkState::Done, _) => self.state,
        };
        Ok(())
    }

    fn size_byte(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        let digit = match (hex(byte), byte) {
            (Some(digit), _) => digit,
            (None, b'\r') if self.digits > 0 => return Ok(ChunkState::SizeLf),
            (None, b';') if self.digits > 0 => {
                self.extension_bytes = 0;
                return Ok(ChunkState::Extension);
            }
            (None, _) => return Err(ChunkFault::Size),
        };
        if self.digits == 0 {
            self.left = 0;
        }
        if self.digits >= CHUNK_SIZE_DIGITS_MAX {
            return Err(ChunkFault::Size);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(ChunkState::Size)
    }

    fn extension_byte(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        self.extension_bytes += 1;
        self.body_extension_bytes += 1;
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if !is_text
            || self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX
            || self.body_extension_bytes > BODY_EXTENSION_BYTES_MAX
        {
            return Err(ChunkFault::Extension);
        }
        Ok(ChunkState::Extension)
    }

    fn trailer_byte(&mut self, byte: u8, trailers: &mut Vec<u8>) -> Result<ChunkState, ChunkFault> {
        if self.state == ChunkState::Trailer {
            self.trailer_lines += 1;
        }
        if self.trailer_lines > TRAILER_FIELDS_MAX || trailers.len() >= TRAILER_BYTES_MAX || byte == b'\n' {
            return Err(ChunkFault::Trailer);
        }
        if byte == b'\r' {
            return Ok(ChunkState::TrailerLf);
        }
        trailers.push(byte);
        Ok(ChunkState::TrailerLine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, the trailers and what was left over, or the fault; fed in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<[Vec<u8>; 3], ChunkFault> {
        let mut decoder = ChunkDecoder::default();
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let mut start = 0;
        while start < input.len() && !decoder.is_done() {
            let window = &input[start..input.len().min(start + step)];
            let piece = decoder.decode(window, &mut trailers)?;
            assert!(piece.consumed > 0, "no progress at {start}");
            body.extend_from_slice(&window[piece.data]);
            start += piece.consumed;
        }
        assert!(decoder.is_done() || start == input.len());
        Ok([body, trailers, input[start..].to_vec()])
    }

    #[test]
    fn bodies_decode_whole_and_byte_by_byte() {
        let input = b"5\r\nhello\r\nA;x=\"y\"\r\n, and more\r\n000\r\nX-A: 1\r\nX-B: 2\r\n\r\nGET";
        for step in 1..input.len() {
            let [body, trailers, rest] = decode(input, step).unwrap();
            assert_eq!(body, b"hello, and more");
            assert_eq!(trailers, b"X-A: 1\r\nX-B: 2\r\n");
            assert_eq!(rest, b"GET");
        }
    }

    #[test]
    fn broken_framing_is_refused_at_every_cut() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(257));
        let many = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(21));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(129));
        let cases: [(&str, ChunkFault); 18] = [
            ("\r\n", ChunkFault::Size),
            (";x\r\n", ChunkFault::Size),
            ("g\r\n", ChunkFault::Size),
            ("0x5\r\nhello\r\n", ChunkFault::Size),
            ("+5\r\nhello\r\n", ChunkFault::Size),
            (" 5\r\nhello\r\n", ChunkFault::Size),
            ("5 \r\nhello\r\n", ChunkFault::Size),
            ("5\nhello\r\n", ChunkFault::Size),
            ("00000000000000005\r\nhello\r\n", ChunkFault::Size),
            ("5\rhello\r\n", ChunkFault::LineEnd),
            ("5\r\nhello\n", ChunkFault::LineEnd),
            ("5\r\nhello5\r\n", ChunkFault::LineEnd),
            ("5\r\nhello\rX", ChunkFault::LineEnd),
            ("5;a\nb\r\nhello\r\n", ChunkFault::Extension),
            (&long, ChunkFault::Extension),
            (&many, ChunkFault::Extension),
            ("0\r\na: b\n\r\n", ChunkFault::Trailer),
            (&trailers, ChunkFault::Trailer),
        ];
        for (input, fault) in cases {
            for step in [1, 2, 3, 7, 10_000] {
                assert_eq!(decode(input.as_bytes(), step).unwrap_err(), fault, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn the_largest_size_does_not_overflow() {
        let mut decoder = ChunkDecoder::default();
        let piece = decoder.decode(b"ffffffffffffffff\r\nabc", &mut Vec::new()).unwrap();
        assert_eq!(piece, Piece { consumed: 21, data: 18..21 });
        assert_eq!(decoder.left, u64::MAX - 3);
    }
}
