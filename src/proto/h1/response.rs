//! Parses a response head of an upstream, as strictly as a request's.

use super::fault::ResponseFault;
use super::field::{Field, Known, Span, binds_connection, list_elements, mark_nominated};
use super::framing::{Framing, decimal, stated};
use super::lines::with_places;
use super::rules::{Leniency, Lenient};
use crate::limits::{FIELDS_MAX, FIELDS_USUAL};
use crate::proto::version::Version;

/// A parsed response head: places in the upstream's receive buffer, which the caller keeps unchanged.
#[derive(Debug, Default)]
pub struct ResponseHead {
    fields: Vec<Field>,
    version: Version,
    status: u16,
    reason: Span,
    framing: Framing,
    keep_alive: bool,
    idle_s_max: Option<u32>,
    requests_max: Option<u32>,
}

impl ResponseHead {
    /// Parses the head that is the whole of `bytes`; `is_head` says whether it answers a HEAD request.
    ///
    /// # Errors
    /// The first [`ResponseFault`].
    pub fn parse(&mut self, bytes: &[u8], is_head: bool, leniency: Leniency) -> Result<(), ResponseFault> {
        self.fields.shrink_to(FIELDS_USUAL);
        if leniency.is_cgi() {
            self.parse_cgi_lines(bytes)?;
        } else {
            self.parse_lines(bytes, leniency)?;
        }
        self.keep_alive = self.version == Version::Http11;
        self.idle_s_max = None;
        self.requests_max = None;
        self.parse_connection(bytes);
        mark_nominated(&mut self.fields, bytes);
        let stated = stated(&self.fields, bytes, self.version, leniency).map_err(ResponseFault::Framing)?;
        self.framing = if is_head || self.status < 200 || matches!(self.status, 204 | 304) {
            Framing::None
        } else {
            stated.unwrap_or(Framing::UntilClose)
        };
        self.keep_alive &= self.framing != Framing::UntilClose && !leniency.is_cgi();
        Ok(())
    }

    fn parse_lines(&mut self, bytes: &[u8], leniency: Leniency) -> Result<(), ResponseFault> {
        let fields = &mut self.fields;
        let (version, code, reason) = with_places(bytes, |lines| {
            fields.clear();
            let mut response = httparse::Response::new(&mut []);
            let mut config = httparse::ParserConfig::default();
            // They can be read in one way only, and are taken away (RFC 9112 §5.1).
            config.allow_spaces_after_header_name_in_responses(true);
            let status = config.parse_response_with_uninit_headers(&mut response, bytes, lines)?;
            fields.extend(response.headers.iter().map(|line| Field::of(line, bytes)));
            Ok((response.version.filter(|_| status.is_complete()), response.code, response.reason))
        })
        .map_err(fault_of)?;
        self.version = match version.ok_or(ResponseFault::StatusLine)? {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        let highest = if leniency.has(Lenient::StatusAbove599) { 999 } else { 599 };
        self.status = code.filter(|code| (100..=highest).contains(code)).ok_or(ResponseFault::Status)?;
        self.reason = reason.map(|reason| Span::of(reason.as_bytes(), bytes)).unwrap_or_default();
        Ok(())
    }

    /// The head of a CGI program. It may begin with a status line, of any version: some servers say the one that they were told of. Else
    /// `Status` says it, or it is 302 where there is a `Location`, or 200 (RFC 3875 §6.2). A `Location` of this server goes to the client
    /// as it is.
    fn parse_cgi_lines(&mut self, bytes: &[u8]) -> Result<(), ResponseFault> {
        let first = if bytes.starts_with(b"HTTP/") { memchr::memchr(b'\n', bytes).map_or(0, |end| end + 1) } else { 0 };
        let (first, rest) = bytes.split_at(first);
        let lines = memchr::memchr_iter(b'\n', rest).count().min(FIELDS_MAX);
        let mut places = vec![httparse::EMPTY_HEADER; lines];
        let parsed = httparse::parse_headers(rest, &mut places).map_err(fault_of)?;
        let httparse::Status::Complete((_, lines)) = parsed else { return Err(ResponseFault::StatusLine) };
        self.fields.clear();
        self.fields.extend(lines.iter().map(|line| Field::of(line, bytes)));
        self.version = Version::Http11;
        self.reason = Span::default();
        let is_status = |field: &Field| field.name.bytes(bytes).eq_ignore_ascii_case(b"status");
        let mut told = self.fields.iter().filter(|field| is_status(field)).map(|field| field.value.bytes(bytes));
        let of_line = first.iter().position(|byte| *byte == b' ').map(|at| first[at + 1..].trim_ascii());
        if of_line.is_none() && !first.is_empty() {
            return Err(ResponseFault::StatusLine);
        }
        let told = match (of_line, told.next(), told.next()) {
            (Some(told), ..) | (None, Some(told), None) => Some(told),
            (None, None, _) => None,
            (None, Some(_), Some(_)) => return Err(ResponseFault::Status),
        };
        self.status = match told {
            None if self.value(b"location", bytes).is_some() => 302,
            None => 200,
            Some(told) => {
                let (code, reason) = told.split_at_checked(3).ok_or(ResponseFault::Status)?;
                // What is written again must be a reason phrase (RFC 9112 §4).
                let is_phrase = reason.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
                let is_whole = reason.first().is_none_or(|byte| *byte == b' ') && is_phrase;
                self.reason = Span::of(reason.trim_ascii(), bytes);
                let code = decimal(code).and_then(|code| u16::try_from(code).ok()).filter(|_| is_whole);
                code.filter(|code| (200..=599).contains(code)).ok_or(ResponseFault::Status)?
            }
        };
        self.fields.retain(|field| !is_status(field));
        Ok(())
    }

    fn parse_connection(&mut self, bytes: &[u8]) {
        let mut close = false;
        for field in &self.fields {
            let value = field.value.bytes(bytes);
            if field.known == Known::Connection {
                for option in list_elements(value) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if field.known == Known::KeepAlive {
                for parameter in list_elements(value) {
                    match keep_alive_parameter(parameter) {
                        Some((b"timeout", seconds)) => self.idle_s_max = Some(seconds),
                        Some((b"max", requests)) => self.requests_max = Some(requests),
                        Some(_) | None => {}
                    }
                }
            }
        }
        self.keep_alive &= !close;
    }
}

/// What the head says.
impl ResponseHead {
    /// The status, 100 to 599, or to 999 where that is allowed.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, which may be empty.
    #[must_use]
    pub fn reason<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.reason.bytes(bytes)
    }

    /// True for 1xx except 101, which is the last response of HTTP on its connection.
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// How long the body is. 101 has none: what follows is the other protocol's.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// True where it goes on with an authentication of the connection (RFC 4559 §4): a challenge with a token.
    #[must_use]
    pub fn binds_connection(&self, bytes: &[u8]) -> bool {
        self.status == 401
            && self
                .fields(bytes)
                .any(|(field, _, value)| field.known == Known::WwwAuthenticate && binds_connection(value))
    }

    /// True where the upstream leaves the connection open after this response.
    #[must_use]
    pub const fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// `Keep-Alive: timeout=`, in seconds.
    #[must_use]
    pub const fn idle_s_max(&self) -> Option<u32> {
        self.idle_s_max
    }

    /// `Keep-Alive: max=`, in further requests.
    #[must_use]
    pub const fn requests_max(&self) -> Option<u32> {
        self.requests_max
    }

    /// The fields, each with name and value; `bytes` is what was parsed.
    pub fn fields<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a Field, &'a [u8], &'a [u8])> {
        self.fields.iter().map(move |field| (field, field.name.bytes(bytes), field.value.bytes(bytes)))
    }

    /// The value of the first field with this name.
    #[must_use]
    pub fn value<'a>(&self, name: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
        let is_named = |field: &&Field| field.name.bytes(bytes).eq_ignore_ascii_case(name);
        self.fields.iter().find(is_named).map(|field| field.value.bytes(bytes))
    }

    /// The value of the first field with this known name.
    #[must_use]
    pub fn known<'a>(&self, known: Known, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.fields.iter().find(|field| field.known == known).map(|field| field.value.bytes(bytes))
    }
}

fn keep_alive_parameter(parameter: &[u8]) -> Option<(&[u8], u32)> {
    let equals = parameter.iter().position(|byte| *byte == b'=')?;
    let number = std::str::from_utf8(&parameter[equals + 1..]).ok()?.trim().parse().ok()?;
    Some((parameter[..equals].trim_ascii(), number))
}

const fn fault_of(error: httparse::Error) -> ResponseFault {
    match error {
        httparse::Error::HeaderName => ResponseFault::FieldName,
        httparse::Error::HeaderValue | httparse::Error::NewLine => ResponseFault::FieldValue,
        httparse::Error::TooManyHeaders => ResponseFault::HeadTooLarge,
        httparse::Error::Status => ResponseFault::Status,
        httparse::Error::Version | httparse::Error::Token => ResponseFault::StatusLine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::framing::FramingFault;

    fn parse(head: &str, is_head: bool) -> Result<ResponseHead, ResponseFault> {
        let mut response = ResponseHead::default();
        response.parse(format!("{head}\r\n\r\n").as_bytes(), is_head, Leniency::default())?;
        Ok(response)
    }

    #[test]
    fn bodies_follow_status_method_and_fields() {
        let framing = |head: &str, is_head| parse(head, is_head).unwrap().framing();
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3", false), Framing::Length(3));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3", true), Framing::None);
        assert_eq!(framing("HTTP/1.1 204 No\r\nContent-Length: 3", false), Framing::None);
        assert_eq!(framing("HTTP/1.1 304 Not\r\nTransfer-Encoding: chunked", false), Framing::None);
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", false), Framing::Chunked);
        assert_eq!(framing("HTTP/1.1 200", false), Framing::UntilClose);
        assert_eq!(framing("HTTP/1.1 103 Early\r\nContent-Length: 3", false), Framing::None);
    }

    #[test]
    fn reuse_follows_version_connection_and_framing() {
        let keeps = |head: &str| parse(head, false).unwrap().keeps_alive();
        assert!(keeps("HTTP/1.1 200 OK\r\nContent-Length: 0"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close"));
        assert!(!keeps("HTTP/1.1 200 OK"));
        assert!(!keeps("HTTP/1.0 200 OK\r\nContent-Length: 0"));
        assert!(keeps("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive"));
        let said = parse("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5, max=100", false).unwrap();
        assert_eq!((said.idle_s_max(), said.requests_max()), (Some(5), Some(100)));
    }

    #[test]
    fn a_space_before_a_colon_is_no_part_of_the_name() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-Frame-Options \t: DENY\r\nContent-Length : 3\r\n\r\n";
        let mut head = ResponseHead::default();
        head.parse(bytes, false, Leniency::default()).unwrap();
        let fields: Vec<_> = head.fields(bytes).map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"X-Frame-Options"[..], &b"DENY"[..]), (b"Content-Length", b"3")]);
        assert_eq!(head.framing(), Framing::Length(3));
    }

    #[test]
    fn many_small_fields_are_read_and_what_old_servers_say_where_that_is_allowed() {
        let many = format!("HTTP/1.1 200 OK{}", "\r\nA: b".repeat(FIELDS_MAX));
        assert_eq!(parse(&many, false).unwrap().fields.len(), FIELDS_MAX);
        assert_eq!(parse(&format!("{many}\r\nA: b"), false).unwrap_err(), ResponseFault::HeadTooLarge);
        let bytes = b"HTTP/1.1 999 Request denied\nContent-Length: 3\n\n";
        let mut head = ResponseHead::default();
        assert_eq!(head.parse(bytes, false, Leniency::default()), Err(ResponseFault::Status));
        head.parse(bytes, false, Leniency::of(&[Lenient::StatusAbove599])).unwrap();
        assert_eq!((head.status(), head.framing()), (999, Framing::Length(3)));
    }

    #[test]
    fn a_cgi_program_says_its_status_in_a_field_or_not_at_all() {
        let parse = |text: &str| {
            let mut head = ResponseHead::default();
            head.parse(text.as_bytes(), false, Leniency::default().of_cgi()).map(|()| {
                let names: Vec<_> = head.fields(text.as_bytes()).map(|(_, name, _)| name.to_vec()).collect();
                assert!(!head.keeps_alive() && names.iter().all(|name| name != b"Status"), "{text}");
                (head.status(), String::from_utf8(head.reason(text.as_bytes()).to_vec()).unwrap(), head.framing())
            })
        };
        let told = |status, reason: &str, framing| Ok((status, reason.to_owned(), framing));
        assert_eq!(parse("Status: 404 Not Here\nContent-Length: 3\n\n"), told(404, "Not Here", Framing::Length(3)));
        assert_eq!(parse("Content-Type: text/plain\r\nStatus: 500\r\n\r\n"), told(500, "", Framing::UntilClose));
        assert_eq!(parse("X: y\n\n"), told(200, "", Framing::UntilClose));
        assert_eq!(parse("Location: /there\n\n"), told(302, "", Framing::UntilClose));
        assert_eq!(parse("Location: /there\nStatus: 201 Made\n\n").unwrap().0, 201);
        for version in ["1.1", "2.0", "1.0"] {
            let text = format!("HTTP/{version} 200 OK\r\nContent-Length: 3\r\nStatus: 404\r\n\r\n");
            assert_eq!(parse(&text), told(200, "OK", Framing::Length(3)));
        }
        for text in [
            "HTTP/1.1 200 a\rb\n\n",
            "HTTP/1.1 200 a\0\n\n",
            "Status: 99\n\n",
            "Status: 101 Up\n\n",
            "Status: 2000\n\n",
            "Status:\n\n",
            "Status: 200\nStatus: 200\n\n",
        ] {
            assert_eq!(parse(text), Err(ResponseFault::Status), "{text}");
        }
        assert_eq!(parse("HTTP/1.1\nX: y\n\n"), Err(ResponseFault::StatusLine));
        assert!(parse("no field\n\n").is_err() && parse("<html>\n\n").is_err());
    }

    #[test]
    fn malformed_heads_are_told_by_their_rule() {
        let fault = |head: &str| parse(head, false).expect_err(head);
        assert_eq!(fault("HTTP/2.0 200 OK"), ResponseFault::StatusLine);
        assert_eq!(fault("ICY 200 OK"), ResponseFault::StatusLine);
        assert_eq!(fault("HTTP/1.1 99 Low"), ResponseFault::Status);
        assert_eq!(fault("HTTP/1.1 600 High"), ResponseFault::Status);
        assert_eq!(fault("HTTP/1.1 2x0 OK"), ResponseFault::Status);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX y: z"), ResponseFault::FieldName);
        assert_eq!(fault("HTTP/1.1 200 OK\r\n : y"), ResponseFault::FieldName);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX: a\r\n folded"), ResponseFault::FieldName);
        assert_eq!(fault("HTTP/1.1 200 OK\r\nX: \0"), ResponseFault::FieldValue);
        let both = fault("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked");
        assert_eq!(both, ResponseFault::Framing(FramingFault::LengthWithEncoding));
    }
}
