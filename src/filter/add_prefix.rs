//! `add_prefix`: puts a prefix before the path.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::Verdict;
use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::request::RequestHead;

/// The prefix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct AddPrefix(pub String);

impl AddPrefix {
    /// The prefix without final slash.
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<Box<[u8]>> {
        place.path(&self.0).map(|path| path.trim_end_matches('/').as_bytes().into())
    }
}

pub(super) fn on_request(prefix: &[u8], head: &mut RequestHead) -> Verdict<'static> {
    let added = head.target_mut().add_prefix(prefix).map_err(RequestFault::from);
    added.map_or_else(|fault| Verdict::fail(fault.into()), |()| Verdict::Pass)
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::rewritten;

    #[test]
    fn prefixes_come_off_and_on_in_the_order_of_the_filters() {
        assert_eq!(rewritten("[{ add_prefix = \"/v2/\" }]", "/x?q"), "/v2/x?q");
        assert_eq!(rewritten("[{ strip_prefix = \"/api\" }, { add_prefix = \"/v2\" }]", "/api/x"), "/v2/x");
    }
}
