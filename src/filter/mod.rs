//! What is done with a request and its response on the way: a closed set, in the order that the route gives.
//!
//! Each filter is a file: what people write, what it compiles to, what it does, its tests. Here are its rows: one in
//! [`Filter`], as it is written, and where it acts on requests one in [`Step`], as it runs. A filter that only changes
//! fields has no step: its changes go into the chain's [`Edits`], which the encoders take. What it changes for one request alone it
//! notes in [`Notes`]; what depends on the upstream's answer is a [`ResponseStep`].

pub mod add_prefix;
pub mod compile;
pub mod compress;
pub mod concurrency_limit;
pub mod context;
pub mod cors;
pub mod counters;
pub mod edits;
pub mod encoder;
mod foreign;
pub mod grpc_web;
pub mod headers;
pub mod hsts;
pub mod key;
pub mod networks;
pub mod rate_limit;
pub mod redirect;
pub mod respond;
pub mod rewrite;
pub mod shared;
pub mod strip_prefix;
pub mod template;
pub mod transform;
pub mod upstream_fields;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use add_prefix::AddPrefix;
use compile::FilterPlace;
use compress::{CompiledCompress, Compress};
use concurrency_limit::{CompiledConcurrencyLimit, ConcurrencyLimit};
use context::{Context, Notes, Verdict};
use cors::{CompiledCors, Cors};
use edits::{Edits, FieldEdits};
use grpc_web::GrpcWeb;
use headers::{FieldTemplates, HeaderEdit};
use hsts::Hsts;
use networks::{NetworkRule, Networks};
use rate_limit::{CompiledRateLimit, RateLimit};
use redirect::{CompiledRedirect, Redirect};
use respond::Respond;
use rewrite::{CompiledRewrite, Rewrite};
use shared::SharedParts;
use strip_prefix::StripPrefix;
use upstream_fields::{CookieRewrite, LocationRewrite, ResponseStep};

use crate::proto::h1::request::RequestHead;
use crate::proto::h1::response::ResponseHead;

/// What is done with a request or its response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Refuses clients whose address is in none of these networks.
    Allow(Networks),
    /// Refuses clients whose address is in one of these networks.
    Deny(Networks),
    /// Refuses requests that come more often than a rate, counted for the whole process.
    RateLimit(RateLimit),
    /// Refuses requests while so many of the same key are in flight, counted for the whole process.
    ConcurrencyLimit(ConcurrencyLimit),
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
    /// Changes where `Location` and `Refresh` of the upstream lead.
    LocationRewrite(LocationRewrite),
    /// Changes cookies that the upstream sets.
    CookieRewrite(CookieRewrite),
    /// Tells clients that came by TLS to come by TLS alone (RFC 6797).
    Hsts(Hsts),
    /// Lets browsers call gRPC: what comes as gRPC-web goes on as gRPC, and its answer back.
    GrpcWeb,
}

/// A filter that acts on requests, as it runs.
#[derive(Clone, Debug)]
pub enum Step {
    /// See [`Filter::Allow`] and [`Filter::Deny`].
    Networks(Box<NetworkRule>),
    /// See [`Filter::RateLimit`].
    RateLimit(Box<CompiledRateLimit>),
    /// See [`Filter::ConcurrencyLimit`].
    ConcurrencyLimit(Box<CompiledConcurrencyLimit>),
    /// See [`Filter::Cors`].
    Cors(Box<CompiledCors>),
    /// See [`Filter::StripPrefix`].
    StripPrefix(Box<[u8]>),
    /// See [`Filter::AddPrefix`].
    AddPrefix(Box<[u8]>),
    /// See [`Filter::Rewrite`].
    Rewrite(Box<CompiledRewrite>),
    /// See [`Filter::Redirect`].
    Redirect(Box<CompiledRedirect>),
    /// See [`Filter::Respond`].
    Respond(Box<Respond>),
    /// See [`Filter::RequestHeaders`]: those whose values have variables.
    RequestFields(FieldTemplates),
    /// See [`Filter::GrpcWeb`].
    GrpcWeb,
}

impl Filter {
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
        let step = match self {
            Self::Allow(filter) => filter.compile(false, place).map(Box::new).map(Step::Networks),
            Self::Deny(filter) => filter.compile(true, place).map(Box::new).map(Step::Networks),
            Self::RateLimit(filter) => filter.compile(place).map(Box::new).map(Step::RateLimit),
            Self::ConcurrencyLimit(filter) => filter.compile(place).map(Box::new).map(Step::ConcurrencyLimit),
            Self::Cors(filter) => filter.compile(&mut chain.edits.response, place).map(Box::new).map(Step::Cors),
            Self::StripPrefix(filter) => filter.compile(place).map(Step::StripPrefix),
            Self::AddPrefix(filter) => filter.compile(place).map(Step::AddPrefix),
            Self::Rewrite(filter) => filter.compile(place).map(Box::new).map(Step::Rewrite),
            Self::Redirect(filter) => filter.compile(place).map(Box::new).map(Step::Redirect),
            Self::Respond(filter) => filter.compile(place).map(Box::new).map(Step::Respond),
            Self::RequestHeaders(filter) => {
                let templates = filter.compile(&mut chain.edits.request, place);
                chain.reads_time |= templates.reads_time();
                (!templates.is_empty()).then_some(Step::RequestFields(templates))
            }
            Self::ResponseHeaders(filter) => {
                let templates = filter.compile(&mut chain.edits.response, place);
                chain.reads_time |= templates.reads_time();
                chain.response_fields.extend(templates);
                None
            }
            Self::Compress(filter) => {
                if chain.compress.is_some() {
                    place.fault("an answer is compressed once", "leave one of them out");
                }
                chain.compress = filter.compile(place).map(Box::new);
                None
            }
            Self::LocationRewrite(filter) => {
                chain.on_response.extend(filter.compile(place));
                None
            }
            Self::CookieRewrite(filter) => {
                chain.on_response.extend(filter.compile(place));
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
    fn on_request<'a>(&'a self, head: &mut RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'a> {
        match self {
            Self::Networks(rule) => rule.on_request(context),
            Self::RateLimit(limit) => limit.on_request(head, context, notes),
            Self::ConcurrencyLimit(limit) => limit.on_request(head, context, notes),
            Self::Cors(cors) => cors.on_request(head),
            Self::StripPrefix(prefix) => strip_prefix::on_request(prefix, head),
            Self::AddPrefix(prefix) => add_prefix::on_request(prefix, head),
            Self::Rewrite(rewrite) => rewrite.on_request(head, context, notes),
            Self::Redirect(redirect) => redirect.on_request(head, context),
            Self::Respond(respond) => respond.on_request(),
            Self::RequestFields(fields) => {
                fields.put(&mut notes.edits.request, head, context);
                Verdict::Pass
            }
            Self::GrpcWeb => GrpcWeb::on_request(head),
        }
    }
}

/// The filters of a route, compiled.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Those that act on requests, in their order.
    steps: Vec<Step>,
    /// Fields of every answer whose values have variables.
    response_fields: FieldTemplates,
    /// Those that act on what the upstream answers, in their order.
    on_response: Vec<ResponseStep>,
    /// Whether answers are compressed.
    compress: Option<Box<CompiledCompress>>,
    reads_time: bool,
    /// What all of them change in fields, whatever the request.
    pub edits: Edits,
}

impl Chain {
    /// No filters.
    pub const NONE: Self = Self {
        steps: Vec::new(),
        response_fields: FieldTemplates::NONE,
        on_response: Vec::new(),
        compress: None,
        reads_time: false,
        edits: Edits::NONE,
    };

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
            place.into_faults().into_iter().for_each(|fault| tell(at, fault));
        }
        chain
    }

    /// The filters are kept as they were: names what they share once more. Gives a name that stands for something else by now.
    pub fn claim(&self, shared: &mut SharedParts) -> Option<&'static str> {
        self.steps.iter().find_map(|step| match step {
            Step::RateLimit(limit) => limit.claim(shared),
            Step::ConcurrencyLimit(limit) => limit.claim(shared),
            Step::Networks(_)
            | Step::Cors(_)
            | Step::StripPrefix(_)
            | Step::AddPrefix(_)
            | Step::Rewrite(_)
            | Step::Redirect(_)
            | Step::Respond(_)
            | Step::RequestFields(_)
            | Step::GrpcWeb => None,
        })
    }

    /// Shows the request to each filter until one answers it or refuses it.
    pub fn on_request<'a>(&'a self, head: &mut RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'a> {
        self.begin(head, context, notes);
        for step in &self.steps {
            match step.on_request(head, context, notes) {
                Verdict::Pass => {}
                verdict @ (Verdict::Answer(_) | Verdict::Refuse(_)) => return verdict,
            }
        }
        Verdict::Pass
    }

    /// Notes what every answer to the request says, whoever gives it: a browser must be able to read a refusal, too.
    fn begin(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) {
        if !self.response_fields.is_empty() {
            self.response_fields.put(&mut notes.edits.response, head, context);
        }
        for step in &self.steps {
            if let Step::Cors(cors) = step {
                cors.begin(head, notes);
            }
        }
    }

    /// Notes what changes in the fields of an upstream's answer for what it says; nothing where no filter asks.
    pub fn on_response(&self, head: &ResponseHead, bytes: &[u8], edits: &mut Option<FieldEdits>) {
        for step in &self.on_response {
            step.on_response(head, bytes, edits.get_or_insert_default());
        }
    }

    /// True where no filter asks about requests.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.response_fields.is_empty()
    }

    /// Which answers are compressed; `None` for none.
    #[must_use]
    pub fn compress(&self) -> Option<&CompiledCompress> {
        self.compress.as_deref()
    }

    /// True where a filter asks what time it is.
    #[must_use]
    pub const fn reads_time(&self) -> bool {
        self.reads_time
    }

    /// True where `grpc_web` is among the filters, so that the request goes on as gRPC.
    #[must_use]
    pub fn bridges_grpc(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::GrpcWeb))
    }
}
