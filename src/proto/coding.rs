//! Content codings, and which of them a client accepts (RFC 9110 §12.5.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::h1::field::list_elements;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Coding {
    /// Zstandard (RFC 8878).
    #[serde(rename = "zstd")]
    Zstd,
    /// Brotli (RFC 7932).
    #[serde(rename = "br")]
    Brotli,
    /// gzip (RFC 1952).
    #[serde(rename = "gzip")]
    Gzip,
}

impl Coding {
    /// As fields name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// The coding that a client likes best of these; of those that it likes alike the first. `None` where it accepts none of them, or
/// likes the bytes as they are better.
#[must_use]
pub fn accepted(accept_encoding: &[u8], ours: &[Coding]) -> Option<Coding> {
    // Each in thousandths, as it is said.
    let (mut said, mut any, mut identity) = ([None; 3], None, None);
    for element in list_elements(accept_encoding) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let quality = quality.map_or(Some(1_000), thousandths).unwrap_or(0);
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("*") {
            any = Some(quality);
        } else if is("identity") {
            identity = Some(quality);
        } else if let Some(at) = ours.iter().position(|one| is(one.name()) || *one == Coding::Gzip && is("x-gzip")) {
            said[at.min(2)] = Some(quality);
        }
    }
    let quality = |at: usize| said[at.min(2)].or(any).unwrap_or(0);
    let best = (0..ours.len()).rev().max_by_key(|at| quality(*at)).filter(|at| quality(*at) > 0)?;
    // Who says nothing of it likes it least.
    (quality(best) >= identity.unwrap_or(0)).then(|| ours[best])
}

/// A quality value (RFC 9110 §12.4.2); `None` where it is none.
fn thousandths(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    // First the form: what has more digits is no number that could be computed with.
    let is_form = matches!(whole, "0" | "1") && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = format!("{whole}{part:0<3}");
    digits.parse().ok().filter(|value| is_form && *value <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_is_accepted_is_taken() {
        let ours = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
        for (said, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("GZIP;Q=0.5", Some("gzip")),
            ("gzip;q=1.0, br;q=0.8", Some("gzip")),
            ("gzip;q=0.5, *;q=0.8", Some("zstd")),
            ("zstd;q=0, *", Some("br")),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("", None),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("gzip;q=2", None),
            ("gzip;q=x", None),
            ("gzip;q=01501533335", None),
            ("gzip;q=1.001", None),
            ("gzip ; q=0.001", Some("gzip")),
            ("deflate", None),
        ] {
            assert_eq!(accepted(said.as_bytes(), &ours).map(Coding::name), expected, "{said}");
        }
        assert_eq!(accepted(b"br, gzip", &[Coding::Gzip]), Some(Coding::Gzip));
    }
}
