//! A filter that acts on requests, as it runs.

use super::api_key::CompiledApiKey;
use super::basic_auth::CompiledBasicAuth;
use super::client_certificate::CompiledClientCertificate;
use super::concurrency_limit::CompiledConcurrencyLimit;
use super::context::{Context, Notes, Verdict};
use super::cors::CompiledCors;
use super::deny_headers::CompiledDenyHeaders;
use super::digest_auth::CompiledDigestAuth;
use super::edits::FieldEdits;
use super::errand::FoundOut;
use super::forward_auth::CompiledForwardAuth;
use super::grpc_web::GrpcWeb;
use super::headers::FieldTemplates;
use super::jwt::CompiledJwt;
use super::networks::NetworkRule;
use super::oidc::CompiledOidc;
use super::rate_limit::CompiledRateLimit;
use super::redirect::CompiledRedirect;
use super::respond::Respond;
use super::rewrite::CompiledRewrite;
use super::{add_prefix, strip_prefix};
use crate::failure::Failure;
use crate::proto::h1::request::RequestHead;

/// A filter that acts on requests, as it runs.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// See [`super::Filter::Allow`] and [`super::Filter::Deny`].
    Networks(Box<NetworkRule>),
    /// See [`super::Filter::DenyHeaders`].
    Headers(Box<CompiledDenyHeaders>),
    /// See [`super::Filter::RateLimit`].
    RateLimit(Box<CompiledRateLimit>),
    /// See [`super::Filter::ConcurrencyLimit`].
    ConcurrencyLimit(Box<CompiledConcurrencyLimit>),
    /// See [`super::Filter::BasicAuth`].
    BasicAuth(Box<CompiledBasicAuth>),
    /// See [`super::Filter::DigestAuth`].
    DigestAuth(Box<CompiledDigestAuth>),
    /// See [`super::Filter::ApiKey`].
    ApiKey(Box<CompiledApiKey>),
    /// See [`super::Filter::Jwt`].
    Jwt(Box<CompiledJwt>),
    /// See [`super::Filter::Oidc`].
    Oidc(Box<CompiledOidc>),
    /// See [`super::Filter::ForwardAuth`].
    ForwardAuth(Box<CompiledForwardAuth>),
    /// See [`super::Filter::ClientCertificate`].
    ClientCertificate(Box<CompiledClientCertificate>),
    /// See [`super::Filter::Satisfy`].
    Any(Vec<Step>),
    /// See [`super::Filter::Cors`].
    Cors(Box<CompiledCors>),
    /// See [`super::Filter::StripPrefix`].
    StripPrefix(Box<[u8]>),
    /// See [`super::Filter::AddPrefix`].
    AddPrefix(Box<[u8]>),
    /// See [`super::Filter::Rewrite`].
    Rewrite(Box<CompiledRewrite>),
    /// See [`super::Filter::Redirect`].
    Redirect(Box<CompiledRedirect>),
    /// See [`super::Filter::Respond`].
    Respond(Box<Respond>),
    /// See [`super::Filter::RequestHeaders`]: those whose values have variables.
    RequestFields(FieldTemplates),
    /// See [`super::Filter::GrpcWeb`].
    GrpcWeb,
}

impl Step {
    /// What becomes of the request.
    pub(super) fn on_request<'a>(
        &'a self,
        head: &mut RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'a> {
        match self {
            Self::Networks(rule) => rule.on_request(context),
            Self::Headers(rule) => rule.on_request(head),
            Self::RateLimit(limit) => limit.on_request(head, context, notes),
            Self::ConcurrencyLimit(limit) => limit.on_request(head, context, notes),
            Self::BasicAuth(auth) => auth.on_request(head, notes),
            Self::DigestAuth(auth) => auth.on_request(head, context, notes),
            Self::ApiKey(key) => key.on_request(head, notes),
            Self::Jwt(jwt) => jwt.on_request(head, context, notes),
            Self::Oidc(oidc) => oidc.on_request(head, context, notes),
            Self::ForwardAuth(auth) => auth.on_request(head, context, notes),
            Self::ClientCertificate(rule) => rule.on_request(head, context, notes),
            Self::Any(steps) => {
                notes.refused = None;
                steps.iter().for_each(|step| step.forget(head, &mut notes.edits.request));
                any(steps, 0, head, context, notes)
            }
            Self::Cors(cors) => cors.on_request(head),
            Self::StripPrefix(prefix) => strip_prefix::on_request(prefix, head),
            Self::AddPrefix(prefix) => add_prefix::on_request(prefix, head),
            Self::Rewrite(rewrite) => rewrite.on_request(head, context, notes),
            Self::Redirect(redirect) => redirect.on_request(head, context),
            Self::Respond(respond) => respond.on_request(),
            Self::RequestFields(fields) => {
                let lines = fields.lines(head, context, notes);
                notes.edits.request.put.extend(lines);
                Verdict::Pass
            }
            Self::GrpcWeb => GrpcWeb::on_request(head),
        }
    }
}

impl Step {
    /// What becomes of the request, now that it is known what this filter asked.
    pub(super) fn found_out<'a>(
        &'a self,
        found: &FoundOut<'_>,
        head: &mut RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'a> {
        // No other asks.
        let nobody = || Verdict::fail(Failure::Internal("errand"));
        if let Self::BasicAuth(auth) = self {
            auth.found_out(found, head, notes)
        } else if let Self::ForwardAuth(auth) = self {
            auth.found_out(found, head, context, notes)
        } else if let Self::Oidc(oidc) = self {
            oidc.found_out(found, head, context, notes)
        } else if let Self::Any(steps) = self {
            let at = notes.within;
            match steps.get(at).map_or_else(nobody, |step| step.found_out(found, head, context, notes)) {
                Verdict::Refuse(refusal) => {
                    notes.note_refused(refusal);
                    any(steps, at + 1, head, context, notes)
                }
                verdict @ (Verdict::Pass | Verdict::Answer(_) | Verdict::Ask(_)) => verdict,
            }
        } else {
            nobody()
        }
    }

    /// Takes away the fields in which upstreams are told of clients by this filter: nobody else may say them, whoever lets the
    /// request pass.
    fn forget(&self, head: &RequestHead, edits: &mut FieldEdits) {
        if let Self::BasicAuth(auth) = self {
            auth.forget(edits);
        } else if let Self::DigestAuth(auth) = self {
            auth.forget(edits);
        } else if let Self::ApiKey(key) = self {
            key.forget(edits);
        } else if let Self::Jwt(jwt) = self {
            jwt.forget(edits);
        } else if let Self::Oidc(oidc) = self {
            oidc.forget(head, edits);
        } else if let Self::ForwardAuth(auth) = self {
            auth.forget(edits);
        }
    }

    /// The filters that this one asks, or itself.
    pub(super) fn parts(&self) -> &[Self] {
        if let Self::Any(steps) = self { steps } else { std::slice::from_ref(self) }
    }
}

/// Passes a request that one of these filters lets pass, from one of them on.
fn any<'a>(
    steps: &'a [Step],
    first: usize,
    head: &mut RequestHead,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Verdict<'a> {
    for (at, step) in steps.iter().enumerate().skip(first) {
        notes.within = at;
        match step.on_request(head, context, notes) {
            Verdict::Refuse(refusal) => notes.note_refused(refusal),
            verdict @ (Verdict::Pass | Verdict::Answer(_) | Verdict::Ask(_)) => return verdict,
        }
    }
    notes.refused.take().map_or_else(|| Verdict::fail(Failure::Internal("satisfy")), Verdict::Refuse)
}
