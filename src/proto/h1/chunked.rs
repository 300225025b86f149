//! Decodes the chunked coding (RFC 9112 §7.1) as bytes come, without holding data.

use std::ops::Range;

use super::field::is_token_byte;
use super::hex;
use crate::limits::{
    BODY_EXTENSION_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
};

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkFault {
    /// A size that is empty, not hexadecimal, or longer than 16 digits.
    Size,
    /// Extensions beyond their limit, or not in their grammar.
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

/// Whose body it is. What can be read in one way only is read in a response; a request is held to the grammar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyOf {
    /// A client's.
    #[default]
    Request,
    /// An upstream's. Spaces behind a chunk size and around the parts of an extension (BWS), and before a trailer's colon, are
    /// taken away (RFC 9112 §7.1.1, §5.1).
    Response,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Extension(ExtensionState),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer(TrailerState),
    TrailerLf,
    LastLf,
    Done,
}

/// Where in an extension the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExtensionState {
    /// Behind `;`: a name must come.
    Start,
    Name,
    /// Behind `=`: a token or a quoted string must come.
    ValueStart,
    Value,
    Quoted,
    /// Behind a backslash in a quoted string.
    Escaped,
    /// Behind a name that is over: a value may come.
    NamePadding,
    /// Behind the size, or a value that is over: another extension may come.
    Padding,
}

/// Where in a trailer line the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrailerState {
    Start,
    Name,
    /// Between the name and its colon.
    Padding,
    Value,
}

/// The state between two receives.
#[derive(Clone, Debug, Default)]
pub struct ChunkDecoder {
    state: ChunkState,
    of: BodyOf,
    left: u64,
    digits: u8,
    extension_bytes: u32,
    body_extension_bytes: u32,
    trailer_lines: usize,
}

impl ChunkDecoder {
    /// A decoder for a body of this side.
    #[must_use]
    pub fn new(of: BodyOf) -> Self {
        Self { of, ..Self::default() }
    }

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
            (ChunkState::Extension(state), _) => self.extension_byte(state, byte)?,
            (ChunkState::SizeLf, b'\n') if self.left > 0 => ChunkState::Data,
            (ChunkState::SizeLf, b'\n') => ChunkState::Trailer(TrailerState::Start),
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => {
                self.digits = 0;
                ChunkState::Size
            }
            (ChunkState::Trailer(state), _) => self.trailer_byte(state, byte, trailers)?,
            (ChunkState::TrailerLf, b'\n') => {
                trailers.extend_from_slice(b"\r\n");
                ChunkState::Trailer(TrailerState::Start)
            }
            (ChunkState::LastLf, b'\n') => ChunkState::Done,
            (
                ChunkState::SizeLf
                | ChunkState::DataCr
                | ChunkState::DataLf
                | ChunkState::TrailerLf
                | ChunkState::LastLf,
                _,
            ) => return Err(ChunkFault::LineEnd),
            (ChunkState::Data | ChunkState::Done, _) => self.state,
        };
        Ok(())
    }

    /// True for a space that may stand here (BWS).
    const fn is_padding(&self, byte: u8) -> bool {
        matches!((self.of, byte), (BodyOf::Response, b' ' | b'\t'))
    }

    fn size_byte(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        let Some(digit) = hex(byte) else {
            self.extension_bytes = 0;
            return match byte {
                _ if self.digits == 0 => Err(ChunkFault::Size),
                b'\r' => Ok(ChunkState::SizeLf),
                b';' => Ok(ChunkState::Extension(ExtensionState::Start)),
                _ if self.is_padding(byte) => Ok(ChunkState::Extension(ExtensionState::Padding)),
                _ => Err(ChunkFault::Size),
            };
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

    /// One byte of chunk extensions (RFC 9112 §7.1.1): `;name`, `;name=token` or `;name="quoted"`, in ASCII.
    fn extension_byte(&mut self, state: ExtensionState, byte: u8) -> Result<ChunkState, ChunkFault> {
        self.extension_bytes += 1;
        self.body_extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX || self.body_extension_bytes > BODY_EXTENSION_BYTES_MAX {
            return Err(ChunkFault::Extension);
        }
        let is_text = byte == b'\t' || byte == b' ' || byte.is_ascii_graphic();
        let next = match (state, byte) {
            (ExtensionState::Quoted, b'"') => ExtensionState::Padding,
            (ExtensionState::Quoted, b'\\') => ExtensionState::Escaped,
            (ExtensionState::Quoted | ExtensionState::Escaped, _) if is_text => ExtensionState::Quoted,
            (ExtensionState::ValueStart, b'"') => ExtensionState::Quoted,
            (ExtensionState::ValueStart | ExtensionState::Value, _) if is_token_byte(byte) => ExtensionState::Value,
            (ExtensionState::Start | ExtensionState::Name, _) if is_token_byte(byte) => ExtensionState::Name,
            (ExtensionState::Name | ExtensionState::NamePadding, b'=') => ExtensionState::ValueStart,
            (ExtensionState::Start | ExtensionState::ValueStart, _) if self.is_padding(byte) => state,
            (ExtensionState::Name | ExtensionState::NamePadding, _) if self.is_padding(byte) => {
                ExtensionState::NamePadding
            }
            (ExtensionState::Value | ExtensionState::Padding, _) if self.is_padding(byte) => ExtensionState::Padding,
            (
                ExtensionState::Name | ExtensionState::NamePadding | ExtensionState::Value | ExtensionState::Padding,
                b';',
            ) => ExtensionState::Start,
            (
                ExtensionState::Name | ExtensionState::NamePadding | ExtensionState::Value | ExtensionState::Padding,
                b'\r',
            ) => return Ok(ChunkState::SizeLf),
            (_, _) => return Err(ChunkFault::Extension),
        };
        Ok(ChunkState::Extension(next))
    }

    /// One byte of the trailer section: field lines, as strict as those of a head.
    fn trailer_byte(
        &mut self,
        state: TrailerState,
        byte: u8,
        trailers: &mut Vec<u8>,
    ) -> Result<ChunkState, ChunkFault> {
        if state == TrailerState::Start && byte != b'\r' {
            self.trailer_lines += 1;
        }
        if self.trailer_lines > TRAILER_FIELDS_MAX || trailers.len() >= TRAILER_BYTES_MAX {
            return Err(ChunkFault::Trailer);
        }
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        let next = match (state, byte) {
            (TrailerState::Start, b'\r') => return Ok(ChunkState::LastLf),
            (TrailerState::Value, b'\r') => return Ok(ChunkState::TrailerLf),
            (TrailerState::Value, _) if is_text => TrailerState::Value,
            (TrailerState::Start | TrailerState::Name, _) if is_token_byte(byte) => TrailerState::Name,
            (TrailerState::Name | TrailerState::Padding, b':') => TrailerState::Value,
            (TrailerState::Name | TrailerState::Padding, _) if self.is_padding(byte) => {
                return Ok(ChunkState::Trailer(TrailerState::Padding));
            }
            (_, _) => return Err(ChunkFault::Trailer),
        };
        trailers.push(byte);
        Ok(ChunkState::Trailer(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, the trailers and what was left over, or the fault; fed in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<[Vec<u8>; 3], ChunkFault> {
        decode_of(BodyOf::Request, input, step)
    }

    fn decode_of(of: BodyOf, input: &[u8], step: usize) -> Result<[Vec<u8>; 3], ChunkFault> {
        let mut decoder = ChunkDecoder::new(of);
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
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_FIELDS_MAX + 1));
        let cases: [(&str, ChunkFault); 35] = [
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
            ("5;a=\"b\r\nhello\r\n", ChunkFault::Extension),
            ("5;a=\"b\\\r\nhello\r\n", ChunkFault::Extension),
            ("5;;\r\nhello\r\n", ChunkFault::Extension),
            ("5;\r\nhello\r\n", ChunkFault::Extension),
            ("5;=\r\nhello\r\n", ChunkFault::Extension),
            ("5;a=\r\nhello\r\n", ChunkFault::Extension),
            ("5;a=b=c\r\nhello\r\n", ChunkFault::Extension),
            ("5;a=\"b\"c\r\nhello\r\n", ChunkFault::Extension),
            ("5;a b\r\nhello\r\n", ChunkFault::Extension),
            ("5;\u{e9}\r\nhello\r\n", ChunkFault::Extension),
            ("5;a=\"\u{e9}\"\r\nhello\r\n", ChunkFault::Extension),
            ("0\r\na: b\n\r\n", ChunkFault::Trailer),
            ("0\r\na: b\r\n c\r\n\r\n", ChunkFault::Trailer),
            ("0\r\na\r\n\r\n", ChunkFault::Trailer),
            ("0\r\n: b\r\n\r\n", ChunkFault::Trailer),
            ("0\r\na : b\r\n\r\n", ChunkFault::Trailer),
            ("0\r\na: \0\r\n\r\n", ChunkFault::Trailer),
            ("0\r\na(: b\r\n\r\n", ChunkFault::Trailer),
            (&trailers, ChunkFault::Trailer),
        ];
        for (input, fault) in cases {
            for step in [1, 2, 3, 7, 10_000] {
                assert_eq!(decode(input.as_bytes(), step).unwrap_err(), fault, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn extensions_in_their_grammar_are_passed_over() {
        for extension in [";a", ";a=b", ";a=b;c", ";a=\"\"", ";a=\"x;\\\"=\ty\";b=1"] {
            let input = format!("2{extension}\r\nab\r\n0{extension}\r\n\r\n");
            for step in [1, 3, 10_000] {
                assert_eq!(decode(input.as_bytes(), step).unwrap()[0], b"ab", "{extension}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_one_way_is_read_in_a_response() {
        for size in ["2 ", "2\t ", "2 ; a", "2;a = b ", "2;a=\"b\" ;c "] {
            let input = format!("{size}\r\nab\r\n0 \r\nX-A : 1\r\n\r\n");
            for step in [1, 3, 10_000] {
                let [body, trailers, _] = decode_of(BodyOf::Response, input.as_bytes(), step).unwrap();
                assert_eq!((&body[..], &trailers[..]), (&b"ab"[..], &b"X-A: 1\r\n"[..]), "{size}");
                assert!(decode(input.as_bytes(), step).is_err(), "{size}");
            }
        }
        for size in ["2 2", "2 a=b", "2;a b", "2 =b", " 2"] {
            let input = format!("{size}\r\nab\r\n");
            assert!(decode_of(BodyOf::Response, input.as_bytes(), 100).is_err(), "{size}");
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
