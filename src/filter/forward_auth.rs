//! `forward_auth`: another service says whether a request may pass: nginx's `auth_request`, Traefik's `forwardAuth` and Gateway API's
//! external authorization in one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Answer, Context, Notes, Refusal, Verdict};
use super::edits::FieldEdits;
use super::errand::{AnswerMemory, AnswerTimes, Errand, FoundOut, Question, ServiceReply};
use super::headers::check_name;
use super::template::{Template, Values, Within};
use crate::failure::Failure;
use crate::label::Label;
use crate::limits::{AUTH_BODY_BYTES_MAX, REPLAY_BYTES_MAX};
use crate::proto::h1::encode::AddressText;
use crate::proto::h1::field::{Known, KnownSet, is_token};
use crate::proto::h1::percent::put_component;
use crate::proto::h1::request::RequestHead;
use crate::units::{Duration, Size};

/// Asks another service about each request. It passes where that answers 2xx; any other answer goes to the client; where there is none
/// nobody passes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// The service that is asked, with its own timeouts, retries and limits.
    pub service: String,
    /// The path that it is asked at, with variables; a query may follow.
    #[serde(default = "root")]
    pub path: String,
    /// The method that it is asked with; `GET`. The client's own is in `X-Forwarded-Method` and `X-Original-Method`.
    #[serde(default = "get")]
    pub method: String,
    /// Fields of the request that it gets; all of them where nothing is written.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Further fields that it gets, with variables.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Fields of its answer that the upstream gets; a client's own of these names are taken away in any case.
    #[serde(default)]
    pub response_headers: Vec<String>,
    /// Fields of its answer that the client gets with the upstream's answer; `["Set-Cookie"]` where nothing is written.
    #[serde(default = "cookies")]
    pub client_headers: Vec<String>,
    /// Whether it gets them with every answer, or as nginx has it with one of 200, 201, 204, 206, 301 to 304, 307 and 308 alone.
    #[serde(default = "yes")]
    pub client_headers_always: bool,
    /// The longest request body that it gets, which is then read whole before the question is asked; a longer one is answered 413. Absent
    /// where it gets none.
    #[serde(default)]
    pub body: Option<Size>,
    /// Which answers are remembered; absent for none.
    #[serde(default)]
    pub cache: Option<AuthCache>,
    /// Where a client is sent that is answered 401: a URL with variables. Behind it goes what was asked for, as a parameter.
    #[serde(default)]
    pub sign_in: Option<String>,
    /// The name of that parameter; `""` for none.
    #[serde(default = "redirect_parameter")]
    pub sign_in_parameter: String,
}

/// Answers that each worker remembers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthCache {
    /// By what requests are told apart, with variables: all that the service decides by must be in it, as `{header:Authorization}` or
    /// `{cookie:session}`, and `{path}` where it decides by that. This filter, the host, the method and the service's path are in it in any
    /// case. Where a request says nothing of its client in it, nothing is remembered.
    pub key: String,
    /// Which, and how long.
    #[serde(default = "kept")]
    pub keep: Vec<KeptAnswers>,
}

/// How long answers are remembered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptAnswers {
    /// Of these statuses, 200 to 499.
    pub status: Vec<u16>,
    /// For so long.
    pub time: Duration,
}

fn kept() -> Vec<KeptAnswers> {
    vec![KeptAnswers { status: vec![200, 202, 401], time: Duration::from_s(300) }]
}

impl AuthCache {
    fn compile(&self, place: &mut FilterPlace) -> Option<(Template, AnswerTimes)> {
        let key = place.template(&self.key, 0);
        if key.as_ref().is_some_and(|key| !key.tells_clients_apart()) {
            let remedy = "write what tells clients apart, as {header:Authorization} or {cookie:session}";
            place.fault("the key of `cache` would take one client for another", remedy);
        }
        let times = self.keep.iter().flat_map(|kept| kept.status.iter().map(|status| (*status, kept.time.ms())));
        for (status, ms) in times.clone().filter(|(status, ms)| !(200..=499).contains(status) || *ms == 0) {
            let what = format!("`cache.keep` has status {status} for {ms} ms");
            place.fault(what, "write statuses from 200 to 499, and times above 0");
        }
        key.map(|key| (key, AnswerTimes(times.collect())))
    }
}

fn root() -> String {
    "/".to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

fn cookies() -> Vec<String> {
    vec!["Set-Cookie".to_owned()]
}

const fn yes() -> bool {
    true
}

fn redirect_parameter() -> String {
    "rd".to_owned()
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledForwardAuth {
    name: String,
    service: Label,
    path: Template,
    method: Box<[u8]>,
    headers: Vec<Box<[u8]>>,
    set: Vec<(Box<[u8]>, Template)>,
    response_headers: Vec<Box<[u8]>>,
    client_headers: Vec<Box<[u8]>>,
    client_headers_always: bool,
    client_body_max: Option<u64>,
    cache: Option<(Template, AnswerTimes)>,
    /// What no other filter has, unless it is written alike.
    print: Vec<u8>,
    sign_in: Option<Template>,
    sign_in_parameter: String,
}

impl ForwardAuth {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledForwardAuth> {
        let service = place.service(&self.service);
        let path = place.template(&self.path, 0);
        if path.as_ref().and_then(Template::literal).is_some_and(|path| !path.starts_with(b"/")) {
            place.fault(format!("`{}` is not a path", self.path), "begin it with /");
        }
        if !is_token(self.method.as_bytes()) {
            place.fault(format!("`{}` is not a method", self.method), "write it in capitals, like GET");
        }
        let names =
            self.headers.iter().chain(self.set.keys()).chain(&self.response_headers).chain(&self.client_headers);
        names.for_each(|name| check_name(name, place));
        let bytes = |text: &String| text.as_bytes().into();
        let mut set = Vec::with_capacity(self.set.len());
        for (name, value) in &self.set {
            set.extend(place.template(value, 0).map(|template| (bytes(name), template)));
        }
        let sign_in = self.sign_in.as_ref().and_then(|url| place.template(url, 0));
        let cache = self.cache.as_ref().and_then(|cache| cache.compile(place));
        let client_body_max = self.client_body_max(place);
        let list = |names: &[String]| names.iter().map(bytes).collect();
        let (service, path) = service.zip(path)?;
        (!place.has_faults()).then(|| CompiledForwardAuth {
            name: self.service.clone(),
            service,
            path,
            method: bytes(&self.method),
            headers: list(&self.headers),
            set,
            response_headers: list(&self.response_headers),
            client_headers: list(&self.client_headers),
            client_headers_always: self.client_headers_always,
            client_body_max,
            cache,
            print: digest(&SHA256, format!("{self:?}").as_bytes()).as_ref().to_vec(),
            sign_in,
            sign_in_parameter: self.sign_in_parameter.clone(),
        })
    }
}

impl ForwardAuth {
    fn client_body_max(&self, place: &mut FilterPlace) -> Option<u64> {
        let max = self.body?;
        if max.bytes() == 0 || max.bytes() > REPLAY_BYTES_MAX as u64 {
            place.fault(format!("{max} is not a length that can be held"), "write 1B to 64MiB");
        }
        if self.cache.is_some() {
            place.fault("what was said of one body would hold for another", "leave `cache` or `body` out");
        }
        Some(max.bytes())
    }
}

/// Fields of the client that are not passed on: what is of its connection and its body, and what is written anew.
const DROPPED: KnownSet = KnownSet::of(&[
    Known::Host,
    Known::ContentLength,
    Known::Expect,
    Known::Proxy,
    Known::ProxyAuthorization,
    Known::XRealIp,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedOther,
    Known::XForwardedPort,
    Known::XForwardedPrefix,
    Known::XForwardedProto,
    Known::Forwarded,
    Known::XRequestId,
    Known::ClientCert,
    Known::ClientCertChain,
    Known::EarlyData,
])
.with(KnownSet::HOP_BY_HOP, true);

impl CompiledForwardAuth {
    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.response_headers.iter().for_each(|name| edits.take_away(name));
    }

    /// True where the service gets request bodies.
    pub(super) const fn takes_body(&self) -> bool {
        self.client_body_max.is_some()
    }

    /// The name of the service, and its label when this was compiled.
    pub(super) fn service(&self) -> (&str, Label) {
        (&self.name, self.service)
    }

    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        self.forget(&mut notes.edits.request);
        let values = Values::behind(head, context, notes);
        let mut target = self.path.text(&values, Within::Url);
        if !target.starts_with(b"/") {
            target.insert(0, b'/');
        }
        let passes =
            |name: &[u8]| self.headers.is_empty() || self.headers.iter().any(|own| own.eq_ignore_ascii_case(name));
        let is_set = |name: &[u8]| self.set.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let of_client = head.fields().filter(|(field, name, _)| {
            let is_theirs = !notes.edits.request.removes(name) && !is_ours(name);
            !DROPPED.has(field.known) && !field.nominated && passes(name) && !is_set(name) && is_theirs
        });
        let mut fields: Vec<_> = of_client.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
        // What filters before this one found, such as the name of a user.
        let found = notes.edits.request.put.iter().filter(|(name, _)| passes(name) && !is_set(name));
        fields.extend(found.map(|(name, value)| (name.to_vec(), value.to_vec())));
        let told = told(head, context).filter(|(name, _)| !is_set(name.as_bytes()));
        fields.extend(told.map(|(name, value)| (name.as_bytes().to_vec(), value)));
        for (name, template) in &self.set {
            fields.push((name.to_vec(), template.text(&values, Within::Value)));
        }
        let memory = self.cache.as_ref().and_then(|(key, times)| {
            key.tells_client(&values).then(|| {
                let key = key.text(&values, Within::Value);
                let asked = [&self.print, head.method(), head.asked_host(context.is_trusted), &key];
                AnswerMemory { key: asked.join(&b'\n'), times: times.clone(), heeds_service: true }
            })
        });
        Verdict::Ask(Errand::Ask(Box::new(Question {
            service: self.service,
            method: self.method.to_vec(),
            target,
            host: None,
            fields,
            body: Vec::new(),
            client_body_max: self.client_body_max,
            body_max: AUTH_BODY_BYTES_MAX,
            memory,
        })))
    }

    pub(super) fn found_out(
        &self,
        found: &FoundOut<'_>,
        head: &RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'_> {
        let FoundOut::Reply(reply) = found else { return Verdict::fail(Failure::Internal("errand")) };
        let reply = match reply {
            Ok(reply) if reply.head.status() < 500 => reply,
            Ok(_) => return Verdict::fail(Failure::AuthUnavailable("answer")),
            Err(_) => return Verdict::fail(Failure::AuthUnavailable("service")),
        };
        let status = reply.head.status();
        if (200..300).contains(&status) {
            for name in &self.response_headers {
                named(reply, name).for_each(|value| notes.edits.request.add(name, value));
            }
            let edits =
                if self.client_headers_always { &mut notes.edits.response } else { &mut notes.edits.good_response };
            for name in &self.client_headers {
                named(reply, name).for_each(|value| edits.add(name, value));
            }
            return Verdict::Pass;
        }
        if let Some(sign_in) = self.sign_in.as_ref().filter(|_| status == 401) {
            let location = self.sign_in_location(sign_in, &Values::behind(head, context, notes));
            let cookies = named(reply, b"set-cookie").map(|value| (&b"Set-Cookie"[..], Cow::Owned(value)));
            let fields = std::iter::once((&b"Location"[..], Cow::Owned(location))).chain(cookies).collect();
            return Verdict::Answer(Answer { status: 302, fields, body: Cow::Borrowed(b"") });
        }
        let failure = if status == 401 { Failure::AuthRequired("service") } else { Failure::Denied("service") };
        Verdict::Refuse(Box::new(Refusal {
            failure,
            status: Some(status).filter(|status| *status >= 300),
            replaces: Some(reply.answer()),
            ..Refusal::default()
        }))
    }

    fn sign_in_location(&self, sign_in: &Template, values: &Values<'_>) -> Vec<u8> {
        let Values { head, context, .. } = values;
        let mut location = sign_in.text(values, Within::Url);
        let name = self.sign_in_parameter.as_bytes();
        let has = |start: u8| memchr::memmem::find(&location, &[&[start], name, b"="].concat()).is_some();
        let is_there = has(b'?') || has(b'&');
        if !name.is_empty() && !is_there {
            location.push(if location.contains(&b'?') { b'&' } else { b'?' });
            location.extend_from_slice(name);
            location.push(b'=');
            // Only what a client could write otherwise is encoded of the origin, as ingress-nginx has it.
            for byte in context.asked_origin(head) {
                if byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte) {
                    location.push(byte);
                } else {
                    put_component(&mut location, &[byte]);
                }
            }
            put_component(&mut location, head.target().resolved());
        }
        location
    }
}

/// True for names that tell of the request, and that no client may say.
fn is_ours(name: &[u8]) -> bool {
    const OURS: [&[u8]; 4] = [b"x-original-url", b"x-original-method", b"x-original-uri", b"x-auth-request-redirect"];
    OURS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// What the service is told of the request, in the words of Traefik and in those of ingress-nginx.
fn told(head: &RequestHead, context: &Context<'_>) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let client = AddressText::of(context.client).bytes().to_vec();
    let (host, uri) = (head.asked_host(context.is_trusted).to_vec(), head.target().resolved().to_vec());
    let certificate = context.tls.and_then(|tls| tls.client.as_deref()).unwrap_or_default().as_bytes().to_vec();
    let mut id = Vec::with_capacity(32);
    context.put_request_id(&mut id, head);
    [
        ("X-Forwarded-Method", head.method().to_vec()),
        ("X-Forwarded-Proto", context.scheme.as_bytes().to_vec()),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Uri", uri.clone()),
        ("X-Forwarded-For", client.clone()),
        ("X-Original-URL", context.asked_url(head)),
        ("X-Original-URI", uri.clone()),
        ("X-Original-Method", head.method().to_vec()),
        ("X-Auth-Request-Redirect", uri),
        ("X-Real-IP", client),
        ("X-Request-ID", id),
        ("Client-Cert", certificate),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

fn named(reply: &ServiceReply<'_>, name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    reply
        .head
        .fields(reply.bytes)
        .filter(move |(_, own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, _, value)| value.to_vec())
}
