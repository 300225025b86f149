//! What a request head says, to whoever asks: each question has one answer, and one place.

use std::borrow::Cow;

use super::super::authority::host_length;
use super::super::fault::RequestFault;
use super::super::field::{Field, Known, binds_connection, list_elements};
use super::super::framing::Framing;
use super::super::method;
use super::super::rules::ForwardedPath;
use super::super::target::Target;
use super::RequestHead;
use crate::proto::version::Version;

/// What the head says.
impl RequestHead {
    /// The method, as it came.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.bytes(&self.bytes)
    }

    /// The version of the request.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The request target as it came, for logs.
    #[must_use]
    pub fn raw_target(&self) -> &[u8] {
        self.raw_target.bytes(&self.bytes)
    }

    /// Path and query in both of their forms, or `*`.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The target, which filters may change.
    pub const fn target_mut(&mut self) -> &mut Target {
        &mut self.target
    }

    /// Takes a prefix, without final slash, off the path; false where it does not begin so.
    ///
    /// # Errors
    /// [`RequestFault`]: what is left is no path.
    pub fn strip_prefix(&mut self, prefix: &[u8]) -> Result<bool, RequestFault> {
        let is_stripped = self.target.strip_prefix(prefix)?;
        if is_stripped {
            self.stripped.extend_from_slice(prefix);
        }
        Ok(is_stripped)
    }

    /// The host that upstreams get in place of the client's, where a filter put one.
    #[must_use]
    pub fn rewritten_host(&self) -> Option<&[u8]> {
        Some(&self.rewritten_host[..]).filter(|host| !host.is_empty())
    }

    /// Puts another host in place of the client's for the upstream; routes and logs keep what came.
    pub fn rewrite_host(&mut self, host: Vec<u8>) {
        self.rewritten_host = host;
    }

    /// What [`Self::strip_prefix`] took off the path.
    #[must_use]
    pub fn stripped_prefix(&self) -> &[u8] {
        &self.stripped
    }

    /// `X-Request-ID` as it came, where it may be passed on: visible characters, at most 128.
    #[must_use]
    pub fn told_request_id(&self) -> Option<&[u8]> {
        let is_id = |id: &&[u8]| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        self.only(Known::XRequestId).filter(is_id)
    }

    /// `Max-Forwards` of the methods that count them (RFC 9110 §7.6.2).
    #[must_use]
    pub fn forwards_left(&self) -> Option<u64> {
        if !matches!(self.method(), b"OPTIONS" | b"TRACE") {
            return None;
        }
        std::str::from_utf8(self.only(Known::MaxForwards)?).ok()?.parse().ok()
    }

    /// The target that goes to the upstream.
    #[must_use]
    pub fn forwarded(&self, form: ForwardedPath) -> &[u8] {
        match form {
            ForwardedPath::AsSent => {
                let sent = self.sent_target.bytes(&self.bytes);
                if self.target.may_go_as_sent() && sent.starts_with(b"/") { sent } else { self.target.resolved() }
            }
            ForwardedPath::Resolved => self.target.resolved(),
            ForwardedPath::Matched => self.target.matched(),
        }
    }

    /// The path as it is matched.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.target.path()
    }

    /// The query without its `?`, empty where there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.target.query()
    }

    /// Host and port in lower case; empty for HTTP/1.0 without `Host`.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.authority.bytes(&self.bytes)
    }

    /// The host in lower case, without its port and without a final dot.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        let host = self.authority().get(..self.host_length).unwrap_or_default();
        host.strip_suffix(b".").unwrap_or(host)
    }

    /// The host that the client used, with its port where it said one: by a trusted proxy's word, or what came.
    #[must_use]
    pub fn asked_host(&self, is_trusted: bool) -> &[u8] {
        let told = if is_trusted { self.only(Known::XForwardedHost) } else { None };
        told.filter(|host| host_length(host).is_some()).unwrap_or_else(|| self.authority())
    }

    /// How long the body is.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// True where it asks for nothing to be done (RFC 9110 §9.2.1) and has neither body nor another protocol behind it.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        method::is_safe(self.method()) && self.framing == Framing::None && self.upgrade().is_none()
    }

    /// True where it has a body that its method has none of by custom (RFC 9110 §9.3): some servers do not read it, and take it for
    /// the next request.
    #[must_use]
    pub fn has_unusual_body(&self) -> bool {
        method::has_usually_no_body(self.method()) && !self.framing.is_empty()
    }

    /// True where its credentials authenticate the connection and not the request: NTLM, Negotiate (RFC 4559 §6).
    #[must_use]
    pub fn binds_connection(&self) -> bool {
        self.values(Known::Authorization).any(binds_connection)
    }

    /// True where it may be sent twice (RFC 9110 §9.2.2), or says so itself by an `Idempotency-Key`.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        method::is_idempotent(self.method()) || self.value(b"idempotency-key").is_some_and(|key| !key.is_empty())
    }

    /// True where the client wants to send another request on this connection.
    #[must_use]
    pub const fn wants_keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// True where the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.expects_continue && !self.framing.is_empty()
    }

    /// The protocols that the client offers to change to.
    #[must_use]
    pub fn upgrade(&self) -> Option<&[u8]> {
        Some(&self.upgrade[..]).filter(|protocols| !protocols.is_empty())
    }

    /// True where the client offers the WebSocket, which cannot be answered otherwise. Any other protocol is an offer that an
    /// upstream may leave alone (RFC 9110 §7.8).
    #[must_use]
    pub fn demands_upgrade(&self) -> bool {
        self.framing.is_empty()
            && list_elements(&self.upgrade).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }

    /// The fields, each with name and value, in the order they came.
    pub fn fields(&self) -> impl Iterator<Item = (&Field, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field, field.name.bytes(&self.bytes), field.value.bytes(&self.bytes)))
    }

    /// The values of the fields with this known name, in the order they came.
    pub fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.known == known).map(|field| field.value.bytes(&self.bytes))
    }

    /// The value of the one field with this known name, for names that are said once; `None` where there are more, which say
    /// nothing for sure.
    #[must_use]
    pub fn only(&self, known: Known) -> Option<&[u8]> {
        let mut values = self.values(known);
        values.next().filter(|_| values.next().is_none())
    }

    /// The value of all fields with this name, whatever its case, joined by commas in the order they came: one reading of repeated
    /// fields, wherever one is asked for (RFC 9110 §5.3).
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut values =
            self.fields().filter(|(_, field, _)| field.eq_ignore_ascii_case(name)).map(|(_, _, value)| value);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Some(Cow::Owned(joined))
    }
}
