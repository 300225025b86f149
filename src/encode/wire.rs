//! What heads are written on: the text of HTTP/1.1, or the fields of a frame of HTTP/2.

use crate::proto::h1::encode;
use crate::proto::h1::field::Field;
use crate::proto::h2::fields::FieldList;

/// What a connection, or one stream of it, is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The text of HTTP/1.1.
    Http1,
    /// Frames of HTTP/2.
    H2,
}

/// A head of HTTP/2, ready for its frame.
#[derive(Debug, Default)]
pub struct H2Head {
    /// Its fields, pseudo-fields first.
    pub fields: FieldList,
    /// True for an interim response (1xx), which another head follows.
    pub is_interim: bool,
}

/// Takes the fields of a head as they are written.
pub trait FieldWriter {
    /// Writes one field: a token, and a value without control characters but tabs.
    fn field(&mut self, name: &[u8], value: &[u8]);

    /// Writes fields of a head that came in `bytes`.
    fn fields<'f>(&mut self, bytes: &[u8], fields: impl Iterator<Item = &'f Field>) {
        for field in fields {
            self.field(field.name.bytes(bytes), field.value.bytes(bytes));
        }
    }

    /// Writes a field whose value is put together by `compose`.
    fn composed(&mut self, name: &[u8], compose: impl FnOnce(&mut Vec<u8>));

    /// Writes a field with a number.
    fn number(&mut self, name: &[u8], number: u64) {
        self.field(name, itoa::Buffer::new().format(number).as_bytes());
    }
}

/// The text of HTTP/1.1.
#[derive(Debug)]
pub struct Text<'a>(pub &'a mut Vec<u8>);

impl FieldWriter for Text<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        encode::put_field(self.0, name, value);
    }

    fn fields<'f>(&mut self, bytes: &[u8], fields: impl Iterator<Item = &'f Field>) {
        encode::put_fields(self.0, bytes, fields);
    }

    fn composed(&mut self, name: &[u8], compose: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        compose(self.0);
        self.0.extend_from_slice(b"\r\n");
    }
}

impl FieldWriter for FieldList {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.push(name, value);
    }

    fn composed(&mut self, name: &[u8], compose: impl FnOnce(&mut Vec<u8>)) {
        self.push_with(name, compose);
    }
}

/// Fields that are kept: their names and values.
impl FieldWriter for Vec<(Vec<u8>, Vec<u8>)> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.push((name.to_vec(), value.to_vec()));
    }

    fn composed(&mut self, name: &[u8], compose: impl FnOnce(&mut Vec<u8>)) {
        let mut value = Vec::new();
        compose(&mut value);
        self.push((name.to_vec(), value));
    }
}

/// Trailer lines as fields of HTTP/2, without those that end at a hop; lines that are not fields are left out.
#[must_use]
pub fn trailer_fields(lines: &[u8]) -> Option<FieldList> {
    let mut fields = FieldList::default();
    for line in lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        encode::for_trailer(&line[..colon], line[colon + 1..].trim_ascii(), |name, value| fields.field(name, value));
    }
    (!fields.is_empty()).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_same_on_both_wires() {
        let (mut text, mut fields) = (Vec::new(), FieldList::default());
        Text(&mut text).field(b"X-Forwarded-Port", b"80");
        Text(&mut text).composed(b"Via", |value| value.extend_from_slice(b"1.1 ringress"));
        Text(&mut text).number(b"Content-Length", 5);
        fields.field(b"X-Forwarded-Port", b"80");
        fields.composed(b"Via", |value| value.extend_from_slice(b"1.1 ringress"));
        fields.number(b"Content-Length", 5);
        assert_eq!(text, b"X-Forwarded-Port: 80\r\nVia: 1.1 ringress\r\nContent-Length: 5\r\n");
        assert_eq!(fields.text(), "x-forwarded-port: 80, via: 1.1 ringress, content-length: 5");
    }

    #[test]
    fn trailers_that_may_be_passed_on_are_fields() {
        let told = b"Grpc-Status: 0\r\nConnection: x\r\nAuthorization: y\r\nbroken\r\nquota_left: 7\r\n";
        let fields = trailer_fields(told).unwrap();
        assert_eq!(fields.text(), "grpc-status: 0, quota_left: 7");
        assert!(trailer_fields(b"").is_none());
    }
}
