//! A chunked body decodes to the same whole and in pieces, and what is encoded of it decodes to it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::proto::h1::chunked::{BodyOf, ChunkDecoder, ChunkFault};
use ringress::proto::h1::encode::{put_chunk, put_last_chunk};

fn decode(of: BodyOf, input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, usize, bool), ChunkFault> {
    let mut decoder = ChunkDecoder::new(of);
    let (mut body, mut trailers, mut at) = (Vec::new(), Vec::new(), 0);
    while at < input.len() && !decoder.is_done() {
        let window = &input[at..input.len().min(at + step)];
        let piece = decoder.decode(window, &mut trailers)?;
        assert!(piece.consumed > 0 && piece.data.end <= piece.consumed);
        body.extend_from_slice(&window[piece.data]);
        at += piece.consumed;
    }
    Ok((body, trailers, at, decoder.is_done()))
}

fuzz_target!(|data: &[u8]| {
    let whole = decode(BodyOf::Response, data, usize::MAX >> 1);
    let step = 1 + data.first().map_or(0, |byte| usize::from(*byte % 16));
    assert_eq!(whole, decode(BodyOf::Response, data, step));
    let strict = decode(BodyOf::Request, data, step);
    assert!(strict.is_err() || strict == whole, "what a request may say, an answer says alike");
    let Ok((body, trailers, _, true)) = whole else { return };
    let mut out = Vec::new();
    body.chunks(100).for_each(|piece| put_chunk(&mut out, piece));
    put_last_chunk(&mut out, &trailers);
    let (again, _, length, is_done) = decode(BodyOf::Request, &out, usize::MAX >> 1).expect("what is written is accepted");
    assert!(again == body && length == out.len() && is_done);
});
