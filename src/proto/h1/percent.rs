//! Percent-encoding (RFC 3986 §2.1).

/// True for a byte that means the same whether it is encoded or not (RFC 3986 §2.3).
#[must_use]
pub const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends a byte in its encoded form.
pub fn put_percent(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Appends a text as one part of a URL: one segment of a path, or one value of a query.
pub fn put_component(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        if is_unreserved(*byte) {
            out.push(*byte);
        } else {
            put_percent(out, *byte);
        }
    }
}

/// Appends a parameter as a query or a form has it.
pub fn put_parameter(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    put_component(out, value);
}

/// The bytes that a text stands for; what is no encoding stands for itself.
#[must_use]
pub fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        text.get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_once() {
        assert_eq!(percent_decoded(b"a%20%2520%4"), b"a %20%4");
        assert_eq!(percent_decoded(b"%%41%zz%00%e9"), b"%A%zz\x00\xe9");
        assert_eq!(percent_decoded(b""), b"");
    }

    #[test]
    fn what_has_a_meaning_in_a_url_is_encoded() {
        let mut out = Vec::new();
        put_component(&mut out, b"a-._~Z9 /?&=%\xff");
        assert_eq!(String::from_utf8(out).unwrap(), "a-._~Z9%20%2F%3F%26%3D%25%FF");
    }
}
