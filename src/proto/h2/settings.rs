//! What a peer says of itself in SETTINGS, and what we say of ourselves (RFC 9113 §6.5.2).

use super::Role;
use super::frame::setting;
use super::reader::ConnectionFault;
use crate::limits::{H2_HEADER_LIST_BYTES_MAX, H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX};

/// What a client is told.
pub(super) const OURS_OF_SERVER: [(u16, u32); 4] = [
    (setting::MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX),
    (setting::INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW_BYTES),
    (setting::MAX_HEADER_LIST_SIZE, H2_HEADER_LIST_BYTES_MAX),
    (setting::ENABLE_CONNECT_PROTOCOL, 1),
];
/// What an upstream is told.
pub(super) const OURS_OF_CLIENT: [(u16, u32); 3] = [
    (setting::ENABLE_PUSH, 0),
    (setting::INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW_BYTES),
    (setting::MAX_HEADER_LIST_SIZE, H2_HEADER_LIST_BYTES_MAX),
];
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What a peer says; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub table_bytes: Option<usize>,
    pub streams_max: Option<usize>,
    pub initial_window: Option<u32>,
    pub list_bytes_max: Option<usize>,
}

impl Settings {
    /// Reads the payload of a frame, six bytes for each setting. The last word counts.
    ///
    /// # Errors
    /// A value that is out of its range.
    pub(super) fn read(payload: &[u8], role: Role) -> Result<Self, ConnectionFault> {
        let mut settings = Self::default();
        for [high, low, value @ ..] in payload.as_chunks::<6>().0 {
            let value = u32::from_be_bytes(*value);
            let size = usize::try_from(value).unwrap_or(usize::MAX);
            let is_flag = value < 2;
            let setting = u16::from_be_bytes([*high, *low]);
            match setting {
                setting::HEADER_TABLE_SIZE => settings.table_bytes = Some(size),
                setting::MAX_CONCURRENT_STREAMS => settings.streams_max = Some(size),
                setting::INITIAL_WINDOW_SIZE => settings.initial_window = Some(value),
                setting::MAX_HEADER_LIST_SIZE => settings.list_bytes_max = Some(size),
                _ => {}
            }
            if setting == setting::INITIAL_WINDOW_SIZE && value > WINDOW_MAX {
                return Err(ConnectionFault::WINDOW);
            }
            let is_valid = match setting {
                setting::MAX_FRAME_SIZE => (16_384..1 << 24).contains(&value),
                // A server cannot be pushed to (§8.4).
                setting::ENABLE_PUSH => is_flag && (role == Role::Server || value == 0),
                setting::ENABLE_CONNECT_PROTOCOL => is_flag,
                _ => true,
            };
            if !is_valid {
                return Err(ConnectionFault::protocol("settings"));
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{HEADER_BYTES, put_settings};
    use super::*;

    fn read(settings: &[(u16, u32)], role: Role) -> Result<Settings, ConnectionFault> {
        let mut frame = Vec::new();
        put_settings(&mut frame, settings);
        Settings::read(&frame[HEADER_BYTES..], role)
    }

    #[test]
    fn what_is_said_is_read_and_the_unknown_passed_over() {
        let said = [(4, 70_000), (3, 5), (99, 7), (6, 8_192), (4, 65_535), (1, 0), (5, 16_384), (8, 1), (2, 0)];
        let found = read(&said, Role::Client).unwrap();
        assert_eq!((found.initial_window, found.streams_max), (Some(65_535), Some(5)));
        assert_eq!((found.list_bytes_max, found.table_bytes), (Some(8_192), Some(0)));
        assert_eq!(read(&[], Role::Server), Ok(Settings::default()));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(read(&[(4, 1 << 31)], Role::Server), Err(ConnectionFault::WINDOW));
        for wrong in [(5, 16_383), (5, 1 << 24), (2, 2), (8, 2)] {
            assert_eq!(read(&[wrong], Role::Server), Err(ConnectionFault::protocol("settings")), "{wrong:?}");
        }
        assert!(read(&[(2, 1)], Role::Server).is_ok() && read(&[(2, 1)], Role::Client).is_err());
    }
}
