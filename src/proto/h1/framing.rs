//! How long a body is and where it ends (RFC 9112 §6), decided once and followed as bytes come.

use super::chunked::{BodyOf, ChunkDecoder, ChunkFault, Piece};
use super::field::{Field, Known};
use super::rules::{Leniency, Lenient};
use crate::proto::version::Version;

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// A response that lasts until the upstream closes.
    UntilClose,
}

impl Framing {
    /// True where no byte of a body comes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// What is wrong with the framing fields of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// More than one Content-Length, equal or not.
    LengthRepeated,
    /// A Content-Length that is not 1 to 19 digits.
    LengthInvalid,
    /// Content-Length together with Transfer-Encoding.
    LengthWithEncoding,
    /// A Transfer-Encoding that is not exactly `chunked`, once.
    EncodingInvalid,
    /// Transfer-Encoding in HTTP/1.0.
    EncodingInHttp10,
}

impl FramingFault {
    /// The stable name of the rule.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::LengthRepeated => "content_length_repeated",
            Self::LengthInvalid => "content_length_invalid",
            Self::LengthWithEncoding => "content_length_with_transfer_encoding",
            Self::EncodingInvalid => "transfer_encoding_invalid",
            Self::EncodingInHttp10 => "transfer_encoding_in_http10",
        }
    }
}

/// The framing that the fields of a head state; `None` where they state none.
///
/// # Errors
/// [`FramingFault`] for everything that two parsers might read differently.
pub fn stated(
    fields: &[Field],
    bytes: &[u8],
    version: Version,
    leniency: Leniency,
) -> Result<Option<Framing>, FramingFault> {
    let mut length = None;
    let mut is_chunked = false;
    for field in fields {
        if field.known == Known::ContentLength {
            let stated = Some(decimal(field.value.bytes(bytes)).ok_or(FramingFault::LengthInvalid)?);
            let is_allowed = length == stated && leniency.has(Lenient::RepeatedContentLength);
            if length.is_some() && !is_allowed {
                return Err(FramingFault::LengthRepeated);
            }
            length = stated;
        } else if field.known == Known::TransferEncoding {
            if version == Version::Http10 {
                return Err(FramingFault::EncodingInHttp10);
            }
            let is_exact = field.value.bytes(bytes).eq_ignore_ascii_case(b"chunked");
            let is_repeated = is_chunked && !leniency.has(Lenient::RepeatedTransferEncoding);
            if is_repeated || !is_exact {
                return Err(FramingFault::EncodingInvalid);
            }
            is_chunked = true;
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(FramingFault::LengthWithEncoding),
        (Some(length), false) => Ok(Some(Framing::Length(length))),
        (None, true) => Ok(Some(Framing::Chunked)),
        (None, false) => Ok(None),
    }
}

/// Digits and nothing else, without overflow.
#[must_use]
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Follows one body through the bytes of its connection.
#[derive(Debug, Default)]
pub enum BodyDecoder {
    /// All of it has passed.
    #[default]
    Done,
    /// So many bytes are left, 1 or more.
    Length(u64),
    /// Chunks.
    Chunked(ChunkDecoder),
    /// All bytes until the peer closes.
    UntilClose,
}

impl BodyDecoder {
    /// A decoder for a body of this side, framed so.
    #[must_use]
    pub fn new(of: BodyOf, framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkDecoder::new(of)),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// True once the whole body has passed. A body until close is complete when the peer closed: ask [`Self::ends_at_close`].
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes of body that are still to come; `None` where only the end will tell.
    #[must_use]
    pub const fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// True where the peer's close is the proper end.
    #[must_use]
    pub const fn ends_at_close(&self) -> bool {
        matches!(self, Self::Done | Self::UntilClose)
    }

    /// Finds the next piece of body in `input`. Consumes nothing only where `input` is empty or the body is done.
    ///
    /// # Errors
    /// [`ChunkFault`] where chunked framing is broken.
    pub fn decode(&mut self, input: &[u8], trailers: &mut Vec<u8>) -> Result<Piece, ChunkFault> {
        match self {
            Self::Done => Ok(Piece { consumed: 0, data: 0..0 }),
            Self::UntilClose => Ok(Piece { consumed: input.len(), data: 0..input.len() }),
            Self::Length(left) => {
                let take = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= take as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Piece { consumed: take, data: 0..take })
            }
            Self::Chunked(decoder) => {
                let piece = decoder.decode(input, trailers)?;
                if decoder.is_done() {
                    *self = Self::Done;
                }
                Ok(piece)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::field::Span;

    fn framing(lines: &[(&str, &str)], version: Version) -> Result<Option<Framing>, FramingFault> {
        framing_with(lines, version, Leniency::default())
    }

    fn framing_with(
        lines: &[(&str, &str)],
        version: Version,
        leniency: Leniency,
    ) -> Result<Option<Framing>, FramingFault> {
        let mut bytes = Vec::new();
        let places: Vec<_> = lines
            .iter()
            .map(|(name, value)| {
                let start = bytes.len();
                bytes.extend_from_slice(value.as_bytes());
                (Known::of(name.as_bytes()), start..bytes.len())
            })
            .collect();
        let fields: Vec<_> = places
            .into_iter()
            .map(|(known, range)| Field {
                name: Span::default(),
                value: Span::of(&bytes[range], &bytes),
                known,
                nominated: false,
            })
            .collect();
        stated(&fields, &bytes, version, leniency)
    }

    #[test]
    fn lengths_are_digits_and_nothing_else() {
        let length = |value| framing(&[("Content-Length", value)], Version::Http11);
        assert_eq!(length("0"), Ok(Some(Framing::Length(0))));
        assert_eq!(length("0010"), Ok(Some(Framing::Length(10))));
        for bad in ["", "+1", "-1", "1 2", "1,1", "0x10", "1.0", "99999999999999999999", "18446744073709551616"] {
            assert_eq!(length(bad), Err(FramingFault::LengthInvalid), "{bad}");
        }
    }

    #[test]
    fn what_two_parsers_might_read_differently_is_refused() {
        let both = [("Content-Length", "1"), ("Transfer-Encoding", "chunked")];
        assert_eq!(framing(&both, Version::Http11), Err(FramingFault::LengthWithEncoding));
        let twice = [("Content-Length", "1"), ("Content-Length", "1")];
        assert_eq!(framing(&twice, Version::Http11), Err(FramingFault::LengthRepeated));
        for bad in ["gzip, chunked", "chunked, chunked", "identity", "chunked;x", "xchunked", ""] {
            let fault = framing(&[("Transfer-Encoding", bad)], Version::Http11);
            assert_eq!(fault, Err(FramingFault::EncodingInvalid), "{bad}");
        }
        let old = framing(&[("Transfer-Encoding", "chunked")], Version::Http10);
        assert_eq!(old, Err(FramingFault::EncodingInHttp10));
    }

    #[test]
    fn what_an_old_server_repeats_counts_once_where_that_is_allowed() {
        let all = Leniency::of(&[Lenient::RepeatedContentLength, Lenient::RepeatedTransferEncoding]);
        let said = |name, values: [&str; 2]| framing_with(&values.map(|value| (name, value)), Version::Http11, all);
        assert_eq!(said("Content-Length", ["7", "7"]), Ok(Some(Framing::Length(7))));
        assert_eq!(said("Content-Length", ["7", "8"]), Err(FramingFault::LengthRepeated));
        assert_eq!(said("Transfer-Encoding", ["chunked", "Chunked"]), Ok(Some(Framing::Chunked)));
        assert_eq!(said("Transfer-Encoding", ["chunked", "gzip"]), Err(FramingFault::EncodingInvalid));
        let both = [("Content-Length", "7"), ("Transfer-Encoding", "chunked")];
        assert_eq!(framing_with(&both, Version::Http11, all), Err(FramingFault::LengthWithEncoding));
    }

    #[test]
    fn a_length_body_ends_at_its_last_byte() {
        let mut body = BodyDecoder::new(BodyOf::Request, Framing::Length(5));
        let mut trailers = Vec::new();
        assert_eq!(body.decode(b"abc", &mut trailers), Ok(Piece { consumed: 3, data: 0..3 }));
        assert!(!body.is_done());
        assert_eq!(body.decode(b"deNEXT", &mut trailers), Ok(Piece { consumed: 2, data: 0..2 }));
        assert!(body.is_done());
    }
}
