//! `oidc`: browsers sign in at a provider of OpenID Connect, by an authorization code with PKCE; what is known of them then is in a sealed
//! cookie. Nothing is remembered here, so that every worker and every host with the same `secret` knows them.

mod flow;
mod login;
pub mod provider;
pub mod sealed;
mod session;
mod spec;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::flow::CompiledOidc;
use self::provider::Provider;
use self::sealed::Sealer;
pub use self::spec::Oidc;
use super::claims::ClaimRules;
use super::compile::FilterPlace;
use super::jwt::CompiledJwt;
use crate::label::Label;
use crate::units::hidden::Hidden;

impl Oidc {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledOidc> {
        self.check(place);
        let secret = self.client_secret.as_ref().and_then(|file| place.material(file));
        let secret = secret.map(|bytes| Hidden(String::from_utf8_lossy(bytes.trim_ascii()).into_owned()));
        if secret.as_ref().is_some_and(|secret| secret.0.is_empty()) {
            place.fault("the file of `client_secret` is empty", "write what the provider gave, or leave the key out");
        }
        let seals = place.material(&self.secret)?;
        let lines = || seals.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        if lines().any(|line| line.len() < 32) {
            let what = format!("a line of `{}` is short", self.secret);
            place.fault(what, "write 32 bytes or more for each, chosen at random");
        }
        let sealer = Sealer::new(lines(), format!("{}\n{}", self.issuer, self.client_id));
        if sealer.is_none() {
            place.fault(format!("`{}` is empty", self.secret), "write a line of 32 bytes or more, chosen at random");
        }
        let rules = ClaimRules::compile(&self.require, &self.claims, place);
        let names: BTreeSet<&str> = self.services().into_iter().collect();
        let labels: BTreeMap<&str, Option<Label>> = names.into_iter().map(|name| (name, place.service(name))).collect();
        let token_service = labels.get(self.token_service()).copied().flatten();
        let fetched = place.shared.fetched(self.fetch_source());
        // It was looked at when it came.
        let provider = fetched.and_then(|bytes| Provider::read(&bytes, &self.issuer).ok()).map(|provider| {
            let tokens = CompiledJwt::of_provider(&self.issuer, &self.client_id, provider.keys.clone(), place);
            (provider, tokens)
        });
        let (token_service, sealer) = token_service.zip(sealer)?;
        let sealer = Arc::new(sealer);
        (!place.has_faults()).then(|| CompiledOidc {
            spec: self.clone(),
            provider,
            token_service,
            sealer,
            secret,
            rules,
        })
    }
}
