//! Text of gRPC-web is the same whole and in pieces, what is written is read again, and a head that is bridged stays one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::proto::grpc_web::{GrpcWebKind, NotText, TextDecoder};
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::rules::HeadRules;

fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, bool), NotText> {
    let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
    text.chunks(step).try_for_each(|part| decoder.decode(part, &mut out))?;
    Ok((out, decoder.is_whole()))
}

fuzz_target!(|data: &[u8]| {
    let step = 1 + data.first().map_or(0, |byte| usize::from(*byte % 16));
    assert_eq!(decode(data, usize::MAX), decode(data, step));

    let text: Vec<u8> = data.chunks(step).flat_map(|part| GrpcWebKind::Text.written(part).into_owned()).collect();
    assert_eq!(decode(&text, step), Ok((data.to_vec(), true)));

    let mut head = RequestHead::default();
    let message = [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web", data, b"\r\n\r\n"].concat();
    if head.parse(message, HeadRules::default()).is_ok() {
        head.bridge_grpc_web();
        if head.grpc_web().is_some() {
            let value = head.value(b"content-type").expect("it has one");
            assert!(value.starts_with(b"application/grpc") && GrpcWebKind::of(&value).is_none());
        }
    }
});
