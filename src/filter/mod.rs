//! What is done with a request and its response on the way: a closed set, in the order that the route gives.
//!
//! Each filter is a file: what people write, what it compiles to, what it does, its tests. Here are its rows: one in
//! [`Filter`], as it is written, and where it acts on requests one in [`Step`], as it runs. A filter that only changes
//! fields has no step: its changes go into the chain's [`Edits`], which the encoders take.

pub mod add_prefix;
pub mod compile;
pub mod context;
pub mod edits;
mod foreign;
pub mod grpc_web;
pub mod headers;
pub mod hsts;
pub mod redirect;
pub mod respond;
pub mod strip_prefix;
pub mod transform;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use add_prefix::AddPrefix;
use compile::FilterPlace;
use context::{Context, Verdict};
use edits::Edits;
use grpc_web::GrpcWeb;
use headers::HeaderEdit;
use hsts::Hsts;
use redirect::{CompiledRedirect, Redirect};
use respond::Respond;
use strip_prefix::StripPrefix;

use crate::proto::h1::request::RequestHead;

/// What is done with a request or its response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Takes the prefix off the path, by whole elements.
    StripPrefix(StripPrefix),
    /// Puts a prefix before the path.
    AddPrefix(AddPrefix),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers with the status, fields and body that are written there.
    Respond(Respond),
    /// Changes fields of the request.
    RequestHeaders(HeaderEdit),
    /// Changes fields of the response.
    ResponseHeaders(HeaderEdit),
    /// Tells clients that came by TLS to come by TLS alone (RFC 6797).
    Hsts(Hsts),
    /// Lets browsers call gRPC: what comes as gRPC-web goes on as gRPC, and its answer back.
    GrpcWeb,
}

/// A filter that acts on requests, as it runs.
#[derive(Clone, Debug)]
pub enum Step {
    /// See [`Filter::StripPrefix`].
    StripPrefix(Box<[u8]>),
    /// See [`Filter::AddPrefix`].
    AddPrefix(Box<[u8]>),
    /// See [`Filter::Redirect`].
    Redirect(Box<CompiledRedirect>),
    /// See [`Filter::Respond`].
    Respond(Box<Respond>),
    /// See [`Filter::GrpcWeb`].
    GrpcWeb,
}

impl Filter {
    /// True where it answers every request that comes to it.
    #[must_use]
    pub const fn answers(&self) -> bool {
        matches!(self, Self::Redirect(_) | Self::Respond(_))
    }

    /// Compiles it into the chain; what is wrong with it is told to its place.
    fn compile(&self, chain: &mut Chain, place: &mut FilterPlace) {
        let step = match self {
            Self::StripPrefix(filter) => filter.compile(place).map(Step::StripPrefix),
            Self::AddPrefix(filter) => filter.compile(place).map(Step::AddPrefix),
            Self::Redirect(filter) => filter.compile(place).map(Box::new).map(Step::Redirect),
            Self::Respond(filter) => filter.compile(place).map(Box::new).map(Step::Respond),
            Self::RequestHeaders(filter) => {
                filter.compile(&mut chain.edits.request, place);
                None
            }
            Self::ResponseHeaders(filter) => {
                filter.compile(&mut chain.edits.response, place);
                None
            }
            Self::Hsts(filter) => {
                filter.compile(&mut chain.edits);
                None
            }
            Self::GrpcWeb => Some(Step::GrpcWeb),
        };
        chain.steps.extend(step);
    }
}

impl Step {
    /// What becomes of the request.
    fn on_request<'a>(&'a self, head: &mut RequestHead, context: &Context<'_>) -> Verdict<'a> {
        match self {
            Self::StripPrefix(prefix) => strip_prefix::on_request(prefix, head),
            Self::AddPrefix(prefix) => add_prefix::on_request(prefix, head),
            Self::Redirect(redirect) => redirect.on_request(head, context),
            Self::Respond(respond) => respond.on_request(),
            Self::GrpcWeb => GrpcWeb::on_request(head),
        }
    }
}

/// The filters of a route, compiled.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Those that act on requests, in their order.
    steps: Vec<Step>,
    /// What all of them change in fields.
    pub edits: Edits,
}

impl Chain {
    /// Compiles filters. What is wrong with one is told with its position.
    pub fn compile(filters: &[Filter], mut tell: impl FnMut(usize, FilterPlace)) -> Self {
        let mut chain = Self::default();
        for (at, filter) in filters.iter().enumerate() {
            let mut place = FilterPlace::default();
            filter.compile(&mut chain, &mut place);
            tell(at, place);
        }
        chain
    }

    /// Shows the request to each filter until one answers it or refuses it.
    pub fn on_request<'a>(&'a self, head: &mut RequestHead, context: &Context<'_>) -> Verdict<'a> {
        for step in &self.steps {
            match step.on_request(head, context) {
                Verdict::Pass => {}
                verdict @ (Verdict::Answer(_) | Verdict::Fail(_)) => return verdict,
            }
        }
        Verdict::Pass
    }

    /// True where `grpc_web` is among the filters, so that the request goes on as gRPC.
    #[must_use]
    pub fn bridges_grpc(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::GrpcWeb))
    }
}
