//! The filters of a route as they run: each request is shown to them in their order, and each answer of an upstream.

use super::bandwidth_limit::ByteRate;
use super::compile::{FilterPlace, no_service};
use super::compress::CompiledCompress;
use super::context::{Context, Notes, Verdict};
use super::edits::{Edits, FieldEdits};
use super::errand::FoundOut;
use super::error_pages::CompiledErrorPages;
use super::fetch_source::FetchSource;
use super::headers::FieldTemplates;
use super::mirror::CompiledMirror;
use super::shared::SharedParts;
use super::step::Step;
use super::upstream_fields::ResponseStep;
use crate::failure::Failure;
use crate::label::Label;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::response::ResponseHead;

/// The service of this name is the one that it was.
fn is_there((name, label): (&str, Label), shared: &SharedParts) -> Result<(), (String, String)> {
    shared.service(name).filter(|known| *known == label).map(drop).ok_or_else(|| no_service(name))
}

/// Something is fetched on.
fn claim_fetch(source: FetchSource, shared: &mut SharedParts) -> Result<(), (String, String)> {
    for service in source.services() {
        shared.service(service).ok_or_else(|| no_service(service))?;
    }
    let _ = shared.fetched(source);
    Ok(())
}

/// The filters of a route, compiled.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Those that act on requests, in their order.
    pub(super) steps: Vec<Step>,
    /// Fields of every answer whose values have variables.
    pub(super) response_fields: FieldTemplates,
    /// Those that act on what the upstream answers, in their order.
    pub(super) on_response: Vec<ResponseStep>,
    /// Whether answers are compressed.
    pub(super) compress: Option<Box<CompiledCompress>>,
    /// Bytes of a request body that is read whole; `None` where bodies stream.
    pub(super) buffer: Option<u64>,
    /// Pages in the place of errors.
    pub(super) pages: Vec<CompiledErrorPages>,
    /// Who gets copies of requests.
    pub(super) mirrors: Vec<CompiledMirror>,
    /// How fast answers go; all of them hold.
    pub rates: Vec<ByteRate>,
    /// How fast requests go; all of them hold.
    pub request_rates: Vec<ByteRate>,
    pub(super) reads_time: bool,
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
        buffer: None,
        pages: Vec::new(),
        mirrors: Vec::new(),
        rates: Vec::new(),
        request_rates: Vec::new(),
        reads_time: false,
        edits: Edits::NONE,
    };

    /// Adds a filter behind the others, where it could be compiled.
    pub(super) fn push(&mut self, step: Option<Step>) {
        self.steps.extend(step);
    }

    /// The filters are kept as they were: names what they share once more.
    ///
    /// # Errors
    /// What is not there any more as it was, with what to do.
    pub fn claim(&self, shared: &mut SharedParts) -> Result<(), (String, String)> {
        let of_pages = self.pages.iter().filter_map(CompiledErrorPages::service);
        let mut asked = of_pages.chain(self.mirrors.iter().map(CompiledMirror::service));
        asked.try_for_each(|service| is_there(service, shared))?;
        for step in self.steps.iter().flat_map(Step::parts) {
            let zone = match step {
                Step::RateLimit(limit) => limit.claim(shared),
                Step::ConcurrencyLimit(limit) => limit.claim(shared),
                Step::Jwt(jwt) => {
                    jwt.fetch_source().map_or(Ok(()), |source| claim_fetch(source, shared))?;
                    None
                }
                Step::ForwardAuth(auth) => {
                    is_there(auth.service(), shared)?;
                    None
                }
                Step::Oidc(oidc) => {
                    is_there(oidc.token_service(), shared)?;
                    claim_fetch(oidc.fetch_source(), shared)?;
                    None
                }
                Step::Networks(_)
                | Step::Headers(_)
                | Step::BasicAuth(_)
                | Step::DigestAuth(_)
                | Step::ApiKey(_)
                | Step::ClientCertificate(_)
                | Step::Any(_)
                | Step::Cors(_)
                | Step::StripPrefix(_)
                | Step::AddPrefix(_)
                | Step::Rewrite(_)
                | Step::Redirect(_)
                | Step::Respond(_)
                | Step::RequestFields(_)
                | Step::GrpcWeb => None,
            };
            if let Some(zone) = zone {
                let what = format!("the zone `{zone}` counts otherwise in another place");
                return Err((what, "give all filters of a zone the same settings".to_owned()));
            }
        }
        Ok(())
    }

    /// Shows the request to each filter until one answers it, refuses it, or asks for something: then [`Self::go_on`] follows.
    pub fn on_request<'a>(&'a self, head: &mut RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'a> {
        self.begin(head, context, notes);
        self.from(0, head, context, notes)
    }

    /// Goes on with the filter that asked, which is told what was found out.
    pub fn go_on<'a>(
        &'a self,
        found: &FoundOut<'_>,
        head: &mut RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'a> {
        let at = notes.at;
        let verdict = match self.steps.get(at) {
            Some(step) => step.found_out(found, head, context, notes),
            None => Verdict::fail(Failure::Internal("errand")),
        };
        match verdict {
            Verdict::Pass => self.from(at + 1, head, context, notes),
            verdict @ (Verdict::Answer(_) | Verdict::Refuse(_) | Verdict::Ask(_)) => verdict,
        }
    }

    fn from<'a>(
        &'a self,
        first: usize,
        head: &mut RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'a> {
        for (at, step) in self.steps.iter().enumerate().skip(first) {
            notes.at = at;
            match step.on_request(head, context, notes) {
                Verdict::Pass => {}
                verdict @ (Verdict::Answer(_) | Verdict::Refuse(_) | Verdict::Ask(_)) => return verdict,
            }
        }
        Verdict::Pass
    }

    /// Notes what every answer to the request says, whoever gives it: a browser must be able to read a refusal, too.
    fn begin(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) {
        if !self.response_fields.is_empty() {
            let lines = self.response_fields.lines(head, context, notes);
            notes.edits.response.put.extend(lines);
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

    /// True where nothing is done but what [`Self::edits`] says.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.is_empty()
            && self.on_response.is_empty()
            && self.compress.is_none()
            && self.buffer.is_none()
            && self.pages.is_empty()
            && self.mirrors.is_empty()
            && self.rates.is_empty()
            && self.request_rates.is_empty()
    }

    /// True where nothing is done at all.
    #[must_use]
    pub const fn has_no_effect(&self) -> bool {
        self.is_plain() && self.edits.is_empty()
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

    /// Who gets copies of requests.
    #[must_use]
    pub fn mirrors(&self) -> &[CompiledMirror] {
        &self.mirrors
    }

    /// The pages that go in the place of an answer of this status, which is ours for this failure where there is one.
    #[must_use]
    pub fn pages_for(&self, status: u16, failure: Option<Failure>) -> Option<&CompiledErrorPages> {
        self.pages.iter().find(|pages| pages.is_for(status, failure))
    }

    /// Bytes of a request body that is read whole; `None` where bodies stream.
    #[must_use]
    pub const fn buffer(&self) -> Option<u64> {
        self.buffer
    }

    /// Tells filters that cannot both have the body of a request.
    pub(super) fn check_bodies(&self, place: &mut FilterPlace) {
        let asks = |step: &Step| matches!(step, Step::ForwardAuth(auth) if auth.takes_body());
        let waits = self.buffer.is_some() || self.steps.iter().flat_map(Step::parts).any(asks);
        if waits && self.bridges_grpc() {
            let remedy = "leave one of them out: a call of gRPC may have no end";
            let what = "`grpc_web` changes bodies as they come, and `buffer` and the `body` of `forward_auth` wait for their end";
            place.fault(what, remedy);
        }
    }

    /// True where `grpc_web` is among the filters, so that the request goes on as gRPC.
    #[must_use]
    pub fn bridges_grpc(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::GrpcWeb))
    }
}
