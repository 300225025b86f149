//! `ringress check`: every problem and every doubt, or the effective configuration.

use std::path::Path;

use super::arguments::CONFIGURATION;
use crate::config::Source;
use crate::config::problem::Problem;
use crate::control::advice::advice;
use crate::control::compile::{Kept, Resolved, compile, names};
use crate::control::resolve::Resolver;

/// How a file is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckTerms {
    /// Print the effective configuration where there is no problem.
    pub print: bool,
    /// A warning is a problem.
    pub strict: bool,
    /// Ask for no names.
    pub offline: bool,
}

/// Checks a file; addresses are not bound.
pub(super) fn check(path: &Path, terms: CheckTerms) -> anyhow::Result<i32> {
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(problems) => return Ok(tell(&problems)),
    };
    let resolved = if terms.offline { None } else { Some(resolve(&source)?) };
    let nothing = Resolved::new();
    let compiled = match compile(&source, resolved.as_ref().unwrap_or(&nothing), &mut Kept::default(), 1) {
        Ok(compiled) => compiled,
        Err(mut problems) => {
            problems.extend(log_problem(&source));
            return Ok(tell(&problems));
        }
    };
    let snapshot = &compiled.snapshot;
    let warnings: Vec<_> = compiled.notices.into_iter().chain(advice(&source, snapshot, resolved.as_ref())).collect();
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    if let Some(problem) = log_problem(&source) {
        return Ok(tell(&[problem]));
    }
    if terms.print {
        println!("{}", toml::to_string_pretty(&*source.config)?);
    } else {
        println!(
            "{}: no problem, {}: {}, {}, {}",
            path.display(),
            count(warnings.len(), "warning"),
            count(snapshot.listeners.len(), "listener"),
            count(snapshot.routes.len(), "route"),
            count(snapshot.services.len(), "service")
        );
    }
    Ok(if terms.strict && !warnings.is_empty() { CONFIGURATION } else { 0 })
}

/// What the names of endpoints resolve to on this host.
fn resolve(source: &Source) -> anyhow::Result<Resolved> {
    let names = names(source);
    if names.is_empty() {
        return Ok(Resolved::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut resolver = Resolver::of_system();
        resolver.learn(names.keys()).await;
        resolver.resolved()
    }))
}

/// What is wrong with the place of the access log: it is not opened here, which would make it.
fn log_problem(source: &Source) -> Option<Problem> {
    let path = &source.config.access_log.as_ref()?.path;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let what = format!("there is no folder {}", folder.display());
    let remedy = "make it, and let it belong to the user of the process";
    (!folder.is_dir()).then(|| source.problem("access_log.path", what, remedy))
}

/// `1 route`, `2 routes`.
fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// Prints problems; the exit code for them.
pub(super) fn tell(problems: &[Problem]) -> i32 {
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    eprintln!("{}", count(problems.len(), "problem"));
    CONFIGURATION
}
