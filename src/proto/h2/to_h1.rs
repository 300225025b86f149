//! Writes a message of HTTP/2 as one of HTTP/1.1, which is then parsed as strictly as any other (RFC 9113 §8.2 to 8.5).

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::{WEBSOCKET_KEY, is_grpc};
use crate::limits::FIELDS_MAX;
use crate::proto::h1::encode::{put_field, put_number_field, put_status_line, reason};
use crate::proto::h1::fault::RequestFault;
use crate::proto::h1::field::is_token;

/// How the body of the stream is to be written behind the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// As it is: its length is in the head, or there is none.
    Plain,
    /// In chunks.
    Chunked,
    /// As it is: another protocol's bytes, once the answer says so (RFC 8441).
    Tunnel,
}

/// Appends the head of a request. `protocol` is that of an extended CONNECT; `is_ended` where the stream has no body.
///
/// # Errors
/// More fields than a head may have.
pub fn put_request(
    out: &mut Vec<u8>,
    parts: &Parts,
    protocol: Option<&[u8]>,
    is_ended: bool,
) -> Result<Carried, RequestFault> {
    if parts.headers.len() >= FIELDS_MAX {
        return Err(RequestFault::HeadTooLarge);
    }
    if protocol.is_some_and(|protocol| !is_token(protocol)) {
        return Err(RequestFault::FieldValue);
    }
    put_request_line(out, parts, protocol.is_some());
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
    {
        put_field(out, b"host", authority.as_str().as_bytes());
    }
    let is_counted = is_ended || !has_grpc(&parts.headers);
    put_fields(out, &parts.headers, is_counted, protocol.is_some());
    let carried = match protocol {
        Some(protocol) => {
            put_field(out, b"connection", b"upgrade");
            put_field(out, b"upgrade", protocol);
            // Of no meaning in HTTP/2 (RFC 8441 §5.1), and asked for by every server of HTTP/1; the answer to it is dropped.
            put_field(out, b"sec-websocket-key", WEBSOCKET_KEY);
            Carried::Tunnel
        }
        None if is_counted && parts.headers.contains_key(CONTENT_LENGTH) => Carried::Plain,
        None if is_ended => {
            // A method that means a body has an empty one, and not none that its server would wait for.
            if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
                put_number_field(out, b"content-length", 0);
            }
            Carried::Plain
        }
        None => {
            put_field(out, b"transfer-encoding", b"chunked");
            Carried::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(carried)
}

fn put_request_line(out: &mut Vec<u8>, parts: &Parts, is_extended: bool) {
    let method = if is_extended { "GET" } else { parts.method.as_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let authority = parts.uri.authority().map_or("", http::uri::Authority::as_str);
    if parts.method == Method::CONNECT && !is_extended {
        out.extend_from_slice(authority.as_bytes());
    } else if parts.headers.contains_key(HOST) && !authority.is_empty() && path != "*" {
        // In the absolute form both names are read, and must agree.
        out.extend_from_slice(b"http://");
        out.extend_from_slice(authority.as_bytes());
        out.extend_from_slice(path.as_bytes());
    } else {
        out.extend_from_slice(path.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// True for a message of gRPC: its trailers matter more than its length, and a body with a length has none in HTTP/1.
fn has_grpc(fields: &HeaderMap) -> bool {
    fields.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()))
}

/// The fields, without a `Content-Length` that is not counted, and without the key of a WebSocket, which is ours.
fn put_fields(out: &mut Vec<u8>, fields: &HeaderMap, is_counted: bool, has_own_key: bool) {
    for (name, value) in fields {
        let is_ours = name == CONTENT_LENGTH && !is_counted || name == SEC_WEBSOCKET_KEY && has_own_key;
        if name != COOKIE && !is_ours {
            put_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    // Crumbs are one field outside of HTTP/2 (RFC 9113 §8.2.3).
    let mut crumbs = fields.get_all(COOKIE).iter();
    if let Some(first) = crumbs.next() {
        out.extend_from_slice(b"cookie: ");
        out.extend_from_slice(first.as_bytes());
        for crumb in crumbs {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the head of a response. `is_ended` where the stream has no body; `is_head` where it answers a HEAD request.
pub fn put_response(out: &mut Vec<u8>, head: &http::response::Parts, is_ended: bool, is_head: bool) -> Carried {
    let status = head.status.as_u16();
    put_status_line(out, status, reason(status).as_bytes());
    let is_counted = is_ended || !has_grpc(&head.headers);
    put_fields(out, &head.headers, is_counted, false);
    let has_no_body = is_head || status < 200 || matches!(status, 204 | 304);
    let carried = if has_no_body || is_counted && head.headers.contains_key(CONTENT_LENGTH) {
        Carried::Plain
    } else if is_ended {
        put_number_field(out, b"content-length", 0);
        Carried::Plain
    } else {
        put_field(out, b"transfer-encoding", b"chunked");
        Carried::Chunked
    };
    out.extend_from_slice(b"\r\n");
    carried
}

/// Appends the last chunk and the trailers behind it.
pub fn put_trailers(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        put_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::framing::Framing;
    use crate::proto::h1::request::{RequestHead, Underscores};

    fn parts(request: http::Request<()>) -> Parts {
        request.into_parts().0
    }

    fn parsed(parts: &Parts, protocol: Option<&[u8]>, is_ended: bool) -> Result<(RequestHead, Carried), RequestFault> {
        let mut bytes = Vec::new();
        let carried = put_request(&mut bytes, parts, protocol, is_ended)?;
        let mut head = RequestHead::default();
        head.parse(bytes, Underscores::Drop)?;
        Ok((head, carried))
    }

    #[test]
    fn a_request_reads_as_one_of_http1() {
        let request = http::Request::get("https://a.test:81/x/../y?q=1")
            .header("accept", "*/*")
            .header("cookie", "a=1")
            .header("x", "y")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        let (head, carried) = parsed(&parts(request), None, true).unwrap();
        assert_eq!(head.authority(), b"a.test:81");
        assert_eq!(head.target(), b"/y?q=1");
        assert_eq!((head.framing(), carried), (Framing::None, Carried::Plain));
        assert!(String::from_utf8_lossy(head.bytes()).contains("cookie: a=1; b=2\r\n"));
    }

    #[test]
    fn a_body_is_framed_by_its_length_or_in_chunks() {
        let post = |length: Option<&str>| {
            let mut request = http::Request::post("https://a.test/").body(()).unwrap();
            if let Some(length) = length {
                request.headers_mut().insert("content-length", length.parse().unwrap());
            }
            parts(request)
        };
        let framing = |parts: &Parts, is_ended| parsed(parts, None, is_ended).map(|(head, by)| (head.framing(), by));
        assert_eq!(framing(&post(Some("5")), false).unwrap(), (Framing::Length(5), Carried::Plain));
        assert_eq!(framing(&post(None), false).unwrap(), (Framing::Chunked, Carried::Chunked));
        assert_eq!(framing(&post(None), true).unwrap(), (Framing::Length(0), Carried::Plain));
        assert!(framing(&post(Some("5x")), false).is_err());
    }

    #[test]
    fn two_names_must_agree() {
        let with_host =
            |host: &str| parts(http::Request::get("https://a.test/x").header("host", host).body(()).unwrap());
        assert!(parsed(&with_host("A.test"), None, true).is_ok());
        assert!(parsed(&with_host("b.test"), None, true).is_err());
    }

    #[test]
    fn an_extended_connect_is_an_upgrade_and_a_plain_one_is_refused() {
        let mut request = http::Request::builder().method("CONNECT").uri("https://a.test/chat").body(()).unwrap();
        request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
        let (head, carried) = parsed(&parts(request), Some(b"websocket"), false).unwrap();
        assert_eq!((head.method(), head.upgrade(), carried), (&b"GET"[..], Some(&b"websocket"[..]), Carried::Tunnel));
        let request = http::Request::builder().method("CONNECT").uri("a.test:443").body(()).unwrap();
        assert_eq!(parsed(&parts(request), None, false).unwrap_err(), RequestFault::Method);
    }

    #[test]
    fn trailers_follow_the_last_chunk() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut out = Vec::new();
        put_trailers(&mut out, Some(&trailers));
        put_trailers(&mut out, None);
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n0\r\n\r\n");
    }
}
