//! HTTP/2 next to HTTP/1: frames are counted the same however they are cut, a request that is written as one of HTTP/1.1 is
//! read as what it was, and what is written for a stream is read without a panic.
#![no_main]

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use ringress::proto::h1::request::{RequestHead, Underscores};
use ringress::proto::h1::scan::HeadScan;
use ringress::proto::h2::from_h1::{Kind, Part, Unframer};
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

fn check_message(kind: Kind, data: &[u8]) {
    let mut unframer = Unframer::new(kind);
    let mut at = 0;
    while at < data.len() && !unframer.is_done() {
        let Ok((taken, part)) = unframer.next(&data[at..]) else { return };
        at += taken;
        match part {
            Some(Part::Data(length, _)) => at += length,
            None if taken == 0 => return,
            _ => {}
        }
        assert!(at <= data.len());
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = count(data, data.len().max(1));
    assert!([1, 3, 16].iter().all(|step| count(data, *step) == whole));
    let is_even = data.len() % 2 == 0;
    if let Some(request) = request(data) {
        check_request(request, is_even);
    }
    check_message(Kind::Response { is_head: is_even, is_tunnel: !is_even }, data);
    check_message(Kind::Request("https"), data);
});
