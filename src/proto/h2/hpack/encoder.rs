//! Writes blocks of fields (RFC 7541 §6).
//!
//! What comes again and again is added to the table; what is another in each message, or a secret of one of those who share
//! the connection (§7.1), is not.

use std::collections::VecDeque;

use super::huffman;
use super::integer::put_integer;
use super::table::{STATIC, Table};

/// What we use at most of the peer's table, in bytes as RFC 7541 §4.1 counts: the initial size.
const SIZE_MAX: usize = 4096;
/// Longest field that is added: a longer one would drive out many.
const ADDED_BYTES_MAX: usize = 512;

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Indexing {
    /// It will come again.
    Added,
    /// It will not.
    Plain,
    /// No table may ever hold it (RFC 7541 §7.1.3).
    Secret,
}

/// The writing side of one connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// Hashes of the entries of the table, in their order.
    hashes: VecDeque<u32>,
    /// The smallest size that the table had since the last block: the next one says it first (RFC 7541 §4.2).
    smallest: Option<usize>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::new(SIZE_MAX), hashes: VecDeque::new(), smallest: None }
    }
}

impl Encoder {
    /// The peer's table has so many bytes at most (SETTINGS_HEADER_TABLE_SIZE).
    pub fn resize(&mut self, size: usize) {
        let size = size.min(SIZE_MAX);
        if size != self.table.size_max() {
            self.table.resize(size);
            self.hashes.truncate(self.table.len());
            self.smallest = Some(self.smallest.map_or(size, |smallest| smallest.min(size)));
        }
    }

    /// Appends a block of these fields, whose names are in lower case.
    pub fn encode<'f>(&mut self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, out: &mut Vec<u8>) {
        if let Some(smallest) = self.smallest.take() {
            if smallest < self.table.size_max() {
                put_integer(out, 0x20, 5, smallest);
            }
            put_integer(out, 0x20, 5, self.table.size_max());
        }
        for (name, value) in fields {
            self.put(name, value, out);
        }
    }

    fn put(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let (name_index, index) = known(name, value);
        if index > 0 {
            return put_integer(out, 0x80, 7, index);
        }
        let way = way(name, value);
        if way == Indexing::Added {
            let hash = hash(name, value);
            if let Some(age) = self.find(hash, name, value) {
                return put_integer(out, 0x80, 7, 1 + STATIC.len() + age);
            }
            self.hashes.push_front(hash);
            self.table.add([name, value].concat().into_boxed_slice(), name.len());
            self.hashes.truncate(self.table.len());
        }
        match way {
            Indexing::Added => put_integer(out, 0x40, 6, name_index),
            Indexing::Plain => put_integer(out, 0x00, 4, name_index),
            Indexing::Secret => put_integer(out, 0x10, 4, name_index),
        }
        if name_index == 0 {
            put_string(out, name);
        }
        put_string(out, value);
    }

    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let is_it = |(age, known): (usize, &u32)| *known == hash && self.table.get(age) == Some((name, value));
        self.hashes.iter().enumerate().position(is_it)
    }
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    let coded = huffman::encoded_length(text);
    if coded < text.len() {
        put_integer(out, 0x80, 7, coded);
        huffman::encode(text, out);
    } else {
        put_integer(out, 0x00, 7, text.len());
        out.extend_from_slice(text);
    }
}

/// FNV-1a, cut to 32 bits: two that are alike are compared.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    // The ends tell most apart; a field is hashed for each message.
    let of = |hash, text: &[u8]| {
        let hash = mix(hash, &u8::try_from(text.len() & 255).unwrap_or_default());
        let tail = text.len().saturating_sub(12);
        text[..text.len().min(8)].iter().chain(&text[tail..]).fold(hash, mix)
    };
    of(of(0x811c_9dc5, name), value)
}

/// Indices in the static table: that of the name and that of the field; 0 where there is none.
fn known(name: &[u8], value: &[u8]) -> (usize, usize) {
    let with = |first: usize, values: &[&[u8]]| {
        let at = values.iter().position(|known| *known == value);
        (first, at.map_or(0, |at| first + at))
    };
    match name {
        b":method" => with(2, &[b"GET", b"POST"]),
        b":path" => with(4, &[b"/", b"/index.html"]),
        b":scheme" => with(6, &[b"http", b"https"]),
        b":status" => with(8, &[b"200", b"204", b"206", b"304", b"400", b"404", b"500"]),
        b"accept-encoding" => with(16, &[b"gzip, deflate"]),
        b":authority" => (1, 0),
        _ => (NAMES.index(name), 0),
    }
}

/// Names that stand once in the static table: their places in it by length, and where those of a length begin.
struct StaticNames {
    places: [u8; STATIC.len()],
    begin: [u8; Self::LENGTH_MAX + 2],
}

static NAMES: StaticNames = StaticNames::new();

impl StaticNames {
    /// The longest: `access-control-allow-origin`.
    const LENGTH_MAX: usize = 27;

    const fn new() -> Self {
        let mut names = Self { places: [0; STATIC.len()], begin: [0; Self::LENGTH_MAX + 2] };
        let (mut length, mut count) = (0, 0_u8);
        while length <= Self::LENGTH_MAX {
            names.begin[length] = count;
            let mut at = 0_u8;
            while (at as usize) < STATIC.len() {
                if STATIC[at as usize].0.len() == length {
                    names.places[count as usize] = at;
                    count += 1;
                }
                at += 1;
            }
            length += 1;
        }
        names.begin[length] = count;
        names
    }

    /// The index of a name; 0 where it has none.
    fn index(&self, name: &[u8]) -> usize {
        let Some([from, to]) = self.begin.get(name.len()..).and_then(<[u8]>::first_chunk) else { return 0 };
        let of_length = &self.places[usize::from(*from)..usize::from(*to)];
        of_length.iter().find(|at| STATIC[usize::from(**at)].0 == name).map_or(0, |at| usize::from(*at) + 1)
    }
}

fn way(name: &[u8], value: &[u8]) -> Indexing {
    match name {
        b"authorization" | b"proxy-authorization" | b"cookie" | b"set-cookie" => Indexing::Secret,
        b":path" | b"content-length" | b"content-range" | b"etag" | b"last-modified" | b"location" | b"referer"
        | b"age" | b"if-none-match" | b"if-modified-since" | b"x-request-id" | b"x-forwarded-for" | b"x-real-ip"
        | b"forwarded" | b"traceparent" | b"tracestate" | b"grpc-timeout" | b"expires" | b"range" => Indexing::Plain,
        _ if name.len() + value.len() > ADDED_BYTES_MAX => Indexing::Plain,
        _ => Indexing::Added,
    }
}

#[cfg(test)]
mod tests {
    use super::super::decoder::Decoder;
    use super::*;

    type Plain<'a> = [(&'a str, &'a str)];

    fn encoded(encoder: &mut Encoder, fields: &Plain<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &mut out);
        out
    }

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        decoder.decode(block, |name, value| fields.push((text(name), text(value)))).unwrap();
        fields
    }

    #[test]
    fn what_is_written_is_read_and_what_comes_again_is_one_byte() {
        let fields: &Plain<'_> = &[
            (":status", "200"),
            ("server", "origin"),
            ("content-type", "text/plain"),
            ("x-long", &"v".repeat(600)),
            ("set-cookie", "id=1"),
            ("content-length", "17"),
        ];
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(4096));
        let first = encoded(&mut encoder, &fields[..3]);
        let again = encoded(&mut encoder, &fields[..3]);
        assert_eq!(again.len(), 3);
        for block in [first, again, encoded(&mut encoder, fields)] {
            let found = decoded(&mut decoder, &block);
            let expected: Vec<_> =
                fields[..found.len()].iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_names_that_have_a_number_have_the_right_one() {
        for (at, (name, value)) in STATIC.iter().enumerate() {
            let (name_index, index) = known(name, value);
            assert_eq!(STATIC[name_index - 1].0, *name);
            assert!(index == 0 && value.is_empty() || index == at + 1, "{name:?}");
        }
        assert_eq!(known(b"x-other", b""), (0, 0));
    }

    #[test]
    fn both_tables_stay_the_same_whatever_is_added_and_however_they_shrink() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(4096));
        let mut seed = 7_u32;
        for at in 0..3_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at % 500 == 499 {
                encoder.resize((seed >> 16) as usize % 5_000);
            }
            let name = format!("x-{}", seed >> 20 & 63);
            let value = "v".repeat((seed >> 8 & 127) as usize);
            let block = encoded(&mut encoder, &[(&name, &value), ("te", "trailers")]);
            assert_eq!(decoded(&mut decoder, &block), [(name, value), ("te".to_owned(), "trailers".to_owned())]);
            assert_eq!(encoder.hashes.len(), encoder.table.len());
        }
    }
}
