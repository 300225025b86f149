//! Filters, each driven by curl over HTTP/1.1 and HTTP/2 on both engines.

mod auth;
mod auth_cache;
mod bandwidth;
mod buffering;
mod compression;
mod digest;
mod errors;
mod fields;
mod limits;
mod mirroring;
mod openid;
mod pairs;
mod sticky;
mod targets;
mod tokens;

use std::net::SocketAddr;

use crate::support::{ENGINES, Origin, Proxy, output, tool};

/// The versions that curl speaks to the proxy.
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// What curl was answered.
struct Told {
    status: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    body: String,
}

impl Told {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
    }
}

/// Asks by curl: `arguments` beside the URL.
fn curl(address: SocketAddr, version: &str, target: &str, arguments: &[&str]) -> Told {
    let mut curl = tool("curl", "curl");
    curl.args(["-s", "-S", "-i", "--path-as-is", "--max-time", "20", version]).args(arguments);
    let text = output(curl.arg(format!("http://{address}{target}")));
    let mut rest = &text[..];
    loop {
        let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        // An interim answer, or a challenge that curl has answered itself.
        if status < 200 || body.starts_with("HTTP/") {
            rest = body;
            continue;
        }
        let field =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        return Told { status, fields: lines.filter_map(field).collect(), body: body.to_owned() };
    }
}

/// Runs a test for each engine and version of HTTP.
fn everywhere(rest: &str, web: &str, test: impl Fn(&Proxy, &str)) {
    for engine in ENGINES {
        let proxy = Proxy::start_with(engine, web, rest);
        for version in VERSIONS {
            test(&proxy, version);
        }
    }
}

/// An upstream that answers with the line and the fields that it got.
fn mirror() -> Origin {
    Origin::start(|request, stream| crate::support::origin::reply(stream, request.head.as_bytes()))
}

/// A service `s` of this upstream.
fn served_by(origin: &Origin) -> String {
    format!("[services.s]\nendpoints = [\"{}\"]\n", origin.address)
}

/// A route to this upstream with these filters.
fn route(filters: &str, origin: &Origin) -> String {
    format!("[[routes]]\nname = \"r\"\nservice = \"s\"\nfilters = [{filters}]\n{}", served_by(origin))
}
