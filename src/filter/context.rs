//! What a filter knows of a request beside its head, what it can say of it, and what it can leave for its way back.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::counters::in_flight::InFlightPlace;
use super::edits::Edits;
use super::errand::{Errand, OthersAnswer};
use crate::failure::Failure;
use crate::proto::h1::encode::put_request_id;
use crate::proto::h1::request::RequestHead;
use crate::units::addresses::is_in;

/// What is known of a request beside its head. Each fact is asked once for a request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks, behind trusted proxies.
    pub client: IpAddr,
    /// The port of the connection that it came on; 0 for a Unix socket.
    pub client_port: u16,
    /// The scheme that the client used, behind trusted proxies: `http` or `https`.
    pub scheme: &'static str,
    /// The port that the client used, behind trusted proxies; 0 where nobody knows.
    pub port: u16,
    /// True where a trusted proxy's word of the client is believed.
    pub is_trusted: bool,
    /// What the TLS handshake came to, where there was one.
    pub tls: Option<&'a crate::tls::Facts>,
    /// The name of its route.
    pub route: &'a str,
    /// Its number, which is unique.
    pub request_id: u128,
    /// True where the client's own identifier is kept.
    pub keeps_id: bool,
    /// A clock that only goes on, in microseconds.
    pub now_us: u64,
    /// Seconds since 1970; 0 where no filter of the chain asks for it ([`super::Chain::reads_time`]).
    pub unix_s: u64,
}

impl Context<'_> {
    /// What the client asked for, as a URL.
    #[must_use]
    pub fn asked_url(&self, head: &RequestHead) -> Vec<u8> {
        [&self.asked_origin(head), head.target().resolved()].concat()
    }

    /// Scheme and authority as the client knows them.
    #[must_use]
    pub fn asked_origin(&self, head: &RequestHead) -> Vec<u8> {
        [self.scheme.as_bytes(), b"://", head.asked_host(self.is_trusted)].concat()
    }

    /// Appends the request's identifier: one of somebody who is believed in that, or its number.
    pub fn put_request_id(&self, out: &mut Vec<u8>, head: &RequestHead) {
        match head.told_request_id().filter(|_| self.keeps_id) {
            Some(id) => out.extend_from_slice(id),
            None => put_request_id(out, self.request_id),
        }
    }

    /// True where the client is in one of these networks.
    #[must_use]
    pub fn is_client_in(&self, networks: &[IpNet]) -> bool {
        is_in(networks, self.client)
    }

    /// Of a request that nobody sent: for those who ask what would become of it.
    #[must_use]
    pub const fn of_nobody(scheme: &'static str) -> Self {
        Self {
            client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            client_port: 0,
            scheme,
            port: 0,
            is_trusted: false,
            tls: None,
            route: "",
            request_id: 0,
            keeps_id: false,
            now_us: 0,
            unix_s: 0,
        }
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It goes on.
    Pass,
    /// It is answered so.
    Answer(Answer<'a>),
    /// It is refused.
    Refuse(Box<Refusal>),
    /// This must be found out first; then the chain goes on ([`super::Chain::go_on`]).
    Ask(Errand),
}

impl Verdict<'_> {
    /// It is refused as the table of failures says.
    #[must_use]
    pub fn fail(failure: Failure) -> Self {
        Self::Refuse(Box::new(Refusal { failure, ..Refusal::default() }))
    }
}

/// Why a request is refused, and what the answer says beside it.
#[derive(Debug)]
pub struct Refusal {
    /// The row of the table.
    pub failure: Failure,
    /// The status in place of the row's, 400 to 599.
    pub status: Option<u16>,
    /// Fields of the answer; one that the row has as well takes its place.
    pub fields: Vec<(&'static [u8], Vec<u8>)>,
    /// Fields and body in place of those that would tell of the failure: what somebody else says about it.
    pub replaces: Option<OthersAnswer>,
}

impl Refusal {
    /// The same without somebody else's answer.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { failure: self.failure, status: self.status, fields: self.fields.clone(), replaces: None }
    }
}

impl Default for Refusal {
    fn default() -> Self {
        Self { failure: Failure::Denied(""), status: None, fields: Vec::new(), replaces: None }
    }
}

/// An answer of our own, in the upstream's place.
#[derive(Debug)]
pub struct Answer<'a> {
    /// 200 to 599.
    pub status: u16,
    /// Fields beside those of the connection, the date and the length.
    pub fields: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// The body.
    pub body: Cow<'a, [u8]>,
}

/// What filters found for one request: it holds beside what its route has for all.
#[derive(Debug, Default)]
pub struct Notes {
    /// Changes to the fields of this request and of its response.
    pub edits: Edits,
    /// The position of the filter in its chain that asks.
    pub(super) at: usize,
    /// The position within that filter, where it is several in one.
    pub(super) within: usize,
    /// What the request is refused with where none of several lets it pass.
    pub(super) refused: Option<Box<Refusal>>,
    /// Places among those in flight, given back when the exchange is over.
    pub places: Vec<InFlightPlace>,
}

impl Notes {
    /// One of several filters refused the request: the first one counts, or the first that asks for credentials.
    pub(super) fn note_refused(&mut self, refusal: Box<Refusal>) {
        let asks = |refusal: &Refusal| matches!(refusal.failure, Failure::AuthRequired(_));
        if self.refused.as_ref().is_none_or(|first| !asks(first) && asks(&refusal)) {
            self.refused = Some(refusal);
        }
    }
}
