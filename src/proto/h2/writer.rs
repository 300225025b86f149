//! What goes out over a connection: frames gathered for one send, within what the peer lets us send.

use super::fields::FieldList;
use super::frame::{
    ErrorCode, FrameHeader, flag, kind, put_block, put_frame, put_goaway, put_reset, put_window_update,
};
use super::hpack::encoder::Encoder;
use super::stream::Stream;
use crate::limits::{H2_DATA_BYTES_MAX, H2_FRAMES_BYTES_MAX, H2_STREAMS_MAX};

/// The highest window (RFC 9113 §6.9.1).
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// Frames on their way out.
#[derive(Debug)]
pub struct FrameWriter {
    encoder: Encoder,
    /// Frames that wait to be sent.
    out: Vec<u8>,
    /// A block of fields before it is cut into frames.
    block: Vec<u8>,
    /// What the peer lets us send over all streams, and over a stream that begins.
    window: i64,
    initial_window: i64,
    /// How many streams the peer takes, and what list of fields, as RFC 9113 §6.5.2 counts it.
    streams_max: usize,
    list_bytes_max: usize,
    /// The peer's settings have come.
    pub(super) is_told: bool,
}

impl Default for FrameWriter {
    fn default() -> Self {
        Self {
            encoder: Encoder::default(),
            out: Vec::new(),
            block: Vec::new(),
            window: 65_535,
            initial_window: 65_535,
            streams_max: H2_STREAMS_MAX as usize,
            list_bytes_max: usize::MAX,
            is_told: false,
        }
    }
}

/// A window that the peer opened beyond the highest (RFC 9113 §6.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowTooLarge;

impl FrameWriter {
    /// What waits to be sent: whoever sends it empties it.
    pub const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.out.len()
    }

    /// What a stream that begins may send.
    pub(super) const fn initial_window(&self) -> i64 {
        self.initial_window
    }

    /// How many streams the peer takes at a time; 100 until it says.
    #[must_use]
    pub const fn streams_max(&self) -> usize {
        self.streams_max
    }

    /// Notes how many streams the peer takes.
    pub(super) const fn put_streams_max(&mut self, streams_max: usize) {
        self.streams_max = streams_max;
    }

    /// The longest list of fields that the peer takes.
    pub(super) const fn list_bytes_max(&self) -> usize {
        self.list_bytes_max
    }

    /// Notes the longest list of fields that the peer takes.
    pub(super) const fn put_list_bytes_max(&mut self, bytes: usize) {
        self.list_bytes_max = bytes;
    }

    /// The peer's table of fields has this size.
    pub(super) fn resize_table(&mut self, size: usize) {
        self.encoder.resize(size);
    }

    /// The peer lets us send more over all streams.
    pub(super) fn open_window(&mut self, increment: u32) -> Result<(), WindowTooLarge> {
        self.window = opened(self.window, i64::from(increment))?;
        Ok(())
    }

    /// The peer lets us send more over one stream.
    pub(super) fn open_stream(stream: &mut Stream, increment: u32) -> Result<(), WindowTooLarge> {
        stream.send_window = opened(stream.send_window, i64::from(increment))?;
        stream.wake_sender();
        Ok(())
    }

    /// Streams begin with this window; those that have begun get the difference, which may leave them with less than nothing
    /// (RFC 9113 §6.9.2).
    pub(super) fn change_initial_window<'s>(
        &mut self,
        window: u32,
        streams: impl Iterator<Item = &'s mut Stream>,
    ) -> Result<(), WindowTooLarge> {
        let difference = i64::from(window) - self.initial_window;
        self.initial_window = i64::from(window);
        for stream in streams {
            stream.send_window = opened(stream.send_window, difference)?;
            stream.wake_sender();
        }
        Ok(())
    }

    /// Puts a head or trailers.
    pub(super) fn put_fields(&mut self, stream: u32, fields: &FieldList, is_last: bool) {
        self.block.clear();
        self.encoder.encode(fields.iter(), &mut self.block);
        put_block(&mut self.out, stream, &self.block, is_last);
        self.block.shrink_to(1024);
    }

    /// Puts as much of `data` as the windows and the room for frames allow, in as few frames as can be; how much that is.
    /// `is_last` where the stream ends behind it.
    pub(super) fn put_data(&mut self, stream: &mut Stream, data: &[u8], is_last: bool) -> usize {
        let open = usize::try_from(self.window.min(stream.send_window)).unwrap_or(0);
        let room = H2_FRAMES_BYTES_MAX.saturating_sub(self.out.len());
        let length = data.len().min(open).min(room);
        for part in data[..length].chunks(H2_DATA_BYTES_MAX) {
            let is_end = is_last && length == data.len() && part.as_ptr_range().end == data.as_ptr_range().end;
            let flags = if is_end { flag::END_STREAM } else { 0 };
            FrameHeader { length: part.len(), kind: kind::DATA, flags, stream: stream.id }.put(&mut self.out);
            self.out.extend_from_slice(part);
        }
        let sent = i64::try_from(length).unwrap_or(i64::MAX);
        self.window -= sent;
        stream.send_window -= sent;
        length
    }

    /// Ends a stream by an empty frame.
    pub(super) fn put_end(&mut self, stream: u32) {
        put_frame(&mut self.out, kind::DATA, flag::END_STREAM, stream, b"");
    }

    /// Resets a stream.
    pub(super) fn put_reset(&mut self, stream: u32, code: ErrorCode) {
        put_reset(&mut self.out, stream, code);
    }

    /// Opens a window of ours; stream 0 is the connection. Nothing where there is nothing to be opened.
    pub(super) fn put_window_update(&mut self, stream: u32, increment: u32) {
        if increment > 0 {
            put_window_update(&mut self.out, stream, increment);
        }
    }

    /// Asks whether the peer is there, or answers that we are.
    pub(super) fn put_ping(&mut self, payload: [u8; 8], is_answer: bool) {
        put_frame(&mut self.out, kind::PING, if is_answer { flag::ACK } else { 0 }, 0, &payload);
    }

    /// Says that no stream above `last` will be looked at.
    pub(super) fn put_goaway(&mut self, last: u32, code: ErrorCode) {
        put_goaway(&mut self.out, last, code);
    }

    /// Acknowledges the peer's settings.
    pub(super) fn put_settings_ack(&mut self) {
        put_frame(&mut self.out, kind::SETTINGS, flag::ACK, 0, b"");
    }
}

fn opened(window: i64, by: i64) -> Result<i64, WindowTooLarge> {
    Some(window + by).filter(|window| *window <= WINDOW_MAX).ok_or(WindowTooLarge)
}
