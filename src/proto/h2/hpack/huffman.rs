//! The Huffman code of RFC 7541, appendix B. It is canonical: the lengths of the codes say all.

/// Length of each code in bits, by byte; the last is that of the end of a string, which is never written whole.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];
/// The end of a string.
const END: u16 = 256;
const LENGTH_MAX: u8 = 30;
/// Codes of at most so many bits are found by one look: those of all letters and digits.
const QUICK_BITS: u32 = 10;

/// A string that is not one of the code: it holds the end, or ends with more than its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHuffman;

struct Code {
    /// The code of each byte.
    codes: [u32; 257],
    /// Bytes in the order of their codes.
    sorted: [u16; 257],
    /// For each length: the first code, where its byte stands in `sorted`, and how many there are.
    first: [u32; LENGTH_MAX as usize + 1],
    start: [u16; LENGTH_MAX as usize + 1],
    count: [u16; LENGTH_MAX as usize + 1],
    /// Byte and length by the first bits; a length of 0 where the code is longer.
    quick: [(u16, u8); 1 << QUICK_BITS],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            codes: [0; 257],
            sorted: [0; 257],
            first: [0; LENGTH_MAX as usize + 1],
            start: [0; LENGTH_MAX as usize + 1],
            count: [0; LENGTH_MAX as usize + 1],
            quick: [(0, 0); 1 << QUICK_BITS],
        };
        let (mut length, mut next, mut place) = (1_u8, 0_u32, 0_u16);
        while length <= LENGTH_MAX {
            code.first[length as usize] = next;
            code.start[length as usize] = place;
            let mut byte = 0_u16;
            while byte <= END {
                if LENGTHS[byte as usize] == length {
                    code.codes[byte as usize] = next;
                    code.sorted[place as usize] = byte;
                    code.put_quick(byte, next, length);
                    (next, place) = (next + 1, place + 1);
                    code.count[length as usize] += 1;
                }
                byte += 1;
            }
            next <<= 1;
            length += 1;
        }
        code
    }

    const fn put_quick(&mut self, byte: u16, code: u32, length: u8) {
        if length as u32 > QUICK_BITS {
            return;
        }
        let rest = QUICK_BITS - length as u32;
        let mut at = (code as usize) << rest;
        let end = (code as usize + 1) << rest;
        while at < end {
            self.quick[at] = (byte, length);
            at += 1;
        }
    }

    /// The byte whose code is longer than [`QUICK_BITS`] and begins `bits`, with its length; `None` where it is not whole.
    fn find(&self, bits: u64, available: u32) -> Option<(u16, u32)> {
        for length in QUICK_BITS + 1..=available.min(u32::from(LENGTH_MAX)) {
            let code = u32::try_from(bits >> (64 - length)).unwrap_or(u32::MAX);
            let row = length as usize;
            if let Some(at) = code.checked_sub(self.first[row])
                && at < u32::from(self.count[row])
            {
                return Some((self.sorted[usize::from(self.start[row]) + at as usize], length));
            }
        }
        None
    }
}

/// Appends what `coded` stands for.
///
/// # Errors
/// [`NotHuffman`].
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), NotHuffman> {
    // The bits that are not read yet, the next one highest.
    let (mut bits, mut available) = (0_u64, 0_u32);
    let mut rest = coded.iter();
    loop {
        while available <= 56 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - available);
            available += 8;
        }
        let (byte, length) = CODE.quick[(bits >> (64 - QUICK_BITS)) as usize];
        let length = u32::from(length);
        if length > 0 && length <= available {
            out.push(u8::try_from(byte).unwrap_or_default());
            bits <<= length;
            available -= length;
            continue;
        }
        match if length == 0 { CODE.find(bits, available) } else { None } {
            Some((END, _)) => return Err(NotHuffman),
            Some((byte, length)) => {
                out.push(u8::try_from(byte).unwrap_or_default());
                bits <<= length;
                available -= length;
            }
            // Padding is the beginning of the end: ones, and fewer than a byte of them.
            None if available < 8 && bits == !(u64::MAX.checked_shr(available).unwrap_or(0)) => return Ok(()),
            None => return Err(NotHuffman),
        }
    }
}

/// Bytes that [`encode`] appends for `plain`.
#[must_use]
pub fn encoded_length(plain: &[u8]) -> usize {
    plain.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum::<usize>().div_ceil(8)
}

/// Appends the code of `plain`.
pub fn encode(plain: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut pending) = (0_u64, 0_u32);
    for byte in plain {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODE.codes[usize::from(*byte)]);
        pending += length;
        if pending >= 32 {
            pending -= 32;
            let whole = u32::try_from(bits >> pending & u64::from(u32::MAX)).unwrap_or_default();
            out.extend_from_slice(&whole.to_be_bytes());
        }
    }
    // The last byte is filled with ones.
    let fill = (8 - pending % 8) % 8;
    bits = bits << fill | ((1 << fill) - 1);
    pending += fill;
    let left = (bits << (64 - pending).min(63)).to_be_bytes();
    out.extend_from_slice(&left[..pending as usize / 8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, NotHuffman> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rules_are_coded_as_they_say() {
        // RFC 7541 C.4.1, C.4.3, C.6.1.
        for (plain, coded) in [
            ("www.example.com", &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..]),
            ("custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"),
            ("private", b"\xae\xc3\x77\x1a\x4b"),
        ] {
            let mut out = Vec::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!((&out[..], encoded_length(plain.as_bytes())), (coded, coded.len()));
            assert_eq!(decoded(coded).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn every_byte_at_every_place_comes_back() {
        for length in 0..40 {
            for byte in 0..=255_u8 {
                let plain: Vec<_> = (0..length).map(|at| if at % 3 == 0 { byte } else { b'a' + at }).collect();
                let mut out = Vec::new();
                encode(&plain, &mut out);
                assert_eq!(out.len(), encoded_length(&plain));
                assert_eq!(decoded(&out).unwrap(), plain);
            }
        }
    }

    #[test]
    fn padding_is_ones_and_less_than_a_byte() {
        assert_eq!(decoded(b""), Ok(Vec::new()));
        assert_eq!(decoded(b"\xff"), Err(NotHuffman), "a byte of padding");
        assert_eq!(decoded(b"\x1f").unwrap(), b"a");
        assert_eq!(decoded(b"\x18"), Err(NotHuffman), "zeros");
        assert_eq!(decoded(b"\x1f\xff"), Err(NotHuffman));
        assert_eq!(decoded(b"\xff\xff\xff\xff"), Err(NotHuffman), "the end of a string");
    }
}
