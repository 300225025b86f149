//! Streams bytes into a content coding: what was given comes out in full at each pause.

use std::fmt;
use std::io::Write;

use flate2::write::GzEncoder;

use crate::limits::COMPRESS_WINDOW_BITS;
use crate::proto::coding::Coding;

/// How one answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// In which coding.
    pub coding: Coding,
    /// How hard.
    pub level: u8,
    /// How long it is before, in bytes, where that is known.
    pub length: Option<u64>,
}

/// How the coding of one answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recoding {
    /// It is compressed.
    Encode(Compression),
    /// Its coding is taken off.
    Decode(Coding),
}

/// An encoder of one body.
pub struct BodyEncoder {
    encoder: Coder,
    /// Something was given since the last pause.
    has_pending: bool,
}

enum Coder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl fmt::Debug for BodyEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyEncoder")
    }
}

/// An encoder failed, which none does that writes to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEncoded;

impl From<std::io::Error> for NotEncoded {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl BodyEncoder {
    /// For one body.
    ///
    /// # Errors
    /// [`NotEncoded`] where there is no memory for it.
    pub fn new(compression: Compression) -> Result<Self, NotEncoded> {
        let level = u32::from(compression.level);
        // A short body needs no more of a window than it is long, and memory is cleared for all of it.
        let bits = compression.length.map_or(COMPRESS_WINDOW_BITS, |length| {
            (u64::BITS - length.leading_zeros()).clamp(10, COMPRESS_WINDOW_BITS)
        });
        let encoder = match compression.coding {
            Coding::Gzip => Coder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
            Coding::Brotli => Coder::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4_096, level, bits))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), i32::from(compression.level))?;
                encoder.window_log(bits)?;
                encoder.set_pledged_src_size(compression.length)?;
                Coder::Zstd(encoder)
            }
        };
        Ok(Self { encoder, has_pending: false })
    }

    /// Takes a part, and hands on what comes of it so far.
    ///
    /// # Errors
    /// See [`NotEncoded`].
    pub fn pass(&mut self, data: &[u8], put: impl FnMut(&[u8])) -> Result<(), NotEncoded> {
        self.has_pending = true;
        match &mut self.encoder {
            Coder::Gzip(encoder) => encoder.write_all(data)?,
            Coder::Brotli(encoder) => encoder.write_all(data)?,
            Coder::Zstd(encoder) => encoder.write_all(data)?,
        }
        self.hand_on(put);
        Ok(())
    }

    /// Hands on all that was given: nothing more comes for now.
    ///
    /// # Errors
    /// See [`NotEncoded`].
    pub fn pause(&mut self, put: impl FnMut(&[u8])) -> Result<(), NotEncoded> {
        if !std::mem::take(&mut self.has_pending) {
            return Ok(());
        }
        match &mut self.encoder {
            Coder::Gzip(encoder) => encoder.flush()?,
            Coder::Brotli(encoder) => encoder.flush()?,
            Coder::Zstd(encoder) => encoder.flush()?,
        }
        self.hand_on(put);
        Ok(())
    }

    /// Hands on the rest, with the end of the coding.
    ///
    /// # Errors
    /// See [`NotEncoded`].
    pub fn finish(self, mut put: impl FnMut(&[u8])) -> Result<(), NotEncoded> {
        let rest = match self.encoder {
            Coder::Gzip(encoder) => encoder.finish()?,
            Coder::Brotli(encoder) => encoder.into_inner(),
            Coder::Zstd(encoder) => encoder.finish()?,
        };
        if !rest.is_empty() {
            put(&rest);
        }
        Ok(())
    }

    fn hand_on(&mut self, mut put: impl FnMut(&[u8])) {
        let out = match &mut self.encoder {
            Coder::Gzip(encoder) => encoder.get_mut(),
            Coder::Brotli(encoder) => encoder.get_mut(),
            Coder::Zstd(encoder) => encoder.get_mut(),
        };
        if !out.is_empty() {
            put(out);
            out.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).map(drop),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut out).map(drop),
            Coding::Zstd => zstd::stream::copy_decode(bytes, &mut out),
        }
        .unwrap();
        out
    }

    #[test]
    fn a_body_comes_back_whole_and_a_pause_hands_on_all_that_was_given() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            for length in [None, Some(90_000), Some(3)] {
                let parts: Vec<Vec<u8>> = match length {
                    Some(3) => vec![b"abc".to_vec()],
                    Some(_) | None => (0..3_u8).map(|part| vec![b'a' + part; 30_000]).collect(),
                };
                let mut encoder = BodyEncoder::new(Compression { coding, level: 4, length }).unwrap();
                let mut out = Vec::new();
                for part in &parts {
                    encoder.pass(part, |data| out.extend_from_slice(data)).unwrap();
                    let before = out.len();
                    encoder.pause(|data| out.extend_from_slice(data)).unwrap();
                    assert!(out.len() > before || length == Some(3), "{coding:?}: what was given is held back");
                    encoder.pause(|_| panic!("there is nothing more")).unwrap();
                }
                encoder.finish(|data| out.extend_from_slice(data)).unwrap();
                assert_eq!(decoded(coding, &out), parts.concat(), "{coding:?} {length:?}");
                assert!(out.len() < 400, "{coding:?}: {}", out.len());
            }
        }
    }
}
