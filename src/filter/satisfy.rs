//! `satisfy`: a request passes where one of several rules lets it pass, as with nginx's `satisfy any`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api_key::ApiKey;
use super::basic_auth::BasicAuth;
use super::compile::FilterPlace;
use super::digest_auth::DigestAuth;
use super::fetch_source::FetchSource;
use super::forward_auth::ForwardAuth;
use super::jwt::Jwt;
use super::networks::Networks;
use super::oidc::Oidc;
use crate::units::Material;

/// Lets a request pass where one of these rules does. They are asked in their order. Where all of them refuse, the answer is that of the
/// first that asks for credentials, or else of the first. One that answers, as a sign-in does, ends it: it belongs at the end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Satisfy {
    /// Two rules or more.
    pub any: Vec<AccessRule>,
}

/// A filter that lets a request pass or refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessRule {
    /// The client's address is in one of these networks.
    Allow(Networks),
    /// The client's address is in none of these networks.
    Deny(Networks),
    /// A user and a password.
    BasicAuth(BasicAuth),
    /// A user and the proof of a password.
    DigestAuth(DigestAuth),
    /// A key.
    ApiKey(ApiKey),
    /// A signed token.
    Jwt(Jwt),
    /// A provider of OpenID Connect has signed the client in. It belongs at the end.
    Oidc(Oidc),
    /// Another service lets it pass.
    ForwardAuth(ForwardAuth),
}

impl Satisfy {
    /// Tells what is wrong with the list itself.
    pub(super) fn check(&self, place: &mut FilterPlace) {
        if self.any.len() < 2 {
            place.fault("one rule alone is that rule", "write two or more, or the rule among the filters");
        }
    }

    /// The bytes that its rules name.
    pub(super) fn materials(&self) -> Vec<&Material> {
        self.any.iter().flat_map(AccessRule::materials).collect()
    }

    /// What is fetched for its rules.
    pub(super) fn fetch_sources(&self) -> Vec<FetchSource> {
        self.any.iter().filter_map(AccessRule::fetch_source).collect()
    }

    /// The services that its rules ask.
    pub(super) fn services(&self) -> Vec<&str> {
        self.any.iter().flat_map(AccessRule::services).collect()
    }
}

impl AccessRule {
    fn fetch_source(&self) -> Option<FetchSource> {
        match self {
            Self::Jwt(jwt) => jwt.fetch_source(),
            Self::Oidc(oidc) => Some(oidc.fetch_source()),
            Self::Allow(_)
            | Self::Deny(_)
            | Self::BasicAuth(_)
            | Self::DigestAuth(_)
            | Self::ApiKey(_)
            | Self::ForwardAuth(_) => None,
        }
    }

    fn materials(&self) -> Vec<&Material> {
        match self {
            Self::BasicAuth(auth) => auth.materials(),
            Self::DigestAuth(auth) => auth.materials(),
            Self::Jwt(jwt) => jwt.materials(),
            Self::Oidc(oidc) => oidc.materials(),
            Self::Allow(_) | Self::Deny(_) | Self::ApiKey(_) | Self::ForwardAuth(_) => Vec::new(),
        }
    }

    fn services(&self) -> Vec<&str> {
        match self {
            Self::ForwardAuth(auth) => vec![&auth.service],
            Self::Jwt(jwt) => jwt.services(),
            Self::Oidc(oidc) => oidc.services(),
            Self::Allow(_) | Self::Deny(_) | Self::BasicAuth(_) | Self::DigestAuth(_) | Self::ApiKey(_) => Vec::new(),
        }
    }
}
