//! `strip_prefix`: takes a prefix off the path, by whole elements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::Verdict;
use crate::proto::h1::request::RequestHead;

/// The prefix. The upstream is told of it by `X-Forwarded-Prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct StripPrefix(pub String);

impl StripPrefix {
    /// The prefix without final slash.
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<Box<[u8]>> {
        place.path(&self.0).map(|path| path.trim_end_matches('/').as_bytes().into())
    }
}

/// Another element that begins alike is no match: `/apiary` is not below `/api`.
pub(super) fn on_request(prefix: &[u8], head: &mut RequestHead) -> Verdict<'static> {
    head.strip_prefix(prefix).map_or_else(|fault| Verdict::fail(fault.into()), |_| Verdict::Pass)
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::rewritten;

    #[test]
    fn a_prefix_comes_off_by_whole_elements() {
        let filters = "[{ strip_prefix = \"/api/\" }]";
        assert_eq!(rewritten(filters, "/api/x?q"), "/x?q");
        assert_eq!(rewritten(filters, "/api"), "/");
        assert_eq!(rewritten(filters, "/apix"), "/apix");
    }
}
