//! Conditions beside host and path: method, fields, query parameters.

use regex::bytes::Regex;

use crate::proto::h1::request::RequestHead;

/// All must be met.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Any of these methods; empty for all.
    pub methods: Vec<Box<[u8]>>,
    /// Fields by name in lower case.
    pub headers: Vec<(Box<[u8]>, ValueTest)>,
    /// Query parameters by name.
    pub query: Vec<(Box<[u8]>, ValueTest)>,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum ValueTest {
    /// Anything.
    Present,
    /// This.
    Equal(Box<[u8]>),
    /// A match of this expression is found in it.
    Matches(Regex),
}

impl ValueTest {
    pub(super) fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Equal(expected) => **expected == *value,
            Self::Matches(regex) => regex.is_match(value),
        }
    }
}

impl Conditions {
    /// Smaller goes first: a method, then more fields, then more parameters.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let more = |count: usize| std::cmp::Reverse(count);
        (self.methods.is_empty(), more(self.headers.len()), more(self.query.len()))
    }

    pub(super) fn are_met(&self, head: &RequestHead) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|method| **method == *head.method());
        method
            && self.headers.iter().all(|(name, test)| head.value(name).is_some_and(|value| test.passes(&value)))
            && self.query.iter().all(|(name, test)| has_parameter(head.query(), name, test))
    }
}

/// The first parameter of this name decides, as Gateway API says.
fn has_parameter(query: &[u8], name: &[u8], test: &ValueTest) -> bool {
    let pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (&pair[..equals], pair.get(equals + 1..).unwrap_or_default())
    });
    let mut of_name = pairs.filter(|(key, _)| decode(key) == name);
    of_name.next().is_some_and(|(_, value)| test.passes(&decode(value)))
}

/// Percent-encoding and `+` undone; malformed encoding stays as it is.
fn decode(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let decoded = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *byte == b'%');
        rest = if decoded.is_some() { &after[2..] } else { after };
        out.push(decoded.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    out.into()
}
