//! Writes the answers that are our own: failures with their cause, and what filters answer.

use std::borrow::Cow;
use std::time::SystemTime;

use super::response::{EditsOfResponse, begin_h2_response, is_removed, put_edits};
use super::wire::{FieldWriter, H2Head, Text};
use crate::failure::Failure;
use crate::failure::details::Details;
use crate::failure::row::Fault;
use crate::filter::context::{Answer, Refusal};
use crate::proto::h1::encode::{put_status_line, reason};
use crate::proto::h1::request::RequestHead;

/// How an answer of our own goes out.
#[derive(Clone, Copy, Debug)]
pub struct AnswerTerms<'a> {
    /// The request, as far as it could be read.
    pub head: &'a RequestHead,
    /// Where the cause of a failure is told.
    pub details: Details,
    /// True where the client's connection stays open.
    pub keep_alive: bool,
    /// For `Date`.
    pub now: SystemTime,
    /// True for a request of gRPC, which is answered in its own fields.
    pub is_grpc: bool,
    /// What the route changes in every answer; nothing where none was found.
    pub edits: EditsOfResponse<'a>,
}

/// The answer to a failure: text, HTML or JSON, as the client accepts, or the fields of gRPC. `refusal` is what the filter says that
/// refused it.
#[must_use]
pub fn failure_answer<'r>(failure: Failure, refusal: Option<&'r Refusal>, terms: &AnswerTerms<'_>) -> Answer<'r> {
    let row = failure.row();
    let status = refusal.and_then(|refusal| refusal.status).unwrap_or(row.status);
    let mut answer = if terms.is_grpc { grpc_answer(failure, terms) } else { told_answer(failure, status, terms) };
    if terms.details != Details::None && !row.token.is_empty() {
        let value = format!("ringress; error={}; details=\"{failure}\"", row.token);
        answer.fields.push((b"Proxy-Status", Cow::Owned(value.into_bytes())));
    }
    if let Some((fields, body)) = refusal.and_then(|refusal| refusal.replaces.as_ref()).filter(|_| !terms.is_grpc) {
        answer.fields.retain(|(name, _)| *name != b"Content-Type");
        answer.body = Cow::Borrowed(body);
        answer.fields.extend(fields.iter().map(|(name, value)| (&name[..], Cow::Borrowed(&value[..]))));
    }
    let own = refusal.map(|refusal| &refusal.fields[..]).unwrap_or_default();
    let says_when = own.iter().any(|(name, _)| *name == b"Retry-After");
    if let Some(seconds) = row.handling.retry_after_s.filter(|_| !terms.is_grpc && !says_when) {
        answer.fields.push((b"Retry-After", Cow::Owned(seconds.to_string().into_bytes())));
    }
    answer.fields.extend(own.iter().map(|(name, value)| (*name, Cow::Borrowed(&value[..]))));
    answer
}

fn told_answer(failure: Failure, status: u16, terms: &AnswerTerms<'_>) -> Answer<'static> {
    let row = failure.row();
    let title = reason(status);
    // What a client did wrong is its own affair; what went wrong behind us is not an end user's.
    let meaning = match terms.details {
        Details::Header | Details::None if row.handling.fault != Fault::Client => "",
        Details::Header | Details::Body | Details::None => row.meaning,
    };
    let cause = (terms.details == Details::Body).then(|| failure.to_string());
    let (content_type, body) = match form(&terms.head.value(b"accept").unwrap_or_default()) {
        Form::Text => ("text/plain; charset=utf-8", text_page(status, title, meaning, cause.as_deref())),
        Form::Html => ("text/html; charset=utf-8", html_page(status, title, meaning, cause.as_deref())),
        Form::Json => ("application/json", json_page(status, title, meaning, cause.as_deref())),
    };
    let fields = vec![(&b"Content-Type"[..], Cow::Borrowed(content_type.as_bytes()))];
    Answer { status, fields, body: Cow::Owned(body.into_bytes()) }
}

fn text_page(status: u16, title: &str, meaning: &str, cause: Option<&str>) -> String {
    let mut page = format!("{status} {title}\n");
    if !meaning.is_empty() {
        page.extend([meaning, "\n"]);
    }
    page.extend(cause.map(|cause| format!("cause: {cause}\n")));
    page
}

fn html_page(status: u16, title: &str, meaning: &str, cause: Option<&str>) -> String {
    let mut page = format!("<!doctype html>\n<title>{status} {title}</title>\n<h1>{status} {title}</h1>\n");
    if !meaning.is_empty() {
        page.extend(["<p>", meaning, "</p>\n"]);
    }
    page.extend(cause.map(|cause| format!("<p>cause: <code>{cause}</code></p>\n")));
    page
}

fn json_page(status: u16, title: &str, meaning: &str, cause: Option<&str>) -> String {
    let mut page = format!("{{\"status\":{status},\"title\":\"{title}\"");
    if !meaning.is_empty() {
        page.extend([",\"detail\":\"", meaning, "\""]);
    }
    page.extend(cause.map(|cause| format!(",\"cause\":\"{cause}\"")));
    page + "}\n"
}

/// A gRPC answer without a body: its client reads the status from the head, as from trailers (gRPC's Trailers-Only).
fn grpc_answer(failure: Failure, terms: &AnswerTerms<'_>) -> Answer<'static> {
    let grpc = b"application/grpc";
    let content_type = match terms.head.grpc_web() {
        Some(kind) => Cow::Owned(kind.answer_type(grpc)),
        None => Cow::Borrowed(&grpc[..]),
    };
    let row = failure.row();
    let message = match terms.details {
        Details::Header | Details::Body => format!("{} cause: {failure}", row.meaning),
        Details::None => reason(row.status).to_owned(),
    };
    let fields = vec![
        (&b"Content-Type"[..], content_type),
        (b"grpc-status", Cow::Owned(failure.grpc_status().to_string().into_bytes())),
        (b"grpc-message", Cow::Owned(message.into_bytes())),
    ];
    Answer { status: 200, fields, body: Cow::Borrowed(b"") }
}

/// Appends head and body as text.
pub fn put_answer(out: &mut Vec<u8>, answer: &Answer<'_>, terms: &AnswerTerms<'_>) {
    put_status_line(out, answer.status, reason(answer.status).as_bytes());
    let mut text = Text(out);
    put_fields(&mut text, answer, terms);
    text.field(b"Connection", if terms.keep_alive { b"keep-alive" } else { b"close" });
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body(answer, terms));
}

/// The head for a stream of HTTP/2; [`body`] follows it.
#[must_use]
pub fn h2_answer(answer: &Answer<'_>, terms: &AnswerTerms<'_>) -> H2Head {
    let mut fields = begin_h2_response(answer.status);
    put_fields(&mut fields, answer, terms);
    H2Head { fields, is_interim: false }
}

/// The body as it is sent: none for HEAD.
#[must_use]
pub fn body<'a>(answer: &'a Answer<'_>, terms: &AnswerTerms<'_>) -> &'a [u8] {
    if terms.head.method() == b"HEAD" { b"" } else { &answer.body }
}

fn put_fields(out: &mut impl FieldWriter, answer: &Answer<'_>, terms: &AnswerTerms<'_>) {
    if !is_removed(terms.edits, b"date") {
        out.field(b"Date", httpdate::fmt_http_date(terms.now).as_bytes());
    }
    for (name, value) in answer.fields.iter().filter(|(name, _)| !is_removed(terms.edits, name)) {
        out.field(name, value);
    }
    put_edits(out, terms.edits);
    // Neither has a body whose length could be told (RFC 9110 §8.6).
    if !matches!(answer.status, 204 | 304) {
        out.number(b"Content-Length", answer.body.len() as u64);
    }
}

enum Form {
    Text,
    Html,
    Json,
}

/// The first of the forms that the client names; text where it names none.
fn form(accept: &[u8]) -> Form {
    let at = |media_type: &[u8]| memchr::memmem::find(accept, media_type);
    match (at(b"text/html"), at(b"application/json")) {
        (Some(html), json) if json.is_none_or(|json| html < json) => Form::Html,
        (_, Some(_)) => Form::Json,
        (None | Some(_), None) => Form::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::edits::{FieldEdits, NameSet};
    use crate::proto::h1::rules::HeadRules;

    fn told(accept: &str, method: &str, is_grpc: bool) -> String {
        let mut head = RequestHead::default();
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        head.parse(text.into_bytes(), HeadRules::default()).unwrap();
        let terms = AnswerTerms {
            head: &head,
            details: Details::Body,
            keep_alive: false,
            now: SystemTime::UNIX_EPOCH,
            is_grpc,
            edits: [None; 4],
        };
        let mut out = Vec::new();
        put_answer(&mut out, &failure_answer(Failure::ConnectRefused, None, &terms), &terms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_that_has_no_body_tells_no_length() {
        let head = RequestHead::default();
        let now = SystemTime::UNIX_EPOCH;
        let terms = AnswerTerms {
            head: &head,
            details: Details::Body,
            keep_alive: true,
            now,
            is_grpc: false,
            edits: [None; 4],
        };
        let answer = |status| {
            let mut out = Vec::new();
            put_answer(&mut out, &Answer { status, fields: Vec::new(), body: Cow::Borrowed(b"") }, &terms);
            String::from_utf8(out).unwrap()
        };
        assert!(answer(200).contains("\r\nContent-Length: 0\r\n"));
        assert!(!answer(204).contains("Content-Length") && !answer(304).contains("Content-Length"));
    }

    #[test]
    fn the_answer_says_why_in_the_form_that_was_asked_for() {
        let text = told("*/*", "GET", false);
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{text}");
        assert!(text.contains("Proxy-Status: ringress; error=connection_refused; details=\"connect_refused\"\r\n"));
        assert!(text.ends_with("cause: connect_refused\n"));
        assert!(told("text/html, application/json", "GET", false).contains("<!doctype html>"));
        let json = told("application/json", "GET", false);
        let body = json.split_once("\r\n\r\n").unwrap().1;
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["cause"], "connect_refused");
    }

    #[test]
    fn what_a_route_changes_in_answers_holds_for_ours() {
        let edits = FieldEdits {
            remove: NameSet::of(["proxy-status", "x-frame-options"]),
            put: vec![(b"X-Frame-Options"[..].into(), b"DENY"[..].into())],
        };
        let head = RequestHead::default();
        let now = SystemTime::UNIX_EPOCH;
        let edits = [Some(&edits), None, None, None];
        let terms = AnswerTerms { head: &head, details: Details::Body, keep_alive: true, now, is_grpc: false, edits };
        let mut out = Vec::new();
        put_answer(&mut out, &failure_answer(Failure::ConnectRefused, None, &terms), &terms);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\r\nX-Frame-Options: DENY\r\n") && !text.contains("Proxy-Status"), "{text}");
    }

    #[test]
    fn a_head_request_gets_no_body() {
        assert!(told("", "HEAD", false).ends_with("\r\n\r\n"));
    }

    #[test]
    fn grpc_is_answered_in_its_own_fields() {
        let text = told("", "POST", true);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("grpc-status: 14\r\n"), "{text}");
        assert!(text.contains("grpc-message: The upstream refused the connection. cause: connect_refused\r\n"));
    }

    #[test]
    fn an_end_user_sees_no_cause_unless_it_is_asked_for() {
        let mut head = RequestHead::default();
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n".to_vec();
        head.parse(text, HeadRules::default()).unwrap();
        let terms = |details| AnswerTerms {
            head: &head,
            details,
            keep_alive: true,
            now: SystemTime::UNIX_EPOCH,
            is_grpc: false,
            edits: [None; 4],
        };
        let shown = |failure, details| {
            let answer = failure_answer(failure, None, &terms(details));
            let has_field = answer.fields.iter().any(|(name, _)| *name == b"Proxy-Status");
            (has_field, String::from_utf8(answer.body.into_owned()).unwrap())
        };
        let bare = "<!doctype html>\n<title>502 Bad Gateway</title>\n<h1>502 Bad Gateway</h1>\n";
        assert_eq!(shown(Failure::ConnectRefused, Details::Header), (true, bare.to_owned()));
        assert_eq!(shown(Failure::ConnectRefused, Details::None), (false, bare.to_owned()));
        assert!(shown(Failure::ConnectRefused, Details::Body).1.contains("<code>connect_refused</code>"));
        assert!(shown(Failure::ClientBodyTooLarge, Details::Header).1.contains("too large"), "what a client can mend");
    }
}
