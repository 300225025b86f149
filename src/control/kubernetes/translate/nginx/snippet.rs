//! Directives of nginx in annotations: those that have a meaning here are read, never handed on as text. Any other refuses the requests of its
//! object: it may be one that protects something.

use serde_json::{Value, json};

use super::annotations::Annotations;
use super::directives::{Directive, directives};
use super::spot::Spot;
use super::variables::template;
use crate::filter::Filter;

/// Directives that say nothing to us.
const NOTHING: [&str; 19] = [
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "default_type",
    "etag",
    "grpc_ssl_server_name",
    "gzip",
    "keepalive_timeout",
    "log_not_found",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_http_version",
    "proxy_max_temp_file_size",
    "proxy_pass_header",
    "proxy_request_buffering",
    "proxy_ssl_server_name",
    "server_tokens",
    "tcp_nodelay",
];

/// What directives become.
#[derive(Debug, Default)]
pub(super) struct Snippet {
    /// Filters, in their order.
    pub filters: Vec<Filter>,
    /// The name that upstreams with TLS are asked for.
    pub server_name: Option<String>,
    /// Requests leave no line in the access log.
    pub is_unlogged: bool,
    networks: NetworkList,
}

/// Networks that are let in or not, until it is known what the others get.
#[derive(Debug, Default)]
struct NetworkList {
    allowed: Vec<String>,
    denied: Vec<String>,
    denies_others: bool,
}

/// What the snippets for a path become: that of the host, which its first Ingress says, and its own.
pub(super) fn snippets(spot: Spot<'_, '_>) -> Snippet {
    let mut snippet = Snippet::default();
    if let Some(of) = spot.place.host.1.snippet {
        snippet.read(Written { spot, notes: &spot.place.all[of], annotation: "server-snippet" });
    }
    snippet.read(Written { spot, notes: spot.notes, annotation: "configuration-snippet" });
    snippet
}

/// The fields that `auth-snippet` adds to what the service is asked with.
pub(super) fn of_auth(spot: Spot<'_, '_>) -> Vec<(String, String)> {
    let written = Written { spot, notes: spot.notes, annotation: "auth-snippet" };
    let mut fields = Vec::new();
    for Directive { name, words, .. } in written.directives().into_iter().flatten() {
        match (name.as_str(), &words[..]) {
            ("proxy_set_header", [field, value]) => {
                fields.extend(written.filled(value).map(|value| (field.clone(), value)));
            }
            (name, _) => written.refuse(&no_meaning(name)),
        }
    }
    fields
}

/// Where directives stand, and what is made of them.
#[derive(Clone, Copy)]
struct Written<'p, 'a> {
    /// The path that they are for.
    spot: Spot<'p, 'a>,
    /// Whose they are.
    notes: &'p Annotations<'a>,
    annotation: &'p str,
}

impl Written<'_, '_> {
    /// Has the requests of the path refused: whoever wrote the directives is told, and so is who has the path.
    fn refuse(&self, what: &str) {
        let (own, other) = (self.spot.notes.owner.name, self.notes.owner.name);
        if own == other {
            return self.notes.deny(self.annotation, what);
        }
        self.notes.tell(self.annotation, what);
        self.spot.notes.deny("", &format!("the {} of {other} for this host cannot be done", self.annotation));
    }

    /// A text with variables; requests are refused where it has one without a meaning here.
    fn filled(&self, text: &str) -> Option<String> {
        let port = self.spot.backend.map_or_else(String::new, |(_, port)| port.to_string());
        template(text, self.spot.constants(&port)).map_err(|what| self.refuse(&what)).ok()
    }

    /// The directives; `None` where there are none, or where the ConfigMap does not allow them.
    fn directives(&self) -> Option<Vec<Directive>> {
        let text = self.notes.text(self.annotation)?;
        if !self.spot.place.settings.flag("allow-snippet-annotations", false) {
            self.notes.tell(self.annotation, "the ConfigMap does not set `allow-snippet-annotations`; it is left out");
            return None;
        }
        directives(text).map_err(|what| self.refuse(&what)).ok()
    }
}

fn no_meaning(directive: &str) -> String {
    format!("the directive `{directive}`, or what is said by it, has no meaning here")
}

impl Snippet {
    fn read(&mut self, written: Written<'_, '_>) {
        for directive in &written.directives().unwrap_or_default() {
            if directive.has_block || self.take(written, directive).is_none() {
                written.refuse(&no_meaning(&directive.name));
            }
        }
        let NetworkList { allowed, denied, denies_others } = std::mem::take(&mut self.networks);
        match (allowed.is_empty(), denied.is_empty(), denies_others) {
            (_, true, true) => self.put(written, json!({ "allow": allowed })),
            (true, false, false) => self.put(written, json!({ "deny": denied })),
            (_, true, false) => {}
            _ => written.refuse(&no_meaning("deny")),
        }
    }

    fn put(&mut self, written: Written<'_, '_>, filter: Value) {
        self.filters.extend(written.spot.notes.filter(written.annotation, filter));
    }

    /// Takes a directive up; `None` where it has no meaning here.
    fn take(&mut self, written: Written<'_, '_>, Directive { name, words, .. }: &Directive) -> Option<()> {
        let of_list = |words: &[String]| words.iter().all(|word| !word.starts_with('-')).then(|| words.to_vec());
        match (name.as_str(), &words[..]) {
            (name, _) if NOTHING.contains(&name) => {}
            ("more_set_headers", fields) => self.set(written, "response_headers", &of_list(fields)?)?,
            ("more_set_input_headers", fields) => self.set(written, "request_headers", &of_list(fields)?)?,
            ("more_clear_headers" | "proxy_hide_header", names) => {
                self.put(written, json!({ "response_headers": { "remove": of_list(names)? } }));
            }
            ("more_clear_input_headers", names) => {
                self.put(written, json!({ "request_headers": { "remove": of_list(names)? } }));
            }
            ("add_header", [field, value, rest @ ..]) if rest.is_empty() || *rest == ["always"] => {
                self.put(written, json!({ "response_headers": { "add": { field: written.filled(value)? } } }));
            }
            ("proxy_set_header", [field, value]) if field.eq_ignore_ascii_case("host") => {
                self.put(written, json!({ "rewrite": { "host": written.filled(value)? } }));
            }
            ("proxy_set_header", [field, value]) if value.is_empty() => {
                self.put(written, json!({ "request_headers": { "remove": [field] } }));
            }
            ("proxy_set_header", [field, value]) => {
                self.put(written, json!({ "request_headers": { "set": { field: written.filled(value)? } } }));
            }
            ("allow", [network]) if !self.networks.denies_others => self.networks.allowed.push(network.clone()),
            ("deny", [others]) if others == "all" => self.networks.denies_others = true,
            ("deny", [network]) if !self.networks.denies_others => self.networks.denied.push(network.clone()),
            ("return", words) => self.answer(written, words)?,
            ("rewrite", [regex, to]) => self.rewrite(written, regex, to, "last")?,
            ("rewrite", [regex, to, flag]) => self.rewrite(written, regex, to, flag)?,
            ("proxy_ssl_name" | "grpc_ssl_name", [name]) => self.server_name = Some(name.clone()),
            ("access_log", [off]) if off == "off" => self.is_unlogged = true,
            _ => return None,
        }
        Some(())
    }

    /// `"Name: value"`, any number of them.
    fn set(&mut self, written: Written<'_, '_>, filter: &str, fields: &[String]) -> Option<()> {
        for field in fields {
            let (name, value) = field.split_once(':')?;
            let value = written.filled(value.trim_start())?;
            let change = if value.is_empty() { json!({ "remove": [name] }) } else { json!({ "set": { name: value } }) };
            self.put(written, json!({ filter: change }));
        }
        Some(())
    }

    /// `return CODE`, `return CODE URL`, `return CODE "text"` or `return URL`.
    fn answer(&mut self, written: Written<'_, '_>, words: &[String]) -> Option<()> {
        let is_url = |text: &str| ["http://", "https://", "/", "$scheme"].iter().any(|start| text.starts_with(start));
        let (status, text) = match words {
            [url] if is_url(url) => (302, Some(url)),
            [status] => (status.parse::<u16>().ok()?, None),
            [status, text] => (status.parse().ok()?, Some(text)),
            _ => return None,
        };
        let filter = match (status, text) {
            (301 | 302 | 303 | 307 | 308, Some(url)) => {
                json!({ "redirect": { "location": written.filled(url)?, "status": status } })
            }
            // What is written there is sent as it stands.
            (200..=599, text) if text.is_none_or(|text| !text.contains('$')) => {
                json!({ "respond": { "status": status, "body": text.map_or("", String::as_str) } })
            }
            _ => return None,
        };
        self.put(written, filter);
        Some(())
    }

    fn rewrite(&mut self, written: Written<'_, '_>, regex: &str, to: &str, flag: &str) -> Option<()> {
        let path = written.filled(to)?;
        if !path.starts_with('/') || regex::Regex::new(regex).is_err() {
            return None;
        }
        let change = json!({ "regex": regex, "path": path });
        match flag {
            "break" | "last" => self.put(written, json!({ "rewrite": change })),
            "redirect" | "permanent" => {
                let status = if flag == "redirect" { 302 } else { 301 };
                self.put(written, json!({ "redirect": { "regex": change["regex"], "path": path, "status": status } }));
            }
            _ => return None,
        }
        Some(())
    }
}
