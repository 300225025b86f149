//! The target of a request in its two forms: the strictest reading of it, which is matched and filtered, and what is sent on, which
//! is what the client sent less its dot segments (RFC 3986 §6.2.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dots::{has_ambiguous_dots, has_hidden_dots, resolve_dots};
use super::hex;
use super::percent::{is_unreserved, put_percent};

/// What is wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFault {
    /// `%` without two hexadecimal digits, or `%00`.
    Percent,
    /// A `#`: fragments never go over the wire; or a control character or space.
    Character,
    /// Neither `/path`, `http://…`, nor `*`.
    Form,
    /// A dot segment that only some servers see.
    HiddenDots,
}

/// What to do with a dot segment that only some servers see: `..%2F`, `..%5C`, `..\`, `..;`. They decode it behind the routes
/// that it has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HiddenDots {
    /// Refuse the request.
    #[default]
    Reject,
    /// Pass it on as any other segment.
    Keep,
}

/// A target in origin form, or `*`. Reusable: [`Self::parse`] replaces what was there.
#[derive(Debug, Default)]
pub struct Target {
    /// The path as it is matched, and the query.
    matched: Vec<u8>,
    matched_path: usize,
    /// The path as it is sent on, and the query; empty where that is the same.
    resolved: Vec<u8>,
    resolved_path: usize,
    hidden_dots: HiddenDots,
    is_rewritten: bool,
    /// Its dot segments resolve to another path where slashes are merged or decoded first, as some servers do it.
    is_ambiguous: bool,
}

impl Target {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.matched.clear();
        self.resolved.clear();
        self.matched_path = 0;
        self.is_rewritten = false;
        self.is_ambiguous = false;
    }

    /// Reads a path and its query.
    ///
    /// # Errors
    /// [`TargetFault`]; a part of it is then known.
    pub fn parse(&mut self, path_and_query: &[u8], hidden_dots: HiddenDots) -> Result<(), TargetFault> {
        self.clear();
        self.hidden_dots = hidden_dots;
        let path_end = memchr::memchr(b'?', path_and_query).unwrap_or(path_and_query.len());
        let (path, query) = path_and_query.split_at(path_end);
        self.put_path(path)?;
        push_encoded(query, &mut self.matched)?;
        if !self.resolved.is_empty() {
            push_encoded(query, &mut self.resolved)?;
        }
        Ok(())
    }

    /// Puts both forms of a path.
    fn put_path(&mut self, path: &[u8]) -> Result<(), TargetFault> {
        if path.first().is_some_and(|first| *first != b'/') {
            return Err(TargetFault::Form);
        }
        self.matched.clear();
        self.resolved.clear();
        if is_normal(path) {
            self.matched.extend_from_slice(if path.is_empty() { b"/" } else { path });
        } else {
            if self.hidden_dots == HiddenDots::Reject && has_hidden_dots(path) {
                return Err(TargetFault::HiddenDots);
            }
            self.is_ambiguous = has_ambiguous_dots(path);
            push_encoded(path, &mut self.resolved)?;
            let length = resolve_dots(&mut self.resolved);
            self.resolved.truncate(length);
            put_strict(&self.resolved, &mut self.matched)?;
            if self.matched == self.resolved {
                self.resolved.clear();
            }
        }
        (self.matched_path, self.resolved_path) = (self.matched.len(), self.resolved.len());
        Ok(())
    }

    /// Makes it the asterisk of OPTIONS (RFC 9112 §3.2.4).
    pub fn put_asterisk(&mut self) {
        self.clear();
        self.matched.push(b'*');
        self.matched_path = 1;
    }

    /// True for the asterisk.
    #[must_use]
    pub fn is_asterisk(&self) -> bool {
        self.matched == b"*"
    }

    /// The path as it is matched: unreserved characters decoded, dot segments resolved, doubled slashes merged, bytes outside
    /// ASCII percent-encoded. Encoded slashes stay encoded.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.matched.get(..self.matched_path).unwrap_or_default()
    }

    /// The query without its `?`, empty where there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.matched.get(self.matched_path + 1..).unwrap_or_default()
    }

    /// The path as it is matched, and the query.
    #[must_use]
    pub fn matched(&self) -> &[u8] {
        &self.matched
    }

    /// The path as the client sent it less its dot segments, and the query.
    #[must_use]
    pub fn resolved(&self) -> &[u8] {
        if self.resolved.is_empty() { &self.matched } else { &self.resolved }
    }

    fn resolved_path(&self) -> &[u8] {
        if self.resolved.is_empty() { self.path() } else { &self.resolved[..self.resolved_path] }
    }

    /// True where what the client sent is what was matched, less its dot segments, for every server: no filter has put another path
    /// in its place, and its dot segments have one reading.
    #[must_use]
    pub const fn may_go_as_sent(&self) -> bool {
        !self.is_rewritten && !self.is_ambiguous
    }

    /// Takes a prefix of the path as it is matched off both forms, by whole elements; false where it is none. The prefix ends
    /// without a slash.
    ///
    /// # Errors
    /// [`TargetFault`]: what is left is no path.
    pub fn strip_prefix(&mut self, prefix: &[u8]) -> Result<bool, TargetFault> {
        self.replace_prefix(prefix, b"")
    }

    /// Puts another prefix in the place of this one, of the path as it is matched, by whole elements; false where it is none.
    /// Neither ends with a slash.
    ///
    /// # Errors
    /// [`TargetFault`]: the result is no path.
    pub fn replace_prefix(&mut self, prefix: &[u8], with: &[u8]) -> Result<bool, TargetFault> {
        let Some(path) = self.with_prefix(prefix, with) else { return Ok(false) };
        self.rewrite(&path)?;
        Ok(true)
    }

    /// The path with another prefix in the place of this one; `None` where it does not begin so.
    #[must_use]
    pub fn with_prefix(&self, prefix: &[u8], with: &[u8]) -> Option<Vec<u8>> {
        if !matches!(self.path().strip_prefix(prefix), Some([] | [b'/', ..])) {
            return None;
        }
        let resolved = self.resolved_path();
        let path = [with, &resolved[length_of(resolved, prefix.len())..]].concat();
        Some(if path.is_empty() { b"/".to_vec() } else { path })
    }

    /// Puts a prefix before the path.
    ///
    /// # Errors
    /// [`TargetFault`]: the result is no path.
    pub fn add_prefix(&mut self, prefix: &[u8]) -> Result<(), TargetFault> {
        let path = [prefix, self.resolved_path()].concat();
        self.rewrite(&path)
    }

    /// Puts another path in place of the path; the query stays.
    ///
    /// # Errors
    /// [`TargetFault`]: it is no path.
    pub fn rewrite(&mut self, path: &[u8]) -> Result<(), TargetFault> {
        let query = self.matched.get(self.matched_path..).unwrap_or_default().to_vec();
        self.rewrite_whole(path, &query)
    }

    /// Puts another path and another query, which begins with `?` or is empty, in place of both.
    ///
    /// # Errors
    /// [`TargetFault`]: they are none.
    pub fn rewrite_whole(&mut self, path: &[u8], query: &[u8]) -> Result<(), TargetFault> {
        if self.is_asterisk() {
            return Ok(());
        }
        if path.is_empty() || path.contains(&b'?') {
            return Err(TargetFault::Form);
        }
        self.put_path(path)?;
        push_encoded(query, &mut self.matched)?;
        if !self.resolved.is_empty() {
            push_encoded(query, &mut self.resolved)?;
        }
        self.is_rewritten = true;
        Ok(())
    }
}

/// Where in an absolute-form target the authority is and the path begins.
pub(super) fn absolute_form(raw: &[u8]) -> Option<(std::ops::Range<usize>, usize)> {
    let scheme = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?
        .len();
    let length = raw[scheme..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(raw.len() - scheme);
    Some((scheme..scheme + length, scheme + length))
}

/// True where nothing is to be done, as for nearly every request.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for byte in path {
        let is_special = match byte {
            b'/' | b'.' => previous == b'/',
            b'%' | b'#' | b'\\' => true,
            _ => *byte <= b' ' || *byte >= 0x7f,
        };
        if is_special {
            return false;
        }
        previous = *byte;
    }
    true
}

/// Appends a path whose dot segments are resolved as it is matched: unreserved characters decoded, slashes merged.
fn put_strict(path: &[u8], out: &mut Vec<u8>) -> Result<(), TargetFault> {
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            if *byte != b'/' || out.last() != Some(&b'/') {
                out.push(*byte);
            }
            continue;
        }
        let (decoded, after) = match after {
            [high, low, after @ ..] => (hex_byte(*high, *low), after),
            _ => (None, after),
        };
        match decoded {
            None | Some(0) => return Err(TargetFault::Percent),
            Some(byte) if is_unreserved(byte) => out.push(byte),
            Some(byte) => put_percent(out, byte),
        }
        rest = after;
    }
    Ok(())
}

/// The length of the start of a path whose strict form is `strict` bytes long.
fn length_of(path: &[u8], strict: usize) -> usize {
    let (mut at, mut written) = (0, 0);
    while written < strict && at < path.len() {
        let (taken, gives) = match &path[at..] {
            [b'%', high, low, ..] => (3, if hex_byte(*high, *low).is_some_and(is_unreserved) { 1 } else { 3 }),
            [b'/', ..] if at > 0 && path[at - 1] == b'/' => (1, 0),
            [..] => (1, 1),
        };
        at += taken;
        written += gives;
    }
    at
}

fn push_encoded(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TargetFault> {
    if bytes.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#') {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    for byte in bytes {
        match byte {
            0..=b' ' | 0x7f | b'#' => return Err(TargetFault::Character),
            0x80.. => put_percent(out, *byte),
            _ => out.push(*byte),
        }
    }
    Ok(())
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    hex(high).zip(hex(low)).map(|(high, low)| high * 16 + low)
}

/// A configured path in the form that requests are compared in; `None` where it is not a path: it begins with `/`, and has
/// neither query nor fragment.
#[must_use]
pub fn normal_path(path: &str) -> Option<String> {
    let mut target = Target::default();
    target.parse(path.as_bytes(), HiddenDots::Reject).ok()?;
    let is_path = path.starts_with('/') && target.path().len() == target.matched().len();
    is_path.then(|| String::from_utf8(target.matched).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is matched, and as it is sent on.
    fn forms(target: &str) -> Result<[String; 2], TargetFault> {
        forms_with(target, HiddenDots::Reject)
    }

    fn forms_with(target: &str, hidden_dots: HiddenDots) -> Result<[String; 2], TargetFault> {
        let mut parsed = Target::default();
        parsed.parse(target.as_bytes(), hidden_dots)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok([text(parsed.matched()), text(parsed.resolved())])
    }

    #[test]
    fn paths_are_matched_in_their_strictest_form_and_sent_on_as_they_came() {
        for (given, matched, resolved) in [
            ("/", "/", "/"),
            ("", "/", "/"),
            ("/a/b", "/a/b", "/a/b"),
            ("/a/./b", "/a/b", "/a/b"),
            ("/a/../b", "/b", "/b"),
            ("/a/..", "/", "/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/a/b/.", "/a/b/", "/a/b/"),
            ("/../../a", "/a", "/a"),
            ("/..", "/", "/"),
            ("//a///b//", "/a/b/", "//a///b//"),
            ("/a//../b", "/a/b", "/a/b"),
            ("/fetch/https://img.test/x.png", "/fetch/https:/img.test/x.png", "/fetch/https://img.test/x.png"),
            ("/%61%2e%2E/b", "/a../b", "/%61%2e%2E/b"),
            ("/x/%2e%2e/b", "/b", "/b"),
            ("/x/.%2E/%2e/%2d", "/-", "/%2d"),
            ("/a%2fb", "/a%2Fb", "/a%2fb"),
            ("/a%2Fb/%2e./c", "/c", "/c"),
            ("/.hidden", "/.hidden", "/.hidden"),
            ("/a...", "/a...", "/a..."),
            ("/...", "/...", "/..."),
            ("/~user/%7E", "/~user/~", "/~user/%7E"),
            ("/\u{e9}", "/%C3%A9", "/%C3%A9"),
            ("/a;b=c|{}", "/a;b=c|{}", "/a;b=c|{}"),
            ("/a\\b", "/a\\b", "/a\\b"),
            ("/;v=1", "/;v=1", "/;v=1"),
            ("/a/../b?x=/../%zz//", "/b?x=/../%zz//", "/b?x=/../%zz//"),
            ("?q", "/?q", "/?q"),
        ] {
            assert_eq!(forms(given), Ok([matched.to_owned(), resolved.to_owned()]), "{given}");
        }
    }

    #[test]
    fn a_dot_segment_that_only_some_servers_see_is_refused() {
        for given in [
            "/public/..%2Fadmin",
            "/public/..%2fadmin",
            "/public/%2e%2E%2fadmin",
            "/public/..%5Cadmin",
            "/public/..%5cadmin",
            "/public/..\\admin",
            "/public\\..\\admin",
            "/public%2F..",
            "/public%2f..%2fadmin",
            "/public/..;/admin",
            "/public/..;x=y/admin",
            "/public/..%3b/admin",
            "/public/.;/admin",
            "/public/.%2Fadmin",
            "/public/;/../admin",
            "/public/a%2F;x/../admin",
        ] {
            assert_eq!(forms(given), Err(TargetFault::HiddenDots), "{given}");
            assert!(forms_with(given, HiddenDots::Keep).is_ok(), "{given}");
        }
        for given in ["/a..%2Fb", "/a;../b", "/..a\\b", "/a%2Fb..", "/a;/b", "/x?..%2F..;/"] {
            assert!(forms(given).is_ok(), "{given}");
        }
    }

    #[test]
    fn what_some_servers_resolve_otherwise_does_not_go_as_it_was_sent() {
        let may_go = |given: &str| {
            let mut target = Target::default();
            target.parse(given.as_bytes(), HiddenDots::Keep).unwrap();
            target.may_go_as_sent()
        };
        for given in ["/a/../b", "/a/./b", "/x//y", "/a%2Fb/c", "/a/..", "/..//a"] {
            assert!(may_go(given), "{given}");
        }
        for given in ["/public//../admin", "/secure/a%2Fb/../../x", "/a\\b/../x", "//../x"] {
            assert!(!may_go(given), "{given}");
        }
    }

    #[test]
    fn faults_are_told() {
        assert_eq!(forms("/%zz"), Err(TargetFault::Percent));
        assert_eq!(forms("/%4"), Err(TargetFault::Percent));
        assert_eq!(forms("/%00"), Err(TargetFault::Percent));
        assert_eq!(forms("/a#b"), Err(TargetFault::Character));
        assert_eq!(forms("/a?b#c"), Err(TargetFault::Character));
        assert_eq!(forms("/a\u{7f}"), Err(TargetFault::Character));
        assert_eq!(forms("a/b"), Err(TargetFault::Form));
    }

    #[test]
    fn what_is_matched_is_a_fixed_point_and_what_is_sent_on_is_matched_alike() {
        for given in ["/a/%2e%2e/%2E/b//c", "/%25%32%65", "/x%2Fy../", "/%41%7a", "/\u{fc}/../.", "//a//../..//b"] {
            let [matched, resolved] = forms(given).unwrap();
            assert_eq!(forms(&matched).unwrap()[0], matched, "{given}");
            assert_eq!(forms(&resolved).unwrap(), [matched, resolved.clone()], "{given}");
        }
    }

    #[test]
    fn a_prefix_comes_off_both_forms() {
        let stripped = |given: &str, prefix: &str| {
            let mut target = Target::default();
            target.parse(given.as_bytes(), HiddenDots::Reject).unwrap();
            let is_stripped = target.strip_prefix(prefix.as_bytes()).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            is_stripped.then(|| [text(target.matched()), text(target.resolved())])
        };
        for (given, prefix, matched, resolved) in [
            ("/api/x?q", "/api", "/x?q", "/x?q"),
            ("/api", "/api", "/", "/"),
            ("/%61pi//x%2dy?q", "/api", "/x-y?q", "//x%2dy?q"),
            ("//api/x//y", "/api", "/x/y", "/x//y"),
            ("/a%2fb/c//d", "/a%2Fb", "/c/d", "/c//d"),
        ] {
            assert_eq!(stripped(given, prefix), Some([matched.to_owned(), resolved.to_owned()]), "{given}");
        }
        assert_eq!(stripped("/apix", "/api"), None);
    }
}
