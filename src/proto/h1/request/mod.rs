//! Parses a request head in place; what it says is told by `facts`.
//!
//! The head keeps its buffer; fields are places in it. Nothing is allocated once the vectors have grown.

mod facts;

use super::authority::host_length;
use super::fault::RequestFault;
use super::field::{Field, Known, Span, is_token_byte, list_elements, mark_nominated};
use super::framing::{Framing, stated};
use super::lines::with_places;
use super::rules::{HeadRules, Leniency, Underscores};
use super::target::{Target, absolute_form};
use crate::limits::{FIELDS_USUAL, TARGET_BYTES_MAX};
use crate::proto::grpc_web;
use crate::proto::version::Version;

/// A parsed request head. Reusable: [`Self::parse`] replaces what was there.
#[derive(Debug, Default)]
pub struct RequestHead {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    version: Version,
    method: Span,
    raw_target: Span,
    /// Path and query within it, as they came.
    sent_target: Span,
    target: Target,
    /// What filters took off the path, in its strict form.
    stripped: Vec<u8>,
    /// The host that a filter puts in place of the client's for the upstream; empty for none.
    rewritten_host: Vec<u8>,
    authority: Span,
    host_length: usize,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    /// The protocols that the client offers to change to, with commas; empty where there are none.
    upgrade: Vec<u8>,
    /// It came as gRPC-web, and is read as gRPC.
    grpc_web: Option<grpc_web::GrpcWebKind>,
}

impl RequestHead {
    /// Parses the head that is the whole of `bytes`, its empty line included.
    ///
    /// # Errors
    /// The first [`RequestFault`]. The head then knows method and target as far as they were read.
    pub fn parse(&mut self, bytes: Vec<u8>, rules: HeadRules) -> Result<(), RequestFault> {
        self.clear();
        self.bytes = bytes;
        self.parse_lines(rules.underscores)?;
        self.framing = stated(&self.fields, &self.bytes, self.version, Leniency::default())
            .map_err(RequestFault::Framing)?
            .unwrap_or_default();
        if self.method() == b"CONNECT" {
            return Err(RequestFault::Method);
        }
        self.parse_target(rules)?;
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
        // A head with a thousand fields is rare, and what it grew is not kept for others.
        self.fields.shrink_to(FIELDS_USUAL);
        std::mem::take(&mut self.bytes)
    }

    fn clear(&mut self) {
        self.fields.clear();
        self.target.clear();
        self.stripped.clear();
        self.rewritten_host.clear();
        self.version = Version::Http11;
        self.method = Span::default();
        self.raw_target = Span::default();
        self.sent_target = Span::default();
        self.authority = Span::default();
        self.host_length = 0;
        self.framing = Framing::None;
        self.keep_alive = false;
        self.expects_continue = false;
        self.upgrade.clear();
        self.grpc_web = None;
    }

    fn parse_lines(&mut self, underscores: Underscores) -> Result<(), RequestFault> {
        let Self { bytes, fields, .. } = self;
        let (method, target, version) = with_places(bytes, |lines| {
            fields.clear();
            let mut request = httparse::Request::new(&mut []);
            let config = httparse::ParserConfig::default();
            let status = config.parse_request_with_uninit_headers(&mut request, bytes, lines)?;
            let whole = status.is_complete().then_some(()).and(request.method.zip(request.path));
            fields.extend(request.headers.iter().map(|line| Field::of(line, bytes)));
            let places = whole.map(|(method, target)| {
                (Span::of(method.as_bytes(), bytes), Span::of(target.as_bytes(), bytes), request.version)
            });
            Ok(places)
        })
        .map_err(|error| fault_of(error, bytes))?
        .ok_or(RequestFault::RequestLine)?;
        (self.method, self.raw_target) = (method, target);
        self.version = if version == Some(0) { Version::Http10 } else { Version::Http11 };
        if target.range().len() > TARGET_BYTES_MAX {
            return Err(RequestFault::TargetTooLong);
        }
        self.judge_names(underscores)
    }

    /// What is done with names that the variables of CGI cannot tell from others.
    fn judge_names(&mut self, underscores: Underscores) -> Result<(), RequestFault> {
        let Self { bytes, fields, .. } = self;
        let has_underscore = |field: &Field| field.known == Known::Other && field.name.bytes(bytes).contains(&b'_');
        match underscores {
            Underscores::Drop => fields.retain(|field| !has_underscore(field)),
            Underscores::Reject if fields.iter().any(has_underscore) => return Err(RequestFault::FieldUnderscore),
            // No name may pass for one that says who the client is, or how long the body is.
            Underscores::Keep => fields
                .retain(|field| !has_underscore(field) || Known::of_variable(field.name.bytes(bytes)) == Known::Other),
            Underscores::Reject => {}
        }
        Ok(())
    }

    /// Origin-form, absolute-form and `OPTIONS *` (RFC 9112 §3.2), and the authority that goes with them.
    fn parse_target(&mut self, rules: HeadRules) -> Result<(), RequestFault> {
        let host = self.host_field()?;
        let raw = self.raw_target.bytes(&self.bytes);
        if raw == b"*" {
            if self.method.bytes(&self.bytes) != b"OPTIONS" {
                return Err(RequestFault::TargetForm);
            }
            self.target.put_asterisk();
            self.authority = host.unwrap_or_default();
        } else {
            let (authority, from) = absolute_form(raw).unwrap_or((0..0, 0));
            // The target's authority wins over `Host`, whatever that says (RFC 9112 §3.2.2).
            self.authority = match from {
                0 => host.unwrap_or_default(),
                _ if authority.is_empty() => return Err(RequestFault::HostInvalid),
                _ => self.raw_target.part(authority.start, authority.end),
            };
            self.sent_target = self.raw_target.part(from, raw.len());
            self.target.parse(&raw[from..], rules.hidden_dots).map_err(RequestFault::from)?;
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

    fn parse_connection(&mut self) -> Result<(), RequestFault> {
        let (mut close, mut keep_alive, mut upgrade) = (false, false, false);
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
            } else if field.known == Known::Upgrade {
                let offered = list_elements(value).filter(|protocol| is_offered(protocol));
                put_list(&mut self.upgrade, offered);
            }
        }
        self.keep_alive = !close && (self.version == Version::Http11 || keep_alive);
        if !upgrade || self.version != Version::Http11 {
            self.upgrade.clear();
        }
        Ok(())
    }
}

/// True for a protocol that may be offered on to the upstream. One that a hop speaks is an offer to this hop, which does not take it
/// (RFC 9110 §7.8): the cleartext upgrade to HTTP/2 is deprecated (RFC 9113 §3.1), and TLS is begun at once or never.
fn is_offered(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    let is_of_hop = [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|own| name.eq_ignore_ascii_case(own));
    let is_protocol = protocol.iter().all(|byte| is_token_byte(*byte) || *byte == b'/');
    is_protocol && !is_of_hop
}

fn put_list<'a>(out: &mut Vec<u8>, elements: impl Iterator<Item = &'a [u8]>) {
    for element in elements {
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(element);
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
    use super::super::rules::ForwardedPath;
    use super::super::target::TargetFault;
    use super::*;
    use crate::limits::FIELDS_MAX;

    fn parse(head: &str) -> Result<RequestHead, RequestFault> {
        let mut request = RequestHead::default();
        request.parse(head.as_bytes().to_vec(), HeadRules::default())?;
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
        assert_eq!(head.target().matched(), b"/b?x=1");
        assert_eq!(head.path(), b"/b");
        assert_eq!(head.query(), b"x=1");
        assert_eq!(head.authority(), b"example.com:80");
        assert_eq!(head.host(), b"example.com");
        assert_eq!(head.framing(), Framing::Length(7));
        assert!(head.wants_keep_alive());
    }

    #[test]
    fn absolute_form_wins_and_host_is_ignored_beside_it() {
        let head = parse("GET http://A.b/c HTTP/1.1\r\nHost: a.B\r\n\r\n").unwrap();
        assert_eq!((head.host(), head.target().matched()), (&b"a.b"[..], &b"/c"[..]));
        let head = parse("GET HTTP://a.b?q HTTP/1.1\r\nHost: a.b\r\n\r\n").unwrap();
        assert_eq!(head.target().matched(), b"/?q");
        for host in ["a.test", "a.test:80", "other"] {
            let head = parse(&format!("GET http://a.test:80/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
            assert_eq!(head.authority(), b"a.test:80");
        }
        assert_eq!(fault("GET http://a/ HTTP/1.1"), RequestFault::HostMissing);
        assert_eq!(fault("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a"), RequestFault::HostRepeated);
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
        let many = |count| format!("GET / HTTP/1.1\r\n{}Host: a", "A: b\r\n".repeat(count));
        assert_eq!(parse(&format!("{}\r\n\r\n", many(FIELDS_MAX - 1))).unwrap().fields().count(), FIELDS_MAX);
        assert_eq!(fault(&many(FIELDS_MAX)), RequestFault::HeadTooLarge);
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
    fn an_upgrade_needs_both_fields_and_is_an_offer() {
        let head = |extra: &str| parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{extra}\r\n\r\n")).unwrap();
        let asked = head("Connection: Upgrade\r\nUpgrade: websocket");
        assert!(asked.upgrade() == Some(&b"websocket"[..]) && asked.demands_upgrade());
        assert_eq!(head("Upgrade: websocket").upgrade(), None);
        for (upgrade, offered) in [
            ("h2c", None),
            ("TLS/1.2", None),
            ("h2c, x", Some("x")),
            ("x,H2C , HTTP/2.0,tls/1.3, y/2", Some("x, y/2")),
            ("x\r\nUpgrade: y", Some("x, y")),
            ("(x)", None),
        ] {
            let head = head(&format!("Connection: Upgrade\r\nUpgrade: {upgrade}"));
            assert_eq!(head.upgrade(), offered.map(str::as_bytes), "{upgrade}");
            assert!(!head.demands_upgrade());
        }
        let with_body = head("Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 1");
        assert!(with_body.upgrade().is_some() && with_body.framing() == Framing::Length(1));
    }

    #[test]
    fn a_field_that_is_repeated_has_one_reading() {
        let head = parse("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 0\r\nTe: a\r\n\r\n").unwrap();
        assert_eq!(head.value(b"x").as_deref(), Some(&b"1, 0"[..]));
        assert_eq!((head.value(b"te").as_deref(), head.value(b"y")), (Some(&b"a"[..]), None));
        assert_eq!((head.only(Known::Te), head.only(Known::Host)), (Some(&b"a"[..]), Some(&b"a"[..])));
        let twice = parse("GET / HTTP/1.1\r\nHost: a\r\nDate: 1\r\nDate: 1\r\n\r\n").unwrap();
        assert_eq!(twice.only(Known::Date), None);
    }

    #[test]
    fn names_with_underscores_follow_the_setting() {
        let bytes =
            b"GET / HTTP/1.1\r\nHost: a\r\nmy_name: 5\r\nContent_Length: 5\r\nX_Forwarded-For: b\r\n\r\n".to_vec();
        let rules = |underscores| HeadRules { underscores, ..HeadRules::default() };
        let mut head = RequestHead::default();
        head.parse(bytes.clone(), HeadRules::default()).unwrap();
        assert_eq!(head.fields().count(), 1);
        head.parse(bytes.clone(), rules(Underscores::Keep)).unwrap();
        assert_eq!(head.fields().count(), 2);
        assert_eq!(head.parse(bytes, rules(Underscores::Reject)), Err(RequestFault::FieldUnderscore));
    }

    #[test]
    fn a_rewritten_path_is_normal_and_keeps_the_query() {
        let mut head = parse("GET /api/x?q=1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        head.target_mut().rewrite(b"//y/../x").unwrap();
        assert_eq!((head.target().matched(), head.path()), (&b"/x?q=1"[..], &b"/x"[..]));
        assert_eq!(head.forwarded(ForwardedPath::AsSent), b"//x?q=1");
        assert_eq!(head.target_mut().rewrite(b"no"), Err(TargetFault::Form));
        assert_eq!(head.target_mut().rewrite(b"/a?b"), Err(TargetFault::Form));
    }

    #[test]
    fn a_path_goes_on_in_the_form_that_is_asked_for() {
        let head = parse("GET http://a/x/%2d/../\u{e9}//y?b//c HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(head.forwarded(ForwardedPath::Matched), b"/x/%C3%A9/y?b//c");
        assert_eq!(head.forwarded(ForwardedPath::Resolved), b"/x/%C3%A9//y?b//c");
        assert_eq!(head.forwarded(ForwardedPath::AsSent), "/x/%2d/../\u{e9}//y?b//c".as_bytes());
    }
}
