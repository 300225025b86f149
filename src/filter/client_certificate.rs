//! `client_certificate`: who must show a certificate, whose it must be, and what the upstream is told of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::context::{Answer, Context, Notes, Refusal, Verdict};
use super::headers::check_name;
use super::template::{Template, Values, Within};
use crate::failure::Failure;
use crate::hash::hex;
use crate::proto::h1::percent::put_component;
use crate::proto::h1::request::RequestHead;
use crate::tls::subject::{CertificateNames, der_of, names_of};

/// Refuses clients without a certificate that the listener's `client_auth` vouches for, and tells the upstream of it in further fields:
/// `Client-Cert` (RFC 9440) it gets in any case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// Whether those who show none are refused.
    #[serde(default = "yes")]
    pub required: bool,
    /// A regular expression that the whole subject must match, as RFC 4514 writes it: `"CN=(alice|bob),O=Example"`. What is not ASCII
    /// stands there as pairs of hexadecimal digits: `\\C3\\A4`.
    #[serde(default)]
    pub subject: Option<String>,
    /// Fields with what the upstream gets in each; a client's own are taken away.
    #[serde(default)]
    pub set: BTreeMap<String, CertificatePart>,
    /// The status of the refusal, 400 to 599; 403 by default.
    #[serde(default)]
    pub status: Option<u16>,
    /// Where those are sent who show none, or one that nobody vouches for: a URL with variables, in the place of a refusal.
    #[serde(default)]
    pub redirect: Option<String>,
}

const fn yes() -> bool {
    true
}

/// What a field says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificatePart {
    /// Whose it is: `CN=alice,O=Example`.
    Subject,
    /// Who vouches for it, in the same form.
    Issuer,
    /// Its number, in hexadecimal digits.
    Serial,
    /// Its SHA-1, in hexadecimal digits, as nginx writes it.
    Fingerprint,
    /// PEM, percent-encoded, as ingress-nginx sends it.
    Pem,
    /// Its bytes in Base64, as Traefik sends it.
    Base64,
    /// `SUCCESS`, or `NONE` where there is none, as nginx says it.
    Verified,
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledClientCertificate {
    required: bool,
    subject: Option<Regex>,
    set: Vec<(Box<[u8]>, CertificatePart)>,
    status: Option<u16>,
    redirect: Option<Template>,
}

impl ClientCertificate {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledClientCertificate> {
        place.refusal_status(self.status);
        self.set.keys().for_each(|name| check_name(name, place));
        // The whole of it: a part of a name may be anybody's.
        let subject = self.subject.as_ref().and_then(|subject| place.regex(&format!("^(?:{subject})$"), false));
        if self.subject.is_some() && !self.required {
            place.fault("whoever shows no certificate has no subject", "leave `required` or `subject` out");
        }
        let set = self.set.iter().map(|(name, part)| (name.as_bytes().into(), *part)).collect();
        let (required, status) = (self.required, self.status);
        let redirect = self.redirect.as_ref().and_then(|url| place.template(url, 0));
        (!place.has_faults()).then_some(CompiledClientCertificate { required, subject, set, status, redirect })
    }
}

impl CompiledClientCertificate {
    pub(super) fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        let edits = &mut notes.edits.request;
        self.set.iter().for_each(|(name, _)| edits.take_away(name));
        if context.tls.is_some_and(|tls| tls.client_is_refused) {
            return self.refuse_or_send("certificate_invalid", head, context);
        }
        let der = context.tls.and_then(|tls| der_of(tls.client.as_deref()?));
        let names = der.as_deref().and_then(names_of);
        let Some((der, names)) = der.zip(names) else {
            if self.required {
                return self.refuse_or_send("certificate_missing", head, context);
            }
            let says = self.set.iter().filter(|(_, part)| *part == CertificatePart::Verified);
            says.for_each(|(name, _)| edits.add(name, *b"NONE"));
            return Verdict::Pass;
        };
        if self.subject.as_ref().is_some_and(|subject| !subject.is_match(names.subject.as_bytes())) {
            return self.refuse("certificate_subject");
        }
        for (name, part) in &self.set {
            edits.add(name, part.text(&der, &names));
        }
        Verdict::Pass
    }

    fn refuse_or_send(&self, why: &'static str, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        let Some(redirect) = &self.redirect else { return self.refuse(why) };
        let location = redirect.text(&Values::of(head, context), Within::Url);
        let fields = vec![(&b"Location"[..], Cow::Owned(location))];
        Verdict::Answer(Answer { status: 302, fields, body: Cow::Borrowed(b"") })
    }

    fn refuse(&self, why: &'static str) -> Verdict<'static> {
        Verdict::Refuse(Box::new(Refusal { failure: Failure::Denied(why), status: self.status, ..Refusal::default() }))
    }
}

impl CertificatePart {
    fn text(self, der: &[u8], names: &CertificateNames) -> Vec<u8> {
        match self {
            Self::Subject => names.subject.clone().into_bytes(),
            Self::Issuer => names.issuer.clone().into_bytes(),
            Self::Serial => names.serial.clone().into_bytes(),
            Self::Fingerprint => {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der);
                hex(digest.as_ref()).into_bytes()
            }
            Self::Pem => {
                let text = BASE64_STANDARD.encode(der);
                let mut pem = b"-----BEGIN CERTIFICATE-----\n".to_vec();
                // RFC 7468 §2: lines of 64.
                for line in text.as_bytes().chunks(64) {
                    pem.extend_from_slice(line);
                    pem.push(b'\n');
                }
                pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
                let mut encoded = Vec::with_capacity(pem.len() * 2);
                put_component(&mut encoded, &pem);
                encoded
            }
            Self::Base64 => BASE64_STANDARD.encode(der).into_bytes(),
            Self::Verified => b"SUCCESS".to_vec(),
        }
    }
}
