//! Keeps a client with the endpoint that it had before, by a cookie or a field that we make.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ring::HashRing;
use crate::hash::{hash_of, hex};
use crate::limits::RING_PLACES_MAX;
use crate::proto::h1::field::is_token;
use crate::proto::h1::parameters::cookie;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::set_cookie::{CookieAttributes, SameSite, set_cookie};
use crate::units::Duration;

/// Keeps a client with its endpoint, by a cookie that is set with the first answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sticky {
    /// The name of the cookie.
    pub cookie: String,
    /// A field in place of the cookie: an answer has it, and the client sends it again.
    pub header: Option<String>,
    /// `"persistent"`: the client stays with its endpoint for as long as there is one of that address. `"balanced"`: it has a number,
    /// which a hash ring leads to an endpoint, so that new endpoints get their share of those who are there already.
    pub mode: StickyMode,
    /// The `Path` of the cookie.
    pub path: String,
    /// Its `Domain`; left out, it is the host's alone.
    pub domain: Option<String>,
    /// Whether it goes over TLS alone; left out, where the client came by TLS.
    pub secure: Option<bool>,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// `"strict"`, `"lax"` or `"none"`; left out, the browser's own rule.
    pub same_site: Option<SameSite>,
    /// How long it lasts; left out, until the browser ends.
    pub max_age: Option<Duration>,
    /// Whether a client whose endpoint does not answer stays with the one that did. Otherwise it goes back once its own is there again.
    pub change_on_failure: bool,
}

/// How clients are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StickyMode {
    /// With an endpoint.
    #[default]
    Persistent,
    /// With a place on the hash ring.
    Balanced,
}

impl Default for Sticky {
    fn default() -> Self {
        Self {
            cookie: "ringress".to_owned(),
            header: None,
            mode: StickyMode::default(),
            path: "/".to_owned(),
            domain: None,
            secure: None,
            http_only: true,
            same_site: None,
            max_age: None,
            change_on_failure: false,
        }
    }
}

/// What stands for each endpoint: a hash of the service's name and the address, so that it is the same on every host and after each
/// start. It is no secret: whoever knows the names and tries addresses can find out which one it is.
#[derive(Debug, Default)]
pub struct StickyTokens {
    by_position: Vec<String>,
    positions: HashMap<String, usize>,
    /// What stands for the service, behind places on its ring.
    service: String,
}

impl StickyTokens {
    /// Those of a service's endpoints, in their order.
    #[must_use]
    pub fn new<A: Display>(service: &str, addresses: impl IntoIterator<Item = A>) -> Self {
        let token = |text: &str, bytes: usize| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            hex(&digest.as_ref()[..bytes])
        };
        // Half of the hash is enough to tell endpoints apart.
        let of_endpoint = |address: A| token(&format!("{service}\n{address}"), 16);
        let by_position: Vec<_> = addresses.into_iter().map(of_endpoint).collect();
        // Of an address that is listed twice the first one counts.
        let positions = by_position.iter().enumerate().rev().map(|(at, token)| (token.clone(), at)).collect();
        Self { by_position, positions, service: token(service, 4) }
    }

    /// A place on the ring of this service, from what a client shows: digits, and behind a point the service where that was told.
    fn place<'s>(&self, shown: &'s str) -> Option<&'s str> {
        let (id, service) = shown.split_once('.').map_or((shown, None), |(id, service)| (id, Some(service)));
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && service.is_none_or(|service| service == self.service)).then_some(id)
    }
}

/// What ties a request to an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// Nothing: the service has no such rule.
    #[default]
    None,
    /// Nothing yet: the answer tells the client its endpoint.
    Free,
    /// The endpoint at this position.
    Endpoint(usize),
    /// The client's place on the ring.
    Session(String),
    /// The same, which the answer tells the client.
    NewSession(String),
}

impl Tie {
    /// The hash for the ring, where the client has a place there.
    #[must_use]
    pub fn hash(&self) -> Option<u64> {
        match self {
            Self::Session(id) | Self::NewSession(id) => Some(hash_of(id.as_bytes())),
            Self::None | Self::Free | Self::Endpoint(_) => None,
        }
    }

    /// The position of the client's endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> Option<usize> {
        match self {
            Self::Endpoint(at) => Some(*at),
            Self::None | Self::Free | Self::Session(_) | Self::NewSession(_) => None,
        }
    }
}

impl Sticky {
    /// What the client shows.
    fn shown<'a>(&self, head: &'a RequestHead) -> Option<Cow<'a, [u8]>> {
        match &self.header {
            Some(name) => head.value(name.as_bytes()),
            None => cookie(head, self.cookie.as_bytes()).map(Cow::Borrowed),
        }
    }

    /// The position of the endpoint that a client was told.
    #[must_use]
    pub fn endpoint(&self, tokens: &StickyTokens, head: &RequestHead) -> Option<usize> {
        if self.mode != StickyMode::Persistent {
            return None;
        }
        let shown = self.shown(head)?;
        tokens.positions.get(std::str::from_utf8(&shown).ok()?).copied()
    }

    /// True where a client was told that it belongs to this service.
    #[must_use]
    pub fn knows(&self, tokens: &StickyTokens, head: &RequestHead) -> bool {
        match self.mode {
            StickyMode::Persistent => self.endpoint(tokens, head).is_some(),
            StickyMode::Balanced => self.shown(head).is_some_and(|shown| {
                let shown = std::str::from_utf8(&shown).unwrap_or_default();
                shown.contains('.') && tokens.place(shown).is_some()
            }),
        }
    }

    /// What ties a request to an endpoint. `random` makes a place on the ring for a client that has none.
    #[must_use]
    pub fn tie(&self, tokens: &StickyTokens, head: &RequestHead, random: impl FnOnce() -> u128) -> Tie {
        match self.mode {
            StickyMode::Persistent => self.endpoint(tokens, head).map_or(Tie::Free, Tie::Endpoint),
            StickyMode::Balanced => {
                let shown = self.shown(head);
                let shown = shown.as_deref().and_then(|shown| std::str::from_utf8(shown).ok());
                let known = shown.and_then(|shown| tokens.place(shown)).map(|id| Tie::Session(id.to_owned()));
                known.unwrap_or_else(|| Tie::NewSession(format!("{:032x}", random())))
            }
        }
    }

    /// What ties a client to the endpoint at this position, which answered in the place of one that failed; `None` where the client stays, or no
    /// place on the ring is found.
    #[must_use]
    pub fn moved(&self, tie: &Tie, ring: &HashRing, at: usize) -> Option<Tie> {
        let (Tie::Session(id) | Tie::NewSession(id)) = tie else { return None };
        let owner = |id: &str| ring.owner(hash_of(id.as_bytes()));
        if !self.change_on_failure || owner(id)? == at {
            return None;
        }
        let half = |text: String| hash_of(text.as_bytes());
        let place =
            |number: u32| format!("{:016x}{:016x}", half(format!("{id}{number}")), half(format!("{number}{id}")));
        (0..RING_PLACES_MAX).map(place).find(|place| owner(place) == Some(at)).map(Tie::NewSession)
    }

    /// The field that tells the client where it belongs, once the endpoint at this position answered it; `None` where it knows.
    /// `is_secure` is true where the client came by TLS.
    #[must_use]
    pub fn line(&self, tokens: &StickyTokens, tie: &Tie, at: usize, is_secure: bool) -> Option<(&str, String)> {
        let value = match tie {
            Tie::None | Tie::Session(_) => return None,
            Tie::Endpoint(own) if *own == at || !self.change_on_failure => return None,
            Tie::Free | Tie::Endpoint(_) => tokens.by_position.get(at)?.clone(),
            Tie::NewSession(id) => format!("{id}.{}", tokens.service),
        };
        if let Some(name) = &self.header {
            return Some((name, value));
        }
        let attributes = CookieAttributes {
            path: Some(&self.path),
            domain: self.domain.as_deref(),
            max_age_s: self.max_age.map(|age| age.ms() / 1_000),
            is_secure: self.secure.unwrap_or(is_secure),
            is_http_only: self.http_only,
            same_site: self.same_site,
        };
        Some(("Set-Cookie", set_cookie(&self.cookie, &value, &attributes)))
    }

    /// What is wrong with it: the key, what, and the remedy.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut faults = Vec::new();
        let names = [("cookie", Some(&self.cookie)), ("header", self.header.as_ref())];
        for (key, name) in names.into_iter().filter_map(|(key, name)| Some((key, name?))) {
            if !is_token(name.as_bytes()) {
                faults.push((key, format!("`{name}` is not a name"), "write letters, digits, - and _"));
            }
        }
        let of_field = Self {
            header: self.header.clone(),
            mode: self.mode,
            change_on_failure: self.change_on_failure,
            ..Self::default()
        };
        if self.header.is_some() && of_field != *self {
            faults.push((
                "header",
                "a field has none of what a cookie has".to_owned(),
                "leave out what is about the cookie",
            ));
        }
        if !self.path.starts_with('/') {
            faults.push(("path", format!("`{}` is not a path", self.path), "begin it with /"));
        }
        let is_attribute = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
        for (key, text) in [("path", Some(&self.path)), ("domain", self.domain.as_ref())] {
            if text.is_some_and(|text| !is_attribute(text)) {
                faults.push((
                    key,
                    "it would end the attribute of the cookie".to_owned(),
                    "leave spaces and semicolons out",
                ));
            }
        }
        if self.same_site == Some(SameSite::None) && self.secure == Some(false) {
            let what = "browsers take no cookie for all sites that is not secure".to_owned();
            faults.push(("same_site", what, "set `secure = true`"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::HashRules;
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    fn asked(fields: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes(), HeadRules::default()).unwrap();
        head
    }

    fn value(line: Option<(&str, String)>) -> String {
        let (name, line) = line.unwrap();
        assert_eq!(name, "Set-Cookie");
        line.strip_prefix("ringress=").unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_client_stays_with_the_endpoint_that_it_was_told() {
        let sticky = Sticky::default();
        let tokens = StickyTokens::new("s", ["10.0.0.1:80", "10.0.0.2:80"]);
        let tie = sticky.tie(&tokens, &asked(""), || 0);
        assert_eq!(tie, Tie::Free);
        let told = value(sticky.line(&tokens, &tie, 1, false));
        let own = sticky.tie(&tokens, &asked(&format!("Cookie: a=b; ringress={told}\r\n")), || 0);
        assert_eq!(own, Tie::Endpoint(1));
        assert_eq!(sticky.line(&tokens, &own, 1, false), None);
        // The other one answered in its place: it goes back later, unless that is not wanted.
        assert_eq!(sticky.line(&tokens, &own, 0, false), None);
        let changing = Sticky { change_on_failure: true, ..Sticky::default() };
        assert_ne!(value(changing.line(&tokens, &own, 0, false)), told);
        // Endpoints that moved to other positions keep their clients; an endpoint of another service has none of them.
        let moved = StickyTokens::new("s", ["10.0.0.2:80", "10.0.0.3:80"]);
        let cookie = format!("Cookie: ringress={told}\r\n");
        assert_eq!(sticky.tie(&moved, &asked(&cookie), || 0), Tie::Endpoint(0));
        assert_eq!(sticky.tie(&StickyTokens::new("t", ["10.0.0.2:80"]), &asked(&cookie), || 0), Tie::Free);
        assert_eq!(sticky.tie(&tokens, &asked("Cookie: ringress=10.0.0.1:80\r\n"), || 0), Tie::Free);
    }

    #[test]
    fn a_client_has_a_place_on_the_ring() {
        let sticky = Sticky { mode: StickyMode::Balanced, ..Sticky::default() };
        let tokens = StickyTokens::default();
        let tie = sticky.tie(&tokens, &asked(""), || 10);
        assert_eq!(tie, Tie::NewSession(format!("{:032x}", 10)));
        let told = value(sticky.line(&tokens, &tie, 0, false));
        let again = sticky.tie(&tokens, &asked(&format!("Cookie: ringress={told}\r\n")), || 11);
        assert_eq!((again.hash(), sticky.line(&tokens, &again, 1, false)), (tie.hash(), None));
        let forged = sticky.tie(&tokens, &asked("Cookie: ringress=x\r\n"), || 12);
        assert_eq!(forged, Tie::NewSession(format!("{:032x}", 12)));
        // It tells of its service, so that the canary's client is known from main's.
        let cookie = asked(&format!("Cookie: ringress={told}\r\n"));
        let other = StickyTokens::new("canary", ["10.0.0.1:80"]);
        assert!(sticky.knows(&tokens, &cookie) && !sticky.knows(&other, &cookie));
        assert_eq!(sticky.tie(&other, &cookie, || 13), Tie::NewSession(format!("{:032x}", 13)));
        let older = asked(&format!("Cookie: ringress={:032x}\r\n", 10));
        assert!(!sticky.knows(&tokens, &older), "it was any service's");
        assert_eq!(sticky.tie(&other, &older, || 14).hash(), tie.hash());
    }

    #[test]
    fn a_client_moves_on_the_ring_where_another_endpoint_answered_and_that_is_wanted() {
        let stays = Sticky { mode: StickyMode::Balanced, ..Sticky::default() };
        let moves = Sticky { change_on_failure: true, ..stays.clone() };
        let ring = |rules| HashRing::new((0..20).map(|at| (format!("10.0.0.{at}:80"), 1)), rules);
        let (one, several) = (ring(HashRules::default()), ring(HashRules { subset: 2, load_percent: None }));
        let id = format!("{:032x}", 7);
        let own = one.owner(hash_of(id.as_bytes())).unwrap();
        for tie in [Tie::Session(id.clone()), Tie::NewSession(id)] {
            assert_eq!((stays.moved(&tie, &one, own + 1), moves.moved(&tie, &one, own)), (None, None));
            assert_eq!(moves.moved(&tie, &several, own + 1), None);
            for at in (0..20).filter(|at| *at != own) {
                let moved = moves.moved(&tie, &one, at).unwrap();
                assert_eq!(moved.hash().and_then(|hash| one.owner(hash)), Some(at));
                assert!(matches!(moved, Tie::NewSession(id) if id.len() == 32));
            }
        }
        assert_eq!(moves.moved(&Tie::Endpoint(1), &one, 2), None, "it has no place there");
    }

    #[test]
    fn a_field_may_stand_in_for_the_cookie() {
        let sticky = Sticky { header: Some("X-Session".to_owned()), ..Sticky::default() };
        let tokens = StickyTokens::new("s", ["10.0.0.1:80"]);
        let (name, token) = sticky.line(&tokens, &Tie::Free, 0, false).unwrap();
        assert_eq!(name, "X-Session");
        assert_eq!(sticky.tie(&tokens, &asked(&format!("X-Session: {token}\r\n")), || 0), Tie::Endpoint(0));
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let told = |sticky: Sticky| sticky.faults().into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
        assert_eq!(told(Sticky::default()), [""; 0]);
        assert_eq!(told(Sticky { cookie: "a b".to_owned(), ..Sticky::default() }), ["cookie"]);
        assert_eq!(told(Sticky { path: "a;b".to_owned(), ..Sticky::default() }), ["path", "path"]);
        let none = Sticky { same_site: Some(SameSite::None), secure: Some(false), ..Sticky::default() };
        assert_eq!(told(none), ["same_site"]);
        let field = Sticky { header: Some("X".to_owned()), domain: Some("a".to_owned()), ..Sticky::default() };
        assert_eq!(told(field), ["header"]);
    }
}
