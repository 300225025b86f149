//! Compiles filters: those of a route, a target or a listener, behind the chains that they name.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::compiler::{Compiler, did_you_mean};
use crate::filter::{Chain, Filter};

/// The filters in their order, each with the key that wrote it: first those of the named chains.
pub(super) fn resolved(
    compiler: &mut Compiler<'_>,
    key: &str,
    names: &[String],
    own: &[Filter],
) -> Vec<(String, Filter)> {
    let config = std::sync::Arc::clone(&compiler.source.config);
    let mut filters = Vec::with_capacity(own.len());
    for (at, name) in names.iter().enumerate() {
        match config.filters.get(name) {
            Some(named) => {
                let numbered = named.chain.iter().enumerate();
                filters.extend(numbered.map(|(at, filter)| (named_key(name, at), filter.clone())));
            }
            None => {
                let remedy = did_you_mean(name, config.filters.keys());
                compiler.problem(&format!("{key}.use.{at}"), format!("there is no chain `{name}`"), &remedy);
            }
        }
    }
    let numbered = own.iter().enumerate();
    filters.extend(numbered.map(|(at, filter)| (format!("{key}.filters.{at}"), filter.clone())));
    filters
}

fn named_key(name: &str, at: usize) -> String {
    format!("filters.{name}.chain.{at}")
}

/// A number that is another where one of the files that they name, or something that was fetched for them, holds something else.
pub(super) fn print<'f>(compiler: &Compiler<'_>, filters: impl IntoIterator<Item = &'f (String, Filter)>) -> u64 {
    let mut print = DefaultHasher::new();
    for (_, filter) in filters {
        for material in filter.materials() {
            compiler.kept.shared.material(material).hash(&mut print);
        }
        for source in filter.fetch_sources() {
            compiler.kept.shared.known(&source).hash(&mut print);
        }
    }
    print.finish()
}

/// Compiles them. What is wrong with a filter of a named chain is told by [`check_named`], once for all who name it.
pub(super) fn chain(compiler: &mut Compiler<'_>, filters: &[(String, Filter)]) -> Chain {
    let mut faults = Vec::new();
    let bare = filters.iter().map(|(_, filter)| filter);
    let chain = Chain::compile(bare, &mut compiler.kept.shared, |at, fault| faults.push((at, fault)));
    for (at, (what, remedy)) in faults {
        let Some((key, _)) = filters.get(at) else { continue };
        // A source that is not taken whole or not at all must not be left with whoever names a chain that lost a filter.
        if !key.starts_with("filters.") || !compiler.source.is_whole_at(key) {
            compiler.problem(key, what, &remedy);
        }
    }
    chain
}

/// Tells what is wrong with the filters of named chains, whether or not somebody names them.
pub(super) fn check_named(compiler: &mut Compiler<'_>) {
    let config = std::sync::Arc::clone(&compiler.source.config);
    for (name, named) in &config.filters {
        let mut faults = Vec::new();
        Chain::compile(named.chain.iter(), &mut compiler.kept.shared, |at, fault| faults.push((at, fault)));
        for (at, (what, remedy)) in faults {
            compiler.problem(&named_key(name, at), what, &remedy);
        }
    }
}
