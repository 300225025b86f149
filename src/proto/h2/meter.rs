//! Counts frames of a client as they come, and says when there are too many of what costs us more than it costs it.
//!
//! Only frame headers are read (RFC 9113 §4.1), and the values of SETTINGS. The `h2` crate bounds streams, header lists and
//! windows; what it answers with a general code, though the rules have one of their own, is answered here too.

use crate::limits::{
    H2_CONTINUATIONS_MAX, H2_PINGS_PER_S, H2_PRIORITIES_PER_S, H2_RESETS_PER_S, H2_SETTINGS_PER_S, H2_UNKNOWN_PER_S,
    H2_WINDOW_UPDATES_PER_KIB, H2_WINDOW_UPDATES_PER_S,
};

const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

const SETTINGS: u8 = 4;
const ACK: u8 = 1;
/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2), and its highest value.
const INITIAL_WINDOW_SIZE: u16 = 4;
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// Codes of RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The name in metrics and logs.
    pub name: &'static str,
    /// What the client is told (RFC 9113 §7).
    pub code: u32,
}

impl Excess {
    /// Too much of this.
    #[must_use]
    pub const fn of(name: &'static str) -> Self {
        Self { name, code: ENHANCE_YOUR_CALM }
    }
}

/// So many in a second; what is not used is not saved up.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    per_s: u32,
    left: u32,
}

impl Allowance {
    const fn new(per_s: u32) -> Self {
        Self { per_s, left: per_s }
    }

    fn take(&mut self, name: &'static str) -> Result<(), Excess> {
        self.left = self.left.checked_sub(1).ok_or(Excess::of(name))?;
        Ok(())
    }
}

/// Frames of one connection.
#[derive(Debug)]
pub struct Meter {
    /// Bytes of the preface that are still to come.
    preface: usize,
    header: [u8; HEADER_BYTES],
    header_length: usize,
    payload_left: usize,
    /// A block of header fields has begun and not ended.
    is_in_block: bool,
    continuations: u32,
    /// SETTINGS came, which are the first frame.
    has_settings: bool,
    /// One setting of the frame that is coming.
    setting: [u8; 6],
    setting_length: usize,
    second: u64,
    settings: Allowance,
    pings: Allowance,
    resets: Allowance,
    priorities: Allowance,
    updates: Allowance,
    unknown: Allowance,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            preface: super::PREFACE.len(),
            header: [0; HEADER_BYTES],
            header_length: 0,
            payload_left: 0,
            is_in_block: false,
            continuations: 0,
            has_settings: false,
            setting: [0; 6],
            setting_length: 0,
            second: 0,
            settings: Allowance::new(H2_SETTINGS_PER_S),
            pings: Allowance::new(H2_PINGS_PER_S),
            resets: Allowance::new(H2_RESETS_PER_S),
            priorities: Allowance::new(H2_PRIORITIES_PER_S),
            updates: Allowance::new(H2_WINDOW_UPDATES_PER_S),
            unknown: Allowance::new(H2_UNKNOWN_PER_S),
        }
    }
}

impl Meter {
    /// Counts what came at `now_ms`, in pieces of any size.
    ///
    /// # Errors
    /// The first [`Excess`]; what follows is not to be read.
    pub fn advance(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Excess> {
        self.turn(now_ms / 1_000);
        let of_preface = self.preface.min(bytes.len());
        self.preface -= of_preface;
        bytes = &bytes[of_preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = self.payload_left.min(bytes.len());
                self.payload_left -= passed;
                if self.header[3] == SETTINGS {
                    bytes[..passed].iter().try_for_each(|byte| self.read_setting(*byte))?;
                }
                bytes = &bytes[passed..];
                continue;
            }
            let taken = (HEADER_BYTES - self.header_length).min(bytes.len());
            self.header[self.header_length..][..taken].copy_from_slice(&bytes[..taken]);
            self.header_length += taken;
            bytes = &bytes[taken..];
            if self.header_length == HEADER_BYTES {
                self.header_length = 0;
                self.count()?;
            }
        }
        Ok(())
    }

    /// So many bytes of answers went out: the client may say more of its windows.
    pub fn note_sent(&mut self, bytes: usize) {
        let earned = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_mul(H2_WINDOW_UPDATES_PER_KIB);
        self.updates.left = self.updates.left.saturating_add(earned);
    }

    /// True where something that has begun must come to its end soon: a frame other than one of a body, a block of fields,
    /// the preface. A body's slowness is its exchange's.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        let is_in_frame = self.header_length > 0 || self.payload_left > 0 && self.header[3] != DATA;
        self.preface > 0 || self.is_in_block || is_in_frame
    }

    fn turn(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            for budget in [
                &mut self.settings,
                &mut self.pings,
                &mut self.resets,
                &mut self.priorities,
                &mut self.updates,
                &mut self.unknown,
            ] {
                budget.left = budget.left.max(budget.per_s);
            }
        }
    }

    fn read_setting(&mut self, byte: u8) -> Result<(), Excess> {
        self.setting[self.setting_length] = byte;
        self.setting_length = (self.setting_length + 1) % self.setting.len();
        let [high, low, value @ ..] = self.setting;
        let is_window = self.setting_length == 0 && u16::from_be_bytes([high, low]) == INITIAL_WINDOW_SIZE;
        if is_window && u32::from_be_bytes(value) > WINDOW_MAX {
            return Err(Excess { name: "window", code: FLOW_CONTROL_ERROR });
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Excess> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.payload_left = length;
        self.setting_length = 0;
        if !self.has_settings && (kind, flags & ACK) != (SETTINGS, 0) {
            return Err(Excess { name: "no_settings", code: PROTOCOL_ERROR });
        }
        self.has_settings = true;
        let is_of_size = match kind {
            2 => length == 5,
            3 | 8 => length == 4,
            SETTINGS => length.is_multiple_of(6) && (flags & ACK == 0 || length == 0),
            6 => length == 8,
            _ => true,
        };
        if !is_of_size {
            return Err(Excess { name: "frame_size", code: FRAME_SIZE_ERROR });
        }
        match kind {
            // `h2` counts DATA by its windows, and empty ones by a number.
            DATA => {}
            HEADERS => {
                self.continuations = 0;
                self.is_in_block = flags & END_HEADERS == 0;
            }
            2 => self.priorities.take("priority")?,
            3 => self.resets.take("rst_stream")?,
            SETTINGS => self.settings.take("settings")?,
            6 => self.pings.take("ping")?,
            8 => self.updates.take("window_update")?,
            CONTINUATION => {
                self.continuations += 1;
                self.is_in_block = flags & END_HEADERS == 0;
                if self.continuations > H2_CONTINUATIONS_MAX {
                    return Err(Excess::of("continuation"));
                }
            }
            _ => self.unknown.take("unknown_frame")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + payload, 0);
        frame
    }

    fn after_preface() -> Meter {
        let mut meter = Meter::default();
        meter.advance(super::super::PREFACE, 0).unwrap();
        meter.advance(&frame(SETTINGS, 0, 0), 0).unwrap();
        meter
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let flood = frame(6, 0, 8).repeat(H2_PINGS_PER_S as usize + 1);
        for step in [1, 7, 17, 1_000, flood.len()] {
            let mut meter = after_preface();
            let outcome = flood.chunks(step).try_for_each(|bytes| meter.advance(bytes, 5));
            assert_eq!(outcome, Err(Excess::of("ping")), "{step}");
        }
        let mut meter = after_preface();
        let (first, last) = flood.split_at(flood.len() - 17);
        meter.advance(first, 5).unwrap();
        meter.advance(last, 1_000).unwrap();
    }

    #[test]
    fn each_flood_has_its_name() {
        for (kind, length, name) in [
            (2, 5, "priority"),
            (3, 4, "rst_stream"),
            (4, 6, "settings"),
            (8, 4, "window_update"),
            (200, 5, "unknown_frame"),
        ] {
            let flood = frame(kind, 0, length).repeat(10_000);
            assert_eq!(after_preface().advance(&flood, 5), Err(Excess::of(name)));
        }
        let mut flood = frame(HEADERS, 0, 5);
        flood.extend(frame(CONTINUATION, 0, 5).repeat(21));
        assert_eq!(after_preface().advance(&flood, 5), Err(Excess::of("continuation")));
    }

    #[test]
    fn what_has_begun_is_known_until_it_ends() {
        let mut meter = Meter::default();
        assert!(meter.is_unfinished(), "the preface");
        meter.advance(super::super::PREFACE, 0).unwrap();
        assert!(!meter.is_unfinished());
        meter.advance(&frame(SETTINGS, 0, 0), 0).unwrap();
        meter.advance(&frame(HEADERS, 0, 5), 0).unwrap();
        assert!(meter.is_unfinished(), "a block goes on");
        meter.advance(&frame(CONTINUATION, END_HEADERS, 5), 0).unwrap();
        assert!(!meter.is_unfinished());
        meter.advance(&frame(DATA, 0, 5)[..11], 0).unwrap();
        assert!(!meter.is_unfinished(), "a body is its exchange's");
        meter.advance(&[0; 3], 0).unwrap();
        meter.advance(&frame(4, 0, 6)[..4], 0).unwrap();
        assert!(meter.is_unfinished(), "half a frame");
    }

    #[test]
    fn what_the_rules_have_a_code_for_is_told_with_it() {
        let code = |bytes: &[u8]| after_preface().advance(bytes, 0).unwrap_err().code;
        for (kind, length) in [(2, 4), (3, 3), (6, 6), (8, 3), (SETTINGS, 3)] {
            assert_eq!(code(&frame(kind, 0, length)), FRAME_SIZE_ERROR, "{kind}");
        }
        assert_eq!(code(&frame(SETTINGS, ACK, 6)), FRAME_SIZE_ERROR);
        let mut window = frame(SETTINGS, 0, 12);
        window[HEADER_BYTES + 6..].copy_from_slice(&[0, 4, 0x80, 0, 0, 0]);
        assert_eq!(code(&window), FLOW_CONTROL_ERROR);
        let mut meter = Meter::default();
        meter.advance(super::super::PREFACE, 0).unwrap();
        assert_eq!(meter.advance(&frame(6, 0, 8), 0).unwrap_err().code, PROTOCOL_ERROR);
    }

    #[test]
    fn what_was_sent_may_be_answered_by_updates() {
        let mut meter = after_preface();
        meter.note_sent(1 << 20);
        let updates = frame(8, 0, 4).repeat((H2_WINDOW_UPDATES_PER_S + 1024) as usize);
        meter.advance(&updates, 0).unwrap();
    }
}
