//! `allow` and `deny`: who may ask, by the client's address behind trusted proxies.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Context, Refusal, Verdict};
use crate::failure::Failure;

/// Networks: a list of them, or a table with `networks` and the `status` of the refusal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "expected a list of networks, or a table of `networks` and `status`")]
pub enum Networks {
    /// `["10.0.0.0/8", "2001:db8::/32"]`; an address is a network of one.
    List(Vec<String>),
    /// The same with a status of its own.
    Table(NetworkTable),
}

/// Networks, and the status that the others get.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkTable {
    /// The networks.
    pub networks: Vec<String>,
    /// The status of the refusal, 400 to 599; 403 by default.
    #[serde(default)]
    pub status: Option<u16>,
}

/// Who is refused.
#[derive(Clone, Debug)]
pub struct NetworkRule {
    networks: Vec<IpNet>,
    /// True where those in the networks are refused, false where all others are.
    refuses_those: bool,
    status: Option<u16>,
}

impl Networks {
    pub(super) fn compile(&self, refuses_those: bool, place: &mut FilterPlace) -> Option<NetworkRule> {
        let (texts, status) = match self {
            Self::List(texts) => (texts, None),
            Self::Table(NetworkTable { networks, status }) => (networks, *status),
        };
        place.refusal_status(status);
        let networks = place.networks(texts);
        (!place.has_faults()).then_some(NetworkRule { networks, refuses_those, status })
    }
}

impl NetworkRule {
    pub(super) fn on_request(&self, context: &Context<'_>) -> Verdict<'_> {
        if context.is_client_in(&self.networks) != self.refuses_those {
            return Verdict::Pass;
        }
        Verdict::Refuse(Box::new(Refusal {
            failure: Failure::Denied("address"),
            status: self.status,
            ..Refusal::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{applied, compiled};
    use crate::failure::Failure;

    #[test]
    fn those_on_the_list_may_and_those_on_the_other_may_not() {
        let denied = Err(Some(Failure::Denied("address")));
        for (filters, expected) in [
            ("[{ allow = [\"127.0.0.0/8\"] }]", Ok("/".to_owned())),
            ("[{ allow = [\"10.0.0.0/8\", \"127.0.0.1\"] }]", Ok("/".to_owned())),
            ("[{ allow = [\"10.0.0.0/8\"] }]", denied.clone()),
            ("[{ allow = [] }]", denied.clone()),
            ("[{ deny = [\"127.0.0.1\"] }]", denied.clone()),
            ("[{ deny = [] }]", Ok("/".to_owned())),
            ("[{ deny = { networks = [\"::/0\"], status = 404 } }]", Ok("/".to_owned())),
            ("[{ deny = [\"127.0.0.2\"] }, { allow = [\"127.0.0.0/8\"] }]", Ok("/".to_owned())),
        ] {
            assert_eq!(applied(filters, "/"), expected, "{filters}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        let (_, faults) =
            compiled("[{ allow = [\"10.0.0.0/33\", \"host\"] }, { deny = { networks = [], status = 200 } }]");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
