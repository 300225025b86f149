//! Collects what is wrong with a filter while it is compiled, each fault with its remedy.

use std::sync::Arc;

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};

use super::foreign::foreign_syntax;
use super::shared::SharedParts;
use super::template::Template;
use crate::label::Label;
use crate::proto::h1::target::normal_path;
use crate::units::Material;

/// What is said of a service that there is none of.
pub(super) fn no_service(name: &str) -> (String, String) {
    (format!("there is no service `{name}`, or it is not valid"), "name one of `services`".to_owned())
}

/// Where the faults of one filter are reported.
#[derive(Debug)]
pub struct FilterPlace<'a> {
    faults: Vec<(String, String)>,
    /// One of its texts has the time in it.
    pub(super) reads_time: bool,
    /// What filters share.
    pub shared: &'a mut SharedParts,
}

impl<'a> FilterPlace<'a> {
    /// For one filter.
    pub const fn new(shared: &'a mut SharedParts) -> Self {
        Self { faults: Vec::new(), reads_time: false, shared }
    }

    /// Tells a fault and its remedy, which may be empty.
    pub fn fault(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push((what.into(), remedy.into()));
    }

    /// True where something was told.
    #[must_use]
    pub const fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// What was told.
    #[must_use]
    pub fn into_faults(self) -> Vec<(String, String)> {
        self.faults
    }

    /// A text that is sent as it stands: what is another proxy's variable is told.
    pub fn literal(&mut self, text: &str) {
        if let Some(what) = foreign_syntax(text) {
            self.fault(what, "leave it out, or write the text that is meant");
        }
    }

    /// A text with variables, and with the groups of an expression that has so many.
    pub fn template(&mut self, text: &str, groups: usize) -> Option<Template> {
        let template = self.any_template(text, groups)?;
        if template.reads_status() {
            self.fault("nobody knows the `{status}` of the answer here", "it is for `path` of `error_pages`");
        }
        Some(template)
    }

    /// The path of a page, which may have the status of the answer in it.
    pub fn page_path(&mut self, text: &str) -> Option<Template> {
        self.any_template(text, 0)
    }

    fn any_template(&mut self, text: &str, groups: usize) -> Option<Template> {
        let parsed = match foreign_syntax(text) {
            Some(what) => Err((what, "leave it out, or write the text that is meant".to_owned())),
            None => Template::parse(text, groups),
        };
        let template = parsed.map_err(|(what, remedy)| self.fault(what, remedy)).ok()?;
        self.reads_time |= template.reads_time();
        Some(template)
    }

    /// Tells that the time has no place in a text.
    pub fn refuse_time(&mut self) {
        if self.reads_time {
            self.fault("the time is another in every request", "leave {unix_seconds} out");
        }
    }

    /// A regular expression.
    pub fn regex(&mut self, pattern: &str, ignores_case: bool) -> Option<Regex> {
        let built = RegexBuilder::new(pattern).case_insensitive(ignores_case).build();
        let what = |error: regex::Error| format!("`{pattern}` is not a regular expression: {error}");
        built.map_err(|error| self.fault(what(error), "its syntax is that of the regex crate of Rust")).ok()
    }

    /// What a file holds; one that cannot be read is told.
    pub fn material(&mut self, material: &Material) -> Option<Arc<[u8]>> {
        let read = self.shared.material(material);
        let what = |error: &_| format!("`{material}` cannot be read: {error}");
        read.inspect_err(|error| self.fault(what(error), "name a file that is there and may be read")).ok()
    }

    /// The label of a service; one that there is none of is told.
    pub fn service(&mut self, name: &str) -> Option<Label> {
        let known = self.shared.service(name);
        if known.is_none() {
            let (what, remedy) = no_service(name);
            self.fault(what, remedy);
        }
        if known.is_some_and(|label| self.shared.is_gateway(label)) {
            self.fault(format!("`{name}` is an application server, and filters ask by HTTP"), "name another service");
        }
        known
    }

    /// Networks, or addresses as networks of one.
    pub fn networks(&mut self, texts: &[String]) -> Vec<IpNet> {
        let mut networks = Vec::with_capacity(texts.len());
        for text in texts {
            let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match text.parse().ok().or_else(address) {
                // Clients are known by their IPv4 address.
                Some(IpNet::V6(network)) if network.addr().to_ipv4_mapped().is_some() => {
                    self.fault(format!("`{text}` would match nobody"), "write it as a network of IPv4");
                }
                Some(network) => networks.push(network),
                None => {
                    self.fault(format!("`{text}` is not a network"), "write 10.0.0.0/8, 2001:db8::/32 or an address");
                }
            }
        }
        networks
    }

    /// The status of a refusal.
    pub fn refusal_status(&mut self, status: Option<u16>) {
        if let Some(status) = status.filter(|status| !(400..=599).contains(status)) {
            self.fault(format!("{status} is not the status of a refusal"), "write 400 to 599");
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
    use super::super::context::{Answer, Context, Notes, Verdict};
    use super::super::shared::SharedParts;
    use crate::failure::Failure;
    use crate::proto::h1::request::RequestHead;
    use crate::proto::h1::rules::HeadRules;

    /// Filters as a configuration writes them, and every fault of theirs.
    pub(in super::super) fn compiled(filters: &str) -> (Chain, Vec<String>) {
        let table: toml::Table = toml::from_str(&format!("filters = {filters}")).unwrap();
        let filters: Vec<super::super::Filter> = table["filters"].clone().try_into().unwrap();
        let mut faults = Vec::new();
        let chain = Chain::compile(&filters, &mut SharedParts::default(), |at, (what, remedy)| {
            faults.push(format!("{at}: {what}; {remedy}"));
        });
        (chain, faults)
    }

    /// What filters make of a GET: an answer, a failure, or where it goes on.
    pub(in super::super) fn applied(filters: &str, target: &str) -> Result<String, Option<Failure>> {
        let (chain, faults) = compiled(filters);
        assert!(faults.is_empty(), "{faults:?}");
        let mut head = RequestHead::default();
        head.parse(format!("GET {target} HTTP/1.1\r\nHost: a:81\r\n\r\n").into_bytes(), HeadRules::default()).unwrap();
        let context = Context { port: 81, ..Context::of_nobody("http") };
        let mut notes = Notes::default();
        match chain.on_request(&mut head, &context, &mut notes) {
            Verdict::Pass => Ok(String::from_utf8(head.target().resolved().to_vec()).unwrap()),
            Verdict::Refuse(refusal) => Err(Some(refusal.failure)),
            Verdict::Ask(errand) => Ok(format!("{errand:?}")),
            Verdict::Answer(Answer { status, fields, body }) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let fields: Vec<_> =
                    fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
                Ok(format!("{status} [{}] {}", fields.join(", "), text(&body)))
            }
        }
    }

    /// A head of this text, which is without its empty line.
    pub(in super::super) fn head_of(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(format!("{}\r\n", text.replace('\n', "\r\n")).into_bytes(), HeadRules::default()).unwrap();
        head
    }

    /// What becomes of a request, and what its answer is told: `text` is its head without the empty line.
    pub(in super::super) fn told(filters: &str, text: &str) -> String {
        let (chain, faults) = compiled(filters);
        assert!(faults.is_empty(), "{faults:?}");
        let mut head = head_of(text);
        let mut notes = Notes::default();
        let verdict = match chain.on_request(&mut head, &Context::of_nobody("http"), &mut notes) {
            Verdict::Pass => "passes".to_owned(),
            Verdict::Refuse(refusal) => refusal.failure.to_string(),
            Verdict::Ask(errand) => format!("{errand:?}"),
            Verdict::Answer(Answer { status, fields, .. }) => {
                format!("{status} {:?}", fields.iter().collect::<Vec<_>>())
            }
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let lines = notes.edits.response.put.iter().map(|(name, value)| format!("{}: {}", text(name), text(value)));
        format!("{verdict} [{}]", lines.collect::<Vec<_>>().join(", "))
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
