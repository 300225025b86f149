//! What application servers speak in the place of HTTP.

pub mod records;
pub mod script;

/// What an application server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// uwsgi, with its two modifiers: 0 and 0 for a WSGI application.
    Uwsgi(u8, u8),
    /// SCGI.
    Scgi,
    /// FastCGI; true where the connection stays open behind the answer.
    FastCgi(bool),
}

impl Gateway {
    /// The same for a request whose connection closes behind it.
    #[must_use]
    pub const fn closing(self) -> Self {
        match self {
            Self::FastCgi(_) => Self::FastCgi(false),
            Self::Uwsgi(..) | Self::Scgi => self,
        }
    }

    /// True where a body goes in records of its own, and the answer comes in them.
    #[must_use]
    pub const fn has_records(self) -> bool {
        matches!(self, Self::FastCgi(_))
    }
}
