//! `location_rewrite` and `cookie_rewrite`: fields of the upstream's answer that name where it thinks it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::FilterPlace;
use super::edits::FieldEdits;
use super::headers::check_value;
use crate::proto::h1::response::ResponseHead;
use crate::proto::h1::set_cookie::SameSite;

/// What `Location` and `Refresh` of the upstream begin with, and what the client gets instead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationRewrite {
    /// The start of the URL or path that the upstream says.
    pub from: String,
    /// What takes its place.
    pub to: String,
}

/// Changes to `Set-Cookie` of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CookieRewrite {
    /// The cookie that it is about; all of them where it is left out.
    pub name: Option<String>,
    /// The domain in place of another; `to` may be empty, so that the cookie is this host's alone.
    pub domain: Option<Replacement>,
    /// The start of the path in place of another.
    pub path: Option<Replacement>,
    /// Whether it is sent over TLS alone.
    pub secure: Option<bool>,
    /// Whether scripts cannot read it.
    pub http_only: Option<bool>,
    /// `"strict"`, `"lax"` or `"none"`.
    pub same_site: Option<SameSite>,
}

/// One text in place of another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// What was said; `"*"` for anything.
    pub from: String,
    /// What is said instead.
    pub to: String,
}

/// Changes to an answer that depend on what it says.
#[derive(Clone, Debug)]
pub enum ResponseStep {
    /// See [`LocationRewrite`].
    Location(LocationRewrite),
    /// See [`CookieRewrite`].
    Cookie(Box<CookieRewrite>),
}

impl LocationRewrite {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<ResponseStep> {
        place.literal(&self.to);
        check_value("to", &self.to, place);
        if self.from.is_empty() {
            place.fault(
                "`from` is empty",
                "write the start of the URL that the upstream says, such as http://internal:8080/",
            );
        }
        (!place.has_faults()).then(|| ResponseStep::Location(self.clone()))
    }

    /// `None` where it does not begin so.
    fn rewritten(&self, value: &[u8]) -> Option<Vec<u8>> {
        let rest = value.strip_prefix(self.from.as_bytes())?;
        let mut written = [self.to.as_bytes(), rest].concat();
        let is_path = self.to.starts_with('/') && !self.to.starts_with("//");
        let slashes = written.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        // Two slashes would be a host where the upstream said a path.
        if is_path && slashes > 1 {
            written.splice(..slashes, *b"/");
        }
        Some(written)
    }
}

impl CookieRewrite {
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<ResponseStep> {
        for text in [&self.domain, &self.path].into_iter().flatten().flat_map(|one| [&one.from, &one.to]) {
            place.literal(text);
            check_value("to", text, place);
            if text.contains(';') {
                place.fault(format!("`{text}` would end the attribute"), "leave the semicolon out");
            }
        }
        let is_idle = *self == Self { name: self.name.clone(), ..Self::default() };
        if is_idle {
            place.fault("nothing is rewritten", "write domain, path, secure, http_only or same_site");
        }
        (!place.has_faults()).then(|| ResponseStep::Cookie(Box::new(self.clone())))
    }

    /// `None` where nothing changes.
    fn rewritten(&self, cookie: &[u8]) -> Option<Vec<u8>> {
        let mut parts = cookie.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let pair = parts.next()?;
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if self.name.as_ref().is_some_and(|own| own.as_bytes() != name) {
            return None;
        }
        let mut out = pair.to_vec();
        for attribute in parts.filter(|attribute| !attribute.is_empty()) {
            let equals = memchr::memchr(b'=', attribute).unwrap_or(attribute.len());
            let (name, value) = (&attribute[..equals], attribute.get(equals + 1..).unwrap_or_default());
            let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
            // What is set is written once, at the end.
            let is_ours = is(b"secure") && self.secure.is_some()
                || is(b"httponly") && self.http_only.is_some()
                || is(b"samesite") && self.same_site.is_some();
            if is_ours {
                continue;
            }
            let replaced = match (is(b"domain"), is(b"path")) {
                (true, _) => self.domain.as_ref().and_then(|domain| domain.whole(value)),
                (_, true) => self.path.as_ref().and_then(|path| path.start(value)),
                _ => None,
            };
            match replaced {
                // A cookie without a domain is of the host that set it.
                Some(value) if value.is_empty() => {}
                Some(value) => push(&mut out, &[name, b"=", &value].concat()),
                None => push(&mut out, attribute),
            }
        }
        if self.secure == Some(true) {
            push(&mut out, b"Secure");
        }
        if self.http_only == Some(true) {
            push(&mut out, b"HttpOnly");
        }
        if let Some(same_site) = self.same_site {
            push(&mut out, format!("SameSite={}", same_site.name()).as_bytes());
        }
        (out != cookie).then_some(out)
    }
}

fn push(out: &mut Vec<u8>, attribute: &[u8]) {
    out.extend_from_slice(b"; ");
    out.extend_from_slice(attribute);
}

impl Replacement {
    /// In place of the whole value, whatever its case and a dot before it.
    fn whole(&self, value: &[u8]) -> Option<Vec<u8>> {
        let bare = |text: &[u8]| text.strip_prefix(b".").unwrap_or(text).to_ascii_lowercase();
        let is_it = self.from == "*" || bare(self.from.as_bytes()) == bare(value);
        is_it.then(|| self.to.clone().into_bytes())
    }

    /// In place of its start.
    fn start(&self, value: &[u8]) -> Option<Vec<u8>> {
        if self.from == "*" {
            return Some(self.to.clone().into_bytes());
        }
        value.strip_prefix(self.from.as_bytes()).map(|rest| [self.to.as_bytes(), rest].concat())
    }
}

impl ResponseStep {
    /// Notes what changes in an answer that says this.
    pub(super) fn on_response(&self, head: &ResponseHead, bytes: &[u8], edits: &mut FieldEdits) {
        match self {
            Self::Location(rewrite) => {
                let value = |name: &[u8]| head.value(name, bytes);
                // The first that fits has rewritten it.
                let location = value(b"location").filter(|_| !edits.removes(b"location"));
                if let Some(value) = location.and_then(|value| rewrite.rewritten(value)) {
                    edits.set(b"Location", value);
                }
                // `5; url=http://…`
                let refresh = value(b"refresh").filter(|_| !edits.removes(b"refresh")).and_then(|value| {
                    let at = value.windows(4).position(|part| part.eq_ignore_ascii_case(b"url="))? + 4;
                    let rewritten = rewrite.rewritten(&value[at..])?;
                    Some([&value[..at], &rewritten].concat())
                });
                if let Some(value) = refresh {
                    edits.set(b"Refresh", value);
                }
            }
            Self::Cookie(rewrite) => rewrite_cookies(rewrite, head, bytes, edits),
        }
    }
}

/// All cookies are written anew where one changes: what an earlier filter made of them, or what the upstream said.
fn rewrite_cookies(rewrite: &CookieRewrite, head: &ResponseHead, bytes: &[u8], edits: &mut FieldEdits) {
    let is_cookie = |name: &[u8]| name.eq_ignore_ascii_case(b"set-cookie");
    let is_first = !edits.removes(b"set-cookie");
    let said: Vec<Vec<u8>> = if is_first {
        head.fields(bytes).filter(|(_, name, _)| is_cookie(name)).map(|(_, _, value)| value.to_vec()).collect()
    } else {
        let written = std::mem::take(&mut edits.put);
        let (own, others): (Vec<_>, Vec<_>) = written.into_iter().partition(|(name, _)| is_cookie(name));
        edits.put = others;
        own.into_iter().map(|(_, value)| value.into_vec()).collect()
    };
    if said.is_empty() {
        return;
    }
    edits.remove.add(b"set-cookie");
    for cookie in said {
        let value = rewrite.rewritten(&cookie).unwrap_or(cookie);
        edits.add(b"Set-Cookie", value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::compiled;
    use super::*;
    use crate::proto::h1::rules::Leniency;

    fn answered(filters: &str, fields: &str) -> String {
        let (chain, faults) = compiled(filters);
        assert!(faults.is_empty(), "{faults:?}");
        let bytes = format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n{}\r\n", fields.replace('\n', "\r\n"));
        let mut head = ResponseHead::default();
        head.parse(bytes.as_bytes(), false, Leniency::default()).unwrap();
        let mut edits = None;
        chain.on_response(&head, bytes.as_bytes(), &mut edits);
        let edits: FieldEdits = edits.unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        edits.put.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn locations_of_the_upstream_become_ours() {
        let filters =
            "[{ location_rewrite = { from = \"http://internal:8080/app/\", to = \"https://example.com/\" } }]";
        assert_eq!(answered(filters, "Location: http://internal:8080/app/x?y\n"), "Location: https://example.com/x?y");
        assert_eq!(answered(filters, "Location: http://other/app/x\n"), "");
        let refresh = answered(filters, "Refresh: 5; URL=http://internal:8080/app/\n");
        assert_eq!(refresh, "Refresh: 5; URL=https://example.com/");
    }

    #[test]
    fn cookies_of_the_upstream_become_ours() {
        let filters = "[{ cookie_rewrite = { domain = { from = \"internal\", to = \"example.com\" }, \
            path = { from = \"/app\", to = \"/\" }, secure = true, http_only = true, same_site = \"lax\" } }]";
        let said = "Set-Cookie: a=1; Domain=.INTERNAL; path=/app; secure; SameSite=None; Max-Age=5\nSet-Cookie: b=2\n";
        let expected = "Set-Cookie: a=1; Domain=example.com; path=/; Max-Age=5; Secure; HttpOnly; SameSite=Lax\n\
            Set-Cookie: b=2; Secure; HttpOnly; SameSite=Lax";
        assert_eq!(answered(filters, said), expected);
        let two = "[{ cookie_rewrite = { name = \"a\", secure = false } }, { cookie_rewrite = { domain = { from = \"*\", to = \"\" } } }]";
        assert_eq!(
            answered(two, "Set-Cookie: a=1; Secure; Domain=x\nSet-Cookie: b=2; Secure\n"),
            "Set-Cookie: a=1\nSet-Cookie: b=2; Secure"
        );
        assert_eq!(answered(two, "X: y\n"), "");
    }

    #[test]
    fn what_would_end_an_attribute_is_told() {
        for filter in [
            "{ cookie_rewrite = {} }",
            "{ cookie_rewrite = { path = { from = \"/\", to = \"/; x\" } } }",
            "{ location_rewrite = { from = \"\", to = \"\" } }",
        ] {
            assert_eq!(compiled(&format!("[{filter}]")).1.len(), 1, "{filter}");
        }
    }
}
