//! Numbers in HPACK: what fits behind some bits of a byte, else in bytes of seven bits behind it (RFC 7541 §5.1).

/// Appends `number` with a prefix of `bits`, whose byte begins with `flags`.
pub(super) fn put_integer(out: &mut Vec<u8>, flags: u8, bits: u32, mut number: usize) {
    let most = (1 << bits) - 1;
    if let Some(small) = u8::try_from(number).ok().filter(|_| number < most) {
        out.push(flags | small);
        return;
    }
    out.push(flags | u8::try_from(most).unwrap_or(u8::MAX));
    number -= most;
    while number >= 128 {
        out.push(u8::try_from(number % 128).unwrap_or_default() | 128);
        number /= 128;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// Takes a number with a prefix of `bits` from the front of `bytes`; `None` where it is not whole, or above 2^28.
pub(super) fn take_integer(bytes: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1 << bits) - 1;
    let mut number = usize::from(*first) & most;
    if number == most {
        let mut shift = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            // Nothing in a head is as long as four such bytes can say.
            if shift > 21 {
                return None;
            }
            number += usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_with_any_prefix() {
        for bits in 4..=7 {
            for number in (0..600).chain([1_337, 65_535, 65_536, 1 << 27]) {
                let mut out = Vec::new();
                put_integer(&mut out, 0, bits, number);
                out.push(7);
                let mut rest = &out[..];
                assert_eq!((take_integer(&mut rest, bits), rest), (Some(number), &[7][..]));
                assert_eq!(take_integer(&mut &out[..out.len() - 2], bits), None, "cut");
            }
        }
        // RFC 7541 C.1.2.
        let mut out = Vec::new();
        put_integer(&mut out, 0, 5, 1_337);
        assert_eq!(out, [31, 154, 10]);
    }

    #[test]
    fn a_number_without_an_end_is_none() {
        assert_eq!(take_integer(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..], 7), None);
    }
}
