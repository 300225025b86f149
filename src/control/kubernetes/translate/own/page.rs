//! The annotations as a page of documentation.

use std::fmt::Write as _;

use super::rows::{PREFIX, ROWS, SERVICE_KEYS};

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = format!(
        "# Annotations of our own\n\n\
         Of Ingress objects whose class is `ringress`, each behind the prefix `{PREFIX}`. They say what a route and a service of the configuration say, by the \
         same keys: [keys.md](keys.md) has what each means. Requests of an object are answered 503 where an annotation of it cannot be read. This page is \
         printed by `ringress annotations ringress`.\n\n\
         | annotation | says |\n|---|---|\n",
    );
    for row in &ROWS {
        let _ = writeln!(page, "| `{}` | {} |", row.name, row.says);
    }
    let keys = SERVICE_KEYS.map(|key| format!("`{key}`")).join(", ");
    let _ = writeln!(page, "\n`service` may have {keys}.");
    page
}
