//! Reads blocks of fields (RFC 7541 §3.2).

use super::huffman;
use super::integer::take_integer;
use super::table::{STATIC, Table};

/// A block that cannot be read: what follows on the connection cannot either (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionFault;

/// The reading side of one connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What we let the peer's table be, in bytes as RFC 7541 §4.1 counts.
    size_allowed: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// A string: as it came, or decoded to the scratch that was given.
fn take_string<'s, 'b: 's>(block: &mut &'b [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], CompressionFault> {
    let is_coded = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = take_integer(block, 7).ok_or(CompressionFault)?;
    let (text, rest) = block.split_at_checked(length).ok_or(CompressionFault)?;
    *block = rest;
    if !is_coded {
        return Ok(text);
    }
    scratch.clear();
    huffman::decode(text, scratch).map_err(|_| CompressionFault)?;
    Ok(scratch)
}

fn indexed(table: &Table, index: usize) -> Result<(&[u8], &[u8]), CompressionFault> {
    let at = index.checked_sub(1).ok_or(CompressionFault)?;
    match at.checked_sub(STATIC.len()) {
        None => Ok(STATIC[at]),
        Some(age) => table.get(age).ok_or(CompressionFault),
    }
}

impl Decoder {
    /// For a peer that was told that its table may have `size_allowed` bytes.
    #[must_use]
    pub const fn new(size_allowed: usize) -> Self {
        Self { table: Table::new(size_allowed), size_allowed, name: Vec::new(), value: Vec::new() }
    }

    /// Gives each field of a whole block to `field`: name and value, in their order.
    ///
    /// # Errors
    /// [`CompressionFault`]; what was read before it was given.
    pub fn decode(&mut self, mut block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), CompressionFault> {
        let Self { table, size_allowed, name: name_scratch, value: value_scratch } = self;
        // A table is made smaller and then larger at most (RFC 7541 §4.2), in front of the first field.
        let mut resizes_left = 2;
        while let Some(first) = block.first() {
            let first = *first;
            if first & 0x80 != 0 {
                let index = take_integer(&mut block, 7).ok_or(CompressionFault)?;
                let (name, value) = indexed(table, index)?;
                field(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = take_integer(&mut block, 5).filter(|size| resizes_left > 0 && *size <= *size_allowed);
                table.resize(size.ok_or(CompressionFault)?);
                resizes_left -= 1;
                continue;
            } else {
                let is_added = first & 0xc0 == 0x40;
                let index = take_integer(&mut block, if is_added { 6 } else { 4 }).ok_or(CompressionFault)?;
                let name = if index == 0 { take_string(&mut block, name_scratch)? } else { indexed(table, index)?.0 };
                let value = take_string(&mut block, value_scratch)?;
                field(name, value);
                if is_added {
                    let name_length = name.len();
                    let bytes = [name, value].concat().into_boxed_slice();
                    table.add(bytes, name_length);
                }
            }
            resizes_left = 0;
        }
        // A long one is not kept for the next.
        for scratch in [name_scratch, value_scratch] {
            scratch.shrink_to(256);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, CompressionFault> {
        let mut fields = Vec::new();
        decoder.decode(block, |name, value| {
            fields.push(format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        })?;
        Ok(fields)
    }

    #[test]
    fn the_examples_of_the_rules_are_read() {
        // RFC 7541 C.4: three requests on one connection.
        let mut decoder = Decoder::new(4096);
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let expected = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
        assert_eq!(decoded(&mut decoder, first).unwrap(), expected);
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        assert_eq!(
            decoded(&mut decoder, second).unwrap()[3..],
            [":authority: www.example.com", "cache-control: no-cache"]
        );
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        assert_eq!(
            decoded(&mut decoder, third).unwrap()[3..],
            [":authority: www.example.com", "custom-key: custom-value"]
        );
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for block in [
            &b"\x80"[..],
            b"\xbe",
            b"\xff\xff\xff\xff\xff\xff",
            b"\x40\x01x",
            b"\x40\x05x",
            b"\x00\x81\xff\x00",
            b"\x82\x20",
            b"\x3f\xe2\x1f",
            b"\x20\x20\x20\x82",
        ] {
            assert_eq!(decoded(&mut Decoder::new(4096), block), Err(CompressionFault), "{block:x?}");
        }
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room() {
        let mut decoder = Decoder::new(100);
        for at in 0..5 {
            decoded(&mut decoder, format!("\x40\x01a\x01{at}").as_bytes()).unwrap();
        }
        assert_eq!(decoded(&mut decoder, b"\xbe\xbf").unwrap(), ["a: 4", "a: 3"]);
        assert!(decoded(&mut decoder, b"\xc0").is_err());
        let large = [&b"\x40\x01a\x64"[..], &[b'x'; 100]].concat();
        decoded(&mut decoder, &large).unwrap();
        assert!(decoded(&mut decoder, b"\xbe").is_err(), "it made room and found none");
    }
}
