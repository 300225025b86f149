//! A request head that is accepted, written for an upstream and read again says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::encode::hop::{Asked, Hop, HopFields, UpstreamTarget};
use ringress::encode::request::put_request_head;
use ringress::filter::edits::FieldEdits;
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::rules::{ForwardedPath, HeadRules, Underscores};
use ringress::proto::h1::scan::HeadScan;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(length)) = HeadScan::default().advance(data) else { return };
    let mut head = RequestHead::default();
    if head.parse(data[..length].to_vec(), HeadRules::default()).is_err() {
        return;
    }
    let hop = Hop {
        peer: [127, 0, 0, 1].into(),
        client: [127, 0, 0, 1].into(),
        is_trusted: data.len() % 2 == 0,
        keeps_id: data.len() % 2 == 0,
        asked: Asked { scheme: "http", port: 80 },
        scheme: "http",
        client_certificate: None,
        is_early: false,
        request_id: 1,
        writes: HopFields { forwarded: true, via: true },
    };
    let path = [ForwardedPath::Resolved, ForwardedPath::Matched, ForwardedPath::AsSent][data.len() % 3];
    let target = UpstreamTarget { host: None, fallback: b"endpoint", path, length: None };
    let mut out = Vec::new();
    put_request_head(&mut out, &head, &hop, &target, &FieldEdits::default(), true);
    assert_eq!(HeadScan::default().advance(&out), Ok(Some(out.len())), "one head and nothing behind it");
    // Ours may be too many for a head that was nearly full.
    if head.fields().count() > 2_000 {
        return;
    }
    let mut again = RequestHead::default();
    again
        .parse(out, HeadRules { underscores: Underscores::Reject, ..HeadRules::default() })
        .expect("what is written is accepted");
    assert_eq!(again.method(), head.method());
    assert_eq!(again.target().matched(), head.target().matched(), "in whatever form it goes on");
    assert!(head.authority().is_empty() || again.authority() == head.authority());
    assert_eq!(again.framing(), head.framing());
    assert_eq!(again.upgrade().is_some(), head.upgrade().is_some());
});
