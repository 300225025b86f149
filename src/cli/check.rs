//! `ringress check`: every problem, or the effective configuration.

use std::path::Path;

use super::arguments::CONFIGURATION;
use crate::config::Source;
use crate::config::problem::Problem;
use crate::control::compile::{Kept, Resolved, compile};

/// Checks a file; names are not resolved and addresses not bound.
pub(super) fn check(path: &Path, print: bool) -> anyhow::Result<i32> {
    let checked = Source::read(path).and_then(|source| {
        let compiled = compile(&source, &Resolved::new(), &mut Kept::default(), 1)?;
        compiled.notices.iter().for_each(|notice| eprintln!("warning: {notice}"));
        Ok((source, compiled.snapshot))
    });
    match checked {
        Err(problems) => Ok(tell(&problems)),
        Ok((source, _)) if print => {
            println!("{}", toml::to_string_pretty(&*source.config)?);
            Ok(0)
        }
        Ok((_, snapshot)) => {
            println!(
                "{}: no problem: {} listeners, {} routes, {} services",
                path.display(),
                snapshot.listeners.len(),
                snapshot.routes.len(),
                snapshot.services.len()
            );
            Ok(0)
        }
    }
}

/// Prints problems; the exit code for them.
pub(super) fn tell(problems: &[Problem]) -> i32 {
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    eprintln!("{} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" });
    CONFIGURATION
}
