//! What people write of `oidc`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::compile::FilterPlace;
use super::super::fetch_source::{FetchSource, ProviderSource};
use super::provider::ProviderPlace;
use crate::proto::h1::field::is_token;
use crate::units::{Duration, Material};

/// Has browsers sign in at a provider of OpenID Connect. Scripts and programs without a session get 401.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// What the provider calls itself, a URL: its configuration is at `/.well-known/openid-configuration` behind it.
    pub issuer: String,
    /// The service through which it is reached, by its endpoints and its TLS.
    pub service: String,
    /// The service that exchanges codes, where that is another.
    #[serde(default)]
    pub token_service: Option<String>,
    /// The service that has the keys, where that is another.
    #[serde(default)]
    pub keys_service: Option<String>,
    /// What the provider calls us.
    pub client_id: String,
    /// A file with the secret that the provider gave us; left out for a public client.
    #[serde(default)]
    pub client_secret: Option<Material>,
    /// A file with what sessions are sealed by: lines of 32 bytes or more, chosen at random. The first one seals, and all of them open.
    /// Hosts with the same file know each other's sessions.
    pub secret: Material,
    /// What is asked for.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The path to which the provider sends browsers back: one that the route takes. The provider must know the URL.
    #[serde(default = "callback")]
    pub callback: String,
    /// The path that ends a session.
    #[serde(default = "logout")]
    pub logout: String,
    /// Where a browser goes then: a path of ours.
    #[serde(default = "root")]
    pub after_logout: String,
    /// The name of the cookie. A large session has several, with numbers behind it. Two clients on one host need two names.
    #[serde(default = "cookie_name")]
    pub cookie: String,
    /// The `Domain` of the cookie; left out, it is the host's alone.
    #[serde(default)]
    pub domain: Option<String>,
    /// When somebody must sign in again whatever the provider says. Before that a session lasts as long as the provider said, and is
    /// renewed where the provider gave a refresh token.
    #[serde(default = "lifetime")]
    pub lifetime: Duration,
    /// Claims with what they must be; of a list one must be it.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Claims with the field in which the upstream gets each; a client's own are taken away.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

fn callback() -> String {
    "/oidc/callback".to_owned()
}

fn logout() -> String {
    "/oidc/logout".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

fn cookie_name() -> String {
    "ringress_session".to_owned()
}

const fn lifetime() -> Duration {
    Duration::from_s(12 * 3_600)
}

impl Oidc {
    /// The bytes that it names.
    #[must_use]
    pub fn materials(&self) -> Vec<&Material> {
        self.client_secret.iter().chain([&self.secret]).collect()
    }

    /// The services that it asks.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        vec![&self.service, self.token_service(), self.keys_service()]
    }

    /// The service that exchanges codes.
    pub(super) fn token_service(&self) -> &str {
        self.token_service.as_ref().unwrap_or(&self.service)
    }

    /// The service that has the keys.
    pub(super) fn keys_service(&self) -> &str {
        self.keys_service.as_ref().unwrap_or(&self.service)
    }

    /// What is fetched for it.
    #[must_use]
    pub fn fetch_source(&self) -> FetchSource {
        FetchSource::Provider(ProviderSource {
            issuer: self.issuer.clone(),
            service: self.service.clone(),
            keys_service: self.keys_service().to_owned(),
        })
    }

    /// Tells what is wrong with it.
    pub(super) fn check(&self, place: &mut FilterPlace) {
        if let Err(what) = ProviderPlace::of_configuration(&self.issuer) {
            place.fault(what, "write the `issuer` as the provider's configuration says it");
        }
        let paths = [("callback", &self.callback), ("logout", &self.logout), ("after_logout", &self.after_logout)];
        for (name, path) in paths {
            if place.path(path).is_some_and(|normal| normal != *path) {
                place
                    .fault(format!("`{name}` is not written as requests say it"), "leave dots and doubled slashes out");
            }
        }
        if self.callback == self.logout {
            place.fault("`callback` and `logout` are the same path", "write two");
        }
        if !is_token(self.cookie.as_bytes()) {
            place.fault(format!("`{}` is not the name of a cookie", self.cookie), "write letters and digits");
        }
        if self
            .domain
            .as_ref()
            .is_some_and(|domain| domain.is_empty() || domain.contains([';', ' ', ',']) || !domain.is_ascii())
        {
            place.fault("`domain` is not a domain", "write example.com, or leave it out");
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            place.fault("`scopes` lacks \"openid\"", "add it: it is what makes the provider say who has signed in");
        }
        if self.lifetime.ms() < 1_000 {
            place.fault("a session that lasts for less than a second lets nobody in", "write `lifetime = \"12h\"`");
        }
    }
}
