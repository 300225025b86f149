//! Dot segments of a path (RFC 3986 §5.2.4), as every server could read them.

/// How many dots a segment is, each plain or encoded, where it is nothing else: 1 for `.`, 2 for `..`.
fn dots(segment: &[u8]) -> Option<usize> {
    let (mut rest, mut count) = (segment, 0);
    while !rest.is_empty() {
        rest = match rest {
            [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => after,
            [..] => return None,
        };
        count += 1;
    }
    Some(count).filter(|count| matches!(count, 1 | 2))
}

/// True where a server that takes `\`, `%2F` or `%5C` for a slash, or drops what follows `;`, finds a dot segment that is none at
/// first sight, or resolves one otherwise.
pub(super) fn has_hidden_dots(path: &[u8]) -> bool {
    let mut has_nameless = false;
    for segment in path.split(|byte| *byte == b'/') {
        match dots(segment) {
            // An origin that drops `;x` sees an empty segment here, and its `..` removes another one than ours.
            Some(2) if has_nameless => return true,
            Some(_) => continue,
            None => {}
        }
        let mut rest = segment;
        while !rest.is_empty() {
            let (part, after) = behind_slash(rest);
            let name = &part[..find(part, b';', &[*b"%3b"])];
            if dots(name).is_some() {
                return true;
            }
            has_nameless |= name.is_empty();
            rest = after;
        }
    }
    false
}

/// True where a dot segment stands behind an empty segment, or behind one that some servers split.
pub(super) fn has_ambiguous_dots(path: &[u8]) -> bool {
    let mut has_odd = false;
    // The first segment is what stands before the first slash.
    path.split(|byte| *byte == b'/').skip(1).any(|segment| {
        let is_dots = dots(segment).is_some();
        has_odd |= !is_dots && (segment.is_empty() || behind_slash(segment).0.len() < segment.len());
        is_dots && has_odd
    })
}

/// The part before what some servers take for a slash, and what is behind it. One search for all of them: the work is linear.
fn behind_slash(segment: &[u8]) -> (&[u8], &[u8]) {
    let at = find(segment, b'\\', &[*b"%2f", *b"%5c"]);
    let width = match segment.get(at) {
        Some(b'%') => 3,
        Some(_) => 1,
        None => 0,
    };
    (&segment[..at], &segment[at + width..])
}

/// Where one of these first stands, plain or encoded, whatever the case; the length where none does.
fn find(segment: &[u8], plain: u8, encoded: &[[u8; 3]]) -> usize {
    let is_here = |at: &usize| match &segment[*at..] {
        [first, ..] if *first == plain => true,
        [b'%', high, low, ..] => encoded.iter().any(|own| [b'%', *high, *low].eq_ignore_ascii_case(own)),
        [..] => false,
    };
    (0..segment.len()).find(is_here).unwrap_or(segment.len())
}

/// Resolves `.` and `..` in place, plain or encoded, and leaves all else as it is; returns the new length. A path never leaves its
/// root.
pub(super) fn resolve_dots(path: &mut [u8]) -> usize {
    let mut written = 0;
    let mut read = 0;
    while read < path.len() {
        // `read` is at a slash: every segment is `/` and what follows it.
        let end = memchr::memchr(b'/', &path[read + 1..]).map_or(path.len(), |at| read + 1 + at);
        let is_last = end == path.len();
        let dots = dots(&path[read + 1..end]);
        if dots.is_none() {
            path.copy_within(read..end, written);
            written += end - read;
        } else {
            if dots == Some(2) {
                written = memchr::memrchr(b'/', &path[..written]).unwrap_or(0);
            }
            if is_last {
                path[written] = b'/';
                written += 1;
            }
        }
        read = end;
    }
    written
}
