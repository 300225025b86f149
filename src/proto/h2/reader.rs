//! Takes frames out of the bytes of a connection, however they are cut, and joins the parts of a block of fields.
//!
//! DATA is given as it comes, for it may be long and is wanted soon; all else is given whole. What breaks the rules of frames
//! themselves (RFC 9113 §4 and the sizes of §6) is told here; what breaks those of streams is `connection`'s.

use super::frame::{ErrorCode, FrameHeader, HEADER_BYTES, flag, kind};
use crate::limits::{H2_CONTINUATIONS_MAX, H2_FRAME_BYTES_MAX};

/// What ends a connection: the name in metrics and logs, and what the peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionFault {
    /// In metrics and logs.
    pub name: &'static str,
    /// In GOAWAY.
    pub code: ErrorCode,
}

impl ConnectionFault {
    /// More came than a window allowed, or a window was opened beyond its range.
    pub const WINDOW: Self = Self { name: "window", code: ErrorCode::FlowControl };

    /// A rule of the protocol was broken.
    #[must_use]
    pub const fn protocol(name: &'static str) -> Self {
        Self { name, code: ErrorCode::Protocol }
    }
}

/// A frame, or a part of DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A part of a DATA frame.
    Data {
        /// Its stream.
        stream: u32,
        /// Bytes of the body.
        data: &'a [u8],
        /// Bytes that its windows pay for: the body's and those of padding.
        counted: usize,
        /// The stream ends behind it.
        ends_stream: bool,
        /// The frame had no byte of a body in it.
        is_empty: bool,
    },
    /// A whole block of fields.
    Block {
        /// Its stream.
        stream: u32,
        /// In HPACK.
        block: &'a [u8],
        /// The stream ends behind it.
        ends_stream: bool,
        /// It says that the stream depends on itself, an error of the stream (RFC 7540 §5.3.1).
        is_own_parent: bool,
    },
    /// A frame that is wrong, and an error of its stream alone.
    Malformed {
        /// Its stream.
        stream: u32,
        /// What its stream is reset with.
        code: ErrorCode,
    },
    /// PRIORITY, which is passed over.
    Priority,
    /// RST_STREAM.
    Reset {
        /// Its stream.
        stream: u32,
        /// Why.
        code: ErrorCode,
    },
    /// SETTINGS: six bytes for each.
    Settings(&'a [u8]),
    /// SETTINGS with ACK.
    SettingsAck,
    /// PING.
    Ping([u8; 8]),
    /// PING with ACK.
    Pong([u8; 8]),
    /// GOAWAY.
    GoAway {
        /// The last stream that was or will be looked at.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
    /// WINDOW_UPDATE; stream 0 is the connection.
    WindowUpdate {
        /// Its stream.
        stream: u32,
        /// By how much; 0 is an error.
        increment: u32,
    },
    /// Of a kind that we do not know: it means nothing (RFC 9113 §5.5).
    Unknown,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramePart {
    /// A header, of which so many bytes are here.
    Header,
    /// The first byte of padded DATA.
    Padding(FrameHeader),
    /// DATA: bytes of the body and of padding that are still to come.
    Data { header: FrameHeader, left: usize, padding: usize },
    /// Another frame, which is given whole.
    Whole(FrameHeader),
}

/// A block of fields that goes on in another frame.
#[derive(Clone, Copy, Debug)]
struct OpenBlock {
    stream: u32,
    ends_stream: bool,
    is_own_parent: bool,
    continuations: u32,
}

/// The reader of one connection.
#[derive(Debug)]
pub struct FrameReader {
    part: FramePart,
    header: [u8; HEADER_BYTES],
    header_length: usize,
    /// What has come of a frame that was not here as a whole.
    payload: Vec<u8>,
    /// What has come of a block that goes on.
    block: Vec<u8>,
    open: Option<OpenBlock>,
    /// The last frame was given out of `payload` or `block`, which begin anew.
    is_given: bool,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            part: FramePart::Header,
            header: [0; HEADER_BYTES],
            header_length: 0,
            payload: Vec::new(),
            block: Vec::new(),
            open: None,
            is_given: false,
        }
    }
}

impl FrameReader {
    /// True where something that has begun must come to its end soon: a frame other than one of a body, or a block of
    /// fields. A body's slowness is its exchange's.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.header_length > 0 || matches!(self.part, FramePart::Whole(_)) || self.open.is_some()
    }

    /// The next frame from the front of `bytes`; `None` where there is no other whole one, and `bytes` is empty then.
    ///
    /// # Errors
    /// [`ConnectionFault`]: nothing that follows can be read.
    pub fn next<'r, 'b: 'r>(&'r mut self, bytes: &mut &'b [u8]) -> Result<Option<Frame<'r>>, ConnectionFault> {
        if std::mem::take(&mut self.is_given) {
            // Idle connections hold nothing.
            (self.payload, self.block) = (Vec::new(), Vec::new());
        }
        loop {
            match self.part {
                FramePart::Header => {
                    let Some(header) = self.take_header(bytes) else { return Ok(None) };
                    self.check(&header)?;
                    self.part = match header.kind {
                        kind::DATA if header.has(flag::PADDED) => FramePart::Padding(header),
                        kind::DATA => FramePart::Data { header, left: header.length, padding: 0 },
                        _ => FramePart::Whole(header),
                    };
                }
                FramePart::Padding(header) => {
                    let Some((padding, rest)) = bytes.split_first() else { return Ok(None) };
                    *bytes = rest;
                    return self.begin_padded(header, usize::from(*padding)).map(Some);
                }
                FramePart::Data { header, left, padding } => {
                    if bytes.is_empty() && left + padding > 0 {
                        return Ok(None);
                    }
                    return Ok(Some(self.take_data(header, (left, padding), bytes)));
                }
                FramePart::Whole(header) => {
                    if bytes.len() < header.length - self.payload.len() {
                        self.payload.extend_from_slice(bytes);
                        *bytes = &[];
                        return Ok(None);
                    }
                    self.part = FramePart::Header;
                    let is_of_block = matches!(header.kind, kind::HEADERS | kind::CONTINUATION);
                    if !is_of_block || header.has(flag::END_HEADERS) {
                        return self.take_whole(header, bytes).map(Some);
                    }
                    self.take_part_of_block(header, bytes)?;
                }
            }
        }
    }

    fn take_header(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        if self.header_length == 0
            && let Some((header, rest)) = bytes.split_first_chunk()
        {
            *bytes = rest;
            return Some(FrameHeader::read(*header));
        }
        let taken = (HEADER_BYTES - self.header_length).min(bytes.len());
        self.header[self.header_length..][..taken].copy_from_slice(&bytes[..taken]);
        self.header_length += taken;
        *bytes = &bytes[taken..];
        if self.header_length < HEADER_BYTES {
            return None;
        }
        self.header_length = 0;
        Some(FrameHeader::read(self.header))
    }

    /// The rules that a header alone can break.
    fn check(&self, header: &FrameHeader) -> Result<(), ConnectionFault> {
        if header.length > H2_FRAME_BYTES_MAX {
            return Err(FRAME_SIZE);
        }
        let continues = |open: OpenBlock| header.kind == kind::CONTINUATION && header.stream == open.stream;
        if self.open.is_some_and(|open| !continues(open)) {
            return Err(ConnectionFault::protocol("block_interrupted"));
        }
        let is_of_connection = header.stream == 0;
        let is_padded = usize::from(header.has(flag::PADDED));
        let (is_placed, is_of_size) = match header.kind {
            kind::DATA => (!is_of_connection, header.length >= is_padded),
            kind::HEADERS | kind::PRIORITY | kind::PUSH_PROMISE => (!is_of_connection, true),
            kind::RST_STREAM => (!is_of_connection, header.length == 4),
            kind::SETTINGS if header.has(flag::ACK) => (is_of_connection, header.length == 0),
            kind::SETTINGS => (is_of_connection, header.length.is_multiple_of(6)),
            kind::PING => (is_of_connection, header.length == 8),
            kind::GOAWAY => (is_of_connection, header.length >= 8),
            kind::WINDOW_UPDATE => (true, header.length == 4),
            kind::CONTINUATION => (self.open.is_some(), true),
            _ => (true, true),
        };
        if !is_placed {
            return Err(ConnectionFault::protocol("frame_misplaced"));
        }
        if !is_of_size {
            return Err(FRAME_SIZE);
        }
        if self.open.is_some_and(|open| open.continuations >= H2_CONTINUATIONS_MAX) {
            return Err(ConnectionFault { name: "continuation", code: ErrorCode::EnhanceYourCalm });
        }
        Ok(())
    }

    /// The byte that tells how much padding there is, which the windows pay for as well.
    fn begin_padded<'a>(&mut self, header: FrameHeader, padding: usize) -> Result<Frame<'a>, ConnectionFault> {
        let left = (header.length - 1).checked_sub(padding).ok_or(PADDING)?;
        let is_over = header.length == 1;
        self.part = if is_over { FramePart::Header } else { FramePart::Data { header, left, padding } };
        let ends_stream = is_over && header.has(flag::END_STREAM);
        Ok(Frame::Data { stream: header.stream, data: &[], counted: 1, ends_stream, is_empty: left == 0 })
    }

    fn take_data<'a>(
        &mut self,
        header: FrameHeader,
        (left, padding): (usize, usize),
        bytes: &mut &'a [u8],
    ) -> Frame<'a> {
        let (data, rest) = bytes.split_at(left.min(bytes.len()));
        let left = left - data.len();
        let (padded, rest) = rest.split_at(if left == 0 { padding.min(rest.len()) } else { 0 });
        let padding = padding - padded.len();
        *bytes = rest;
        let is_over = left == 0 && padding == 0;
        self.part = if is_over { FramePart::Header } else { FramePart::Data { header, left, padding } };
        Frame::Data {
            stream: header.stream,
            data,
            counted: data.len() + padded.len(),
            ends_stream: is_over && header.has(flag::END_STREAM),
            is_empty: header.length == 0,
        }
    }

    /// A block that goes on in another frame.
    fn take_part_of_block(&mut self, header: FrameHeader, bytes: &mut &[u8]) -> Result<(), ConnectionFault> {
        let (part, rest) = bytes.split_at(header.length - self.payload.len());
        *bytes = rest;
        self.payload.extend_from_slice(part);
        let payload = std::mem::take(&mut self.payload);
        if let Some(open) = &mut self.open {
            open.continuations += 1;
            self.block.extend_from_slice(&payload);
            return Ok(());
        }
        let (fields, is_own_parent) = fields_of(&header, &payload)?;
        self.block.extend_from_slice(fields);
        let (stream, ends_stream) = (header.stream, header.has(flag::END_STREAM));
        self.open = Some(OpenBlock { stream, ends_stream, is_own_parent, continuations: 0 });
        Ok(())
    }

    /// A frame that is here as a whole.
    fn take_whole<'r, 'b: 'r>(
        &'r mut self,
        header: FrameHeader,
        bytes: &mut &'b [u8],
    ) -> Result<Frame<'r>, ConnectionFault> {
        let (part, rest) = bytes.split_at(header.length - self.payload.len());
        *bytes = rest;
        let payload = if self.payload.is_empty() {
            part
        } else {
            self.payload.extend_from_slice(part);
            self.is_given = true;
            &self.payload
        };
        let stream = header.stream;
        if let Some(open) = self.open.take() {
            self.block.extend_from_slice(payload);
            self.is_given = true;
            let OpenBlock { stream, ends_stream, is_own_parent, .. } = open;
            return Ok(Frame::Block { stream, block: &self.block, ends_stream, is_own_parent });
        }
        Ok(match header.kind {
            kind::HEADERS => {
                let (block, is_own_parent) = fields_of(&header, payload)?;
                Frame::Block { stream, block, ends_stream: header.has(flag::END_STREAM), is_own_parent }
            }
            kind::PRIORITY if payload.len() != 5 => Frame::Malformed { stream, code: ErrorCode::FrameSize },
            kind::PRIORITY if number(payload) & (u32::MAX >> 1) == stream => {
                Frame::Malformed { stream, code: ErrorCode::Protocol }
            }
            kind::PRIORITY => Frame::Priority,
            kind::RST_STREAM => Frame::Reset { stream, code: ErrorCode::of(number(payload)) },
            kind::SETTINGS if header.has(flag::ACK) => Frame::SettingsAck,
            kind::SETTINGS => Frame::Settings(payload),
            // Nobody was asked for one.
            kind::PUSH_PROMISE => return Err(ConnectionFault::protocol("push_promise")),
            kind::PING => {
                let said = payload.first_chunk().copied().unwrap_or_default();
                if header.has(flag::ACK) { Frame::Pong(said) } else { Frame::Ping(said) }
            }
            kind::GOAWAY => {
                let code = ErrorCode::of(number(payload.get(4..).unwrap_or_default()));
                Frame::GoAway { last: number(payload) & (u32::MAX >> 1), code }
            }
            kind::WINDOW_UPDATE => Frame::WindowUpdate { stream, increment: number(payload) & (u32::MAX >> 1) },
            _ => Frame::Unknown,
        })
    }
}

const FRAME_SIZE: ConnectionFault = ConnectionFault { name: "frame_size", code: ErrorCode::FrameSize };
const PADDING: ConnectionFault = ConnectionFault::protocol("padding");

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The fields in HEADERS, without padding and priority, and whether the stream says that it depends on itself.
fn fields_of<'a>(header: &FrameHeader, mut payload: &'a [u8]) -> Result<(&'a [u8], bool), ConnectionFault> {
    let mut padding = 0;
    if header.has(flag::PADDED) {
        let (first, rest) = payload.split_first().ok_or(FRAME_SIZE)?;
        (padding, payload) = (usize::from(*first), rest);
    }
    let mut is_own_parent = false;
    if header.has(flag::PRIORITY) {
        let (priority, rest) = payload.split_at_checked(5).ok_or(FRAME_SIZE)?;
        is_own_parent = number(priority) & (u32::MAX >> 1) == header.stream;
        payload = rest;
    }
    let length = payload.len().checked_sub(padding).ok_or(PADDING)?;
    Ok((&payload[..length], is_own_parent))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{put_frame, put_reset, put_settings, put_window_update};
    use super::*;

    /// What is read of `bytes` when they come in parts of `step`; DATA is joined.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<String>, ConnectionFault> {
        let mut reader = FrameReader::default();
        let mut found: Vec<String> = Vec::new();
        let mut body = Vec::new();
        for mut part in bytes.chunks(step) {
            while let Some(frame) = reader.next(&mut part)? {
                if let Frame::Data { data, ends_stream, .. } = frame {
                    body.extend_from_slice(data);
                    if ends_stream {
                        found.push(format!("Body {}", String::from_utf8_lossy(&std::mem::take(&mut body))));
                    }
                } else {
                    found.push(format!("{frame:?}"));
                }
            }
            assert!(part.is_empty());
        }
        Ok(found)
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let mut bytes = Vec::new();
        put_settings(&mut bytes, &[(4, 65_535)]);
        put_frame(&mut bytes, kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, b"\x02\0\0\0\0\x07abc\0\0");
        put_frame(&mut bytes, kind::CONTINUATION, 0, 1, b"def");
        put_frame(&mut bytes, kind::CONTINUATION, flag::END_HEADERS, 1, b"g");
        put_frame(&mut bytes, kind::DATA, flag::PADDED, 1, b"\x03hello\0\0\0");
        put_frame(&mut bytes, kind::DATA, flag::END_STREAM, 1, b" world");
        put_reset(&mut bytes, 3, ErrorCode::Cancel);
        put_window_update(&mut bytes, 0, 9);
        put_frame(&mut bytes, 77, 0, 0, b"?");
        let whole = read(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 6, "{whole:?}");
        assert!(whole[1].contains("[97, 98, 99, 100, 101, 102, 103]") && whole[2] == "Body hello world", "{whole:?}");
        for step in 1..40 {
            assert_eq!(read(&bytes, step).unwrap(), whole, "{step}");
        }
    }

    #[test]
    fn padding_is_paid_for_and_no_longer_than_its_frame() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, kind::DATA, flag::PADDED, 1, b"\x02ab\0\0");
        for step in 1..=bytes.len() {
            let (mut reader, mut counted) = (FrameReader::default(), 0);
            for mut part in bytes.chunks(step) {
                while let Some(Frame::Data { counted: more, .. }) = reader.next(&mut part).unwrap() {
                    counted += more;
                }
            }
            assert_eq!(counted, 5);
        }
        for (kind, payload) in [(kind::DATA, &b"\x05ab"[..]), (kind::HEADERS, b"\x05ab")] {
            let mut bytes = Vec::new();
            put_frame(&mut bytes, kind, flag::PADDED | flag::END_HEADERS, 1, payload);
            assert_eq!(read(&bytes, 3), Err(PADDING));
        }
    }

    #[test]
    fn what_a_header_alone_says_wrong_ends_the_connection() {
        let code = |kind, flags, stream, length: usize| {
            let mut bytes = Vec::new();
            put_frame(&mut bytes, kind, flags, stream, &vec![0; length]);
            read(&bytes, 7).unwrap_err().code
        };
        for (kind, stream, length) in [(kind::RST_STREAM, 1, 3), (kind::PING, 0, 6), (kind::WINDOW_UPDATE, 0, 3)] {
            assert_eq!(code(kind, 0, stream, length), ErrorCode::FrameSize);
        }
        assert_eq!(code(kind::SETTINGS, 0, 0, 3), ErrorCode::FrameSize);
        assert_eq!(code(kind::SETTINGS, flag::ACK, 0, 6), ErrorCode::FrameSize);
        for (kind, stream, length) in [(kind::DATA, 0, 1), (kind::PING, 1, 8), (kind::CONTINUATION, 1, 1)] {
            assert_eq!(code(kind, 0, stream, length), ErrorCode::Protocol);
        }
        let mut bytes = Vec::new();
        put_frame(&mut bytes, kind::HEADERS, 0, 1, b"a");
        put_frame(&mut bytes, kind::PING, 0, 0, &[0; 8]);
        assert_eq!(read(&bytes, 100), Err(ConnectionFault::protocol("block_interrupted")));
        let mut long = FrameHeader { length: 0, kind: kind::DATA, flags: 0, stream: 1 };
        long.length = H2_FRAME_BYTES_MAX;
        let mut bytes = Vec::new();
        long.put(&mut bytes);
        bytes[2] = 1;
        assert_eq!(read(&bytes, 100), Err(FRAME_SIZE));
    }

    #[test]
    fn a_block_in_too_many_parts_ends_the_connection() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, kind::HEADERS, 0, 1, b"a");
        for _ in 0..=H2_CONTINUATIONS_MAX {
            put_frame(&mut bytes, kind::CONTINUATION, 0, 1, b"b");
        }
        assert_eq!(read(&bytes, 64).unwrap_err().name, "continuation");
    }

    #[test]
    fn a_priority_that_is_wrong_is_its_streams_fault() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, kind::PRIORITY, 0, 3, b"\0\0\0\x03\x01");
        put_frame(&mut bytes, kind::PRIORITY, 0, 3, b"\0");
        put_frame(&mut bytes, kind::PRIORITY, 0, 3, b"\0\0\0\x01\x01");
        let found = read(&bytes, 5).unwrap();
        assert!(found[0].contains("Protocol") && found[1].contains("FrameSize") && found[2] == "Priority", "{found:?}");
    }

    #[test]
    fn what_has_begun_is_known_until_it_ends() {
        let mut reader = FrameReader::default();
        let mut feed = |bytes: &[u8]| {
            let mut bytes = bytes;
            while reader.next(&mut bytes).unwrap().is_some() {}
            reader.is_unfinished()
        };
        let mut frame = Vec::new();
        put_frame(&mut frame, kind::HEADERS, 0, 1, b"abc");
        assert!(feed(&frame[..4]), "half a header");
        assert!(feed(&frame[4..]), "a block goes on");
        frame.clear();
        put_frame(&mut frame, kind::CONTINUATION, flag::END_HEADERS, 1, b"");
        assert!(!feed(&frame));
        frame.clear();
        put_frame(&mut frame, kind::DATA, 0, 1, b"abc");
        assert!(!feed(&frame[..10]), "a body is its exchange's");
        assert!(!feed(&frame[10..]));
    }
}
