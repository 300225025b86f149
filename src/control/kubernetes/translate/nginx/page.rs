//! The annotations as a page of documentation.

use std::fmt::Write as _;

use super::rows::ROWS;

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
        let _ = writeln!(page, "| `{}` | {:?} | {} | {} |", row.name, row.risk, row.meaning.cell(), row.becomes);
    }
    page
}
