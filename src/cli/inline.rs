//! Configurations that come from no file: that of `--to`, and that of the demonstration.

use std::io::IsTerminal as _;
use std::path::Path;

use super::arguments::Arguments;
use crate::config::Source;
use crate::config::document::Syntax;

/// The configuration of `--to`.
pub(super) fn one_line(arguments: &Arguments) -> anyhow::Result<Source> {
    let endpoints: Vec<_> = arguments.to.iter().map(|to| format!("{:?}", to.to_string())).collect();
    let text = format!(
        "{}[listeners.main]\naddress = {:?}\ndetails = \"body\"\n[[routes]]\nname = \"all\"\nservice = \"to\"\n[services.to]\nendpoints = [{}]\n",
        access_log(),
        arguments.listen.to_string(),
        endpoints.join(", ")
    );
    inline(&text)
}

/// An access log for whoever looks on: on a terminal, and nowhere else.
pub(super) fn access_log() -> &'static str {
    if std::io::stdout().is_terminal() { "[access_log]\npath = \"-\"\nformat = \"short\"\n" } else { "" }
}

/// A configuration that comes from no file.
pub(super) fn inline(text: &str) -> anyhow::Result<Source> {
    Source::parse(text, Syntax::Toml, Path::new("command line"), &|_| None).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(|problem| problem.what.clone()).collect();
        anyhow::anyhow!("{}", problems.join("\n"))
    })
}

/// The configuration of `run --kubernetes`: what the cluster says, on the usual ports.
pub(super) fn cluster() -> anyhow::Result<Source> {
    inline(
        "[kubernetes]\ndialects = [\"ringress\", \"ingress-nginx\"]\n[admin]\naddress = \"127.0.0.1:9000\"\n\
         [listeners.web]\naddress = \":80\"\n[listeners.websecure]\naddress = \":443\"\ntls = {}\n[access_log]\npath = \"-\"\n",
    )
}
