//! `Set-Cookie` as it is written (RFC 6265 §4.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// To whom a cookie is sent (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// To requests of the same site alone.
    Strict,
    /// And where a link leads here.
    Lax,
    /// To all.
    None,
}

impl SameSite {
    /// As a cookie says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// What a cookie says beside its name and value.
#[derive(Clone, Copy, Debug, Default)]
pub struct CookieAttributes<'a> {
    /// The start of the paths that it is sent to; `None` for those beside the one that set it.
    pub path: Option<&'a str>,
    /// The domain whose hosts get it; `None` for the host that set it.
    pub domain: Option<&'a str>,
    /// How many seconds it lasts; `None` until the browser ends.
    pub max_age_s: Option<u64>,
    /// It goes over TLS alone.
    pub is_secure: bool,
    /// Scripts cannot read it.
    pub is_http_only: bool,
    /// To whom it is sent.
    pub same_site: Option<SameSite>,
}

/// The value of the field. Name, value and attributes must hold neither semicolons nor control characters.
#[must_use]
pub fn set_cookie(name: &str, value: &str, attributes: &CookieAttributes<'_>) -> String {
    let mut text = format!("{name}={value}");
    let mut push = |attribute: &str, value: Option<&str>| {
        text.push_str("; ");
        text.push_str(attribute);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
    };
    attributes.path.iter().for_each(|path| push("Path", Some(path)));
    attributes.domain.iter().for_each(|domain| push("Domain", Some(domain)));
    attributes.max_age_s.iter().for_each(|seconds| push("Max-Age", Some(&seconds.to_string())));
    if attributes.is_secure {
        push("Secure", None);
    }
    if attributes.is_http_only {
        push("HttpOnly", None);
    }
    attributes.same_site.iter().for_each(|same_site| push("SameSite", Some(same_site.name())));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_stand_behind_the_value() {
        assert_eq!(set_cookie("a", "1", &CookieAttributes::default()), "a=1");
        let all = CookieAttributes {
            path: Some("/app"),
            domain: Some("example.com"),
            max_age_s: Some(60),
            is_secure: true,
            is_http_only: true,
            same_site: Some(SameSite::None),
        };
        let expected = "a=1; Path=/app; Domain=example.com; Max-Age=60; Secure; HttpOnly; SameSite=None";
        assert_eq!(set_cookie("a", "1", &all), expected);
    }
}
