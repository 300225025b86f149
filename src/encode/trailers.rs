//! Which trailers pass: a filter that takes a field away or sets it means it wherever in the message it stands.

use crate::proto::h1::encode::is_allowed_trailer;

/// Keeps those trailer lines whose fields may stand in a trailer section at all, and which `passes` lets through by their names.
pub fn retain(trailers: &mut Vec<u8>, passes: impl Fn(&[u8]) -> bool) {
    let mut kept = Vec::new();
    for line in trailers.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if is_allowed_trailer(name) && passes(name) {
            kept.extend_from_slice(line);
        }
    }
    *trailers = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::edits::NameSet;

    #[test]
    fn what_a_filter_takes_away_is_in_no_trailer() {
        let mut trailers =
            b"X-Sum: 1\r\nX-Auth: evil\r\nX-Forwarded-For: me\r\nx-forwarded-user: me\r\nHost: h\r\nA: b\r\n".to_vec();
        let removed = NameSet::of(["x-auth"]);
        retain(&mut trailers, |name| !removed.has(name));
        assert_eq!(trailers, b"X-Sum: 1\r\nA: b\r\n");
        retain(&mut trailers, |_| false);
        assert!(trailers.is_empty());
    }
}
