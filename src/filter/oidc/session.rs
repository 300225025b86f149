//! Who has signed in, as the client's cookies carry it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::claims::Claims;
use super::sealed::Sealer;
use crate::proto::h1::parameters::cookie;
use crate::proto::h1::request::RequestHead;

/// Bytes of a session in one cookie: browsers keep 4,096 with name and attributes.
const PART_BYTES: usize = 3_500;
/// Cookies of one session at most.
const PARTS_MAX: usize = 8;
const PURPOSE: &str = "session";

/// Somebody who has signed in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct SignedIn {
    /// What is known of them: whatever the provider said, for other filters may ask for other claims.
    pub claims: Claims,
    /// From when on the provider is asked for more time, in seconds since 1970.
    pub renew_s: u64,
    /// Until when that holds.
    pub until_s: u64,
    /// When they signed in.
    pub begun_s: u64,
    /// What the provider wants to be shown for more time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
}

impl SignedIn {
    /// The session that a request shows; `None` where it shows none, or one that has come to its end.
    /// `lifetime_s` after its beginning it has, whatever the provider says.
    pub(super) fn of(
        head: &RequestHead,
        name: &str,
        sealer: &Sealer,
        (unix_s, lifetime_s): (u64, u64),
    ) -> Option<Self> {
        let first = cookie(head, name.as_bytes())?;
        let (count, first) = first.split_at(first.iter().position(|byte| *byte == b'.')?);
        let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
        if !(1..=PARTS_MAX).contains(&count) {
            return None;
        }
        let mut sealed = first[1..].to_vec();
        for number in 1..count {
            sealed.extend_from_slice(cookie(head, part_name(name, number).as_bytes())?);
        }
        let session: Self = serde_json::from_slice(&sealer.open(PURPOSE, &sealed)?).ok()?;
        (unix_s < session.begun_s.saturating_add(lifetime_s)).then_some(session)
    }

    /// The cookies that carry it: names and values; `None` where it is too large.
    pub(super) fn cookies(&self, name: &str, sealer: &Sealer) -> Option<Vec<(String, String)>> {
        let sealed = sealer.seal(PURPOSE, &serde_json::to_vec(self).ok()?)?;
        // It is ASCII, so that any place will do.
        let parts: Vec<&str> = (0..sealed.len().div_ceil(PART_BYTES))
            .map(|part| &sealed[part * PART_BYTES..sealed.len().min((part + 1) * PART_BYTES)])
            .collect();
        let count = parts.len();
        let cookie = |(number, part): (usize, &&str)| match number {
            0 => (name.to_owned(), format!("{count}.{part}")),
            number => (part_name(name, number), (*part).to_owned()),
        };
        (count <= PARTS_MAX).then(|| parts.iter().enumerate().map(cookie).collect())
    }
}

fn part_name(name: &str, number: usize) -> String {
    format!("{name}_{number}")
}

/// The names of cookies that are ours among these values of `Cookie`, and the value without them; `None` where there are none of ours.
pub(super) fn own_cookies<'c>(
    values: impl Iterator<Item = &'c [u8]>,
    name: &str,
) -> Option<(BTreeSet<String>, Vec<u8>)> {
    let (mut own, mut rest) = (BTreeSet::new(), Vec::new());
    let pairs = values.flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let told = pair.split(|byte| *byte == b'=').next().and_then(|told| std::str::from_utf8(told).ok());
        let is_ours = told.and_then(|told| told.strip_prefix(name)).is_some_and(|end| {
            let is_part = |number: usize| end.strip_prefix('_') == Some(&*number.to_string());
            end.is_empty() || end == LOGIN_SUFFIX || (1..PARTS_MAX).any(is_part)
        });
        if is_ours {
            own.extend(told.map(str::to_owned));
        } else {
            rest.extend_from_slice(if rest.is_empty() { b"" } else { b"; " });
            rest.extend_from_slice(pair);
        }
    }
    (!own.is_empty()).then_some((own, rest))
}

/// Behind the name of the session's cookie: that of the cookie which ties a sign-in to the browser that began it.
pub(super) const LOGIN_SUFFIX: &str = "_login";

#[cfg(test)]
mod tests {
    use super::super::super::compile::tests::head_of;
    use super::*;
    use crate::proto::h1::field::Known;

    #[test]
    fn a_session_of_any_size_comes_back_whole_or_not_at_all() {
        let sealer = Sealer::new([&b"secret"[..]], "me".to_owned()).unwrap();
        for length in [0, 1_000, 5_000, 15_000] {
            let refresh = Some("r".repeat(length));
            let session = SignedIn { claims: Claims::new(), renew_s: 5, until_s: 10, begun_s: 10, refresh };
            let cookies = session.cookies("s", &sealer).unwrap();
            assert!(cookies.iter().all(|(name, value)| name.len() + value.len() < 3_600));
            let head = |skipped: usize| {
                let kept = cookies.iter().enumerate().filter(|(at, _)| *at != skipped);
                let lines: Vec<_> =
                    kept.map(|(_, (name, value))| format!("Cookie: a=1; {name}={value}; sx=2\n")).collect();
                head_of(&format!("GET / HTTP/1.1\nHost: a\n{}", lines.concat()))
            };
            assert_eq!(SignedIn::of(&head(99), "s", &sealer, (19, 10)), Some(session.clone()), "{length}");
            assert_eq!(SignedIn::of(&head(99), "s", &sealer, (20, 10)), None, "it has come to its end");
            for skipped in 0..cookies.len() {
                assert_eq!(SignedIn::of(&head(skipped), "s", &sealer, (19, 10)), None, "{length} without {skipped}");
            }
            let (own, rest) = own_cookies(head(99).values(Known::Cookie), "s").unwrap();
            assert_eq!(own.len(), cookies.len());
            assert_eq!(String::from_utf8(rest).unwrap(), vec!["a=1; sx=2"; cookies.len()].join("; "));
        }
        let large =
            SignedIn { claims: Claims::new(), renew_s: 1, until_s: 1, begun_s: 2, refresh: Some("r".repeat(30_000)) };
        assert!(large.cookies("s", &sealer).is_none());
        assert!(own_cookies([&b"sx=1; s_x=2; s_999=3; s_01=4"[..]].into_iter(), "s").is_none());
    }

    #[test]
    fn nonsense_is_no_session() {
        let sealer = Sealer::new([&b"secret"[..]], "me".to_owned()).unwrap();
        let sealed = sealer.seal(PURPOSE, b"{}").unwrap();
        for value in ["", ".", "1", "1.", "0.", "9.", "1.AAAA", "x.AAAA", &sealed, &format!("1.{sealed}")] {
            let head = head_of(&format!("GET / HTTP/1.1\nHost: a\nCookie: s={value}\n"));
            assert_eq!(SignedIn::of(&head, "s", &sealer, (0, 10)), None, "{value}");
        }
    }
}
