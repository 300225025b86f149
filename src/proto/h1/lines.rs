//! Places for the field lines of a head: a few on the stack for nearly all heads, as many as there are for the others.

use std::mem::MaybeUninit;

use crate::limits::{FIELDS_MAX, FIELDS_USUAL};

/// Calls `parse` with places for field lines, and once more with as many as `bytes` may have where they were too few.
///
/// # Errors
/// Those of `parse`; `TooManyHeaders` where there are more than [`FIELDS_MAX`].
pub(super) fn with_places<'b, R>(
    bytes: &'b [u8],
    mut parse: impl FnMut(&mut [MaybeUninit<httparse::Header<'b>>]) -> Result<R, httparse::Error>,
) -> Result<R, httparse::Error> {
    let mut usual = [const { MaybeUninit::uninit() }; FIELDS_USUAL];
    match parse(&mut usual) {
        Err(httparse::Error::TooManyHeaders) => {
            let lines = memchr::memchr_iter(b'\n', bytes).count().min(FIELDS_MAX);
            let mut many: Vec<_> = std::iter::repeat_with(MaybeUninit::uninit).take(lines).collect();
            parse(&mut many)
        }
        parsed => parsed,
    }
}
