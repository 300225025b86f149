//! Codes and refresh tokens exchanged for tokens (RFC 6749 §4.1.3 and §6): the question, and what the provider answered.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::super::claims::Claims;
use super::super::errand::{AnswerMemory, AnswerTimes, Question, ServiceReply};
use super::provider::Provider;
use crate::failure::Failure;
use crate::label::Label;
use crate::limits::{AUTH_BODY_BYTES_MAX, RENEWAL_KNOWN_MS};
use crate::proto::h1::percent::{put_component, put_parameter};

/// How long tokens hold of which nothing is said, in seconds.
const UNSAID_S: u64 = 300;

/// How we are known to the provider.
pub(super) struct Client<'a> {
    /// The name that it gave us.
    pub id: &'a str,
    /// The secret.
    pub secret: Option<&'a str>,
}

impl Client<'_> {
    /// The question that shows `body`, a form, to the provider.
    pub(super) fn question(
        &self,
        provider: &Provider,
        service: Label,
        mut body: Vec<u8>,
        memory: Option<AnswerMemory>,
    ) -> Question {
        let mut fields = vec![
            (b"Content-Type".to_vec(), b"application/x-www-form-urlencoded".to_vec()),
            (b"Accept".to_vec(), b"application/json".to_vec()),
        ];
        let mut put = |name: &str, value: &str| {
            body.push(b'&');
            put_parameter(&mut body, name, value.as_bytes());
        };
        match self.secret {
            Some(secret) if provider.takes_basic => {
                // Both encoded as forms are (RFC 6749 §2.3.1).
                let mut credentials = Vec::new();
                put_component(&mut credentials, self.id.as_bytes());
                credentials.push(b':');
                put_component(&mut credentials, secret.as_bytes());
                let value = format!("Basic {}", BASE64_STANDARD.encode(credentials));
                fields.push((b"Authorization".to_vec(), value.into_bytes()));
            }
            Some(secret) => {
                put("client_id", self.id);
                put("client_secret", secret);
            }
            None => put("client_id", self.id),
        }
        Question {
            service,
            method: b"POST".to_vec(),
            target: provider.token.target.clone().into_bytes(),
            host: Some(provider.token.host.clone().into_bytes()),
            fields,
            body,
            client_body_max: None,
            body_max: AUTH_BODY_BYTES_MAX,
            memory,
        }
    }
}

/// What is asked for more time.
pub(super) fn refresh_body(token: &str) -> Vec<u8> {
    let mut body = b"grant_type=refresh_token&".to_vec();
    put_parameter(&mut body, "refresh_token", token.as_bytes());
    body
}

/// Requests that come together show the same refresh token, which may be good for once: they get one answer.
pub(super) fn renewal_memory(token: &str) -> AnswerMemory {
    AnswerMemory {
        key: token.as_bytes().to_vec(),
        times: AnswerTimes([(200, RENEWAL_KNOWN_MS)].into()),
        heeds_service: false,
    }
}

/// What the provider gave.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Tokens {
    #[serde(default)]
    pub id_token: Option<String>,
    #[serde(default)]
    pub refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<Value>,
}

impl Tokens {
    /// Those of an answer.
    ///
    /// # Errors
    /// The provider refused, or nobody can say.
    pub(super) fn of(reply: Option<&ServiceReply<'_>>) -> Result<Self, Failure> {
        let reply = reply.ok_or(Failure::AuthUnavailable("provider"))?;
        match reply.head.status() {
            200 if reply.is_whole => {
                serde_json::from_slice(reply.body).map_err(|_| Failure::AuthUnavailable("provider"))
            }
            400..=499 => Err(Failure::Denied("provider")),
            _ => Err(Failure::AuthUnavailable("provider")),
        }
    }

    /// Until when they hold, in seconds since 1970: as long as the provider said, or until the end of the claims, or for some minutes.
    pub(super) fn until_s(&self, claims: &Claims, now_s: u64) -> u64 {
        // Some write the number as a text.
        let told = self.expires_in.as_ref();
        let told_s = told.and_then(|told| told.as_u64().or_else(|| told.as_str()?.parse().ok()));
        let end_s = claims.get("exp").and_then(Value::as_u64);
        told_s.map(|told_s| now_s.saturating_add(told_s)).or(end_s).unwrap_or(now_s + UNSAID_S)
    }
}

#[cfg(test)]
mod tests {
    use super::super::provider::ProviderPlace;
    use super::*;

    fn provider(takes_basic: bool) -> Provider {
        let token = ProviderPlace { host: "a.test".to_owned(), target: "/token".to_owned() };
        Provider { authorization: String::new(), token, end_session: None, takes_basic, keys: Vec::new() }
    }

    #[test]
    fn a_secret_is_shown_as_the_provider_takes_it() {
        let asked = |secret, takes_basic| {
            let question = Client { id: "m e", secret }.question(
                &provider(takes_basic),
                Label::default(),
                refresh_body("a/b"),
                None,
            );
            let shown = question.fields.iter().find(|(name, _)| name == b"Authorization");
            let shown = shown.map(|(_, value)| String::from_utf8(value.clone()).unwrap());
            (String::from_utf8(question.body).unwrap(), shown)
        };
        let refresh = "grant_type=refresh_token&refresh_token=a%2Fb".to_owned();
        let basic = format!("Basic {}", BASE64_STANDARD.encode("m%20e:s%3Ac"));
        assert_eq!(asked(Some("s:c"), true), (refresh.clone(), Some(basic)));
        assert_eq!(asked(Some("s:c"), false), (format!("{refresh}&client_id=m%20e&client_secret=s%3Ac"), None));
        assert_eq!(asked(None, true), (format!("{refresh}&client_id=m%20e"), None));
    }

    #[test]
    fn tokens_hold_as_long_as_is_said() {
        let claims: Claims = serde_json::from_str("{\"exp\": 500}").unwrap();
        for (text, until_s) in [("{}", 500), ("{\"expires_in\": 60}", 160), ("{\"expires_in\": \"60\"}", 160)] {
            let tokens: Tokens = serde_json::from_str(text).unwrap();
            assert_eq!(tokens.until_s(&claims, 100), until_s, "{text}");
        }
        assert_eq!(Tokens::default().until_s(&Claims::new(), 100), 100 + UNSAID_S);
    }
}
