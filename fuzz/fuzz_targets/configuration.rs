//! A configuration text gives a snapshot or problems with places, and never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::control::compile::{Kept, Resolved, compile};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for syntax in [Syntax::Toml, Syntax::Yaml] {
        match Source::parse(text, syntax, Path::new("fuzz"), &|_| None) {
            Ok(source) => {
                if let Err(problems) = compile(&source, &Resolved::new(), &mut Kept::default(), 1) {
                    assert!(!problems.is_empty());
                }
            }
            Err(problems) => assert!(!problems.is_empty()),
        }
    }
});
