//! `buffer`: a request body is read whole before the upstream hears of it, and sent with its length.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use crate::limits::REPLAY_BYTES_MAX;
use crate::units::Size;

/// Reads request bodies whole, and sends them with `Content-Length`: for upstreams that do not take chunks, as many CGI programs and
/// S3-compatible stores, and for those whose workers should not wait for slow clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Buffer {
    /// The longest body, which is held in memory; a longer one is answered 413. All bodies of a worker have 64 MiB together.
    pub max: Size,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { max: Size::from_kib(1_024) }
    }
}

impl Buffer {
    /// The longest body in bytes.
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<u64> {
        let bytes = self.max.bytes();
        if bytes == 0 || bytes > REPLAY_BYTES_MAX as u64 {
            place.fault(format!("{} is not a length that can be held", self.max), "write 1B to 64MiB");
        }
        (!place.has_faults()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::compiled;

    #[test]
    fn it_says_how_much_is_held_and_does_not_go_with_what_changes_the_body() {
        assert_eq!(compiled("[{ buffer = {} }]").0.buffer(), Some(1_024 * 1_024));
        assert_eq!(
            compiled("[{ buffer = { max = \"2KiB\" } }, { buffer = { max = \"1KiB\" } }]").0.buffer(),
            Some(1_024)
        );
        for filters in [
            "[{ buffer = { max = \"0B\" } }]",
            "[{ buffer = { max = \"1GiB\" } }]",
            "[\"grpc_web\", { buffer = {} }]",
            "[{ buffer = {} }, \"grpc_web\"]",
        ] {
            assert_eq!(compiled(filters).1.len(), 1, "{filters}");
        }
    }
}
