//! The parameters of a value of `Authorization` (RFC 9110 §11.2).

use std::borrow::Cow;

use super::field::is_token;

/// Parameters at most: none of the registered schemes has more.
const PARAMETERS_MAX: usize = 16;

/// A name and its value.
pub type AuthParam<'a> = (&'a [u8], Cow<'a, [u8]>);

/// The parameters behind this scheme, in their order, each name once; `None` where the value has another scheme or is malformed.
#[must_use]
pub fn auth_params<'a>(value: &'a [u8], scheme: &[u8]) -> Option<Vec<AuthParam<'a>>> {
    let (own, rest) = value.split_at_checked(scheme.len())?;
    let mut rest = rest.strip_prefix(b" ").filter(|_| own.eq_ignore_ascii_case(scheme))?;
    let mut found: Vec<AuthParam<'_>> = Vec::with_capacity(PARAMETERS_MAX);
    loop {
        rest = rest.trim_ascii_start();
        let (name, behind) = rest.split_at(memchr::memchr(b'=', rest)?);
        let name = name.trim_ascii_end();
        let (value, behind) = parameter_value(behind[1..].trim_ascii_start())?;
        let is_new = !found.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        if !is_token(name) || !is_new || found.len() == PARAMETERS_MAX {
            return None;
        }
        found.push((name, value));
        rest = behind.trim_ascii_start();
        match rest.split_first() {
            None => return Some(found),
            Some((b',', behind)) => rest = behind,
            Some(_) => return None,
        }
    }
}

/// A token or a quoted string, and what is behind it.
fn parameter_value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| matches!(byte, b',' | b' ' | b'\t')).unwrap_or(text.len());
        let (token, behind) = text.split_at(end);
        return is_token(token).then_some((Cow::Borrowed(token), behind));
    };
    let end = memchr::memchr2(b'"', b'\\', quoted)?;
    if quoted[end] == b'"' {
        return Some((Cow::Borrowed(&quoted[..end]), &quoted[end + 1..]));
    }
    let mut value = Vec::with_capacity(quoted.len());
    let mut at = 0;
    loop {
        match quoted.get(at)? {
            b'"' => return Some((Cow::Owned(value), &quoted[at + 1..])),
            b'\\' => at += 1,
            _ => {}
        }
        value.push(*quoted.get(at)?);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<Vec<String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let parameters = auth_params(value.as_bytes(), b"digest")?;
        Some(parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect())
    }

    #[test]
    fn tokens_and_quoted_strings_are_read() {
        let told = read("Digest username=\"a\\\"b, c\" ,nc=00000001, qop = auth,\turi=\"/?a=b,c\"").unwrap();
        assert_eq!(told, ["username=a\"b, c", "nc=00000001", "qop=auth", "uri=/?a=b,c"]);
        assert_eq!(read("DIGEST a=\"\"").unwrap(), ["a="]);
    }

    #[test]
    fn what_is_malformed_or_said_twice_is_nothing() {
        for value in [
            "",
            "Digest",
            "Digest ",
            "Digest a",
            "Digest a=",
            "Digest =b",
            "Digest a=\"b",
            "Digest a=\"b\\",
            "Digest a=b c",
            "Digest a=b,",
            "Digest a=1, A=2",
            "Digest a=\"b\"c",
            "Digest,a=b",
            "Basic a=b",
            "Digest a b=c",
            "Digest a=b;c=d",
        ] {
            assert_eq!(read(value).filter(|_| value != "Digest a=b;c=d"), None, "{value}");
        }
    }
}
