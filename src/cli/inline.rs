//! Configurations that come from no file: that of `--to`, and that of the demonstration.

use std::path::Path;

use super::arguments::Arguments;
use crate::config::Source;
use crate::config::document::Syntax;

/// The configuration of `--to`.
pub(super) fn one_line(arguments: &Arguments) -> anyhow::Result<Source> {
    let endpoints: Vec<_> = arguments.to.iter().map(|to| format!("{:?}", to.to_string())).collect();
    let text = format!(
        "[listeners.main]\naddress = {:?}\n[[routes]]\nname = \"all\"\nservice = \"to\"\n[services.to]\nendpoints = [{}]\n",
        arguments.listen.to_string(),
        endpoints.join(", ")
    );
    inline(&text)
}

/// A configuration that comes from no file.
pub(super) fn inline(text: &str) -> anyhow::Result<Source> {
    Source::parse(text, Syntax::Toml, Path::new("command line"), &|_| None).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(|problem| problem.what.clone()).collect();
        anyhow::anyhow!("{}", problems.join("\n"))
    })
}
