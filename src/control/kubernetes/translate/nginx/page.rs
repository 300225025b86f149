//! The annotations as a page of documentation.

use std::fmt::Write as _;

use super::rows::{Meaning, ROWS};

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Annotations of ingress-nginx\n\n\
         Every annotation that ingress-nginx 1.15.1 knows, without its prefix `nginx.ingress.kubernetes.io/`, and the two old names of lists. \
         What is refused is told to the object, in its events and in the log. This page is printed by `ringress annotations`.\n\n\
         | annotation | risk | here | becomes |\n|---|---|---|---|\n",
    );
    for row in &ROWS {
        let here = match row.meaning {
            Meaning::Same => "as before".to_owned(),
            Meaning::Differs(how) => format!("differs: {how}"),
            Meaning::Refused(why) => format!("refused: {why}"),
            Meaning::Nothing(why) => format!("nothing to do: {why}"),
        };
        let _ = writeln!(page, "| `{}` | {:?} | {here} | {} |", row.name, row.risk, row.becomes);
    }
    page
}
