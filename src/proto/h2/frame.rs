//! Frames and error codes (RFC 9113 §4.1, §6, §7): their numbers, and how they are written.

use crate::limits::H2_FRAME_BYTES_MAX;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 9;

/// The kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// The flags of frames.
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 32;
}

/// The settings that we know (RFC 9113 §6.5.2, RFC 8441 §3).
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(in super::super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Why a stream or a connection ends (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// Nothing is wrong.
    NoError,
    /// PROTOCOL_ERROR
    Protocol,
    /// INTERNAL_ERROR
    Internal,
    /// FLOW_CONTROL_ERROR
    FlowControl,
    /// SETTINGS_TIMEOUT
    SettingsTimeout,
    /// STREAM_CLOSED
    StreamClosed,
    /// FRAME_SIZE_ERROR
    FrameSize,
    /// REFUSED_STREAM: nothing was done about the request.
    RefusedStream,
    /// CANCEL: the stream is not wanted any more.
    Cancel,
    /// COMPRESSION_ERROR
    Compression,
    /// CONNECT_ERROR
    Connect,
    /// ENHANCE_YOUR_CALM
    EnhanceYourCalm,
    /// INADEQUATE_SECURITY
    InadequateSecurity,
    /// HTTP_1_1_REQUIRED
    Http11Required,
    /// A code that RFC 9113 does not have.
    Unknown,
}

impl ErrorCode {
    /// In the order of their numbers, from 0.
    const ALL: [Self; 14] = [
        Self::NoError,
        Self::Protocol,
        Self::Internal,
        Self::FlowControl,
        Self::SettingsTimeout,
        Self::StreamClosed,
        Self::FrameSize,
        Self::RefusedStream,
        Self::Cancel,
        Self::Compression,
        Self::Connect,
        Self::EnhanceYourCalm,
        Self::InadequateSecurity,
        Self::Http11Required,
    ];

    /// The code of this number.
    #[must_use]
    pub fn of(number: u32) -> Self {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        Self::ALL.get(at).copied().unwrap_or(Self::Unknown)
    }

    /// Its number; that of INTERNAL_ERROR where it has none that we know.
    #[must_use]
    pub fn number(self) -> u32 {
        let at = Self::ALL.iter().position(|code| *code == self);
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(2)
    }

    /// The name in logs and causes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoError => "no_error",
            Self::Protocol => "protocol_error",
            Self::Internal => "internal_error",
            Self::FlowControl => "flow_control_error",
            Self::SettingsTimeout => "settings_timeout",
            Self::StreamClosed => "stream_closed",
            Self::FrameSize => "frame_size_error",
            Self::RefusedStream => "refused_stream",
            Self::Cancel => "cancel",
            Self::Compression => "compression_error",
            Self::Connect => "connect_error",
            Self::EnhanceYourCalm => "enhance_your_calm",
            Self::InadequateSecurity => "inadequate_security",
            Self::Http11Required => "http_1_1_required",
            Self::Unknown => "unknown",
        }
    }
}

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes behind the header.
    pub length: usize,
    /// Its kind, by the number of RFC 9113 §6.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// 0 for the connection itself.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads one.
    #[must_use]
    pub fn read([high, middle, low, kind, flags, stream @ ..]: [u8; HEADER_BYTES]) -> Self {
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) }
    }

    /// True where the flag is set.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        debug_assert!(self.length <= H2_FRAME_BYTES_MAX, "every peer takes this length, and no other is asked for");
        let [_, length @ ..] = u32::try_from(self.length).unwrap_or(0).to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        let [high, middle, low] = length;
        out.extend_from_slice(&[high, middle, low, self.kind, self.flags, a, b, c, d]);
    }
}

/// Appends a frame of the connection or a stream with this payload.
pub fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    FrameHeader { length: payload.len(), kind, flags, stream }.put(out);
    out.extend_from_slice(payload);
}

/// Appends SETTINGS.
pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    FrameHeader { length: settings.len() * 6, kind: kind::SETTINGS, flags: 0, stream: 0 }.put(out);
    for (setting, value) in settings {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends RST_STREAM.
pub fn put_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    put_frame(out, kind::RST_STREAM, 0, stream, &code.number().to_be_bytes());
}

/// Appends WINDOW_UPDATE; stream 0 is the connection.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    debug_assert!(increment > 0, "an increment of 0 is an error (RFC 9113 §6.9)");
    put_frame(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

/// Appends GOAWAY: no stream above `last` was or will be looked at.
pub fn put_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    let payload = u64::from(last) << 32 | u64::from(code.number());
    put_frame(out, kind::GOAWAY, 0, 0, &payload.to_be_bytes());
}

/// Appends a block of fields as HEADERS and as many CONTINUATION as it needs.
pub fn put_block(out: &mut Vec<u8>, stream: u32, block: &[u8], is_last: bool) {
    let end_stream = if is_last { flag::END_STREAM } else { 0 };
    let mut parts = block.chunks(H2_FRAME_BYTES_MAX);
    let mut frame = (kind::HEADERS, end_stream, parts.next().unwrap_or_default());
    loop {
        let next = parts.next();
        let (kind, flags, part) = frame;
        put_frame(out, kind, if next.is_none() { flags | flag::END_HEADERS } else { flags }, stream, part);
        match next {
            Some(part) => frame = (kind::CONTINUATION, 0, part),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_codes_come_back() {
        let mut out = Vec::new();
        let header = FrameHeader { length: 16_384, kind: kind::HEADERS, flags: flag::END_HEADERS, stream: 0x7fff_fffd };
        header.put(&mut out);
        assert_eq!(FrameHeader::read(out.try_into().unwrap()), header);
        for number in 0..20 {
            let code = ErrorCode::of(number);
            assert_eq!(code.number(), if number < 14 { number } else { 2 });
        }
    }

    #[test]
    fn a_long_block_goes_on_in_further_frames() {
        let block = vec![7; 2 * H2_FRAME_BYTES_MAX + 5];
        let mut out = Vec::new();
        put_block(&mut out, 3, &block, true);
        let (mut rest, mut found, mut joined) = (&out[..], Vec::new(), Vec::new());
        while let Some((header, behind)) = rest.split_first_chunk() {
            let header = FrameHeader::read(*header);
            found.push((header.kind, header.flags, header.length));
            joined.extend_from_slice(&behind[..header.length]);
            rest = &behind[header.length..];
        }
        let full = H2_FRAME_BYTES_MAX;
        assert_eq!(found, [(kind::HEADERS, 1, full), (kind::CONTINUATION, 0, full), (kind::CONTINUATION, 4, 5)]);
        assert_eq!(joined, block);
    }
}
