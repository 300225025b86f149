//! The records of FastCGI (the specification 1.0 of 1996): a request goes as records of its parts, and its answer comes in such.
//!
//! There is one request at a time on a connection, and its number is 1.

/// The longest contents of a record that is written, in bytes: a multiple of 8, so that no padding is needed.
const CONTENTS_MAX: usize = 65_528;
const HEADER_BYTES: usize = 8;
const VERSION: u8 = 1;
const REQUEST: u16 = 1;
/// The role of a program that answers requests.
const RESPONDER: u8 = 1;
const KEEP_CONN: u8 = 1;

/// What a record holds, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// The beginning of a request.
    Begin = 1,
    /// The end of an answer.
    End = 3,
    /// Variables.
    Params = 4,
    /// The request's body.
    Stdin = 5,
    /// The answer.
    Stdout = 6,
    /// What the program has to say to whoever runs it.
    Stderr = 7,
}

/// The rule of the protocol that an answer broke, or that the server has refused the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The rule.
    Broken(&'static str),
    /// It did not begin with it; why.
    Refused(&'static str),
}

fn put_header(out: &mut Vec<u8>, kind: RecordKind, length: usize) {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let [id_high, id_low] = REQUEST.to_be_bytes();
    out.extend_from_slice(&[VERSION, kind as u8, id_high, id_low, high, low, 0, 0]);
}

/// Appends the beginning of a request. Where `keeps`, the server shall leave the connection open behind its answer.
pub fn put_begin(out: &mut Vec<u8>, keeps: bool) {
    put_header(out, RecordKind::Begin, 8);
    out.extend_from_slice(&[0, RESPONDER, if keeps { KEEP_CONN } else { 0 }, 0, 0, 0, 0, 0]);
}

/// Appends a part of a body, in as many records as it takes. An empty one would end the body, and is none.
pub fn put_stdin(out: &mut Vec<u8>, data: &[u8]) {
    for part in data.chunks(CONTENTS_MAX) {
        put_header(out, RecordKind::Stdin, part.len());
        out.extend_from_slice(part);
    }
}

/// Appends the end of a body.
pub fn put_stdin_end(out: &mut Vec<u8>) {
    put_header(out, RecordKind::Stdin, 0);
}

/// Appends the variables and their end. No pair goes over the end of a record: php-fpm reads each record by itself. False, with a part
/// written, where a pair is longer than a record.
#[must_use]
pub fn put_params<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let mut contents = Vec::with_capacity(1_024);
    let mut flush = |contents: &mut Vec<u8>| {
        put_header(out, RecordKind::Params, contents.len());
        out.append(contents);
    };
    for (name, value) in pairs {
        let length = name.len() + value.len() + 8;
        if length > CONTENTS_MAX {
            return false;
        }
        if contents.len() + length > CONTENTS_MAX {
            flush(&mut contents);
        }
        put_length(&mut contents, name.len());
        put_length(&mut contents, value.len());
        contents.extend_from_slice(name);
        contents.extend_from_slice(value);
    }
    if !contents.is_empty() {
        flush(&mut contents);
    }
    flush(&mut Vec::new());
    true
}

/// One byte below 128, else four with the highest bit set. No length here has more than 16 bits.
fn put_length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ ..128) => out.push(short),
        Ok(128..) | Err(_) => {
            let length = u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31;
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Where in the records of an answer a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordPlace {
    /// In a header, of which so many bytes have come.
    Header { come: usize },
    /// In the contents.
    Contents { kind: Option<RecordKind>, left: usize, padding: usize },
    /// In what is behind the contents.
    Padding { left: usize },
    /// Behind the end of the answer.
    Over,
}

/// Reads an answer out of its records, which may come cut anywhere.
#[derive(Debug)]
pub struct RecordDecoder {
    place: RecordPlace,
    /// A header, or the contents of an end, as far as they came.
    gathered: [u8; HEADER_BYTES],
    /// True once the contents of an end have come, whose padding may be outstanding.
    has_end: bool,
    /// True once the program has answered, or said something of itself.
    has_begun: bool,
    is_fresh: bool,
}

impl Default for RecordDecoder {
    fn default() -> Self {
        Self {
            place: RecordPlace::Header { come: 0 },
            gathered: [0; HEADER_BYTES],
            has_end: false,
            has_begun: false,
            is_fresh: true,
        }
    }
}

impl RecordDecoder {
    /// True until a byte comes.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// True behind the end of the answer.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.place, RecordPlace::Over)
    }

    /// Replaces the records behind `from` by what they hold of the answer; what the program says of itself is appended to `told`.
    ///
    /// # Errors
    /// [`RecordFault`], once; the answer up to there stays.
    pub fn decode(&mut self, bytes: &mut Vec<u8>, from: usize, told: &mut Vec<u8>) -> Result<(), RecordFault> {
        let (mut at, mut kept) = (from, from);
        let mut outcome = Ok(());
        while at < bytes.len() && outcome.is_ok() {
            self.is_fresh = false;
            match self.place {
                RecordPlace::Header { come } => {
                    let taken = (HEADER_BYTES - come).min(bytes.len() - at);
                    self.gathered[come..come + taken].copy_from_slice(&bytes[at..at + taken]);
                    at += taken;
                    self.place = RecordPlace::Header { come: come + taken };
                    if come + taken == HEADER_BYTES {
                        outcome = self.begin_record();
                    }
                }
                RecordPlace::Contents { kind, left, padding } => {
                    let taken = left.min(bytes.len() - at);
                    match kind {
                        Some(RecordKind::Stdout) => {
                            bytes.copy_within(at..at + taken, kept);
                            kept += taken;
                        }
                        Some(RecordKind::Stderr) => told.extend_from_slice(&bytes[at..at + taken]),
                        Some(RecordKind::End) => {
                            let come = HEADER_BYTES - left;
                            self.gathered[come..come + taken].copy_from_slice(&bytes[at..at + taken]);
                        }
                        Some(RecordKind::Begin | RecordKind::Params | RecordKind::Stdin) | None => {}
                    }
                    at += taken;
                    self.place = RecordPlace::Contents { kind, left: left - taken, padding };
                    if left == taken {
                        outcome = self.end_contents(kind, padding);
                    }
                }
                RecordPlace::Padding { left } => {
                    let taken = left.min(bytes.len() - at);
                    at += taken;
                    self.put_padding(left - taken);
                }
                RecordPlace::Over => outcome = Err(RecordFault::Broken("fastcgi_bytes_behind_end")),
            }
        }
        bytes.truncate(kept);
        outcome
    }

    /// A header is whole.
    fn begin_record(&mut self) -> Result<(), RecordFault> {
        let [version, number, id_high, id_low, high, low, padding, _] = self.gathered;
        if version != VERSION {
            return Err(RecordFault::Broken("fastcgi_version"));
        }
        let id = u16::from_be_bytes([id_high, id_low]);
        let left = usize::from(u16::from_be_bytes([high, low]));
        let kind = match (number, id) {
            // Of the connection itself: we have asked nothing.
            (_, 0) => None,
            (3, REQUEST) if left == HEADER_BYTES => Some(RecordKind::End),
            (3, REQUEST) => return Err(RecordFault::Broken("fastcgi_end")),
            (6 | 7, REQUEST) => {
                self.has_begun = true;
                Some(if number == 6 { RecordKind::Stdout } else { RecordKind::Stderr })
            }
            (_, REQUEST) => return Err(RecordFault::Broken("fastcgi_kind")),
            _ => return Err(RecordFault::Broken("fastcgi_request")),
        };
        let padding = usize::from(padding);
        self.place = RecordPlace::Contents { kind, left, padding };
        if left == 0 { self.end_contents(kind, padding) } else { Ok(()) }
    }

    fn end_contents(&mut self, kind: Option<RecordKind>, padding: usize) -> Result<(), RecordFault> {
        if kind == Some(RecordKind::End) {
            match self.gathered[4] {
                0 => self.has_end = true,
                // It has begun with it, whatever it says.
                _ if self.has_begun => return Err(RecordFault::Broken("fastcgi_end")),
                1 => return Err(RecordFault::Refused("multiplexing")),
                2 => return Err(RecordFault::Refused("overloaded")),
                3 => return Err(RecordFault::Refused("role")),
                _ => return Err(RecordFault::Broken("fastcgi_end")),
            }
        }
        self.put_padding(padding);
        Ok(())
    }

    const fn put_padding(&mut self, left: usize) {
        self.place = match left {
            0 if self.has_end => RecordPlace::Over,
            0 => RecordPlace::Header { come: 0 },
            left => RecordPlace::Padding { left },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u8, id: u16, contents: &[u8], padding: u8) -> Vec<u8> {
        let [id_high, id_low] = id.to_be_bytes();
        let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
        let mut out = vec![1, number, id_high, id_low, high, low, padding, 0];
        out.extend_from_slice(contents);
        out.extend(std::iter::repeat_n(b'#', padding.into()));
        out
    }

    fn end(status: u8) -> Vec<u8> {
        record(3, 1, &[0, 0, 0, 7, status, 0, 0, 0], 0)
    }

    #[test]
    fn an_answer_is_the_same_however_its_records_are_cut() {
        let parts = [
            record(6, 1, b"Status: 200\r\n\r\n", 1),
            record(7, 1, b"careful", 0),
            record(10, 0, b"who asked", 3),
            record(6, 1, b"body", 255),
            record(6, 1, b"", 0),
            record(3, 1, &[0; 8], 5),
        ];
        let all = parts.concat();
        for step in 1..=all.len() {
            let (mut decoder, mut told, mut answer) = (RecordDecoder::default(), Vec::new(), b"before".to_vec());
            assert!(decoder.is_fresh());
            for part in all.chunks(step) {
                assert!(!decoder.is_over());
                let from = answer.len();
                answer.extend_from_slice(part);
                decoder.decode(&mut answer, from, &mut told).unwrap();
            }
            assert!(decoder.is_over() && !decoder.is_fresh());
            assert_eq!((&answer[..], &told[..]), (&b"beforeStatus: 200\r\n\r\nbody"[..], &b"careful"[..]), "{step}");
        }
    }

    #[test]
    fn broken_records_are_told_by_their_rule_and_what_came_before_stays() {
        let of = |bytes: &[u8]| {
            let mut bytes = [record(6, 1, b"x", 0), bytes.to_vec()].concat();
            let fault = RecordDecoder::default().decode(&mut bytes, 0, &mut Vec::new()).unwrap_err();
            assert_eq!(bytes, b"x");
            fault
        };
        let broken = RecordFault::Broken;
        assert_eq!(of(&[2, 6, 0, 1, 0, 0, 0, 0]), broken("fastcgi_version"));
        assert_eq!(of(b"HTTP/1.1 200 OK\r\n"), broken("fastcgi_version"));
        assert_eq!(of(&record(6, 2, b"y", 0)), broken("fastcgi_request"));
        assert_eq!(of(&record(5, 1, b"y", 0)), broken("fastcgi_kind"));
        assert_eq!(of(&record(3, 1, b"short", 0)), broken("fastcgi_end"));
        assert_eq!(of(&end(9)), broken("fastcgi_end"));
        assert_eq!(of(&[end(0), record(6, 1, b"y", 0)].concat()), broken("fastcgi_bytes_behind_end"));
        assert_eq!(of(&end(2)), broken("fastcgi_end"), "it had begun to answer");
        let refused = |bytes: &[u8]| RecordDecoder::default().decode(&mut bytes.to_vec(), 0, &mut Vec::new());
        for (status, why) in [(1, "multiplexing"), (2, "overloaded"), (3, "role")] {
            assert_eq!(refused(&end(status)), Err(RecordFault::Refused(why)));
        }
        assert_eq!(refused(&[record(7, 1, b"y", 0), end(2)].concat()), Err(broken("fastcgi_end")));
    }

    /// The pairs of the variables, by another reading of the specification, each record by itself.
    fn pairs_of(mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = Vec::new();
        loop {
            assert_eq!(bytes[..4], [1, 4, 0, 1]);
            let length = usize::from(bytes[4]) << 8 | usize::from(bytes[5]);
            let mut contents = &bytes[8..8 + length];
            bytes = &bytes[8 + length..];
            if length == 0 {
                assert!(bytes.is_empty());
                return pairs;
            }
            while !contents.is_empty() {
                let mut number = || {
                    let is_long = contents[0] & 128 != 0;
                    let (digits, rest) = contents.split_at(if is_long { 4 } else { 1 });
                    contents = rest;
                    digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)) & 0x7fff_ffff
                };
                let (name, value) = (number(), number());
                let (text, rest) = contents.split_at(name + value);
                contents = rest;
                pairs.push((text[..name].to_vec(), text[name..].to_vec()));
            }
        }
    }

    #[test]
    fn variables_of_every_length_come_whole_each_in_one_record() {
        let lengths = [0, 1, 127, 128, 255, 256, 30_000, 40_000, 65_000];
        let pairs: Vec<_> = lengths.iter().map(|length| (vec![b'N'; *length % 300 + 1], vec![b'v'; *length])).collect();
        let mut out = Vec::new();
        assert!(put_params(&mut out, pairs.iter().map(|(name, value)| (&name[..], &value[..]))));
        assert_eq!(pairs_of(&out), pairs);
        let long = vec![b'v'; 65_528];
        assert!(!put_params(&mut Vec::new(), std::iter::once((&b"N"[..], &long[..]))));
    }

    #[test]
    fn a_body_goes_in_records_that_have_room_for_it() {
        let mut out = Vec::new();
        put_begin(&mut out, true);
        assert_eq!(out, [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
        out.clear();
        put_stdin(&mut out, &vec![b'x'; 65_530]);
        put_stdin(&mut out, b"");
        put_stdin_end(&mut out);
        assert_eq!(out.len(), 65_530 + 3 * 8);
        assert_eq!(out[..8], [1, 5, 0, 1, 0xff, 0xf8, 0, 0]);
        assert_eq!(out[8 + 65_528..8 + 65_528 + 10], [1, 5, 0, 1, 0, 2, 0, 0, b'x', b'x']);
        assert_eq!(out[out.len() - 8..], [1, 5, 0, 1, 0, 0, 0, 0]);
    }
}
