//! `mirror`: copies of requests go to another service as well, whose answers nobody sees.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::compile::FilterPlace;
use crate::label::Label;
use crate::limits::COPY_BYTES_MAX;
use crate::units::Size;
use crate::units::text::decode;

/// Sends copies of requests to another service, and throws its answers away. The request itself neither waits for that nor fails by
/// it. Upgrades and calls of gRPC are not copied.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The service.
    pub service: String,
    /// How many of the requests: `"10%"`, `"1/1000"`; all of them where nothing is written.
    #[serde(default)]
    pub share: Share,
    /// The longest body that is copied, 1 MiB at most, held in memory until the answer begins; a request with a longer one is not copied.
    #[serde(default = "a_piece")]
    pub body_max: Size,
    /// Whether copies have the body of their request. Without it requests with a body of any length are copied.
    #[serde(default = "yes")]
    pub body: bool,
}

const fn yes() -> bool {
    true
}

const fn a_piece() -> Size {
    Size::from_kib(64)
}

/// A part of all: `"10%"`, `"1/1000"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    part: u32,
    of: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { part: 1, of: 1 }
    }
}

impl Share {
    /// True for this part of all numbers. `random` is uniform over `u64`.
    #[must_use]
    pub fn has(self, random: u64) -> bool {
        (u128::from(random) * u128::from(self.of)) >> 64 < u128::from(self.part)
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().zip(Some(100)),
            None => text.split_once('/').and_then(|(part, of)| part.trim().parse().ok().zip(of.trim().parse().ok())),
        };
        let share = parts.filter(|(part, of)| *part >= 1 && part <= of).map(|(part, of)| Self { part, of });
        share.ok_or_else(|| format!("`{text}` is not a share; write \"1%\" to \"100%\", or \"1/1000\""))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(deserializer)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+%|[0-9]+/[0-9]+)$"})
    }
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledMirror {
    name: String,
    /// The service that gets the copies.
    pub service: Label,
    /// How many requests are copied.
    pub share: Share,
    /// Bytes of the longest body; `None` for copies without.
    pub body_max: Option<u64>,
}

impl Mirror {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledMirror> {
        let body_max = self.body_max.bytes();
        if body_max > COPY_BYTES_MAX {
            place.fault(format!("{} is more than is held for a copy", self.body_max), "write 1MiB at most");
        }
        let service = place.service(&self.service).filter(|_| !place.has_faults())?;
        let body_max = self.body.then_some(body_max);
        Some(CompiledMirror { name: self.service.clone(), service, share: self.share, body_max })
    }
}

impl CompiledMirror {
    /// The name of the service, and its label when this was compiled.
    pub(super) fn service(&self) -> (&str, Label) {
        (&self.name, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_all() {
        let of = |text: &str, random| text.parse::<Share>().unwrap().has(random);
        assert!(of("100%", u64::MAX) && of("1/1", 0));
        assert!(
            of("1%", 0) && !of("1%", u64::MAX / 100 + 1) && of("50%", u64::MAX / 2) && !of("50%", u64::MAX / 2 + 1)
        );
        for wrong in ["", "0%", "101%", "1/0", "2/1", "0/5", "1.5%", "x"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        assert_eq!("1/1000".parse::<Share>().unwrap().to_string(), "1/1000");
    }
}
