//! Collects what is wrong with a filter while it is compiled, each fault with its remedy.

use super::foreign::foreign_syntax;
use crate::proto::h1::target::normal_path;

/// Where the faults of one filter are reported.
#[derive(Clone, Debug, Default)]
pub struct FilterPlace {
    faults: Vec<(String, &'static str)>,
}

impl FilterPlace {
    /// Tells a fault and its remedy, which may be empty.
    pub fn fault(&mut self, what: impl Into<String>, remedy: &'static str) {
        self.faults.push((what.into(), remedy));
    }

    /// True where something was told.
    #[must_use]
    pub const fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// What was told.
    pub fn into_faults(self) -> impl Iterator<Item = (String, &'static str)> {
        self.faults.into_iter()
    }

    /// A text that is sent as it stands: what is another proxy's variable is told.
    pub fn literal(&mut self, text: &str) {
        if let Some(what) = foreign_syntax(text) {
            self.fault(what, "leave it out, or write the text that is meant");
        }
    }

    /// A path in the form that requests are compared in; a text that is no path is told.
    pub fn path(&mut self, path: &str) -> Option<String> {
        self.literal(path);
        let normal = normal_path(path);
        if normal.is_none() {
            self.fault(format!("`{path}` is not a path"), "begin it with / and leave query and fragment out");
        }
        normal
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Chain;
    use super::super::context::{Answer, Context, Verdict};
    use crate::failure::Failure;
    use crate::proto::h1::request::RequestHead;
    use crate::proto::h1::rules::HeadRules;

    /// Filters as a configuration writes them, and every fault of theirs.
    pub(in super::super) fn compiled(filters: &str) -> (Chain, Vec<String>) {
        let table: toml::Table = toml::from_str(&format!("filters = {filters}")).unwrap();
        let filters: Vec<super::super::Filter> = table["filters"].clone().try_into().unwrap();
        let mut faults = Vec::new();
        let chain = Chain::compile(&filters, |at, place| {
            faults.extend(place.into_faults().map(|(what, remedy)| format!("{at}: {what}; {remedy}")));
        });
        (chain, faults)
    }

    /// What filters make of a GET: an answer, a failure, or where it goes on.
    pub(in super::super) fn applied(filters: &str, target: &str) -> Result<String, Option<Failure>> {
        let (chain, faults) = compiled(filters);
        assert!(faults.is_empty(), "{faults:?}");
        let mut head = RequestHead::default();
        head.parse(format!("GET {target} HTTP/1.1\r\nHost: a:81\r\n\r\n").into_bytes(), HeadRules::default()).unwrap();
        let context =
            Context { client: std::net::Ipv4Addr::LOCALHOST.into(), scheme: "http", is_trusted: false, tls: None };
        match chain.on_request(&mut head, &context) {
            Verdict::Pass => Ok(String::from_utf8(head.target().resolved().to_vec()).unwrap()),
            Verdict::Fail(failure) => Err(Some(failure)),
            Verdict::Answer(Answer { status, fields, body }) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let fields: Vec<_> =
                    fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
                Ok(format!("{status} [{}] {}", fields.join(", "), text(&body)))
            }
        }
    }

    /// Where a request goes on.
    pub(in super::super) fn rewritten(filters: &str, target: &str) -> String {
        applied(filters, target).unwrap()
    }

    #[test]
    fn every_fault_of_every_filter_is_told_with_its_position() {
        let (_, faults) =
            compiled("[{ strip_prefix = \"a\" }, \"grpc_web\", { redirect = { status = 200, scheme = \"ftp\" } }]");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("0: `a` is not a path; begin it with /"), "{faults:?}");
        assert!(faults[1].starts_with("2: ") && faults[2].starts_with("2: "), "{faults:?}");
    }
}
