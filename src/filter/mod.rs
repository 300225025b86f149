//! What is done with a request and its response on the way: a closed set, in the order that the route gives.
//!
//! Each filter is a file: what people write, what it compiles to, what it does, its tests. Here are its rows: one in
//! [`Filter`], as it is written, and where it acts on requests one in `step::Step`, as it runs. A filter that only changes
//! fields has no step: its changes go into the chain's [`edits::Edits`], which the encoders take. What it changes for one request alone it
//! notes in [`context::Notes`]; what depends on the upstream's answer is a [`upstream_fields::ResponseStep`].

pub mod add_prefix;
pub mod api_key;
pub mod bandwidth_limit;
pub mod basic_auth;
pub mod buffer;
mod chain;
mod claims;
pub mod client_certificate;
pub mod compile;
pub mod compress;
pub mod concurrency_limit;
pub mod context;
pub mod cors;
pub mod counters;
pub mod decoder;
pub mod deny_headers;
pub mod digest_auth;
pub mod edits;
pub mod encoder;
pub mod errand;
pub mod error_pages;
pub mod fetch_source;
mod foreign;
pub mod forward_auth;
pub mod grpc_web;
pub mod headers;
pub mod hsts;
pub mod jwk;
pub mod jwt;
pub mod key;
pub mod mirror;
pub mod networks;
pub mod oidc;
pub mod passwords;
mod path_change;
pub mod rate_limit;
pub mod redirect;
pub mod respond;
pub mod rewrite;
pub mod satisfy;
pub mod shared;
mod step;
pub mod strip_prefix;
pub mod template;
pub mod transform;
pub mod upstream_fields;
mod users;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use add_prefix::AddPrefix;
use api_key::ApiKey;
use bandwidth_limit::{BandwidthLimit, SlowBody};
use basic_auth::BasicAuth;
use buffer::Buffer;
pub use chain::Chain;
use client_certificate::ClientCertificate;
use compile::FilterPlace;
use compress::Compress;
use concurrency_limit::ConcurrencyLimit;
use cors::Cors;
use deny_headers::DenyHeaders;
use digest_auth::DigestAuth;
use error_pages::ErrorPages;
use fetch_source::FetchSource;
use forward_auth::ForwardAuth;
use headers::HeaderEdit;
use hsts::Hsts;
use jwt::Jwt;
use mirror::Mirror;
use networks::Networks;
use oidc::Oidc;
use rate_limit::RateLimit;
use redirect::Redirect;
use respond::Respond;
use rewrite::Rewrite;
use satisfy::{AccessRule, Satisfy};
use shared::SharedParts;
use step::Step;
use strip_prefix::StripPrefix;
use upstream_fields::{CookieRewrite, LocationRewrite};

use crate::units::Material;

/// What is done with a request or its response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Refuses clients whose address is in none of these networks.
    Allow(Networks),
    /// Refuses clients whose address is in one of these networks.
    Deny(Networks),
    /// Refuses requests for what their fields say.
    DenyHeaders(DenyHeaders),
    /// Refuses requests that come more often than a rate, counted for the whole process.
    RateLimit(RateLimit),
    /// Refuses requests while so many of the same key are in flight, counted for the whole process.
    ConcurrencyLimit(ConcurrencyLimit),
    /// Asks for a user and a password.
    BasicAuth(BasicAuth),
    /// Asks for a user and the proof of a password.
    DigestAuth(DigestAuth),
    /// Asks for a key.
    ApiKey(ApiKey),
    /// Asks for a signed token.
    Jwt(Jwt),
    /// Has browsers sign in at a provider of OpenID Connect.
    Oidc(Oidc),
    /// Asks another service whether a request may pass.
    ForwardAuth(ForwardAuth),
    /// Asks for a certificate, and tells the upstream of it.
    ClientCertificate(ClientCertificate),
    /// Lets those pass who meet one of several rules.
    Satisfy(Satisfy),
    /// Tells browsers which pages of other origins may read answers, and answers their preflights.
    Cors(Cors),
    /// Takes the prefix off the path, by whole elements.
    StripPrefix(StripPrefix),
    /// Puts a prefix before the path.
    AddPrefix(AddPrefix),
    /// Puts another path, query or host in the place of the client's.
    Rewrite(Rewrite),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers with the status, fields and body that are written there.
    Respond(Respond),
    /// Changes fields of the request.
    RequestHeaders(HeaderEdit),
    /// Changes fields of the response, of our own answers too.
    ResponseHeaders(HeaderEdit),
    /// Compresses answers for clients that accept it.
    Compress(Compress),
    /// Reads request bodies whole, and sends them with their length.
    Buffer(Buffer),
    /// Puts pages in the place of answers that are errors.
    ErrorPages(ErrorPages),
    /// Bounds how fast answers go to their clients.
    BandwidthLimit(BandwidthLimit),
    /// Sends copies of requests to another service as well.
    Mirror(Mirror),
    /// Changes where `Location` and `Refresh` of the upstream lead.
    LocationRewrite(LocationRewrite),
    /// Changes cookies that the upstream sets.
    CookieRewrite(CookieRewrite),
    /// Tells clients that came by TLS to come by TLS alone (RFC 6797).
    Hsts(Hsts),
    /// Lets browsers call gRPC: what comes as gRPC-web goes on as gRPC, and its answer back.
    GrpcWeb,
}

impl Filter {
    /// The bytes that it names.
    #[must_use]
    pub fn materials(&self) -> Vec<&Material> {
        if let Self::BasicAuth(auth) = self {
            auth.materials()
        } else if let Self::DigestAuth(auth) = self {
            auth.materials()
        } else if let Self::Jwt(jwt) = self {
            jwt.materials()
        } else if let Self::Oidc(oidc) = self {
            oidc.materials()
        } else if let Self::Satisfy(satisfy) = self {
            satisfy.materials()
        } else if let Self::ErrorPages(pages) = self {
            pages.file.iter().collect()
        } else {
            Vec::new()
        }
    }

    /// What is fetched for it.
    #[must_use]
    pub fn fetch_sources(&self) -> Vec<FetchSource> {
        if let Self::Jwt(jwt) = self {
            jwt.fetch_source().into_iter().collect()
        } else if let Self::Oidc(oidc) = self {
            vec![oidc.fetch_source()]
        } else if let Self::Satisfy(satisfy) = self {
            satisfy.fetch_sources()
        } else {
            Vec::new()
        }
    }

    /// The services that it asks.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        if let Self::ForwardAuth(auth) = self {
            vec![&auth.service]
        } else if let Self::Jwt(jwt) = self {
            jwt.services()
        } else if let Self::Oidc(oidc) = self {
            oidc.services()
        } else if let Self::Satisfy(satisfy) = self {
            satisfy.services()
        } else if let Self::ErrorPages(pages) = self {
            pages.service.iter().map(|name| &**name).collect()
        } else if let Self::Mirror(mirror) = self {
            vec![&mirror.service]
        } else {
            Vec::new()
        }
    }

    /// True where it changes what a route is chosen by, or takes the request elsewhere than to its route's service.
    #[must_use]
    pub const fn needs_route(&self) -> bool {
        matches!(self, Self::StripPrefix(_) | Self::AddPrefix(_) | Self::Rewrite(_) | Self::GrpcWeb)
    }

    /// True where it answers every request that comes to it.
    #[must_use]
    pub const fn answers(&self) -> bool {
        matches!(self, Self::Redirect(_) | Self::Respond(_))
    }

    /// Compiles it into the chain; what is wrong with it is told to its place.
    fn compile(&self, chain: &mut Chain, place: &mut FilterPlace) {
        match self {
            Self::Allow(filter) => chain.push(Step::allow(filter, place)),
            Self::Deny(filter) => chain.push(Step::deny(filter, place)),
            Self::DenyHeaders(filter) => chain.push(filter.compile(place).map(Box::new).map(Step::Headers)),
            Self::RateLimit(filter) => chain.push(filter.compile(place).map(Box::new).map(Step::RateLimit)),
            Self::ConcurrencyLimit(filter) => {
                chain.push(filter.compile(place).map(Box::new).map(Step::ConcurrencyLimit));
            }
            Self::BasicAuth(filter) => chain.push(Step::basic_auth(filter, place)),
            Self::DigestAuth(filter) => chain.push(Step::digest_auth(filter, place)),
            Self::ApiKey(filter) => chain.push(Step::api_key(filter, place)),
            Self::Jwt(filter) => chain.push(Step::jwt(filter, place)),
            Self::Oidc(filter) => chain.push(Step::oidc(filter, place)),
            Self::ForwardAuth(filter) => {
                chain.push(Step::forward_auth(filter, place));
                chain.check_bodies(place);
            }
            Self::ClientCertificate(filter) => {
                chain.push(filter.compile(place).map(Box::new).map(Step::ClientCertificate));
            }
            Self::Satisfy(filter) => filter.compile(chain, place),
            Self::Cors(filter) => {
                let step = filter.compile(&mut chain.edits.response, place);
                chain.push(step.map(Box::new).map(Step::Cors));
            }
            Self::StripPrefix(filter) => chain.push(filter.compile(place).map(Step::StripPrefix)),
            Self::AddPrefix(filter) => chain.push(filter.compile(place).map(Step::AddPrefix)),
            Self::Rewrite(filter) => chain.push(filter.compile(place).map(Box::new).map(Step::Rewrite)),
            Self::Redirect(filter) => chain.push(filter.compile(place).map(Box::new).map(Step::Redirect)),
            Self::Respond(filter) => chain.push(filter.compile(place).map(Box::new).map(Step::Respond)),
            Self::RequestHeaders(filter) => {
                let templates = filter.compile(&mut chain.edits.request, place);
                chain.push((!templates.is_empty()).then_some(Step::RequestFields(templates)));
            }
            Self::ResponseHeaders(filter) => {
                let templates = filter.compile(&mut chain.edits.response, place);
                chain.response_fields.extend(templates);
            }
            Self::Compress(filter) => {
                if chain.compress.is_some() {
                    place.fault("an answer is compressed once", "leave one of them out");
                }
                chain.compress = filter.compile(place).map(Box::new);
            }
            Self::Buffer(filter) => {
                let bytes = filter.compile(place);
                chain.buffer = bytes.into_iter().chain(chain.buffer).min();
                chain.check_bodies(place);
            }
            Self::ErrorPages(filter) => chain.pages.extend(filter.compile(place)),
            Self::BandwidthLimit(filter) => match filter.body {
                SlowBody::Response => chain.rates.extend(filter.compile(place)),
                SlowBody::Request => chain.request_rates.extend(filter.compile(place)),
            },
            Self::Mirror(filter) => chain.mirrors.extend(filter.compile(place)),
            Self::LocationRewrite(filter) => chain.on_response.extend(filter.compile(place)),
            Self::CookieRewrite(filter) => chain.on_response.extend(filter.compile(place)),
            Self::Hsts(filter) => filter.compile(&mut chain.edits),
            Self::GrpcWeb => {
                chain.push(Some(Step::GrpcWeb));
                chain.check_bodies(place);
            }
        }
    }
}

impl Satisfy {
    fn compile(&self, chain: &mut Chain, place: &mut FilterPlace) {
        self.check(place);
        let steps = self.any.iter().filter_map(|rule| rule.compile(place)).collect();
        chain.push(Some(Step::Any(steps)));
    }
}

impl AccessRule {
    fn compile(&self, place: &mut FilterPlace) -> Option<Step> {
        match self {
            Self::Allow(filter) => Step::allow(filter, place),
            Self::Deny(filter) => Step::deny(filter, place),
            Self::BasicAuth(filter) => Step::basic_auth(filter, place),
            Self::DigestAuth(filter) => Step::digest_auth(filter, place),
            Self::ApiKey(filter) => Step::api_key(filter, place),
            Self::Jwt(filter) => Step::jwt(filter, place),
            Self::Oidc(filter) => Step::oidc(filter, place),
            Self::ForwardAuth(filter) => Step::forward_auth(filter, place),
        }
    }
}

/// Those that stand among the filters of a chain and among the rules of `satisfy`.
impl Step {
    fn allow(filter: &Networks, place: &mut FilterPlace) -> Option<Self> {
        filter.compile(false, place).map(Box::new).map(Self::Networks)
    }

    fn deny(filter: &Networks, place: &mut FilterPlace) -> Option<Self> {
        filter.compile(true, place).map(Box::new).map(Self::Networks)
    }

    fn basic_auth(filter: &BasicAuth, place: &mut FilterPlace) -> Option<Self> {
        filter.compile(place).map(Box::new).map(Self::BasicAuth)
    }

    fn digest_auth(filter: &DigestAuth, place: &mut FilterPlace) -> Option<Self> {
        filter.compile(place).map(Box::new).map(Self::DigestAuth)
    }

    fn api_key(filter: &ApiKey, place: &mut FilterPlace) -> Option<Self> {
        filter.compile(place).map(Box::new).map(Self::ApiKey)
    }

    fn jwt(filter: &Jwt, place: &mut FilterPlace) -> Option<Self> {
        place.reads_time = true;
        filter.compile(place).map(Box::new).map(Self::Jwt)
    }

    fn oidc(filter: &Oidc, place: &mut FilterPlace) -> Option<Self> {
        place.reads_time = true;
        filter.compile(place).map(Box::new).map(Self::Oidc)
    }

    fn forward_auth(filter: &ForwardAuth, place: &mut FilterPlace) -> Option<Self> {
        filter.compile(place).map(Box::new).map(Self::ForwardAuth)
    }
}

impl Chain {
    /// Compiles filters. What is wrong with one is told with its position.
    pub fn compile<'f>(
        filters: impl IntoIterator<Item = &'f Filter>,
        shared: &mut SharedParts,
        mut tell: impl FnMut(usize, (String, String)),
    ) -> Self {
        let mut chain = Self::default();
        for (at, filter) in filters.into_iter().enumerate() {
            let mut place = FilterPlace::new(shared);
            filter.compile(&mut chain, &mut place);
            chain.reads_time |= place.reads_time;
            place.into_faults().into_iter().for_each(|fault| tell(at, fault));
        }
        chain
    }
}
