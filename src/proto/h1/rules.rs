//! What of the reading of a head can be set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::HiddenDots;

/// What to do with field names that contain `_`: CGI-like upstreams cannot tell them from `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// Leave the field out.
    #[default]
    Drop,
    /// Refuse the request.
    Reject,
    /// Pass it on.
    Keep,
}

/// How requests of a listener are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadRules {
    /// Field names with `_`.
    pub underscores: Underscores,
    /// Dot segments that only some servers see.
    pub hidden_dots: HiddenDots,
}

/// The form of the path that an upstream gets. Routes and filters see the strictest reading of it, whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedPath {
    /// As the client sent it, less its dot segments.
    #[default]
    Resolved,
    /// As routes match it: slashes merged, unreserved characters decoded, hexadecimal digits in capitals.
    Matched,
    /// Byte for byte as the client sent it, dot segments and all, for requests that are signed. Where a filter rewrote the path, or
    /// where servers differ in how they resolve its dot segments, as `resolved`.
    AsSent,
}

/// What is read in an answer although the rules forbid it, for a server that cannot be mended. Each is truly seen of old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lenient {
    /// `Transfer-Encoding: chunked` said more than once counts once.
    RepeatedTransferEncoding,
    /// Lines of the head may end in LF alone.
    BareLineFeed,
    /// `Content-Length` said more than once with the same number counts once.
    RepeatedContentLength,
    /// A status from 600 to 999.
    #[serde(rename = "status_above_599")]
    StatusAbove599,
    /// A body that lasts until the connection ends may end without a close_notify of TLS, as all of uWSGI's `suwsgi-socket` do. Whoever
    /// can cut the connection can then cut an answer.
    MissingCloseNotify,
}

/// A set of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency(u8);

impl Leniency {
    /// No [`Lenient`] has this bit.
    const CGI: u8 = 1 << 7;

    /// These.
    #[must_use]
    pub fn of(allowed: &[Lenient]) -> Self {
        Self(allowed.iter().fold(0, |set, one| set | 1 << *one as u8))
    }

    /// And the answer is one of a CGI program, behind a server of uwsgi, SCGI or FastCGI: it may begin without a status line, and its lines
    /// may end in LF alone (RFC 3875 §6).
    #[must_use]
    pub const fn of_cgi(self) -> Self {
        Self(self.0 | Self::CGI | 1 << Lenient::BareLineFeed as u8)
    }

    /// True for the answer of a CGI program.
    #[must_use]
    pub const fn is_cgi(self) -> bool {
        self.0 & Self::CGI != 0
    }

    /// True where it is one of them.
    #[must_use]
    pub const fn has(self, one: Lenient) -> bool {
        self.0 >> one as u8 & 1 == 1
    }
}
