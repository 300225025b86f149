//! Quantities: durations, sizes, and the bits of a file's mode.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::decode;
use crate::limits::{H2_STREAM_WINDOW_BYTES, H2_WINDOW_BYTES_MAX};

/// A duration in milliseconds, written `"500ms"`, `"15s"`, `"2m"` or `"1h"`. `"0s"` switches a timeout off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(u64);

/// Seconds of a year, the longest that anything is waited for.
const YEAR_S: u64 = 366 * 24 * 3_600;

impl Duration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// So many seconds, a year at most.
    #[must_use]
    pub const fn from_s(s: u64) -> Self {
        Self(if s > YEAR_S { YEAR_S * 1_000 } else { s * 1_000 })
    }

    /// In milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// In milliseconds, `None` where it is off.
    #[must_use]
    pub const fn limit_ms(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{text}` has no unit; write \"{text}s\" for seconds, or ms, m, h"));
        }
        let fault = || format!("`{text}` is not a duration; write a number with ms, s, m or h, like \"15s\"");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let number: u64 = text[..digits].parse().map_err(|_| fault())?;
        let unit_ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(fault()),
        };
        let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= YEAR_S * 1_000);
        ms.map(Self).ok_or_else(|| format!("`{text}` is longer than a year"))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1_000) { write!(f, "{}s", self.0 / 1_000) } else { write!(f, "{}ms", self.0) }
    }
}

/// A number of bytes, written `"64KiB"`, `"10MiB"`, `"1GiB"`, or with `B`. `"0B"` switches a limit off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u64);

impl Size {
    /// No limit.
    pub const OFF: Self = Self(0);

    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// In bytes, 0 for none.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The window of a stream of HTTP/2 where nothing is said.
    #[must_use]
    pub const fn h2_window() -> Self {
        Self(H2_WINDOW_BYTES_MAX as u64)
    }

    /// As the window of a stream, in bytes; `None` where it is out of the range of one: 64 KiB to 1 GiB.
    #[must_use]
    pub fn window_bytes(self) -> Option<u32> {
        u32::try_from(self.bytes()).ok().filter(|bytes| (H2_STREAM_WINDOW_BYTES..=1 << 30).contains(bytes))
    }

    /// The bound in bytes, `None` for no limit.
    #[must_use]
    pub const fn limit_bytes(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
                "" => "B",
                "k" | "kb" => "KiB",
                "m" | "mb" => "MiB",
                "g" | "gb" => "GiB",
                _ => "",
            };
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number && !unit.is_empty() {
                return format!("`{text}` is not a size; write \"{digits}{unit}\"");
            }
            format!("`{text}` is not a size; write a number with B, KiB, MiB or GiB, like \"64KiB\"")
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let number: u64 = text[..digits].parse().map_err(|_| fault())?;
        let unit: u64 = match &text[digits..] {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(fault()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(fault)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let (unit, name) =
            units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit)).unwrap_or((1, "B"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// Who may connect to a Unix socket, as of chmod(1) in octal digits: `"0666"`, `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Everybody may, as with nginx.
    pub const EVERYBODY: Self = Self(0o666);

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = if is_octal { u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777) } else { None };
        bits.map(Self).ok_or_else(|| format!("`{text}` is not a file mode; write octal digits such as \"0660\""))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number would be taken for a decimal one by one syntax and for an octal one by another.
        let written = serde_json::Value::deserialize(deserializer)?;
        let Some(text) = written.as_str() else {
            let remedy = "write octal digits in quotation marks, such as \"0660\"";
            return Err(serde::de::Error::custom(format!("`{written}` is not a file mode; {remedy}")));
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0666", "0660"]})
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["500ms", "15s", "2m"]})
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["64KiB", "10MiB"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_numbers_with_units() {
        assert_eq!("500ms".parse(), Ok(Duration(500)));
        assert_eq!("2m".parse(), Ok(Duration(120_000)));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        assert!("15".parse::<Duration>().unwrap_err().contains("write \"15s\""));
        assert!("10M".parse::<Size>().unwrap_err().contains("write \"10MiB\""));
        assert!("0".parse::<Size>().unwrap_err().contains("write \"0B\""));
        for bad in ["", "5", "s", "5 s", "-5s", "1.5s", "99999999999h"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
        for bad in ["", "5", "5KB", "5k", "99999999999GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_mode_is_octal() {
        assert_eq!("0660".parse::<FileMode>().map(FileMode::bits), Ok(0o660));
        assert_eq!("660".parse::<FileMode>().unwrap().to_string(), "0660");
        for bad in ["", "66", "0888", "1777", "rw-rw----", "00660"] {
            assert!(bad.parse::<FileMode>().is_err(), "{bad}");
        }
    }
}
