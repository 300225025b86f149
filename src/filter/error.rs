//! Writes the answers that are our own: failures with their cause, and redirects.

use std::time::SystemTime;

use super::{Redirect, grpc};
use crate::failure::Failure;
use crate::proto::h1::encode::{put_field, put_number_field, put_status_line, reason};
use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;

/// How an answer of our own goes out.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The request, as far as it could be read.
    pub head: &'a RequestHead,
    /// Write `Proxy-Status`.
    pub proxy_status: bool,
    /// True where the client's connection stays open.
    pub keep_alive: bool,
    /// For `Date`.
    pub now: SystemTime,
}

/// Appends head and body of the answer to a failure: text, HTML or JSON, as the client accepts.
pub fn put_failure(out: &mut Vec<u8>, failure: Failure, answer: &Answer<'_>) {
    let row = failure.row();
    if grpc::is_grpc(answer.head) {
        return put_grpc_failure(out, failure, answer);
    }
    let title = reason(row.status);
    let (content_type, body) = match form(answer.head.known(Known::Accept).unwrap_or_default()) {
        Form::Text => {
            ("text/plain; charset=utf-8", format!("{} {title}\n{}\ncause: {failure}\n", row.status, row.meaning))
        }
        Form::Html => (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html>\n<title>{0} {title}</title>\n<h1>{0} {title}</h1>\n<p>{1}</p>\n<p>cause: <code>{failure}</code></p>\n",
                row.status, row.meaning
            ),
        ),
        Form::Json => (
            "application/json",
            format!(
                "{{\"status\":{},\"title\":\"{title}\",\"detail\":\"{}\",\"cause\":\"{failure}\"}}\n",
                row.status, row.meaning
            ),
        ),
    };
    put_status_line(out, row.status, title.as_bytes());
    put_date(out, answer.now);
    put_field(out, b"Content-Type", content_type.as_bytes());
    put_number_field(out, b"Content-Length", body.len() as u64);
    put_proxy_status(out, failure, answer);
    if let Some(seconds) = failure.retry_after_s() {
        put_number_field(out, b"Retry-After", u64::from(seconds));
    }
    put_end(out, answer);
    put_body(out, body.as_bytes(), answer);
}

/// Appends an answer without a body, whose fields are what its client takes for trailers.
fn put_grpc_failure(out: &mut Vec<u8>, failure: Failure, answer: &Answer<'_>) {
    put_status_line(out, 200, b"OK");
    put_date(out, answer.now);
    let grpc = b"application/grpc";
    let web = answer.head.grpc_web().map(|kind| kind.answer_type(grpc));
    put_field(out, b"Content-Type", web.as_deref().unwrap_or(grpc));
    put_number_field(out, b"grpc-status", u64::from(grpc::status(failure)));
    put_field(out, b"grpc-message", format!("{} cause: {failure}", failure.row().meaning).as_bytes());
    put_number_field(out, b"Content-Length", 0);
    put_proxy_status(out, failure, answer);
    put_end(out, answer);
}

fn put_proxy_status(out: &mut Vec<u8>, failure: Failure, answer: &Answer<'_>) {
    let token = failure.row().token;
    if answer.proxy_status && !token.is_empty() {
        let value = format!("ringress; error={token}; details=\"{failure}\"");
        put_field(out, b"Proxy-Status", value.as_bytes());
    }
}

/// Appends head and body of a redirect.
pub fn put_redirect(out: &mut Vec<u8>, redirect: &Redirect, scheme: &str, answer: &Answer<'_>) {
    put_status_line(out, redirect.status, reason(redirect.status).as_bytes());
    put_date(out, answer.now);
    out.extend_from_slice(b"Location: ");
    redirect.put_location(out, answer.head, scheme);
    out.extend_from_slice(b"\r\n");
    put_number_field(out, b"Content-Length", 0);
    put_end(out, answer);
}

fn put_date(out: &mut Vec<u8>, now: SystemTime) {
    put_field(out, b"Date", httpdate::fmt_http_date(now).as_bytes());
}

fn put_end(out: &mut Vec<u8>, answer: &Answer<'_>) {
    let connection: &[u8] = if answer.keep_alive { b"keep-alive" } else { b"close" };
    put_field(out, b"Connection", connection);
    out.extend_from_slice(b"\r\n");
}

fn put_body(out: &mut Vec<u8>, body: &[u8], answer: &Answer<'_>) {
    if answer.head.method() != b"HEAD" {
        out.extend_from_slice(body);
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
        _ => Form::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::request::Underscores;

    fn answer(accept: &str, method: &str) -> String {
        let mut head = RequestHead::default();
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        head.parse(text.into_bytes(), Underscores::Drop).unwrap();
        let answer = Answer { head: &head, proxy_status: true, keep_alive: false, now: SystemTime::UNIX_EPOCH };
        let mut out = Vec::new();
        put_failure(&mut out, Failure::ConnectRefused, &answer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_answer_says_why_in_the_form_that_was_asked_for() {
        let text = answer("*/*", "GET");
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{text}");
        assert!(text.contains("Proxy-Status: ringress; error=connection_refused; details=\"connect_refused\"\r\n"));
        assert!(text.ends_with("cause: connect_refused\n"));
        assert!(answer("text/html, application/json", "GET").contains("<!doctype html>"));
        let json = answer("application/json", "GET");
        let body = json.split_once("\r\n\r\n").unwrap().1;
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["cause"], "connect_refused");
    }

    #[test]
    fn a_head_request_gets_no_body() {
        assert!(answer("", "HEAD").ends_with("\r\n\r\n"));
    }
}
