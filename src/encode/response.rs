//! Writes the response head that the client gets: the upstream's fields less what ends here, framed for the client.

use std::time::SystemTime;

use super::wire::{FieldWriter, H2Head, Text};
use crate::filter::edits::FieldEdits;
use crate::proto::grpc_web;
use crate::proto::h1::encode::{put_status_line, reason};
use crate::proto::h1::field::{Known, KnownSet};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::response::ResponseHead;
use crate::proto::h2::WEBSOCKET_ACCEPT;
use crate::proto::h2::fields::FieldList;

/// What becomes of the client's connection after a response (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It closes, and the client is told.
    Close,
    /// It stays open, as it does in HTTP/1.1 where nothing is said.
    KeepAlive,
    /// It stays open, and the client must be told: HTTP/1.0.
    SaysKeepAlive,
}

/// How the response goes to the client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTerms {
    /// How the body is framed towards the client, where it speaks HTTP/1.
    pub framing: Framing,
    /// What becomes of the client's connection, and what it is told of that.
    pub persistence: Persistence,
    /// True where `Content-Length` is passed although there is no body: HEAD and 304.
    pub passes_length: bool,
    /// How gRPC goes to a client of gRPC-web.
    pub grpc_web: Option<grpc_web::GrpcWebKind>,
    /// For a `Date` where the upstream said none (RFC 9110 §6.6.1); `None` for an interim response.
    pub now: Option<SystemTime>,
}

impl ResponseTerms {
    /// An interim response: a head, and nothing that is changed for a route.
    const INTERIM: Self = Self {
        framing: Framing::None,
        persistence: Persistence::KeepAlive,
        passes_length: false,
        grpc_web: None,
        now: None,
    };
}

/// A parsed head with the bytes that it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamResponse<'a> {
    /// The head.
    pub head: &'a ResponseHead,
    /// What it was parsed from.
    pub bytes: &'a [u8],
}

/// What changes in the fields of one response: for every client, for one that came by TLS, for a status that nginx adds fields to, and for what
/// this one says.
pub type EditsOfResponse<'a> = [Option<&'a FieldEdits>; 4];

/// Appends the whole head as text.
pub fn put_response_head(
    out: &mut Vec<u8>,
    response: UpstreamResponse<'_>,
    terms: &ResponseTerms,
    edits: EditsOfResponse<'_>,
) {
    let UpstreamResponse { head, bytes } = response;
    // Programs of CGI have none.
    let phrase = Some(head.reason(bytes)).filter(|phrase| !phrase.is_empty());
    put_status_line(out, head.status(), phrase.unwrap_or_else(|| reason(head.status()).as_bytes()));
    let mut text = Text(out);
    put_fields(&mut text, response, terms, edits);
    match terms.framing {
        Framing::Length(length) => text.number(b"Content-Length", length),
        Framing::Chunked => text.field(b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    // A 426 says what to change to (RFC 9110 §15.5.22).
    let protocols = head.known(Known::Upgrade, bytes).filter(|_| matches!(head.status(), 101 | 426));
    match (protocols.is_some(), terms.persistence) {
        (true, Persistence::Close) if head.status() == 426 => text.field(b"Connection", b"close, upgrade"),
        (true, _) => text.field(b"Connection", b"upgrade"),
        (false, Persistence::Close) => text.field(b"Connection", b"close"),
        (false, Persistence::SaysKeepAlive) => text.field(b"Connection", b"keep-alive"),
        (false, Persistence::KeepAlive) => {}
    }
    if let Some(protocols) = protocols {
        text.field(b"Upgrade", protocols);
    }
    put_edits(&mut text, edits);
    out.extend_from_slice(b"\r\n");
}

/// The whole head for a stream of HTTP/2. A 101 becomes a 200 (RFC 8441 §5); `None` where its `Sec-WebSocket-Accept` does
/// not fit the key that the upstream was sent.
#[must_use]
pub fn h2_response(
    response: UpstreamResponse<'_>,
    terms: &ResponseTerms,
    edits: EditsOfResponse<'_>,
) -> Option<H2Head> {
    let head = response.head;
    let is_switch = head.status() == 101;
    let mut fields = begin_h2_response(if is_switch { 200 } else { head.status() });
    put_fields(&mut fields, response, terms, edits);
    if let Framing::Length(length) = terms.framing {
        fields.number(b"content-length", length);
    }
    put_edits(&mut fields, edits);
    if is_switch {
        let is_ours = fields.value(b"sec-websocket-accept").is_none_or(|accepted| accepted == WEBSOCKET_ACCEPT);
        if !is_ours {
            return None;
        }
        fields.remove(b"sec-websocket-accept");
        fields.remove(b"content-length");
    }
    Some(H2Head { fields, is_interim: false })
}

/// Appends the head of an interim response (1xx but 101). What a route takes away is left out of it, too.
pub fn put_interim_head(out: &mut Vec<u8>, response: UpstreamResponse<'_>, edits: EditsOfResponse<'_>) {
    put_status_line(out, response.head.status(), response.head.reason(response.bytes));
    put_fields(&mut Text(out), response, &ResponseTerms::INTERIM, edits);
    out.extend_from_slice(b"\r\n");
}

/// The head of an interim response for a stream of HTTP/2.
#[must_use]
pub fn h2_interim(response: UpstreamResponse<'_>, edits: EditsOfResponse<'_>) -> H2Head {
    let mut fields = begin_h2_response(response.head.status());
    put_fields(&mut fields, response, &ResponseTerms::INTERIM, edits);
    H2Head { fields, is_interim: true }
}

/// The head that tells a client of HTTP/2 to go on.
#[must_use]
pub fn h2_continue() -> H2Head {
    H2Head { fields: begin_h2_response(100), is_interim: true }
}

/// The pseudo-field of a response.
pub(super) fn begin_h2_response(status: u16) -> FieldList {
    let mut fields = FieldList::default();
    fields.number(b":status", u64::from(status));
    fields
}

/// True where a filter of the route takes this field away, or sets it to a value of its own.
#[must_use]
pub fn is_removed(edits: EditsOfResponse<'_>, name: &[u8]) -> bool {
    edits.into_iter().flatten().any(|edits| edits.removes(name))
}

pub(super) fn put_edits(out: &mut impl FieldWriter, edits: EditsOfResponse<'_>) {
    let lines = edits.into_iter().flatten().flat_map(|edits| &edits.put);
    lines.for_each(|(name, value)| out.field(name, value));
}

fn put_fields(
    out: &mut impl FieldWriter,
    UpstreamResponse { head, bytes }: UpstreamResponse<'_>,
    terms: &ResponseTerms,
    edits: EditsOfResponse<'_>,
) {
    let dropped = KnownSet::HOP_BY_HOP
        .with(KnownSet::of(&[Known::ContentLength]), true)
        .with(KnownSet::of(&[Known::ContentType]), terms.grpc_web.is_some());
    let is_edited = edits.iter().any(Option::is_some);
    let passing = head.fields(bytes).filter(|(field, name, _)| {
        let is_left_out = dropped.has(field.known) || field.nominated || (is_edited && is_removed(edits, name));
        !is_left_out
    });
    out.fields(bytes, passing.map(|(field, ..)| field));
    // Once, however often an old server said it.
    if let Some(length) = head.known(Known::ContentLength, bytes).filter(|_| terms.passes_length) {
        out.field(b"Content-Length", length);
    }
    let is_dated = head.status() == 101 || head.known(Known::Date, bytes).is_some() || is_removed(edits, b"date");
    if let Some(now) = terms.now.filter(|_| !is_dated) {
        out.field(b"Date", httpdate::fmt_http_date(now).as_bytes());
    }
    if let Some(kind) = terms.grpc_web
        && !is_removed(edits, b"content-type")
    {
        let content_type = head.known(Known::ContentType, bytes).unwrap_or_default();
        out.field(b"Content-Type", &kind.answer_type(content_type));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::edits::Edits;
    use crate::proto::h1::rules::Leniency;

    const TERMS: ResponseTerms = ResponseTerms { persistence: Persistence::SaysKeepAlive, ..ResponseTerms::INTERIM };

    fn parsed(bytes: &[u8]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.parse(bytes, false, Leniency::default()).unwrap();
        head
    }

    #[test]
    fn fields_of_this_hop_are_replaced() {
        let bytes = b"HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 3\r\nConnection: close, x-own\r\nX-Own: 1\r\n\
            Keep-Alive: timeout=5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        let head = parsed(bytes);
        let terms = ResponseTerms { framing: head.framing(), ..TERMS };
        let response = UpstreamResponse { head: &head, bytes };
        let mut out = Vec::new();
        put_response_head(&mut out, response, &terms, [None; 4]);
        let expected = "HTTP/1.1 200 Fine\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\
            Connection: keep-alive\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let head = h2_response(response, &terms, [None; 4]).unwrap();
        let expected = ":status: 200, server: s, set-cookie: a, set-cookie: b, content-length: 3";
        assert_eq!(head.fields.text(), expected);
    }

    #[test]
    fn a_switch_is_a_200_where_the_handshake_was_ours() {
        let said = |accept: &str| {
            let bytes = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nX: y\r\n\r\n"
            );
            let head = parsed(bytes.as_bytes());
            let response = UpstreamResponse { head: &head, bytes: bytes.as_bytes() };
            h2_response(response, &TERMS, [None; 4]).map(|head| head.fields.text())
        };
        assert_eq!(said(std::str::from_utf8(WEBSOCKET_ACCEPT).unwrap()).unwrap(), ":status: 200, x: y");
        assert_eq!(said("c29tZXRoaW5nIGVsc2U="), None);
    }

    #[test]
    fn what_a_recipient_must_add_is_there() {
        let written = |bytes: &[u8], persistence| {
            let head = parsed(bytes);
            let terms = ResponseTerms { now: Some(SystemTime::UNIX_EPOCH), persistence, ..TERMS };
            let mut out = Vec::new();
            put_response_head(&mut out, UpstreamResponse { head: &head, bytes }, &terms, [None; 4]);
            String::from_utf8(out).unwrap()
        };
        let undated = written(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", Persistence::KeepAlive);
        assert_eq!(undated, "HTTP/1.1 200 OK\r\nX: y\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n");
        let required = b"HTTP/1.1 426 Upgrade Required\r\nDate: x\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n";
        for (persistence, connection) in [(Persistence::KeepAlive, "upgrade"), (Persistence::Close, "close, upgrade")] {
            let text = written(required, persistence);
            let end = format!("Date: x\r\nConnection: {connection}\r\nUpgrade: foo\r\n\r\n");
            assert!(text.ends_with(&end), "{text}");
        }
    }

    #[test]
    fn a_response_edit_has_the_last_word_on_both_wires() {
        let bytes = b"HTTP/1.1 200 OK\r\nServer: s\r\nX: 1\r\nContent-Length: 0\r\n\r\n";
        let head = parsed(bytes);
        let mut edits = Edits::default();
        edits.response.remove.add(b"server");
        edits.secure_response.put.push((b"X-Secure"[..].into(), b"yes"[..].into()));
        let response = UpstreamResponse { head: &head, bytes };
        for (is_secure, expected) in [(false, "X: 1\r\n\r\n"), (true, "X: 1\r\nX-Secure: yes\r\n\r\n")] {
            let terms = ResponseTerms { persistence: Persistence::KeepAlive, ..TERMS };
            let mut out = Vec::new();
            put_response_head(&mut out, response, &terms, edits.of_response(is_secure, 200));
            assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 200 OK\r\n{expected}"));
        }
    }
}
