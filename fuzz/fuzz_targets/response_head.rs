//! A response head that is accepted, written for a client and read again says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::encode::response::{Persistence, ResponseTerms, UpstreamResponse, put_response_head};
use ringress::proto::h1::framing::Framing;
use ringress::proto::h1::response::ResponseHead;
use ringress::proto::h1::rules::{Leniency, Lenient};
use ringress::proto::h1::scan::HeadScan;

fuzz_target!(|data: &[u8]| {
    let all = [
        Lenient::RepeatedTransferEncoding,
        Lenient::BareLineFeed,
        Lenient::RepeatedContentLength,
        Lenient::StatusAbove599,
        Lenient::MissingCloseNotify,
    ];
    let leniency = Leniency::of(if data.len() % 3 == 0 { &all } else { &[] });
    let Ok(Some(length)) = HeadScan::of_response(leniency).advance(data) else { return };
    let bytes = &data[..length];
    let mut head = ResponseHead::default();
    let is_head = data.len() % 2 == 0;
    if head.parse(bytes, is_head, leniency).is_err() || head.is_interim() {
        return;
    }
    let terms = ResponseTerms {
        framing: if head.framing() == Framing::UntilClose { Framing::Chunked } else { head.framing() },
        persistence: Persistence::SaysKeepAlive,
        passes_length: is_head || head.status() == 304,
        grpc_web: None,
        now: None,
    };
    let mut out = Vec::new();
    put_response_head(&mut out, UpstreamResponse { head: &head, bytes }, &terms, [None; 4]);
    assert_eq!(HeadScan::default().advance(&out), Ok(Some(out.len())), "one head and nothing behind it");
    if head.fields(bytes).count() > 2_000 {
        return;
    }
    let mut again = ResponseHead::default();
    again.parse(&out, is_head, Leniency::of(&[Lenient::StatusAbove599])).expect("what is written is accepted");
    assert_eq!((again.status(), again.framing()), (head.status(), terms.framing));
});
