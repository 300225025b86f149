//! What is done with the bytes of a body on its way: a closed set, in one place for both directions.

use super::decoder::{CodingDecoder, NotDecoded};
use super::encoder::{BodyEncoder, NotEncoded, Recoding};
use crate::proto::grpc_web::{GrpcWebKind, NotText, TextDecoder};

/// What is done with a body.
#[derive(Debug, Default)]
pub enum Transform {
    /// It passes as it is.
    #[default]
    None,
    /// A request of gRPC-web as text becomes one of bytes.
    GrpcWebText(TextDecoder),
    /// A response of gRPC becomes one of gRPC-web, whose last frame has the trailers.
    GrpcWeb(GrpcWebKind),
    /// A response is compressed.
    Compress(Box<BodyEncoder>),
    /// The coding of a response is taken off.
    Decompress(Box<CodingDecoder>),
}

/// Why a body does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPassed {
    /// It is not the text that it should be.
    NotText,
    /// It could not be encoded.
    NotEncoded,
    /// It is not what its coding says, or stands for too much.
    NotDecoded,
}

impl From<NotText> for NotPassed {
    fn from(_: NotText) -> Self {
        Self::NotText
    }
}

impl From<NotEncoded> for NotPassed {
    fn from(_: NotEncoded) -> Self {
        Self::NotEncoded
    }
}

impl From<NotDecoded> for NotPassed {
    fn from(_: NotDecoded) -> Self {
        Self::NotDecoded
    }
}

impl Transform {
    /// The transform of a request body; `kind` is set where the request came as gRPC-web.
    #[must_use]
    pub fn of_request(kind: Option<GrpcWebKind>) -> Self {
        match kind {
            Some(GrpcWebKind::Text) => Self::GrpcWebText(TextDecoder::default()),
            Some(GrpcWebKind::Binary) | None => Self::None,
        }
    }

    /// The transform of a response body; `kind` is set where the response goes as gRPC-web, `recoding` where its coding changes.
    ///
    /// # Errors
    /// [`NotPassed`] where there is no memory for it.
    pub fn of_response(kind: Option<GrpcWebKind>, recoding: Option<Recoding>) -> Result<Self, NotPassed> {
        Ok(match (kind, recoding) {
            (Some(kind), _) => Self::GrpcWeb(kind),
            (None, Some(Recoding::Encode(compression))) => Self::Compress(Box::new(BodyEncoder::new(compression)?)),
            (None, Some(Recoding::Decode(coding))) => Self::Decompress(Box::new(CodingDecoder::new(coding)?)),
            (None, None) => Self::None,
        })
    }

    /// True where every byte passes as it is.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// True where the coding of the body changes.
    #[must_use]
    pub const fn recodes(&self) -> bool {
        matches!(self, Self::Compress(_) | Self::Decompress(_))
    }

    /// Hands the transformed part to `put`; does not call it where nothing comes of the part yet.
    ///
    /// # Errors
    /// [`NotPassed`] where the text is no Base64.
    pub fn pass(&mut self, data: &[u8], mut put: impl FnMut(&[u8])) -> Result<(), NotPassed> {
        match self {
            _ if data.is_empty() => {}
            Self::None => put(data),
            Self::GrpcWeb(kind) => put(&kind.written(data)),
            Self::Compress(encoder) => encoder.pass(data, put)?,
            Self::Decompress(decoder) => decoder.pass(data, put)?,
            Self::GrpcWebText(decoder) => {
                let mut decoded = Vec::with_capacity(data.len());
                decoder.decode(data, &mut decoded)?;
                if !decoded.is_empty() {
                    put(&decoded);
                }
            }
        }
        Ok(())
    }

    /// Nothing more comes for now: hands on what was held back.
    ///
    /// # Errors
    /// [`NotPassed`].
    pub fn pause(&mut self, put: impl FnMut(&[u8])) -> Result<(), NotPassed> {
        match self {
            Self::Compress(encoder) => Ok(encoder.pause(put)?),
            Self::None | Self::GrpcWebText(_) | Self::GrpcWeb(_) | Self::Decompress(_) => Ok(()),
        }
    }

    /// The body is over: gives what still belongs to it to `put`, and takes `trailers` where they become a part of it.
    ///
    /// # Errors
    /// [`NotPassed`] where a text ends in the middle of a group.
    pub fn finish(&mut self, trailers: &mut Vec<u8>, mut put: impl FnMut(&[u8])) -> Result<(), NotPassed> {
        match std::mem::take(self) {
            Self::GrpcWebText(decoder) if !decoder.is_whole() => Err(NotPassed::NotText),
            Self::Compress(encoder) => Ok(encoder.finish(put)?),
            Self::Decompress(decoder) => Ok(decoder.finish(put)?),
            Self::GrpcWeb(kind) if !trailers.is_empty() => {
                put(&kind.written_trailers(&std::mem::take(trailers)));
                Ok(())
            }
            Self::None | Self::GrpcWebText(_) | Self::GrpcWeb(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(mut transform: Transform, parts: &[&str], trailers: &str) -> Result<Vec<u8>, NotPassed> {
        let (mut out, mut trailers) = (Vec::new(), trailers.as_bytes().to_vec());
        for part in parts {
            transform.pass(part.as_bytes(), |data| out.extend_from_slice(data))?;
        }
        transform.finish(&mut trailers, |data| out.extend_from_slice(data))?;
        out.extend_from_slice(&trailers);
        Ok(out)
    }

    #[test]
    fn a_text_is_decoded_and_must_end_with_a_whole_group() {
        let text = || Transform::of_request(Some(GrpcWebKind::Text));
        assert_eq!(passed(text(), &["YWJ", "jZGVm"], "").unwrap(), b"abcdef");
        assert_eq!(passed(text(), &["YWJjZ"], ""), Err(NotPassed::NotText));
        assert_eq!(passed(Transform::of_request(Some(GrpcWebKind::Binary)), &["YWJ"], "").unwrap(), b"YWJ");
    }

    #[test]
    fn trailers_become_the_last_frame() {
        let out =
            passed(Transform::of_response(Some(GrpcWebKind::Binary), None).unwrap(), &["ab", ""], "grpc-status: 0\r\n")
                .unwrap();
        assert_eq!(out, b"ab\x80\0\0\0\x10grpc-status: 0\r\n");
        assert_eq!(passed(Transform::None, &["ab"], "x: y").unwrap(), b"abx: y");
    }
}
