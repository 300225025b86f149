//! The fields of a message that we write in HTTP/2: names in lower case, values, in their order.

/// Fields on their way out, pseudo-fields first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldList {
    bytes: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(u32, u32)>,
}

impl FieldList {
    /// Adds a field; its name is written in lower case.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_with(name, |bytes| bytes.extend_from_slice(value));
    }

    /// Adds a field whose value is appended by `compose`.
    pub fn push_with(&mut self, name: &[u8], compose: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes[from..].make_ascii_lowercase();
        let name_end = self.bytes.len();
        compose(&mut self.bytes);
        let ends = u32::try_from(name_end).ok().zip(u32::try_from(self.bytes.len()).ok());
        debug_assert!(ends.is_some(), "heads are far below 4 GiB");
        self.ends.push(ends.unwrap_or_default());
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The fields: name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end as usize));
        begins.zip(&self.ends).map(|(begin, (name_end, end))| {
            (&self.bytes[begin..*name_end as usize], &self.bytes[*name_end as usize..*end as usize])
        })
    }

    /// The value of the first field with this name.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What it counts in the sense of SETTINGS_MAX_HEADER_LIST_SIZE, in bytes (RFC 9113 §6.5.2).
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + 32 * self.ends.len()
    }

    /// The fields as tests compare them.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields: Vec<_> = self.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
        fields.join(", ")
    }

    /// Leaves out the fields with this name.
    pub fn remove(&mut self, name: &[u8]) {
        if self.value(name).is_some() {
            let mut rest = Self::default();
            self.iter().filter(|(known, _)| *known != name).for_each(|(name, value)| rest.push(name, value));
            *self = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_as_they_went_in() {
        let mut fields = FieldList::default();
        fields.push(b":status", b"200");
        fields.push(b"Via", b"");
        fields.push_with(b"X-A", |value| value.extend_from_slice(b"1"));
        let found: Vec<_> = fields.iter().collect();
        assert_eq!(found, [(&b":status"[..], &b"200"[..]), (b"via", b""), (b"x-a", b"1")]);
        assert_eq!((fields.value(b"x-a"), fields.size()), (Some(&b"1"[..]), 17 + 96));
        fields.remove(b"via");
        assert_eq!(fields.iter().count(), 2);
    }
}
