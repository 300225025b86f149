//! As much of RFC 6455 as an echo needs: the handshake's answer and frames of up to 125 bytes.

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

/// Longest payload whose length is in the frame's second byte.
pub const LONGEST: usize = 125;

/// What the server must answer to this key (RFC 6455, 4.2.2).
pub fn accept(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// A client's text frame.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= LONGEST);
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81, 0x80 | payload.len() as u8];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Appends the answers to all whole frames in `data` to `out` and tells how many bytes they took.
pub fn echo(data: &[u8], out: &mut Vec<u8>) -> anyhow::Result<usize> {
    let mut at = 0;
    while let [first, second, mask @ ..] = &data[at..] {
        let length = usize::from(second & 0x7f);
        anyhow::ensure!(second & 0x80 != 0 && length <= LONGEST, "no masked frame of up to {LONGEST} bytes");
        if mask.len() < 4 + length {
            break;
        }
        let (mask, payload) = mask.split_at(4);
        out.extend([*first, length as u8]);
        out.extend(payload[..length].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        at += 6 + length;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_echo_is_unmasked_and_waits_for_whole_frames() {
        let frames = [masked(b"hello"), masked(b"you")].concat();
        let mut out = Vec::new();
        assert_eq!(echo(&frames[..frames.len() - 1], &mut out).unwrap(), 11);
        assert_eq!(out, b"\x81\x05hello");
    }
}
