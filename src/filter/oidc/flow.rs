//! What becomes of a request at `oidc`: who has a session passes, browsers are sent to the provider and come back, the rest is refused.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::super::claims::{ClaimRules, Claims};
use super::super::context::{Answer, Context, Notes, Refusal, Verdict};
use super::super::edits::FieldEdits;
use super::super::errand::{Errand, FoundOut};
use super::super::fetch_source::FetchSource;
use super::super::jwt::CompiledJwt;
use super::login::{LOGIN_S, Login, is_navigation, is_random, put_parameter, random};
use super::provider::Provider;
use super::sealed::Sealer;
use super::session::{LOGIN_SUFFIX, SignedIn, own_cookies};
use super::spec::Oidc;
use super::tokens::{Client, Tokens, refresh_body};
use crate::failure::Failure;
use crate::label::Label;
use crate::limits::REFRESH_AHEAD_S;
use crate::proto::h1::parameters::{argument, cookie};
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::set_cookie::{CookieAttributes, SameSite, set_cookie};

/// The filter, compiled.
#[derive(Clone, Debug)]
pub struct CompiledOidc {
    pub(super) spec: Oidc,
    /// `None` until it was fetched.
    pub(super) provider: Option<(Provider, CompiledJwt)>,
    pub(super) token_service: Label,
    pub(super) sealer: Arc<Sealer>,
    pub(super) secret: Option<String>,
    pub(super) rules: ClaimRules,
}

impl CompiledOidc {
    /// Takes away the fields in which the upstream is told of the client.
    pub fn forget(&self, edits: &mut FieldEdits) {
        self.rules.forget(edits);
    }

    /// The service that is asked for tokens, and its label when this was compiled.
    #[must_use]
    pub fn token_service(&self) -> (&str, Label) {
        (self.spec.token_service(), self.token_service)
    }

    /// What is fetched for it.
    #[must_use]
    pub fn fetch_source(&self) -> FetchSource {
        self.spec.fetch_source()
    }

    /// What becomes of a request.
    pub fn on_request(&self, head: &RequestHead, context: &Context<'_>, notes: &mut Notes) -> Verdict<'_> {
        self.forget(&mut notes.edits.request);
        let Some((provider, _)) = &self.provider else {
            return Verdict::fail(Failure::AuthUnavailable("provider"));
        };
        if head.path() == self.spec.logout.as_bytes() {
            return self.sign_out(provider, head, context);
        }
        if head.path() == self.spec.callback.as_bytes() {
            // Not every provider says which sign-in it refuses.
            if argument(head, b"error").is_some() {
                return Verdict::fail(Failure::Denied("provider"));
            }
            let Some(login) = self.login_of(head, context) else { return Verdict::fail(Failure::Denied("login")) };
            let body = login.exchange(head, &url(&self.spec.callback, head, context));
            return body.map_or_else(|| Verdict::fail(Failure::Denied("login")), |body| self.ask(provider, body));
        }
        let now_s = context.unix_s;
        match self.session(head, context) {
            Some(session) => match &session.refresh {
                Some(token) if now_s + REFRESH_AHEAD_S >= session.until_s => self.ask(provider, refresh_body(token)),
                Some(_) | None if now_s < session.until_s => self.pass(&session, head, notes),
                Some(_) | None => self.sign_in(provider, head, context),
            },
            None => self.sign_in(provider, head, context),
        }
    }

    /// What becomes of it now that the provider has answered.
    pub fn found_out(
        &self,
        found: &FoundOut<'_>,
        head: &RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'_> {
        let (FoundOut::Reply(reply), Some((provider, _))) = (found, &self.provider) else {
            return Verdict::fail(Failure::Internal("errand"));
        };
        let tokens = Tokens::of(reply.as_ref().ok());
        if head.path() == self.spec.callback.as_bytes() {
            return match self.login_of(head, context) {
                Some(login) => self.finish(&login, tokens, head, context),
                None => Verdict::fail(Failure::Denied("login")),
            };
        }
        let Some(session) = self.session(head, context) else { return self.sign_in(provider, head, context) };
        match tokens.and_then(|tokens| self.renewed(&session, tokens, context)) {
            Ok(renewed) => {
                for cookie in self.session_cookies(&renewed, context).into_iter().flatten() {
                    notes.edits.response.add(b"Set-Cookie", cookie);
                }
                self.pass(&renewed, head, notes)
            }
            // Another request may have renewed it, or the provider is away: what was said holds to its end.
            Err(_) if context.unix_s < session.until_s => self.pass(&session, head, notes),
            Err(Failure::AuthUnavailable(why)) => Verdict::fail(Failure::AuthUnavailable(why)),
            Err(_) => self.sign_in(provider, head, context),
        }
    }

    /// Lets somebody pass who has signed in.
    fn pass(&self, session: &SignedIn, head: &RequestHead, notes: &mut Notes) -> Verdict<'_> {
        let edits = &mut notes.edits.request;
        if !self.rules.are_met(&session.claims) || !self.rules.tell(&session.claims, edits) {
            return Verdict::fail(Failure::Denied("claims"));
        }
        if let Some((_, others)) = own_cookies(head, &self.spec.cookie) {
            edits.take_away(b"cookie");
            if !others.is_empty() {
                edits.add(b"cookie", others);
            }
        }
        Verdict::Pass
    }

    /// Sends a browser to the provider; anybody else gets 401.
    fn sign_in(&self, provider: &Provider, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        if !is_navigation(head) {
            let challenge = format!("Cookie realm=\"{}\", cookie-name=\"{}\"", self.spec.issuer, self.spec.cookie);
            let fields = vec![(&b"WWW-Authenticate"[..], challenge.into_bytes())];
            let failure = Failure::AuthRequired("session");
            return Verdict::Refuse(Box::new(Refusal { failure, fields, ..Refusal::default() }));
        }
        // One that is there already is that of a sign-in in another tab.
        let known = self.browser_of(head).filter(|known| is_random(known));
        let browser = known.map_or_else(random, |known| Some(String::from_utf8_lossy(known).into_owned()));
        let location = browser.as_ref().and_then(|browser| {
            let login = Login::begin(head, browser, context.unix_s)?;
            let redirect_uri = url(&self.spec.callback, head, context);
            let scopes = self.spec.scopes.join(" ");
            let fixed = [
                ("client_id", self.spec.client_id.as_bytes()),
                ("redirect_uri", &redirect_uri),
                ("scope", scopes.as_bytes()),
            ];
            login.location(&provider.authorization, &fixed, &self.sealer)
        });
        let (Some(browser), Some(location)) = (browser, location) else {
            return Verdict::fail(Failure::Internal("random"));
        };
        let name = format!("{}{LOGIN_SUFFIX}", self.spec.cookie);
        redirect(location, vec![self.set_cookie(&name, &browser, Some(LOGIN_S), context)])
    }

    /// The provider has answered the code of a sign-in.
    fn finish(
        &self,
        login: &Login,
        tokens: Result<Tokens, Failure>,
        head: &RequestHead,
        context: &Context<'_>,
    ) -> Verdict<'_> {
        let begun = tokens.and_then(|tokens| self.begun(login, tokens, context));
        let cookies =
            begun.and_then(|session| self.session_cookies(&session, context).ok_or(Failure::Denied("session")));
        match cookies {
            Ok(cookies) => redirect([origin(head, context), login.asked.clone().into_bytes()].concat(), cookies),
            Err(failure) => Verdict::fail(failure),
        }
    }

    fn sign_out(&self, provider: &Provider, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        let after = url(&self.spec.after_logout, head, context);
        let location = match &provider.end_session {
            None => after,
            Some(url) => {
                let mut location = url.clone().into_bytes();
                location.push(if url.contains('?') { b'&' } else { b'?' });
                put_parameter(&mut location, "client_id", self.spec.client_id.as_bytes());
                location.push(b'&');
                put_parameter(&mut location, "post_logout_redirect_uri", &after);
                location
            }
        };
        let own = own_cookies(head, &self.spec.cookie).map(|(own, _)| own).unwrap_or_default();
        redirect(location, own.iter().map(|name| self.set_cookie(name, "", Some(0), context)).collect())
    }

    fn ask(&self, provider: &Provider, body: Vec<u8>) -> Verdict<'_> {
        let client = Client { id: &self.spec.client_id, secret: self.secret.as_deref() };
        Verdict::Ask(Errand::Ask(Box::new(client.question(provider, self.token_service, body))))
    }

    fn begun(&self, login: &Login, tokens: Tokens, context: &Context<'_>) -> Result<SignedIn, Failure> {
        let claims = self.claims_of(tokens.id_token.as_deref().ok_or(Failure::Denied("provider"))?, context)?;
        if claims.get("nonce").and_then(Value::as_str) != Some(&login.nonce()) {
            return Err(Failure::Denied("login"));
        }
        let end_s = context.unix_s + self.spec.lifetime.ms() / 1_000;
        let until_s = tokens.until_s(&claims, context.unix_s).min(end_s);
        let claims = self.rules.of_interest(&claims);
        // Whoever may not come in is told so now.
        if !self.rules.are_met(&claims) {
            return Err(Failure::Denied("claims"));
        }
        Ok(SignedIn { claims, until_s, end_s, refresh: tokens.refresh_token })
    }

    /// The session with more time. What the provider does not say again holds as before.
    fn renewed(&self, session: &SignedIn, tokens: Tokens, context: &Context<'_>) -> Result<SignedIn, Failure> {
        let known = tokens.id_token.as_deref().map(|token| self.claims_of(token, context)).transpose()?;
        let until_s = tokens.until_s(known.as_ref().unwrap_or(&session.claims), context.unix_s);
        let claims = known.map_or_else(|| session.claims.clone(), |known| self.rules.of_interest(&known));
        let refresh = tokens.refresh_token.or_else(|| session.refresh.clone());
        Ok(SignedIn { claims, until_s: until_s.min(session.end_s), end_s: session.end_s, refresh })
    }

    fn claims_of(&self, token: &str, context: &Context<'_>) -> Result<Claims, Failure> {
        let (_, verified) = self.provider.as_ref().ok_or(Failure::AuthUnavailable("provider"))?;
        let claims = verified.claims(token.as_bytes(), context.unix_s).map_err(Failure::Denied)?;
        // Of several audiences one is the party that asked (OpenID Connect Core 1.0 §3.1.3.7).
        let party = claims.get("azp").and_then(Value::as_str);
        if party.is_some_and(|party| party != self.spec.client_id) {
            return Err(Failure::Denied("token_audience"));
        }
        Ok(claims)
    }

    fn session(&self, head: &RequestHead, context: &Context<'_>) -> Option<SignedIn> {
        SignedIn::of(head, &self.spec.cookie, &self.sealer, context.unix_s)
    }

    fn login_of(&self, head: &RequestHead, context: &Context<'_>) -> Option<Login> {
        Login::of(head, self.browser_of(head), &self.sealer, context.unix_s)
    }

    /// What the browser shows of a sign-in that it began.
    fn browser_of<'h>(&self, head: &'h RequestHead) -> Option<&'h [u8]> {
        cookie(head, format!("{}{LOGIN_SUFFIX}", self.spec.cookie).as_bytes())
    }

    fn session_cookies(&self, session: &SignedIn, context: &Context<'_>) -> Option<Vec<Vec<u8>>> {
        let cookies = session.cookies(&self.spec.cookie, &self.sealer)?;
        let left_s = session.end_s.saturating_sub(context.unix_s);
        Some(cookies.iter().map(|(name, value)| self.set_cookie(name, value, Some(left_s), context)).collect())
    }

    fn set_cookie(&self, name: &str, value: &str, max_age_s: Option<u64>, context: &Context<'_>) -> Vec<u8> {
        let attributes = CookieAttributes {
            path: Some("/"),
            domain: self.spec.domain.as_deref(),
            max_age_s,
            is_secure: context.scheme == "https",
            is_http_only: true,
            same_site: Some(SameSite::Lax),
        };
        set_cookie(name, value, &attributes).into_bytes()
    }
}

/// Scheme and authority as the client knows them.
fn origin(head: &RequestHead, context: &Context<'_>) -> Vec<u8> {
    [context.scheme.as_bytes(), b"://", head.asked_host(context.is_trusted)].concat()
}

/// The URL of a path of ours, as the client knows it.
fn url(path: &str, head: &RequestHead, context: &Context<'_>) -> Vec<u8> {
    [&origin(head, context), head.stripped_prefix(), path.as_bytes()].concat()
}

fn redirect(location: Vec<u8>, cookies: Vec<Vec<u8>>) -> Verdict<'static> {
    let cookies = cookies.into_iter().map(|cookie| (&b"Set-Cookie"[..], Cow::Owned(cookie)));
    let fixed = [(&b"Location"[..], Cow::Owned(location)), (&b"Cache-Control"[..], Cow::Borrowed(&b"no-store"[..]))];
    let fields = fixed.into_iter().chain(cookies).collect();
    Verdict::Answer(Answer { status: 302, fields, body: Cow::Borrowed(b"") })
}
