//! What all filters of a route change in fields, compiled to one value that the encoders take.

use std::borrow::Cow;

use crate::proto::h1::field::by_name;

/// A name and its value: a token, and bytes without control characters but tabs.
pub type FieldLine = (Box<[u8]>, Box<[u8]>);

/// Names of fields, in which case does not count. A message may ask it of each of its fields.
#[derive(Clone, Debug, Default)]
pub struct NameSet(Vec<Box<[u8]>>);

impl NameSet {
    const NONE: Self = Self(Vec::new());

    /// These names.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::NONE;
        names.into_iter().for_each(|name| set.add(name.as_bytes()));
        set
    }

    /// Adds a name.
    pub fn add(&mut self, name: &[u8]) {
        if let Err(at) = self.0.binary_search_by(|own| by_name(own, name)) {
            self.0.insert(at, name.into());
        }
    }

    /// True where the name is one of them.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        !self.0.is_empty() && self.0.binary_search_by(|own| by_name(own, name)).is_ok()
    }

    /// True where there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn extend(&mut self, other: Self) {
        if self.0.is_empty() {
            self.0 = other.0;
        } else {
            other.0.iter().for_each(|name| self.add(name));
        }
    }
}

/// Changes to the fields of one message: what is removed first, then what is written.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Names that are left out, those that are set among them.
    pub remove: NameSet,
    /// Names and values that are written.
    pub put: Vec<FieldLine>,
}

impl FieldEdits {
    /// True where this field is left out.
    #[must_use]
    pub fn removes(&self, name: &[u8]) -> bool {
        self.remove.has(name)
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
    /// Of what goes to the client with a status that nginx adds fields to: see [`Edits::of_response`].
    pub good_response: FieldEdits,
}

impl FieldEdits {
    const NONE: Self = Self { remove: NameSet::NONE, put: Vec::new() };

    /// Adds a field that is written beside others of its name.
    pub fn add(&mut self, name: &[u8], value: impl Into<Box<[u8]>>) {
        self.put.push((name.into(), value.into()));
    }

    /// Writes a field in the place of all others of its name.
    pub fn set(&mut self, name: &[u8], value: impl Into<Box<[u8]>>) {
        self.take_away(name);
        self.add(name, value);
    }

    /// Leaves all fields of a name out, those that filters have written so far among them.
    pub fn take_away(&mut self, name: &[u8]) {
        self.remove.add(name);
        self.put.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    }

    /// What the field of this name is once these changes are made to a message that says `said`.
    pub fn value<'v>(&'v self, name: &[u8], said: impl FnOnce() -> Option<Cow<'v, [u8]>>) -> Option<Cow<'v, [u8]>> {
        let mut values =
            self.put.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).peekable();
        if values.peek().is_none() {
            return if self.removes(name) { None } else { said() };
        }
        let before = if self.removes(name) { None } else { said() };
        let values = before.into_iter().chain(values.map(Cow::Borrowed));
        values.reduce(|all, one| Cow::Owned([&*all, b", ", &*one].concat()))
    }

    /// True where nothing is changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.put.is_empty()
    }

    /// Makes further changes, behind those that are there.
    pub fn extend(&mut self, more: Self) {
        // What a later one takes away or sets is not what an earlier one wrote.
        self.put.retain(|(name, _)| !more.remove.has(name));
        self.remove.extend(more.remove);
        self.put.extend(more.put);
    }

    const fn unless_empty(&self) -> Option<&Self> {
        if self.is_empty() { None } else { Some(self) }
    }
}

impl Edits {
    /// No changes.
    pub const NONE: Self = Self {
        request: FieldEdits::NONE,
        response: FieldEdits::NONE,
        secure_response: FieldEdits::NONE,
        good_response: FieldEdits::NONE,
    };

    /// True where nothing is changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.request.is_empty()
            && self.response.is_empty()
            && self.secure_response.is_empty()
            && self.good_response.is_empty()
    }

    /// Makes further changes, behind those that are there.
    pub fn extend(&mut self, more: Self) {
        self.request.extend(more.request);
        self.response.extend(more.response);
        self.secure_response.extend(more.secure_response);
        self.good_response.extend(more.good_response);
    }

    /// The changes to a response of this status: for every client, for one that came by TLS, and those for statuses that nginx adds
    /// fields to (`add_header` without `always`); `None` where there are none. The last place is for what a response says itself.
    #[must_use]
    pub const fn of_response(&self, is_secure: bool, status: u16) -> [Option<&FieldEdits>; 4] {
        let is_good = matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308);
        [
            self.response.unless_empty(),
            if is_secure { self.secure_response.unless_empty() } else { None },
            if is_good { self.good_response.unless_empty() } else { None },
            None,
        ]
    }
}
