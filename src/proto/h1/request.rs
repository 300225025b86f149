//! Parses a request head in place and says everything a proxy must know of it.
//!
//! The head keeps its buffer; fields are places in it. Nothing is allocated once the vectors have grown.

use std::mem::MaybeUninit;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::authority::host_length;
use super::fault::RequestFault;
use super::field::{Field, Known, Span, list_elements, mark_nominated};
use super::framing::{Framing, stated};
use super::target::{TargetFault, absolute_form, normalize};
use crate::limits::{FIELDS_MAX, TARGET_BYTES_MAX};
use crate::proto::grpc_web;
use crate::proto::version::Version;

/// What to do with field names that contain `_`: CGI-like upstreams cannot tell them from `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// Leave the field out.
    #[default]
    Drop,
    /// Refuse the request.
    Reject,
    /// Pass it on.
    Keep,
}

/// A parsed request head. Reusable: [`Self::parse`] replaces what was there.
#[derive(Debug, Default)]
pub struct RequestHead {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    version: Version,
    method: Span,
    raw_target: Span,
    target: Vec<u8>,
    path_length: usize,
    authority: Span,
    host_length: usize,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    upgrade: Option<Span>,
    /// It came as gRPC-web, and is read as gRPC.
    grpc_web: Option<grpc_web::GrpcWebKind>,
}

impl RequestHead {
    /// Parses the head that is the whole of `bytes`, its empty line included.
    ///
    /// # Errors
    /// The first [`RequestFault`]. The head then knows method and target as far as they were read.
    pub fn parse(&mut self, bytes: Vec<u8>, underscores: Underscores) -> Result<(), RequestFault> {
        self.clear();
        self.bytes = bytes;
        self.parse_lines(underscores)?;
        self.framing =
            stated(&self.fields, &self.bytes, self.version).map_err(RequestFault::Framing)?.unwrap_or_default();
        if self.method() == b"CONNECT" {
            return Err(RequestFault::Method);
        }
        self.parse_target()?;
        self.parse_connection()?;
        self.bytes[self.authority.range()].make_ascii_lowercase();
        mark_nominated(&mut self.fields, &self.bytes);
        Ok(())
    }

    /// Notes that it came over HTTP/2, and was written as one of HTTP/1.1 to be parsed.
    pub const fn mark_h2(&mut self) {
        self.version = Version::H2;
    }

    /// What was parsed: the whole head, its empty line included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets everything and gives the buffer back for reuse.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.clear();
        std::mem::take(&mut self.bytes)
    }

    fn clear(&mut self) {
        self.fields.clear();
        self.target.clear();
        self.version = Version::Http11;
        self.method = Span::default();
        self.raw_target = Span::default();
        self.path_length = 0;
        self.authority = Span::default();
        self.host_length = 0;
        self.framing = Framing::None;
        self.keep_alive = false;
        self.expects_continue = false;
        self.upgrade = None;
        self.grpc_web = None;
    }

    fn parse_lines(&mut self, underscores: Underscores) -> Result<(), RequestFault> {
        let mut lines = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_request_with_uninit_headers(&mut request, &self.bytes, &mut lines) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(RequestFault::RequestLine),
            Err(error) => return Err(fault_of(error, &self.bytes)),
        }
        let (method, target) = request.method.zip(request.path).ok_or(RequestFault::RequestLine)?;
        self.method = Span::of(method.as_bytes(), &self.bytes);
        self.raw_target = Span::of(target.as_bytes(), &self.bytes);
        self.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        if target.len() > TARGET_BYTES_MAX {
            return Err(RequestFault::TargetTooLong);
        }
        for line in request.headers.iter() {
            if line.name.contains('_') && underscores != Underscores::Keep {
                if underscores == Underscores::Reject {
                    return Err(RequestFault::FieldUnderscore);
                }
                continue;
            }
            self.fields.push(Field {
                name: Span::of(line.name.as_bytes(), &self.bytes),
                value: Span::of(line.value, &self.bytes),
                known: Known::of(line.name.as_bytes()),
                nominated: false,
            });
        }
        Ok(())
    }

    /// Origin-form, absolute-form and `OPTIONS *` (RFC 9112 §3.2), and the authority that goes with them.
    fn parse_target(&mut self) -> Result<(), RequestFault> {
        let host = self.host_field()?;
        let raw = self.raw_target.bytes(&self.bytes);
        if raw == b"*" {
            if self.method.bytes(&self.bytes) != b"OPTIONS" {
                return Err(RequestFault::TargetForm);
            }
            self.target.push(b'*');
            self.path_length = 1;
            self.authority = host.unwrap_or_default();
        } else {
            let (authority, from) = absolute_form(raw).unwrap_or((0..0, 0));
            let authority = self.raw_target.part(authority.start, authority.end);
            self.path_length = normalize(&raw[from..], &mut self.target).map_err(|fault| match fault {
                TargetFault::Percent => RequestFault::TargetPercent,
                TargetFault::Character => RequestFault::TargetCharacter,
                TargetFault::Form => RequestFault::TargetForm,
            })?;
            self.authority = self.agreed_authority(from > 0, authority, host)?;
        }
        if !self.authority.is_empty() {
            self.host_length = host_length(self.authority.bytes(&self.bytes)).ok_or(RequestFault::HostInvalid)?;
        }
        Ok(())
    }

    fn host_field(&self) -> Result<Option<Span>, RequestFault> {
        let mut hosts = self.fields.iter().filter(|field| field.known == Known::Host);
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(RequestFault::HostRepeated);
        }
        match host {
            None if self.version == Version::Http11 => Err(RequestFault::HostMissing),
            Some(field) if field.value.is_empty() => Err(RequestFault::HostInvalid),
            other => Ok(other.map(|field| field.value)),
        }
    }

    /// The target's authority wins over `Host`, and must agree with it (RFC 9112 §3.2.2).
    fn agreed_authority(&self, is_absolute: bool, target: Span, host: Option<Span>) -> Result<Span, RequestFault> {
        if !is_absolute {
            return Ok(host.unwrap_or_default());
        }
        if target.is_empty() {
            return Err(RequestFault::HostInvalid);
        }
        let agrees = |host: Span| host.bytes(&self.bytes).eq_ignore_ascii_case(target.bytes(&self.bytes));
        if host.is_some_and(|host| !agrees(host)) {
            return Err(RequestFault::HostDisagrees);
        }
        Ok(target)
    }

    fn parse_connection(&mut self) -> Result<(), RequestFault> {
        let (mut close, mut keep_alive, mut upgrade) = (false, false, false);
        let mut protocol = None;
        for field in &self.fields {
            let value = field.value.bytes(&self.bytes);
            if field.known == Known::Connection {
                for option in list_elements(value) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
            } else if field.known == Known::Expect {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(RequestFault::Expectation);
                }
                self.expects_continue = self.version == Version::Http11;
            } else if field.known == Known::Upgrade && !value.eq_ignore_ascii_case(b"h2c") {
                // A cleartext upgrade to HTTP/2 is deprecated (RFC 9113 §3.1): answered without it.
                protocol = Some(field.value);
            }
        }
        self.keep_alive = !close && (self.version == Version::Http11 || keep_alive);
        self.upgrade = protocol.filter(|_| upgrade && self.version == Version::Http11);
        if self.upgrade.is_some() && !matches!(self.framing, Framing::None | Framing::Length(0)) {
            return Err(RequestFault::UpgradeWithBody);
        }
        Ok(())
    }
}

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

    /// The normalised target: path and query, or `*`.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// The normalised path.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.target.get(..self.path_length).unwrap_or_default()
    }

    /// The query without its `?`, empty where there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.target.get(self.path_length + 1..).unwrap_or_default()
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

    /// How long the body is.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// True where it asks for nothing to be done (RFC 9110 §9.2.1) and has neither body nor another protocol behind it.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        let is_method = matches!(self.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
        is_method && self.framing == Framing::None && self.upgrade().is_none()
    }

    /// True where it may be sent twice (RFC 9110 §9.2.2), or says so itself by an `Idempotency-Key`.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        let is_method = matches!(self.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE");
        is_method || self.value(b"idempotency-key").is_some_and(|key| !key.is_empty())
    }

    /// True where the client wants to send another request on this connection.
    #[must_use]
    pub const fn wants_keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// True where the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.expects_continue && !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// The protocol the client asks to change to.
    #[must_use]
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|protocol| protocol.bytes(&self.bytes))
    }

    /// The fields, each with name and value, in the order they came.
    pub fn fields(&self) -> impl Iterator<Item = (&Field, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field, field.name.bytes(&self.bytes), field.value.bytes(&self.bytes)))
    }

    /// The value of the first field with this known name.
    #[must_use]
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| field.known == known)?;
        Some(field.value.bytes(&self.bytes))
    }

    /// The value of the first field with this name, whatever its case.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|(_, field, _)| field.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }

    /// Puts another path in place of the path; the query stays. `path` is normalised once more.
    ///
    /// # Errors
    /// [`RequestFault::TargetForm`] where the result is no path.
    pub fn rewrite_path(&mut self, path: &[u8]) -> Result<(), RequestFault> {
        let mut target = Vec::with_capacity(path.len() + self.target.len());
        let length = normalize(path, &mut target).map_err(|_| RequestFault::TargetForm)?;
        if length != target.len() {
            return Err(RequestFault::TargetForm);
        }
        target.extend_from_slice(&self.target[self.path_length..]);
        self.target = target;
        self.path_length = length;
        Ok(())
    }
}

impl RequestHead {
    /// From here on a request of gRPC-web is one of gRPC, by its content type; any other stays as it is.
    pub fn bridge_grpc_web(&mut self) {
        let field = self.fields.iter_mut().find(|field| field.known == Known::ContentType);
        let Some(value) = field.map(|field| &mut field.value) else { return };
        let Some(kind) = grpc_web::GrpcWebKind::of(value.bytes(&self.bytes)) else { return };
        // In place: what tells them apart is left out, and the rest moves up.
        let (name, was) = ("application/grpc".len(), kind.content_type().len());
        let place = &mut self.bytes[value.range()];
        place.copy_within(was.., name);
        *value = value.part(0, value.range().len() - (was - name));
        self.grpc_web = Some(kind);
        if kind == grpc_web::GrpcWebKind::Text && matches!(self.framing, Framing::Length(1..)) {
            // It has another length than its text.
            self.framing = Framing::Chunked;
        }
    }

    /// How it came, where that was as gRPC-web.
    #[must_use]
    pub const fn grpc_web(&self) -> Option<grpc_web::GrpcWebKind> {
        self.grpc_web
    }
}

/// httparse's errors as rules. It says `Version` for anything behind the target, so that is looked at again.
fn fault_of(error: httparse::Error, bytes: &[u8]) -> RequestFault {
    match error {
        httparse::Error::HeaderName => RequestFault::FieldName,
        httparse::Error::HeaderValue => RequestFault::FieldValue,
        httparse::Error::TooManyHeaders => RequestFault::HeadTooLarge,
        httparse::Error::Version if has_version_form(bytes) => RequestFault::Version,
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status | httparse::Error::NewLine => {
            RequestFault::RequestLine
        }
    }
}

/// True where the first line has three words of which the last is `HTTP/` digit `.` digit.
fn has_version_form(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.len().checked_sub(9).map(|from| &line[from..]);
    let spaces = line.iter().filter(|byte| **byte == b' ').count();
    spaces == 2
        && matches!(version, Some([b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<RequestHead, RequestFault> {
        let mut request = RequestHead::default();
        request.parse(head.as_bytes().to_vec(), Underscores::Drop)?;
        Ok(request)
    }

    fn fault(lines: &str) -> RequestFault {
        parse(&format!("{lines}\r\n\r\n")).expect_err(lines)
    }

    #[test]
    fn a_request_is_read_as_it_says() {
        let head = parse("POST /a/../b?x=1 HTTP/1.1\r\nHost: EXAMPLE.com:80\r\nContent-Length: 7\r\n\r\n").unwrap();
        assert_eq!(head.method(), b"POST");
        assert_eq!(head.raw_target(), b"/a/../b?x=1");
        assert_eq!(head.target(), b"/b?x=1");
        assert_eq!(head.path(), b"/b");
        assert_eq!(head.query(), b"x=1");
        assert_eq!(head.authority(), b"example.com:80");
        assert_eq!(head.host(), b"example.com");
        assert_eq!(head.framing(), Framing::Length(7));
        assert!(head.wants_keep_alive());
    }

    #[test]
    fn absolute_form_wins_and_must_agree_with_host() {
        let head = parse("GET http://A.b/c HTTP/1.1\r\nHost: a.B\r\n\r\n").unwrap();
        assert_eq!((head.host(), head.target()), (&b"a.b"[..], &b"/c"[..]));
        let head = parse("GET HTTP://a.b?q HTTP/1.1\r\nHost: a.b\r\n\r\n").unwrap();
        assert_eq!(head.target(), b"/?q");
        assert_eq!(fault("GET http://a/ HTTP/1.1\r\nHost: b"), RequestFault::HostDisagrees);
        assert_eq!(fault("GET http:///x HTTP/1.1\r\nHost: b"), RequestFault::HostInvalid);
        assert_eq!(fault("GET ftp://a/ HTTP/1.1\r\nHost: a"), RequestFault::TargetForm);
    }

    #[test]
    fn hosts_are_one_and_valid() {
        assert_eq!(fault("GET / HTTP/1.1\r\nA: b"), RequestFault::HostMissing);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\nHost: a"), RequestFault::HostRepeated);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a b"), RequestFault::HostInvalid);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost:"), RequestFault::HostInvalid);
        assert!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().authority().is_empty());
    }

    #[test]
    fn malformed_lines_are_told_by_their_rule() {
        assert_eq!(fault("GET / HTTP/2.0\r\nHost: a"), RequestFault::Version);
        assert_eq!(fault("GET / HTTP/1.7\r\nHost: a"), RequestFault::Version);
        assert_eq!(fault("GET / HTTQ/1.1\r\nHost: a"), RequestFault::RequestLine);
        assert_eq!(fault("GET /"), RequestFault::RequestLine);
        assert_eq!(fault("GET  / HTTP/1.1\r\nHost: a"), RequestFault::RequestLine);
        assert_eq!(fault("GET / x HTTP/1.1\r\nHost: a"), RequestFault::RequestLine);
        assert_eq!(fault("CONNECT a:1 HTTP/1.1\r\nHost: a:1"), RequestFault::Method);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost : a"), RequestFault::FieldName);
        assert_eq!(fault("GET / HTTP/1.1\r\n: a"), RequestFault::FieldName);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\n b"), RequestFault::FieldName);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb"), RequestFault::FieldValue);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b"), RequestFault::FieldValue);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok"), RequestFault::Expectation);
        assert_eq!(fault("PUT * HTTP/1.1\r\nHost: a"), RequestFault::TargetForm);
        assert_eq!(fault("GET /a#b HTTP/1.1\r\nHost: a"), RequestFault::TargetCharacter);
        let many = "A: b\r\n".repeat(FIELDS_MAX);
        assert_eq!(fault(&format!("GET / HTTP/1.1\r\n{many}Host: a")), RequestFault::HeadTooLarge);
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        let wants = |version: &str, connection: &str| {
            parse(&format!("GET / {version}\r\nHost: a\r\n{connection}\r\n")).unwrap().wants_keep_alive()
        };
        assert!(wants("HTTP/1.1", ""));
        assert!(!wants("HTTP/1.1", "Connection: x, Close\r\n"));
        assert!(!wants("HTTP/1.0", ""));
        assert!(wants("HTTP/1.0", "Connection: Keep-Alive\r\n"));
        assert!(!wants("HTTP/1.0", "Connection: keep-alive, close\r\n"));
    }

    #[test]
    fn nominated_fields_end_here_but_framing_and_identity_do_not() {
        let head =
            parse("GET / HTTP/1.1\r\nHost: a\r\nX-Mine: 1\r\nCookie: c\r\nConnection: x-mine, host, cookie\r\n\r\n");
        let head = head.unwrap();
        let nominated: Vec<_> = head.fields().filter(|(field, ..)| field.nominated).map(|(_, name, _)| name).collect();
        assert_eq!(nominated, [b"X-Mine"]);
    }

    #[test]
    fn upgrades_need_both_fields_and_no_body() {
        let head = |extra: &str| parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n\r\n"));
        let asked = head("Connection: Upgrade\r\nUpgrade: websocket").unwrap();
        assert_eq!(asked.upgrade(), Some(&b"websocket"[..]));
        assert_eq!(head("Upgrade: websocket").unwrap().upgrade(), None);
        assert_eq!(head("Connection: Upgrade\r\nUpgrade: h2c").unwrap().upgrade(), None);
        let body = head("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1");
        assert_eq!(body.unwrap_err(), RequestFault::UpgradeWithBody);
    }

    #[test]
    fn names_with_underscores_follow_the_setting() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n".to_vec();
        let mut head = RequestHead::default();
        head.parse(bytes.clone(), Underscores::Drop).unwrap();
        assert_eq!(head.fields().count(), 1);
        head.parse(bytes.clone(), Underscores::Keep).unwrap();
        assert_eq!(head.fields().count(), 2);
        assert_eq!(head.parse(bytes, Underscores::Reject), Err(RequestFault::FieldUnderscore));
    }

    #[test]
    fn a_rewritten_path_is_normal_and_keeps_the_query() {
        let mut head = parse("GET /api/x?q=1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        head.rewrite_path(b"//y/../x").unwrap();
        assert_eq!((head.target(), head.path()), (&b"/x?q=1"[..], &b"/x"[..]));
        assert_eq!(head.rewrite_path(b"no"), Err(RequestFault::TargetForm));
        assert_eq!(head.rewrite_path(b"/a?b"), Err(RequestFault::TargetForm));
    }
}
