//! gRPC as browsers can speak it: trailers are a last frame of the body, and the body may be text
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// How the body of a request and its answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcWebKind {
    /// As gRPC has it.
    Binary,
    /// In Base64, which is padded wherever its sender had no more.
    Text,
}

/// The first byte of the frame that holds trailers.
const TRAILERS: u8 = 0x80;

impl GrpcWebKind {
    /// Of a content type; `None` for another one.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<Self> {
        [Self::Text, Self::Binary].into_iter().find(|kind| kind.suffix(content_type).is_some())
    }

    /// What its content types begin with.
    #[must_use]
    pub const fn content_type(self) -> &'static [u8] {
        match self {
            Self::Binary => b"application/grpc-web",
            Self::Text => b"application/grpc-web-text",
        }
    }

    /// What stands behind that: nothing, `+proto` and the like, parameters.
    #[must_use]
    pub fn suffix(self, content_type: &[u8]) -> Option<&[u8]> {
        let rest = content_type.strip_prefix(self.content_type())?;
        matches!(rest.first(), None | Some(b'+' | b';')).then_some(rest)
    }

    /// The content type of an answer whose upstream said `content_type`, one of gRPC. Without a format it is the usual one, and
    /// some clients want to read so.
    #[must_use]
    pub fn answer_type(self, content_type: &[u8]) -> Vec<u8> {
        let suffix = content_type.strip_prefix(b"application/grpc").filter(|suffix| suffix.starts_with(b"+"));
        [self.content_type(), suffix.unwrap_or(b"+proto")].concat()
    }

    /// A part of a response's body as it is written.
    #[must_use]
    pub fn written(self, data: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Binary => Cow::Borrowed(data),
            // Padded, so that what is here can be read now.
            Self::Text => Cow::Owned(BASE64_STANDARD.encode(data).into_bytes()),
        }
    }

    /// The frame that holds `trailers`, lines as they came, as it is written.
    #[must_use]
    pub fn written_trailers(self, trailers: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(trailers.len());
        for line in trailers.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            block.extend(line[..colon].iter().map(u8::to_ascii_lowercase));
            block.extend_from_slice(b": ");
            block.extend_from_slice(line[colon + 1..].trim_ascii());
            block.extend_from_slice(b"\r\n");
        }
        // Trailers are bounded far below that.
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let frame = [&[TRAILERS][..], &length.to_be_bytes(), &block].concat();
        self.written(&frame).into_owned()
    }
}

/// A request's body that is text, read as it comes.
#[derive(Debug, Default)]
pub struct TextDecoder {
    /// A group of four characters that is not whole.
    group: Vec<u8>,
}

/// What came is no Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

impl TextDecoder {
    /// Appends what `text` stands for, as far as its groups are whole.
    ///
    /// # Errors
    /// [`NotText`].
    pub fn decode(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), NotText> {
        if !self.group.is_empty() {
            let missing = (4 - self.group.len()).min(text.len());
            self.group.extend_from_slice(&text[..missing]);
            text = &text[missing..];
            if self.group.len() < 4 {
                return Ok(());
            }
            put_decoded(&self.group, out)?;
            self.group.clear();
        }
        // Padding may stand anywhere: a group that has it is the last of what was written at once.
        while let Some(at) = memchr::memchr(b'=', text).filter(|at| at / 4 < text.len() / 4) {
            let (padded, rest) = text.split_at((at / 4 + 1) * 4);
            put_decoded(padded, out)?;
            text = rest;
        }
        let (whole, rest) = text.split_at(text.len() / 4 * 4);
        put_decoded(whole, out)?;
        self.group.extend_from_slice(rest);
        Ok(())
    }

    /// True where no group is begun.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.group.is_empty()
    }
}

fn put_decoded(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotText> {
    BASE64_STANDARD.decode_vec(text, out).map_err(|_| NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_which_kind_it_is() {
        for (content_type, kind, suffix) in [
            ("application/grpc-web", Some(GrpcWebKind::Binary), ""),
            ("application/grpc-web+proto", Some(GrpcWebKind::Binary), "+proto"),
            ("application/grpc-web-text", Some(GrpcWebKind::Text), ""),
            ("application/grpc-web-text+proto;x=y", Some(GrpcWebKind::Text), "+proto;x=y"),
            ("application/grpc", None, ""),
            ("application/grpc-website", None, ""),
        ] {
            let found = GrpcWebKind::of(content_type.as_bytes());
            assert_eq!(found, kind, "{content_type}");
            assert!(found.is_none_or(|kind| kind.suffix(content_type.as_bytes()) == Some(suffix.as_bytes())));
        }
    }

    #[test]
    fn text_is_read_wherever_it_is_cut_and_padded() {
        let text = ["YQ==", "YmM=", "ZGVm", "Z2hpams="].concat();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
                for part in [&text[..cut], &text[cut..second], &text[second..]] {
                    decoder.decode(part.as_bytes(), &mut out).unwrap();
                }
                assert!(decoder.is_whole());
                assert_eq!(out, b"abcdefghijk", "{cut} {second}");
            }
        }
        for broken in ["Y===", "YQ=a", "YQ!=", "====", "Y Q="] {
            let mut decoder = TextDecoder::default();
            assert_eq!(decoder.decode(broken.as_bytes(), &mut Vec::new()), Err(NotText), "{broken}");
        }
        let mut decoder = TextDecoder::default();
        decoder.decode(b"YWJjZ", &mut Vec::new()).unwrap();
        assert!(!decoder.is_whole());
    }

    #[test]
    fn trailers_are_a_frame_of_lines_in_lower_case() {
        let out = GrpcWebKind::Binary.written_trailers(b"Grpc-Status:0\r\ngrpc-message:  so: it is \r\n");
        assert_eq!(out, b"\x80\0\0\0\x29grpc-status: 0\r\ngrpc-message: so: it is\r\n");
        let text = GrpcWebKind::Text.written_trailers(b"grpc-status: 0\r\n");
        assert_eq!(text, b"gAAAABBncnBjLXN0YXR1czogMA0K");
    }
}
