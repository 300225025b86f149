//! What annotations of ingress-nginx may say, as its validators have it.

use crate::control::kubernetes::translate::texts::{flag, networks};

/// A set of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Go's `strconv.ParseBool`.
    Bool,
    /// `on` or `off`.
    OnOff,
    /// A number.
    Int,
    /// A number with `b`, `k`, `m` or `g`.
    Size,
    /// Letters, digits and `/ - . _ ~ :`.
    Basic,
    /// [`Self::Basic`] with spaces.
    CharsSpace,
    /// [`Self::Basic`] with `, : ? & =`.
    Url,
    /// [`Self::Url`] with spaces.
    UrlSpace,
    /// [`Self::Url`] with spaces and variables.
    UrlVar,
    /// Letters, digits, `- _` and variables.
    NginxVar,
    /// A path with groups of an expression.
    PathCapture,
    /// Names of fields.
    Headers,
    /// Words from a short list, which whoever reads it checks.
    Words,
    /// An expression without `;` and quotes.
    Regex,
    /// A name of a host, or an expression for it.
    ServerName,
    /// Names of ciphers.
    Ciphers,
    /// Addresses and networks.
    Cidrs,
    /// Anything.
    Any,
}

impl Grammar {
    /// True where a text is one of these. Control characters are in none but [`Self::Any`].
    #[must_use]
    pub fn has(self, text: &str) -> bool {
        let all = |more: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte));
        match self {
            Self::Bool => flag(text).is_some(),
            Self::OnOff => matches!(text, "on" | "off"),
            Self::Int => text.parse::<i64>().is_ok(),
            Self::Size => size(text).is_some(),
            Self::Basic => all("/-._~:"),
            Self::CharsSpace => all("/-._~: "),
            Self::Url => all("/-._~:,?&=%"),
            Self::UrlSpace => all("/-._~:,?&=% "),
            Self::UrlVar => all("/-._~:,?&=%$ {}"),
            Self::NginxVar => all("-_${}"),
            Self::PathCapture => all("/-._~:$"),
            Self::Headers => all("-_, *"),
            Self::Words => all("-_., "),
            Self::Regex | Self::ServerName => all("/-._~:^$[](){}*+?|&=\\ ,@"),
            Self::Ciphers => all("!:+-_@="),
            Self::Cidrs => networks(text).is_some(),
            Self::Any => true,
        }
    }
}

/// A size in bytes.
#[must_use]
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'b' | b'B' => (&text[..text.len() - 1], 1),
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A list of words between commas or spaces.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty())
}
