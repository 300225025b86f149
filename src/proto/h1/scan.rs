//! Finds the end of a head in a growing buffer, each byte looked at once.
//!
//! A line must end in CR LF (RFC 9112 §2.2 lets a recipient accept a bare LF; two parsers that
//! disagree about it are how requests are smuggled, so it is refused here).

use memchr::memchr;

use super::rules::{Leniency, Lenient};

/// How far a growing head has been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    line_start: usize,
    scanned: usize,
    takes_bare_lf: bool,
}

/// A line ended in LF without CR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BareLf;

impl HeadScan {
    /// Of an answer that is read so.
    #[must_use]
    pub fn of_response(leniency: Leniency) -> Self {
        Self { takes_bare_lf: leniency.has(Lenient::BareLineFeed), ..Self::default() }
    }

    /// The length of the head, its empty line included, once it is complete.
    ///
    /// `bytes` is the whole buffer from the start of the head; it may only grow between calls.
    ///
    /// # Errors
    /// [`BareLf`] as soon as such a line end is seen.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, BareLf> {
        while let Some(offset) = memchr(b'\n', bytes.get(self.scanned..).unwrap_or_default()) {
            let line_feed = self.scanned + offset;
            let has_cr = line_feed > self.line_start && bytes[line_feed - 1] == b'\r';
            if !has_cr && !self.takes_bare_lf {
                return Err(BareLf);
            }
            let is_empty_line = line_feed - usize::from(has_cr) == self.line_start;
            self.scanned = line_feed + 1;
            self.line_start = line_feed + 1;
            if is_empty_line {
                return Ok(Some(line_feed + 1));
            }
        }
        self.scanned = bytes.len();
        Ok(None)
    }
}

/// The number of bytes of empty lines before a request line (RFC 9112 §2.2), and whether more may follow.
#[must_use]
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    let mut length = 0;
    while length < 2 * crate::limits::EMPTY_LINES_MAX && bytes[length..].starts_with(b"\r\n") {
        length += 2;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_whole_and_byte_by_byte() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        assert_eq!(HeadScan::default().advance(bytes), Ok(Some(27)));
        let mut scan = HeadScan::default();
        for cut in 0..27 {
            assert_eq!(scan.advance(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(scan.advance(&bytes[..27]), Ok(Some(27)));
    }

    #[test]
    fn a_bare_line_feed_is_refused_before_the_head_is_complete() {
        assert_eq!(HeadScan::default().advance(b"GET / HTTP/1.1\n"), Err(BareLf));
        assert_eq!(HeadScan::default().advance(b"\n"), Err(BareLf));
        assert_eq!(HeadScan::default().advance(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), Err(BareLf));
    }

    #[test]
    fn a_bare_line_feed_ends_a_line_where_that_is_allowed() {
        let scan = || HeadScan::of_response(Leniency::of(&[Lenient::BareLineFeed]));
        assert_eq!(scan().advance(b"HTTP/1.0 200 OK\nA: b\r\n\nrest"), Ok(Some(23)));
        assert_eq!(scan().advance(b"HTTP/1.0 200 OK\nA: b\n\r\n"), Ok(Some(23)));
        assert_eq!(scan().advance(b"HTTP/1.0 200 OK\n"), Ok(None));
        assert_eq!(HeadScan::of_response(Leniency::default()).advance(b"HTTP/1.0 200 OK\n"), Err(BareLf));
    }

    #[test]
    fn only_a_few_empty_lines_are_skipped() {
        assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
        assert_eq!(leading_empty_lines(b"GET"), 0);
        assert_eq!(leading_empty_lines(&b"\r\n".repeat(10)), 8);
    }
}
