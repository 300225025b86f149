//! Takes a content coding off bytes as they come, within a bound of memory.

use std::fmt;
use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use crate::limits::{DECODED_BYTES_MAX, ZSTD_WINDOW_BITS_MAX};
use crate::proto::coding::Coding;

/// A decoder of one body.
pub struct CodingDecoder {
    decoder: Uncoder,
}

enum Uncoder {
    Gzip(Box<MultiGzDecoder<Room>>),
    Brotli(Box<brotli::DecompressorWriter<Room>>),
    Zstd(zstd::stream::write::Decoder<'static, Room>),
}

/// What was decoded and not handed on. A part may become so much and no more: a few bytes can stand for any number of them.
struct Room(Vec<u8>);

impl Write for Room {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.0.len() + data.len() > DECODED_BYTES_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for CodingDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodingDecoder")
    }
}

/// The bytes are not what their coding says, or stand for too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDecoded;

impl From<io::Error> for NotDecoded {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl CodingDecoder {
    /// For one body.
    ///
    /// # Errors
    /// [`NotDecoded`] where there is no memory for it.
    pub fn new(coding: Coding) -> Result<Self, NotDecoded> {
        let room = || Room(Vec::new());
        let decoder = match coding {
            Coding::Gzip => Uncoder::Gzip(Box::new(MultiGzDecoder::new(room()))),
            Coding::Brotli => Uncoder::Brotli(Box::new(brotli::DecompressorWriter::new(room(), 4_096))),
            Coding::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(room())?;
                decoder.window_log_max(ZSTD_WINDOW_BITS_MAX)?;
                Uncoder::Zstd(decoder)
            }
        };
        Ok(Self { decoder })
    }

    /// Takes a part, and hands on all that it stands for.
    ///
    /// # Errors
    /// See [`NotDecoded`].
    pub fn pass(&mut self, data: &[u8], mut put: impl FnMut(&[u8])) -> Result<(), NotDecoded> {
        let Room(out) = match &mut self.decoder {
            Uncoder::Gzip(decoder) => {
                decoder.write_all(data)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Uncoder::Brotli(decoder) => {
                decoder.write_all(data)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Uncoder::Zstd(decoder) => {
                decoder.write_all(data)?;
                decoder.flush()?;
                decoder.get_mut()
            }
        };
        if !out.is_empty() {
            put(out);
            out.clear();
        }
        Ok(())
    }

    /// The body is over; its coding must be too.
    ///
    /// # Errors
    /// See [`NotDecoded`].
    pub fn finish(self, mut put: impl FnMut(&[u8])) -> Result<(), NotDecoded> {
        let Room(rest) = match self.decoder {
            Uncoder::Gzip(decoder) => decoder.finish()?,
            Uncoder::Brotli(mut decoder) => {
                decoder.close()?;
                decoder.into_inner().map_err(|_| NotDecoded)?
            }
            // The library does not tell a frame that was cut.
            Uncoder::Zstd(decoder) => decoder.into_inner(),
        };
        if !rest.is_empty() {
            put(&rest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::{BodyEncoder, Compression};
    use super::*;

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    fn encoded(coding: Coding, data: &[u8]) -> Vec<u8> {
        let mut encoder = BodyEncoder::new(Compression { coding, level: 4, length: None }).unwrap();
        let mut out = Vec::new();
        encoder.pass(data, |part| out.extend_from_slice(part)).unwrap();
        encoder.finish(|part| out.extend_from_slice(part)).unwrap();
        out
    }

    fn decoded(coding: Coding, data: &[u8], step: usize) -> Result<Vec<u8>, NotDecoded> {
        let mut decoder = CodingDecoder::new(coding)?;
        let mut out = Vec::new();
        for part in data.chunks(step) {
            decoder.pass(part, |part| out.extend_from_slice(part))?;
        }
        decoder.finish(|part| out.extend_from_slice(part))?;
        Ok(out)
    }

    #[test]
    fn what_was_encoded_comes_out_as_it_was_however_it_is_cut() {
        let text = (0..20_000).map(|number: u32| number.to_string()).collect::<String>().into_bytes();
        for coding in CODINGS {
            let encoded = encoded(coding, &text);
            for step in [1, 7, 1_000, usize::MAX] {
                assert_eq!(decoded(coding, &encoded, step).as_deref(), Ok(&text[..]), "{coding:?}, {step}");
            }
        }
        let twice = [encoded(Coding::Gzip, b"one"), encoded(Coding::Gzip, b"two")].concat();
        assert_eq!(decoded(Coding::Gzip, &twice, 5).as_deref(), Ok(&b"onetwo"[..]), "members follow each other");
    }

    #[test]
    fn what_is_broken_or_cut_or_too_much_is_refused() {
        for coding in CODINGS {
            assert!(decoded(coding, b"<html>no coding at all</html>", 8).is_err(), "{coding:?}");
            let bomb = encoded(coding, &vec![0; DECODED_BYTES_MAX + 1]);
            assert!(decoded(coding, &bomb, usize::MAX).is_err(), "{coding:?}");
        }
        for coding in [Coding::Gzip, Coding::Brotli] {
            let whole = encoded(coding, b"something of some length");
            assert!(decoded(coding, &whole[..whole.len() - 3], 5).is_err(), "{coding:?}");
        }
    }
}
