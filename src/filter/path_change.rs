//! What takes the place of a path, or of a part of it: what `redirect` and `rewrite` have in common.

use regex::bytes::Regex;

use super::compile::FilterPlace;
use super::template::{Template, Values, Within};

/// What takes the place of a path.
#[derive(Clone, Debug)]
pub(super) enum PathChange {
    /// Of the whole.
    Whole(Template),
    /// Of its start, by whole elements; both without final slash.
    Prefix(Box<[u8]>, Template),
    /// Of the whole, where an expression is found in it.
    Regex(Regex, Template),
}

/// What a filter says of it.
pub(super) struct WrittenChange<'a> {
    pub path: Option<&'a str>,
    pub prefix: Option<&'a str>,
    pub regex: Option<&'a str>,
    pub ignore_case: bool,
}

impl WrittenChange<'_> {
    /// Compiles it; `None` where nothing is written, or where what is wrong is told.
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<PathChange> {
        match (self.path, self.prefix, self.regex) {
            (_, Some(_), Some(_)) => {
                place.fault("both prefix and regex are given", "leave one out");
                None
            }
            (None, None, None) => None,
            (None, ..) => {
                let remedy =
                    "write what takes the place of the prefix, or of the path in which the expression is found";
                place.fault("`path` is missing", remedy);
                None
            }
            (Some(path), None, None) => place.template(path, 0).map(PathChange::Whole),
            (Some(path), Some(prefix), None) => {
                let prefix = place.path(prefix).map(|prefix| prefix.trim_end_matches('/').as_bytes().into());
                let path = place.template(path.trim_end_matches('/'), 0);
                prefix.zip(path).map(|(prefix, path)| PathChange::Prefix(prefix, path))
            }
            (Some(path), None, Some(regex)) => {
                let regex = place.regex(regex, self.ignore_case)?;
                let path = place.template(path, regex.captures_len() - 1)?;
                Some(PathChange::Regex(regex, path))
            }
        }
    }
}

/// The text where an expression is found in the path of the request; `None` where it is not.
pub(super) fn text_where_found(regex: &Regex, text: &Template, values: &Values<'_>) -> Option<Vec<u8>> {
    let groups = regex.captures(values.head.path())?;
    Some(text.text(&Values { groups: Some(&groups), ..*values }, Within::Url))
}
