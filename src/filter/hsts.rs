//! `hsts`: tells clients that came by TLS to come by TLS alone (RFC 6797).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::edits::Edits;
use crate::units::Duration;

/// Clients shall use TLS only, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// How long, counted from each answer.
    pub max_age: Duration,
    /// Whether it holds for all subdomains too.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Whether browsers may put the host into their preload lists.
    #[serde(default)]
    pub preload: bool,
}

impl Hsts {
    /// `Strict-Transport-Security` in the place of the upstream's (RFC 6797 §6.1).
    pub(super) fn compile(&self, edits: &mut Edits) {
        let mut value = format!("max-age={}", self.max_age.ms() / 1_000);
        if self.include_subdomains {
            value.push_str("; includeSubDomains");
        }
        if self.preload {
            value.push_str("; preload");
        }
        edits.secure_response.set(b"Strict-Transport-Security", value.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::compiled;

    #[test]
    fn the_field_is_for_clients_that_came_by_tls() {
        let (chain, _) = compiled("[{ hsts = { max_age = \"1h\", include_subdomains = true } }]");
        assert!(chain.edits.response.put.is_empty());
        let (name, value) = &chain.edits.secure_response.put[0];
        assert_eq!((&**name, &**value), (&b"Strict-Transport-Security"[..], &b"max-age=3600; includeSubDomains"[..]));
        assert!(chain.edits.of_response(false, 200)[1].is_none() && chain.edits.of_response(true, 200)[1].is_some());
    }
}
