//! HTTP/2 next to HTTP/1: frames are counted the same however they are cut, a request that is written as one of HTTP/1.1 is
//! read as what it was, and what HTTP/1.1 lets pass can be said in HTTP/2.
#![no_main]

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use ringress::encode::hop::{Hop, HopFields, UpstreamHost};
use ringress::encode::request::h2_request;
use ringress::encode::response::{Persistence, ResponseTerms, UpstreamResponse, h2_response};
use ringress::encode::wire::trailer_fields;
use ringress::filter::edits::{Edits, FieldEdits};
use ringress::proto::h1::request::{RequestHead, Underscores};
use ringress::proto::h1::response::ResponseHead;
use ringress::proto::h1::scan::HeadScan;
use ringress::proto::h2::meter::Meter;
use ringress::proto::h2::to_h1::put_request;

fn count(data: &[u8], step: usize) -> Result<bool, &'static str> {
    let mut meter = Meter::default();
    data.chunks(step).try_for_each(|part| meter.advance(part, 7)).map_err(|excess| excess.name)?;
    Ok(meter.is_unfinished())
}

/// A request whose parts are lines of the input: method, target, then name and value in turn.
fn request(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(lines.next()?).ok()?;
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        // As the h2 crate hands them over: names in lower case, values as they are.
        let name = HeaderName::from_lowercase(name).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}

fn check_request(request: Request<()>, is_ended: bool) {
    let (parts, ()) = request.into_parts();
    let mut out = Vec::new();
    if put_request(&mut out, &parts, None, is_ended).is_err() {
        return;
    }
    let mut head = RequestHead::default();
    // What would be two heads, or a head and something behind it, must not be taken for one.
    let is_one = HeadScan::default().advance(&out) == Ok(Some(out.len()));
    if head.parse(out, Underscores::Keep).is_err() {
        return;
    }
    assert!(is_one, "one head and nothing behind it");
    assert_eq!(head.method(), parts.method.as_str().as_bytes());
    let added = ["host", "content-length", "transfer-encoding", "cookie"];
    let given = parts.headers.iter().filter(|(name, _)| !added.contains(&name.as_str()));
    let given: Vec<_> = given.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes().trim_ascii())).collect();
    let read = head.fields().filter(|(_, name, _)| !added.iter().any(|known| known.as_bytes() == *name));
    let read: Vec<_> = read.map(|(_, name, value)| (name, value)).collect();
    assert_eq!(given, read);
}

/// A request of HTTP/1.1 that is taken can be said in HTTP/2, or is refused for its method, target or authority.
fn check_h2_request(data: &[u8]) {
    let mut head = RequestHead::default();
    if head.parse(data.to_vec(), Underscores::Keep).is_err() {
        return;
    }
    let peer = IpAddr::from([127, 0, 0, 1]);
    let hop = Hop {
        peer,
        client: peer,
        is_trusted: true,
        scheme: "http",
        client_certificate: None,
        is_early: false,
        port: 80,
        request_id: 1,
        writes: HopFields { forwarded: true, via: true },
    };
    let host = UpstreamHost { set: None, fallback: b"localhost" };
    if let Err(fault) = h2_request(&head, &hop, &host, &FieldEdits::default(), "https") {
        assert_ne!(fault.0, "h2_field", "every field that is taken is one of HTTP/2");
    }
}

/// A response of HTTP/1.1 that is taken can be said in HTTP/2.
fn check_h2_response(data: &[u8]) {
    let mut head = ResponseHead::default();
    if head.parse(data, false).is_err() {
        return;
    }
    let terms = ResponseTerms {
        framing: head.framing(),
        persistence: Persistence::KeepAlive,
        passes_length: false,
        is_secure: true,
        grpc_web: None,
    };
    let response = h2_response(UpstreamResponse { head: &head, bytes: data }, &terms, &Edits::NONE);
    assert!(response.is_some() || head.status() == 101);
}

fuzz_target!(|data: &[u8]| {
    let whole = count(data, data.len().max(1));
    assert!([1, 3, 16].iter().all(|step| count(data, *step) == whole));
    let is_even = data.len() % 2 == 0;
    if let Some(request) = request(data) {
        check_request(request, is_even);
    }
    check_h2_request(data);
    check_h2_response(data);
    let _ = trailer_fields(data);
});
