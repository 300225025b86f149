//! What becomes of a request at `oidc`: who has a session passes, browsers are sent to the provider and come back, the rest is refused.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::super::claims::{ClaimRules, Claims};
use super::super::context::{Answer, Context, Notes, Refusal, Verdict};
use super::super::edits::FieldEdits;
use super::super::errand::{AnswerMemory, Errand, FoundOut};
use super::super::fetch_source::FetchSource;
use super::super::jwt::CompiledJwt;
use super::login::{LOGIN_S, Login, is_navigation, is_random, random};
use super::provider::Provider;
use super::sealed::Sealer;
use super::session::{LOGIN_SUFFIX, SignedIn, own_cookies};
use super::spec::Oidc;
use super::tokens::{Client, Tokens, refresh_body, renewal_memory};
use crate::failure::Failure;
use crate::label::Label;
use crate::limits::REFRESH_AHEAD_S;
use crate::proto::h1::field::Known;
use crate::proto::h1::parameters::{argument, cookie};
use crate::proto::h1::percent::put_parameter;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::set_cookie::{CookieAttributes, SameSite, set_cookie};
use crate::units::hidden::Hidden;

/// The filter, compiled.
#[derive(Clone, Debug)]
pub struct CompiledOidc {
    pub(super) spec: Oidc,
    /// `None` until it was fetched.
    pub(super) provider: Option<(Provider, CompiledJwt)>,
    pub(super) token_service: Label,
    pub(super) sealer: Arc<Sealer>,
    pub(super) secret: Option<Hidden<String>>,
    pub(super) rules: ClaimRules,
}

impl CompiledOidc {
    /// Takes away the fields in which the upstream is told of the client.
    pub fn forget(&self, head: &RequestHead, edits: &mut FieldEdits) {
        self.rules.forget(edits);
        // What filters before this one made of it goes before what came.
        let put: Vec<Vec<u8>> = edits
            .put
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"))
            .map(|(_, value)| value.to_vec())
            .collect();
        let came = head.values(Known::Cookie).filter(|_| !edits.removes(b"cookie"));
        let values = came.chain(put.iter().map(|value| &value[..]));
        if let Some((_, others)) = own_cookies(values, &self.spec.cookie) {
            edits.take_away(b"cookie");
            if !others.is_empty() {
                edits.add(b"cookie", others);
            }
        }
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
        self.forget(head, &mut notes.edits.request);
        let provider = self.provider.as_ref().map(|(provider, _)| provider);
        if head.path() == self.spec.logout.as_bytes() {
            return self.sign_out(provider, head, context);
        }
        if head.path() == self.spec.callback.as_bytes() {
            return self.come_back(provider, head, context);
        }
        let Some(session) = self.session(head, context) else { return self.sign_in(head, context) };
        // Whoever has signed in needs nobody until then.
        match (&session.refresh, provider) {
            (Some(token), Some(provider)) if context.unix_s >= session.renew_s => {
                self.ask(provider, refresh_body(token), Some(renewal_memory(token)))
            }
            _ if context.unix_s < session.until_s => self.pass(&session, notes),
            _ => self.sign_in(head, context),
        }
    }

    /// A browser comes back from the provider.
    fn come_back(&self, provider: Option<&Provider>, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        let Some(provider) = provider else { return Verdict::fail(Failure::AuthUnavailable("provider")) };
        // Not every provider says which sign-in it refuses.
        if argument(head, b"error").is_some() {
            return Verdict::fail(Failure::Denied("provider"));
        }
        let login = self.login_of(head, context);
        let body = login.and_then(|login| login.exchange(head, &url(&self.spec.callback, head, context)));
        body.map_or_else(|| Verdict::fail(Failure::Denied("login")), |body| self.ask(provider, body, None))
    }

    /// What becomes of it now that the provider has answered.
    pub fn found_out(
        &self,
        found: &FoundOut<'_>,
        head: &RequestHead,
        context: &Context<'_>,
        notes: &mut Notes,
    ) -> Verdict<'_> {
        let FoundOut::Reply(reply) = found else { return Verdict::fail(Failure::Internal("errand")) };
        let tokens = Tokens::of(reply.as_ref().ok());
        if head.path() == self.spec.callback.as_bytes() {
            return match self.login_of(head, context) {
                Some(login) => self.finish(&login, tokens, head, context),
                None => Verdict::fail(Failure::Denied("login")),
            };
        }
        let Some(session) = self.session(head, context) else { return self.sign_in(head, context) };
        match tokens.and_then(|tokens| self.renewed(&session, tokens, context)) {
            Ok(renewed) => {
                for cookie in self.session_cookies(&renewed, context).into_iter().flatten() {
                    notes.edits.response.add(b"Set-Cookie", cookie);
                }
                self.pass(&renewed, notes)
            }
            // Another request may have renewed it, or the provider is away: what was said holds to its end.
            Err(_) if context.unix_s < session.until_s => self.pass(&session, notes),
            Err(Failure::AuthUnavailable(why)) => Verdict::fail(Failure::AuthUnavailable(why)),
            Err(_) => {
                // So that the provider is not asked for it again. A sign-in that begins now keeps its own.
                let ended = self.ended_cookies(head, context, |name| name != self.login_name());
                ended.into_iter().for_each(|cookie| notes.edits.response.add(b"Set-Cookie", cookie));
                self.sign_in(head, context)
            }
        }
    }

    /// Lets somebody pass who has signed in.
    fn pass(&self, session: &SignedIn, notes: &mut Notes) -> Verdict<'_> {
        let edits = &mut notes.edits.request;
        if !self.rules.are_met(&session.claims) || !self.rules.tell(&session.claims, edits) {
            return Verdict::fail(Failure::Denied("claims"));
        }
        Verdict::Pass
    }

    /// Sends a browser to the provider; anybody else gets 401.
    fn sign_in(&self, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        let Some((provider, _)) = &self.provider else { return Verdict::fail(Failure::AuthUnavailable("provider")) };
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
        redirect(location, vec![self.set_cookie(&self.login_name(), &browser, Some(LOGIN_S), context)])
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
            Ok(mut cookies) => {
                cookies.push(self.set_cookie(&self.login_name(), "", Some(0), context));
                redirect([context.asked_origin(head), login.asked.clone().into_bytes()].concat(), cookies)
            }
            Err(failure) => Verdict::fail(failure),
        }
    }

    fn sign_out(&self, provider: Option<&Provider>, head: &RequestHead, context: &Context<'_>) -> Verdict<'_> {
        let after = url(&self.spec.after_logout, head, context);
        let location = match provider.and_then(|provider| provider.end_session.as_ref()) {
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
        redirect(location, self.ended_cookies(head, context, |_| true))
    }

    /// What takes those of our cookies away from a browser that are to go.
    fn ended_cookies(&self, head: &RequestHead, context: &Context<'_>, goes: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
        let own = own_cookies(head.values(Known::Cookie), &self.spec.cookie).map(|(own, _)| own).unwrap_or_default();
        own.iter().filter(|name| goes(name)).map(|name| self.set_cookie(name, "", Some(0), context)).collect()
    }

    fn ask(&self, provider: &Provider, body: Vec<u8>, memory: Option<AnswerMemory>) -> Verdict<'_> {
        let client = Client { id: &self.spec.client_id, secret: self.secret.as_ref().map(|secret| &*secret.0) };
        Verdict::Ask(Errand::Ask(Box::new(client.question(provider, self.token_service, body, memory))))
    }

    fn begun(&self, login: &Login, tokens: Tokens, context: &Context<'_>) -> Result<SignedIn, Failure> {
        let claims = self.claims_of(tokens.id_token.as_deref().ok_or(Failure::Denied("provider"))?, context)?;
        if claims.get("nonce").and_then(Value::as_str) != Some(&login.nonce()) {
            return Err(Failure::Denied("login"));
        }
        let until_s = tokens.until_s(&claims, context.unix_s);
        // Whoever may not come in is told so now.
        if !self.rules.are_met(&claims) {
            return Err(Failure::Denied("claims"));
        }
        let refresh = tokens.refresh_token;
        let renew_s = renew_s(context.unix_s, until_s);
        Ok(SignedIn { claims: kept(claims), renew_s, until_s, begun_s: context.unix_s, refresh })
    }

    /// The session with more time. What the provider does not say again holds as before.
    fn renewed(&self, session: &SignedIn, tokens: Tokens, context: &Context<'_>) -> Result<SignedIn, Failure> {
        let known = tokens.id_token.as_deref().map(|token| self.claims_of(token, context)).transpose()?;
        // It must be the same one who signed in (OpenID Connect Core 1.0 §12.2).
        if known.as_ref().is_some_and(|known| known.get("sub") != session.claims.get("sub")) {
            return Err(Failure::Denied("provider"));
        }
        let until_s = tokens.until_s(known.as_ref().unwrap_or(&Claims::new()), context.unix_s);
        let claims = known.map_or_else(|| session.claims.clone(), kept);
        let refresh = tokens.refresh_token.or_else(|| session.refresh.clone());
        let renew_s = renew_s(context.unix_s, until_s);
        Ok(SignedIn { claims, renew_s, until_s, begun_s: session.begun_s, refresh })
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
        SignedIn::of(head, &self.spec.cookie, &self.sealer, (context.unix_s, self.lifetime_s()))
    }

    fn login_of(&self, head: &RequestHead, context: &Context<'_>) -> Option<Login> {
        Login::of(head, self.browser_of(head), &self.sealer, context.unix_s)
    }

    /// What the browser shows of a sign-in that it began.
    fn browser_of<'h>(&self, head: &'h RequestHead) -> Option<&'h [u8]> {
        cookie(head, self.login_name().as_bytes())
    }

    /// The name of the cookie that has it.
    fn login_name(&self) -> String {
        format!("{}{LOGIN_SUFFIX}", self.spec.cookie)
    }

    const fn lifetime_s(&self) -> u64 {
        self.spec.lifetime.ms() / 1_000
    }

    fn session_cookies(&self, session: &SignedIn, context: &Context<'_>) -> Option<Vec<Vec<u8>>> {
        let cookies = session.cookies(&self.spec.cookie, &self.sealer)?;
        let left_s = (session.begun_s + self.lifetime_s()).saturating_sub(context.unix_s);
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

/// From when on more time is asked for: in its last minute, or its last quarter where that is less.
fn renew_s(now_s: u64, until_s: u64) -> u64 {
    until_s - REFRESH_AHEAD_S.min(until_s.saturating_sub(now_s) / 4)
}

/// Claims that are worth keeping: not those that are of the token alone.
fn kept(mut claims: Claims) -> Claims {
    const OF_TOKEN: [&str; 8] = ["nonce", "at_hash", "c_hash", "s_hash", "iat", "nbf", "exp", "jti"];
    claims.retain(|name, _| !OF_TOKEN.contains(&name.as_str()));
    claims
}

/// The URL of a path of ours, as the client knows it.
fn url(path: &str, head: &RequestHead, context: &Context<'_>) -> Vec<u8> {
    [&context.asked_origin(head), head.stripped_prefix(), path.as_bytes()].concat()
}

fn redirect(location: Vec<u8>, cookies: Vec<Vec<u8>>) -> Verdict<'static> {
    let cookies = cookies.into_iter().map(|cookie| (&b"Set-Cookie"[..], Cow::Owned(cookie)));
    let fixed = [(&b"Location"[..], Cow::Owned(location)), (&b"Cache-Control"[..], Cow::Borrowed(&b"no-store"[..]))];
    let fields = fixed.into_iter().chain(cookies).collect();
    Verdict::Answer(Answer { status: 302, fields, body: Cow::Borrowed(b"") })
}
