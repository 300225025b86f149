//! What the filters that know users have in common: their lists, the realm, and what the upstream is told of a user.

use super::compile::FilterPlace;
use super::context::Notes;
use super::edits::FieldEdits;
use super::headers::check_name;
use crate::proto::h1::field::is_value;
use crate::units::Material;

/// What browsers show where nobody wrote something else.
pub(super) fn realm() -> String {
    "restricted".to_owned()
}

/// The lines of a list of users, those that are written and those of a file; comments and empty lines are left out.
pub(super) fn user_lines(users: &[String], file: Option<&Material>, place: &mut FilterPlace) -> Vec<String> {
    let bytes = file.and_then(|file| place.material(file));
    let of_file = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    let lines = users.iter().map(String::as_str).chain(of_file.lines()).map(str::trim);
    let lines: Vec<String> =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    if lines.is_empty() && !place.has_faults() {
        place.fault("there is no user, so nobody could get in", "write `users`, or a `file` that has some");
    }
    lines
}

/// Tells a realm that a challenge cannot carry.
pub(super) fn check_realm(realm: &str, place: &mut FilterPlace) {
    if realm.contains(['"', '\\']) || realm.bytes().any(|byte| byte < b' ') {
        place.fault("the realm holds characters that it may not", "leave quotes and backslashes out");
    }
}

/// What the upstream is told of a user.
#[derive(Clone, Debug)]
pub(super) struct UserTold {
    header: Option<Box<[u8]>>,
    keeps_authorization: bool,
}

impl UserTold {
    /// In a field of this name, with `Authorization` or without.
    pub(super) fn compile(header: Option<&String>, keeps_authorization: bool, place: &mut FilterPlace) -> Self {
        header.iter().for_each(|name| check_name(name, place));
        Self { header: header.map(|name| name.as_bytes().into()), keeps_authorization }
    }

    /// Takes away the fields in which the upstream is told of the client.
    pub(super) fn forget(&self, edits: &mut FieldEdits) {
        self.header.iter().for_each(|name| edits.take_away(name));
    }

    /// Tells the upstream of this user; false where the name is none that a field may hold.
    pub(super) fn tell(&self, user: &[u8], notes: &mut Notes) -> bool {
        if let Some(name) = &self.header {
            if !is_value(user) {
                return false;
            }
            notes.edits.request.add(name, user.to_vec());
        }
        if !self.keeps_authorization {
            notes.edits.request.take_away(b"authorization");
        }
        true
    }
}
