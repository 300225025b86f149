//! Normalises a request path once (RFC 3986 §6.2.2), so that one form is routed, filtered and forwarded.

use super::hex;

/// What is wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFault {
    /// `%` without two hexadecimal digits, or `%00`.
    Percent,
    /// A `#`: fragments never go over the wire; or a control character or space.
    Character,
    /// Neither `/path`, `http://…`, nor `*`.
    Form,
}

/// Appends the normal form of `path_and_query` to `out` and returns the length of the path in it.
///
/// Percent-encoded unreserved characters are decoded, dot segments resolved, doubled slashes merged,
/// bytes outside ASCII percent-encoded. Encoded slashes stay encoded. The query stays as it is.
///
/// # Errors
/// [`TargetFault`]; `out` then holds a part.
pub fn normalize(path_and_query: &[u8], out: &mut Vec<u8>) -> Result<usize, TargetFault> {
    let path_end = path_and_query.iter().position(|byte| *byte == b'?').unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(path_end);
    if path.first().is_some_and(|first| *first != b'/') {
        return Err(TargetFault::Form);
    }
    let start = out.len();
    if is_normal(path) {
        out.extend_from_slice(path);
    } else {
        decode_unreserved(path, out)?;
        let length = resolve_segments(&mut out[start..]);
        out.truncate(start + length);
    }
    if out.len() == start {
        out.push(b'/');
    }
    let path_length = out.len() - start;
    push_encoded(query, out)?;
    Ok(path_length)
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
            b'%' | b'#' => true,
            _ => *byte <= b' ' || *byte >= 0x7f,
        };
        if is_special {
            return false;
        }
        previous = *byte;
    }
    true
}

fn decode_unreserved(path: &[u8], out: &mut Vec<u8>) -> Result<(), TargetFault> {
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            push_encoded(&[*byte], out)?;
            continue;
        }
        let (decoded, after) = match after {
            [high, low, after @ ..] => (hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low), after),
            _ => (None, after),
        };
        match decoded {
            None | Some(0) => return Err(TargetFault::Percent),
            Some(byte) if is_unreserved(byte) => out.push(byte),
            Some(byte) => push_percent(byte, out),
        }
        rest = after;
    }
    Ok(())
}

/// Resolves `.` and `..` and merges slashes in place; returns the new length. A path never leaves its root.
fn resolve_segments(path: &mut [u8]) -> usize {
    let mut written = 0;
    let mut read = 0;
    while read < path.len() {
        // `read` is at a slash: every segment is `/` and what follows it.
        let end = path[read + 1..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| read + 1 + at);
        let is_last = end == path.len();
        match &path[read + 1..end] {
            b"." | b"" if !is_last => {}
            b".." => {
                written = path[..written].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                if is_last {
                    path[written] = b'/';
                    written += 1;
                }
            }
            b"." => {
                path[written] = b'/';
                written += 1;
            }
            _ => {
                path.copy_within(read..end, written);
                written += end - read;
            }
        }
        read = end;
    }
    written
}

fn push_encoded(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TargetFault> {
    if bytes.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#') {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    for byte in bytes {
        match byte {
            0..=b' ' | 0x7f | b'#' => return Err(TargetFault::Character),
            0x80.. => push_percent(*byte, out),
            _ => out.push(*byte),
        }
    }
    Ok(())
}

fn push_percent(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A configured path in the form that requests are compared in; `None` where it is not a path: it begins with `/`, and has
/// neither query nor fragment.
#[must_use]
pub fn normal_path(path: &str) -> Option<String> {
    let mut normal = Vec::new();
    let length = normalize(path.as_bytes(), &mut normal).ok()?;
    let is_path = path.starts_with('/') && length == normal.len();
    is_path.then(|| String::from_utf8(normal).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(target: &str) -> Result<(String, usize), TargetFault> {
        let mut out = Vec::new();
        let length = normalize(target.as_bytes(), &mut out)?;
        Ok((String::from_utf8_lossy(&out).into_owned(), length))
    }

    #[test]
    fn paths_take_their_normal_form() {
        for (given, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/../../a", "/a"),
            ("/..", "/"),
            ("//a///b//", "/a/b/"),
            ("/%61%2e%2E/b", "/a../b"),
            ("/x/%2e%2e/b", "/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb/%2e./c", "/c"),
            ("/.hidden", "/.hidden"),
            ("/a...", "/a..."),
            ("/...", "/..."),
            ("/~user/%7E", "/~user/~"),
            ("/\u{e9}", "/%C3%A9"),
            ("", "/"),
            ("/a;b=c|{}", "/a;b=c|{}"),
        ] {
            assert_eq!(normal(given).map(|(path, _)| path), Ok(expected.to_owned()), "{given}");
        }
    }

    #[test]
    fn the_query_stays_as_it_is() {
        assert_eq!(normal("/a/../b?x=/../%zz//"), Ok(("/b?x=/../%zz//".to_owned(), 2)));
        assert_eq!(normal("?q"), Ok(("/?q".to_owned(), 1)));
    }

    #[test]
    fn faults_are_told() {
        assert_eq!(normal("/%zz"), Err(TargetFault::Percent));
        assert_eq!(normal("/%4"), Err(TargetFault::Percent));
        assert_eq!(normal("/%00"), Err(TargetFault::Percent));
        assert_eq!(normal("/a#b"), Err(TargetFault::Character));
        assert_eq!(normal("/a?b#c"), Err(TargetFault::Character));
        assert_eq!(normal("/a\u{7f}"), Err(TargetFault::Character));
        assert_eq!(normal("a/b"), Err(TargetFault::Form));
    }

    #[test]
    fn the_normal_form_is_a_fixed_point() {
        for given in ["/a/%2e%2e/%2E/b//c", "/%25%32%65", "/x%2F..%2f../", "/%41%zz", "/\u{fc}/../."] {
            if let Ok((once, _)) = normal(given) {
                assert_eq!(normal(&once).map(|(twice, _)| twice), Ok(once.clone()), "{given}");
            }
        }
    }
}
