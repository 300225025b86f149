//! The fields that both sides know by a number: those that always have one, and those of the connection so far
//! (RFC 7541 §2.3).

use std::collections::VecDeque;

/// RFC 7541, appendix A.
pub(super) const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// What an entry counts beside its bytes (RFC 7541 §4.1).
const ENTRY_BYTES: usize = 32;

/// A field of the connection.
#[derive(Debug)]
struct TableEntry {
    bytes: Box<[u8]>,
    name_length: usize,
}

/// The fields of the connection so far, the newest first, within a size.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<TableEntry>,
    size: usize,
    size_max: usize,
}

impl Table {
    /// An empty one of at most `size_max`, counted as RFC 7541 §4.1 does.
    pub(super) const fn new(size_max: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max }
    }

    /// How much it holds at most.
    pub(super) const fn size_max(&self) -> usize {
        self.size_max
    }

    /// How many entries it holds.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Changes how much it holds at most.
    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.evict(0);
    }

    /// The entry that was added as the last but `age`.
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(age)?;
        Some(entry.bytes.split_at(entry.name_length))
    }

    /// Adds a field; one that is too large leaves it empty. The bytes are those of the name, then those of the value.
    pub(super) fn add(&mut self, bytes: Box<[u8]>, name_length: usize) {
        let size = bytes.len() + ENTRY_BYTES;
        self.evict(size);
        if size <= self.size_max {
            self.size += size;
            self.entries.push_front(TableEntry { bytes, name_length });
        }
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.size_max {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.bytes.len() + ENTRY_BYTES;
        }
    }
}
