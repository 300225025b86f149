//! A request head that is accepted, written for an upstream and read again says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::encode::hop::{Hop, HopFields, UpstreamHost};
use ringress::encode::request::put_request_head;
use ringress::filter::edits::FieldEdits;
use ringress::proto::h1::request::{RequestHead, Underscores};
use ringress::proto::h1::scan::HeadScan;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(length)) = HeadScan::default().advance(data) else { return };
    let mut head = RequestHead::default();
    if head.parse(data[..length].to_vec(), Underscores::Drop).is_err() {
        return;
    }
    let hop = Hop {
        peer: [127, 0, 0, 1].into(),
        client: [127, 0, 0, 1].into(),
        is_trusted: data.len() % 2 == 0,
        scheme: "http",
        client_certificate: None,
        is_early: false,
        port: 80,
        request_id: 1,
        writes: HopFields { forwarded: true, via: true },
    };
    let host = UpstreamHost { set: None, fallback: b"endpoint" };
    let mut out = Vec::new();
    put_request_head(&mut out, &head, &hop, &host, &FieldEdits::default());
    assert_eq!(HeadScan::default().advance(&out), Ok(Some(out.len())), "one head and nothing behind it");
    // Ours may be too many for a head that was nearly full.
    if head.fields().count() > 100 {
        return;
    }
    let mut again = RequestHead::default();
    again.parse(out, Underscores::Reject).expect("what is written is accepted");
    assert_eq!(again.method(), head.method());
    assert_eq!(again.target(), head.target());
    assert!(head.authority().is_empty() || again.authority() == head.authority());
    assert_eq!(again.framing(), head.framing());
    assert_eq!(again.upgrade().is_some(), head.upgrade().is_some());
});
