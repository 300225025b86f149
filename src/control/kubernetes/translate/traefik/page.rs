//! The annotations as a page of documentation.

use std::fmt::Write as _;

use super::rows::ROWS;

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Annotations of Traefik 1.7\n\n\
         Every annotation that Traefik 1.7 reads, without its prefix, `ingress.kubernetes.io/` or `traefik.ingress.kubernetes.io/`; the first one that \
         is there counts, and behind both the name of old. What is refused is told to the object, in its events and in the log. This page is printed \
         by `ringress annotations traefik1`.\n\n\
         | annotation | of | here | becomes | name of old |\n|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        let old: Vec<_> = row.old.iter().map(|old| format!("`{old}`")).collect();
        let (here, old) = (row.meaning.cell(), old.join(", "));
        let _ = writeln!(page, "| `{}` | {:?} | {here} | {} | {old} |", row.name, row.kind, row.becomes);
    }
    page
}
