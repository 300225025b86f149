//! `compress`: answers go to clients in fewer bytes, where a client accepts it and the answer is worth it (RFC 9110 §8.4, §12.5.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::edits::FieldEdits;
use super::encoder::{Compression, Recoding};
use crate::proto::coding::{Coding, accepted};
use crate::proto::h1::field::{Known, list_elements};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::response::ResponseHead;
use crate::proto::version::Version;
use crate::units::Size;

/// Which answers go compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compress {
    /// Codings, the best one first: `"zstd"`, `"br"`, `"gzip"`. Where a client likes several alike the first of them is taken.
    pub encodings: Vec<Coding>,
    /// Content types, without parameters; `"text/*"` for all of a kind. Streams of events are compressed only where they are named.
    pub types: Vec<String>,
    /// Answers that say they are shorter go as they are.
    pub min: Size,
    /// 1 to 9: how hard gzip tries.
    #[schemars(range(min = 1, max = 9))]
    pub gzip_level: u8,
    /// 0 to 7: how hard Brotli tries. What is above takes so long for a piece that other connections would notice.
    #[schemars(range(max = 7))]
    pub brotli_level: u8,
    /// 1 to 9: how hard Zstandard tries.
    #[schemars(range(min = 1, max = 9))]
    pub zstd_level: u8,
    /// Take the coding off answers whose clients have not said that they know it.
    pub decompress: bool,
}

impl Default for Compress {
    fn default() -> Self {
        const TYPES: [&str; 16] = [
            "text/*",
            "application/json",
            "application/ld+json",
            "application/problem+json",
            "application/vnd.api+json",
            "application/manifest+json",
            "application/javascript",
            "application/x-javascript",
            "application/xml",
            "application/xhtml+xml",
            "application/rss+xml",
            "application/atom+xml",
            "application/wasm",
            "image/svg+xml",
            "font/ttf",
            "font/otf",
        ];
        Self {
            encodings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            types: TYPES.map(str::to_owned).to_vec(),
            min: Size::from_kib(1),
            gzip_level: 5,
            brotli_level: 4,
            zstd_level: 3,
            decompress: false,
        }
    }
}

/// The same, compiled.
#[derive(Clone, Debug)]
pub struct CompiledCompress {
    spec: Compress,
    /// `text/` of `text/*`.
    kinds: Vec<String>,
}

impl Compress {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<CompiledCompress> {
        let levels =
            [("gzip", self.gzip_level, 1..=9), ("brotli", self.brotli_level, 0..=7), ("zstd", self.zstd_level, 1..=9)];
        for (name, level, range) in levels {
            if !range.contains(&level) {
                let what = format!("{level} is not a level of {name} here");
                place.fault(what, format!("write {} to {}", range.start(), range.end()));
            }
        }
        if self.encodings.is_empty() {
            place.fault("no coding is named", "write zstd, br, gzip, or leave `encodings` out");
        }
        for kind in self.types.iter().filter(|kind| kind.split('/').count() != 2) {
            place.fault(format!("`{kind}` is not a content type"), "write text/html, or text/* for all of a kind");
        }
        let kinds = self.types.iter().filter_map(|kind| kind.strip_suffix('*')).map(str::to_ascii_lowercase).collect();
        (!place.has_faults()).then(|| CompiledCompress { spec: self.clone(), kinds })
    }
}

impl CompiledCompress {
    /// What becomes of an answer: how its coding changes, where there is room for one more, and in any case what caches must know of it.
    #[must_use]
    pub fn on_response(
        &self,
        request: &RequestHead,
        (head, bytes): (&ResponseHead, &[u8]),
        edits: &mut FieldEdits,
        has_room: bool,
    ) -> Option<Recoding> {
        if head.status() == 304 {
            self.on_not_modified(request, (head, bytes), edits);
            return None;
        }
        if let Some(coding) = self.coding_to_take_off(request, head, bytes) {
            note_varies((head, bytes), edits);
            let known = request.value(b"accept-encoding").unwrap_or_default();
            if accepted(&known, &[coding]).is_some() || !has_room {
                return None;
            }
            note_other_bytes((head, bytes), edits);
            edits.remove.add(b"content-encoding");
            return Some(Recoding::Decode(coding));
        }
        if !self.may_compress(request, head, bytes) {
            return None;
        }
        note_varies((head, bytes), edits);
        if !has_room {
            return None;
        }
        let coding = accepted(&request.value(b"accept-encoding")?, &self.spec.encodings)?;
        edits.set(b"Content-Encoding", coding.name().as_bytes());
        note_other_bytes((head, bytes), edits);
        let level = match coding {
            Coding::Gzip => self.spec.gzip_level,
            Coding::Brotli => self.spec.brotli_level,
            Coding::Zstd => self.spec.zstd_level,
        };
        let length = match head.framing() {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        Some(Recoding::Encode(Compression { coding, level, length }))
    }

    /// The one coding of an answer, where it is to be taken off for clients that do not know it.
    fn coding_to_take_off(&self, request: &RequestHead, head: &ResponseHead, bytes: &[u8]) -> Option<Coding> {
        let is_whole = is_whole(head, bytes) && request.version() != Version::Http10;
        if !self.spec.decompress || !is_whole || forbids_transform(head, bytes) {
            return None;
        }
        let mut told = head.fields(bytes).filter(|(_, name, _)| name.eq_ignore_ascii_case(b"content-encoding"));
        let (Some((_, _, told)), None) = (told.next(), told.next()) else { return None };
        let all = [Coding::Gzip, Coding::Brotli, Coding::Zstd];
        all.into_iter().find(|own| told.eq_ignore_ascii_case(own.name().as_bytes()))
    }

    /// Says of an answer that has not changed what would be said of it with its body (RFC 9110 §15.4.5): it may be compressed.
    fn on_not_modified(&self, request: &RequestHead, (head, bytes): (&ResponseHead, &[u8]), edits: &mut FieldEdits) {
        // Few say of what kind it is.
        if head.known(Known::ContentType, bytes).is_some_and(|kind| !self.takes(kind)) {
            return;
        }
        note_varies((head, bytes), edits);
        let Some(tag) = head.value(b"etag", bytes).filter(|tag| tag.starts_with(b"\"")) else { return };
        // The client has the one that was compressed, and asked by its tag.
        let weak = [b"W/", tag].concat();
        let asked = request.value(b"if-none-match").unwrap_or_default();
        let has = |wanted: &[u8]| list_elements(&asked).any(|one| one == wanted);
        if has(&weak) && !has(tag) {
            edits.set(b"ETag", weak);
        }
    }

    fn may_compress(&self, request: &RequestHead, head: &ResponseHead, bytes: &[u8]) -> bool {
        let value = |name: &[u8]| head.value(name, bytes);
        let is_encoded = value(b"content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        // Where it has no body of its own its length says whether one would be worth it.
        let length = match head.framing() {
            Framing::Length(length) => Some(length),
            Framing::None => value(b"content-length").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let is_worth_it = length.is_none_or(|length| length >= self.spec.min.bytes().max(1));
        request.version() != Version::Http10
            && is_whole(head, bytes)
            && is_worth_it
            && !is_encoded
            && !forbids_transform(head, bytes)
            && self.takes(head.known(Known::ContentType, bytes).unwrap_or_default())
    }

    fn takes(&self, content_type: &[u8]) -> bool {
        let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        // Its messages say themselves whether they are compressed.
        if kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc")) {
            return false;
        }
        let is_named = self.spec.types.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(kind));
        let is_of =
            |start: &String| kind.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start.as_bytes()));
        is_named || !kind.eq_ignore_ascii_case(b"text/event-stream") && self.kinds.iter().any(is_of)
    }
}

/// True for an answer with a whole body.
fn is_whole(head: &ResponseHead, bytes: &[u8]) -> bool {
    !matches!(head.status(), 100..=199 | 204 | 206 | 304) && head.value(b"content-range", bytes).is_none()
}

/// Says of an answer that it is another representation than the upstream's.
fn note_other_bytes((head, bytes): (&ResponseHead, &[u8]), edits: &mut FieldEdits) {
    edits.remove.add(b"accept-ranges");
    // They are of the bytes that the upstream sent (RFC 9530).
    for digest in [&b"content-digest"[..], b"repr-digest", b"digest", b"content-md5"] {
        edits.remove.add(digest);
    }
    if let Some(tag) = head.value(b"etag", bytes).filter(|tag| tag.starts_with(b"\"")) {
        // Byte for byte it is not the same (RFC 9110 §8.8.1).
        edits.set(b"ETag", [b"W/", tag].concat());
    }
}

/// True where the upstream wants nobody to change its bytes (RFC 9111 §5.2.2.6).
fn forbids_transform(head: &ResponseHead, bytes: &[u8]) -> bool {
    let forbids = |value: &[u8]| list_elements(value).any(|one| one.eq_ignore_ascii_case(b"no-transform"));
    head.value(b"cache-control", bytes).is_some_and(forbids)
}

/// Tells caches that clients with another `Accept-Encoding` get another answer, where they do not know it.
fn note_varies((head, bytes): (&ResponseHead, &[u8]), edits: &mut FieldEdits) {
    if !varies(head, bytes) {
        edits.add(b"Vary", *b"Accept-Encoding");
    }
}

/// True where caches know already that clients with another `Accept-Encoding` get another answer.
fn varies(head: &ResponseHead, bytes: &[u8]) -> bool {
    let lines = head.fields(bytes).filter(|(_, name, _)| name.eq_ignore_ascii_case(b"vary"));
    let is_told = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    lines.flat_map(|(_, _, value)| list_elements(value)).any(is_told)
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::{compiled, head_of};
    use super::*;
    use crate::proto::h1::rules::Leniency;

    fn chosen(filter: &str, request: &str, response: &str) -> (Option<&'static str>, String) {
        let (chain, faults) = compiled(&format!("[{{ compress = {filter} }}]"));
        assert!(faults.is_empty(), "{faults:?}");
        let request = head_of(&format!("GET / HTTP/1.1\nHost: a\n{request}"));
        let bytes = format!("HTTP/1.1 {}\r\n", response.replace('\n', "\r\n"));
        let mut head = ResponseHead::default();
        head.parse(bytes.as_bytes(), false, Leniency::default()).unwrap();
        let mut edits = FieldEdits::default();
        let compress = chain.compress().unwrap();
        let compression = compress.on_response(&request, (&head, bytes.as_bytes()), &mut edits, true);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let lines: Vec<_> = edits.put.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
        let told = compression.map(|one| match one {
            Recoding::Encode(compression) => compression.coding.name(),
            Recoding::Decode(_) => "plain",
        });
        (told, lines.join(", "))
    }

    const JSON: &str = "200 OK\nContent-Type: application/json; charset=utf-8\nContent-Length: 2000\nETag: \"x\"\n";

    #[test]
    fn what_is_worth_it_is_compressed_for_those_who_accept_it() {
        let all = "Accept-Encoding: gzip, deflate, br, zstd\n";
        let (coding, told) = chosen("{}", all, JSON);
        assert_eq!(coding, Some("zstd"));
        assert_eq!(told, "Vary: Accept-Encoding, Content-Encoding: zstd, ETag: W/\"x\"");
        assert_eq!(chosen("{ encodings = [\"gzip\"] }", all, JSON).0, Some("gzip"));
        assert_eq!(chosen("{}", "", JSON), (None, "Vary: Accept-Encoding".to_owned()));
        for (response, why) in [
            ("200 OK\nContent-Type: application/json\nContent-Length: 1000\n", "short"),
            ("200 OK\nContent-Type: image/png\nContent-Length: 2000\n", "compressed by its kind"),
            ("200 OK\nContent-Type: text/html\nContent-Encoding: gzip\nContent-Length: 2000\n", "encoded already"),
            (
                "200 OK\nContent-Type: text/html\nCache-Control: private, no-transform\nContent-Length: 2000\n",
                "forbidden",
            ),
            ("206 Partial\nContent-Type: text/html\nContent-Range: bytes 0-1/5\nContent-Length: 2\n", "a range"),
            ("200 OK\nContent-Type: text/event-stream\n", "events"),
            ("304 Not Modified\nContent-Type: image/png\nETag: \"x\"\n", "never compressed"),
            ("200 OK\nContent-Length: 2000\n", "nobody knows what"),
        ] {
            assert_eq!(chosen("{}", all, response), (None, String::new()), "{why}");
        }
        assert_eq!(
            chosen("{}", all, "200 OK\nContent-Type: TEXT/html\nVary: accept-encoding\n").1,
            "Content-Encoding: zstd"
        );
        assert_eq!(
            chosen("{ types = [\"text/event-stream\"] }", all, "200 OK\nContent-Type: text/event-stream\n").0,
            Some("zstd")
        );
    }

    #[test]
    fn a_coding_is_taken_off_for_those_who_do_not_know_it() {
        let gzip = "200 OK\nContent-Type: image/png\nContent-Encoding: GZIP\nContent-Length: 20\nETag: \"x\"\n";
        let on = "{ decompress = true }";
        assert_eq!(chosen(on, "", gzip), (Some("plain"), "Vary: Accept-Encoding, ETag: W/\"x\"".to_owned()));
        assert_eq!(chosen(on, "Accept-Encoding: br, gzip;q=0\n", gzip).0, Some("plain"));
        assert_eq!(chosen(on, "Accept-Encoding: gzip\n", gzip), (None, "Vary: Accept-Encoding".to_owned()));
        assert_eq!(chosen("{}", "", gzip), (None, String::new()), "nobody asked for that");
        for (more, why) in [
            ("Cache-Control: no-transform\n", "forbidden"),
            ("Content-Range: bytes 0-1/5\n", "a part"),
            ("Content-Encoding: br\n", "two of them"),
        ] {
            assert_eq!(chosen(on, "", &format!("{gzip}{more}")).0, None, "{why}");
        }
        assert_eq!(chosen(on, "", "200 OK\nContent-Encoding: compress\n").0, None);
    }

    #[test]
    fn what_has_not_changed_is_told_as_it_would_be_with_its_body() {
        let told = |asked: &str, response: &str| {
            let request = format!("Accept-Encoding: gzip\nIf-None-Match: {asked}\n");
            chosen("{}", &request, &format!("304 Not Modified\n{response}"))
        };
        let vary = "Vary: Accept-Encoding".to_owned();
        let weak = format!("{vary}, ETag: W/\"x\"");
        assert_eq!(told("W/\"x\"", "ETag: \"x\"\n"), (None, weak.clone()));
        assert_eq!(told("\"y\", W/\"x\"", "ETag: \"x\"\nContent-Type: text/html\n"), (None, weak));
        for asked in ["\"x\"", "\"x\", W/\"x\"", "*", "W/\"y\""] {
            assert_eq!(told(asked, "ETag: \"x\"\n"), (None, vary.clone()), "{asked}");
        }
        assert_eq!(told("W/\"x\"", "ETag: W/\"x\"\nVary: Accept-Encoding\n"), (None, String::new()));
    }

    #[test]
    fn levels_that_would_hold_a_worker_are_refused() {
        for filter in ["{ brotli_level = 11 }", "{ gzip_level = 0 }", "{ encodings = [] }", "{ types = [\"json\"] }"] {
            assert_eq!(compiled(&format!("[{{ compress = {filter} }}]")).1.len(), 1, "{filter}");
        }
        let twice = compiled("[{ compress = {} }, { compress = {} }]").1;
        assert!(twice.len() == 1 && twice[0].starts_with("1: "), "{twice:?}");
    }
}
