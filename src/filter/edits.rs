//! What all filters of a route change in fields, compiled to one value that the encoders take.

/// A name and its value: a token, and bytes without control characters but tabs.
pub type FieldLine = (Box<[u8]>, Box<[u8]>);

/// Changes to the fields of one message: what is removed first, then what is written.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Names in lower case that are left out, those that are set among them.
    pub remove: Vec<Box<[u8]>>,
    /// Names and values that are written.
    pub put: Vec<FieldLine>,
}

impl FieldEdits {
    /// True where this field is left out.
    #[must_use]
    pub fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }
}

/// Changes to requests and responses.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Of what goes to the upstream.
    pub request: FieldEdits,
    /// Of what goes to the client.
    pub response: FieldEdits,
    /// Of what goes to a client that came by TLS, besides.
    pub secure_response: FieldEdits,
}

impl FieldEdits {
    const NONE: Self = Self { remove: Vec::new(), put: Vec::new() };

    const fn unless_empty(&self) -> Option<&Self> {
        if self.remove.is_empty() && self.put.is_empty() { None } else { Some(self) }
    }
}

impl Edits {
    /// No changes.
    pub const NONE: Self =
        Self { request: FieldEdits::NONE, response: FieldEdits::NONE, secure_response: FieldEdits::NONE };

    /// The changes to a response: for every client, and for one that came by TLS; `None` where there are none.
    #[must_use]
    pub const fn of_response(&self, is_secure: bool) -> [Option<&FieldEdits>; 2] {
        [self.response.unless_empty(), if is_secure { self.secure_response.unless_empty() } else { None }]
    }
}
