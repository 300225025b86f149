//! The variables that say a request.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::ops::Range;

use super::super::hop::{Hop, UpstreamTarget};
use super::super::request::put_fields_of;
use super::super::wire::FieldWriter;
use crate::filter::edits::FieldEdits;
use crate::proto::gateway::script::Script;
use crate::proto::h1::authority::parts;
use crate::proto::h1::encode::AddressText;
use crate::proto::h1::field::Known;
use crate::proto::h1::framing::Framing;
use crate::proto::h1::percent::percent_decoded;
use crate::proto::h1::request::RequestHead;
use crate::proto::version::Version;

/// Why a request cannot be said in variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayFault {
    /// The variables take more than the protocol lets them.
    TooLarge,
    /// A variable holds NUL, which ends it for SCGI and for most programs.
    Nul,
}

/// What of a request is not in its head.
#[derive(Clone, Copy, Debug)]
pub struct GatewayRequest<'a> {
    /// The head.
    pub head: &'a RequestHead,
    /// What this hop knows.
    pub hop: &'a Hop<'a>,
    /// What the upstream is told of the target.
    pub target: &'a UpstreamTarget<'a>,
    /// What filters change.
    pub edits: &'a FieldEdits,
    /// The port of the client's connection; 0 for none.
    pub client_port: u16,
    /// Variables that the service writes beside those or in their place; an empty value takes one away.
    pub params: &'a [(Box<[u8]>, Vec<u8>)],
    /// The script that its path names, where the service has scripts.
    pub script: Option<&'a Script>,
}

/// Names with their values, in the order that they are sent in. All are in one text.
#[derive(Debug, Default)]
pub(super) struct Variables {
    text: Vec<u8>,
    pairs: Vec<VariablePlace>,
    /// Where fields stand among the pairs, by the hash of their names.
    fields: HashMap<u64, usize>,
    /// Further values of fields that were said before, each with the position of its pair, in their order.
    further: Vec<(usize, Range<usize>)>,
}

/// Where a name and its value stand in the text.
#[derive(Clone, Debug)]
struct VariablePlace {
    name: Range<usize>,
    value: Range<usize>,
}

impl Variables {
    /// Each with its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|pair| (&self.text[pair.name.clone()], &self.text[pair.value.clone()]))
    }

    fn put(&mut self, name: &[u8], value: &[u8]) {
        self.put_parts(name, &[value]);
    }

    fn put_parts(&mut self, name: &[u8], value: &[&[u8]]) {
        let name = self.write(&[name]);
        let value = self.write(value);
        self.pairs.push(VariablePlace { name, value });
    }

    fn write(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let from = self.text.len();
        parts.iter().for_each(|part| self.text.extend_from_slice(part));
        from..self.text.len()
    }

    /// Makes one value of all that was said by the same field. Each byte is copied once more at most.
    fn join(&mut self) {
        let mut further = std::mem::take(&mut self.further);
        further.sort_by_key(|(at, _)| *at);
        for group in further.chunk_by(|one, next| one.0 == next.0) {
            let Some(pair) = group.first().and_then(|(at, _)| self.pairs.get_mut(*at)) else { continue };
            let separator: &[u8] = if self.text[pair.name.clone()] == *b"HTTP_COOKIE" { b"; " } else { b", " };
            let from = self.text.len();
            self.text.extend_from_within(pair.value.clone());
            for (_, value) in group {
                self.text.extend_from_slice(separator);
                self.text.extend_from_within(value.clone());
            }
            pair.value = from..self.text.len();
        }
    }

    /// Puts a value in the place of another; an empty one takes the variable away.
    fn replace(&mut self, name: &[u8], value: &[u8]) {
        self.pairs.retain(|pair| &self.text[pair.name.clone()] != name);
        if !value.is_empty() {
            self.put(name, value);
        }
    }
}

/// Fields of the head, each as `HTTP_` and its name; what is said more than once is one value. A name with anything but letters, digits and
/// `-` is left out, for it could be taken for another one: `_` is what `-` becomes, and PHP makes `_` of a dot.
impl FieldWriter for Variables {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let has_own = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-length");
        let is_plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        // `Proxy` would be the address of a proxy to programs that make requests (CVE-2016-5385), whoever wrote it.
        if has_own || !is_plain || name.eq_ignore_ascii_case(b"proxy") {
            return;
        }
        let from = self.text.len();
        self.text.extend_from_slice(b"HTTP_");
        let upper = name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() });
        self.text.extend(upper);
        let own = from..self.text.len();
        let hash = self.fields.hasher().hash_one(&self.text[own.clone()]);
        let known = self.fields.get(&hash).copied();
        match known
            .filter(|at| self.pairs.get(*at).is_some_and(|pair| self.text[pair.name.clone()] == self.text[own.clone()]))
        {
            Some(at) => {
                self.text.truncate(from);
                let value = self.write(&[value]);
                self.further.push((at, value));
            }
            None => {
                self.fields.insert(hash, self.pairs.len());
                let value = self.write(&[value]);
                self.pairs.push(VariablePlace { name: own, value });
            }
        }
    }

    fn composed(&mut self, name: &[u8], compose: impl FnOnce(&mut Vec<u8>)) {
        let mut value = Vec::new();
        compose(&mut value);
        self.field(name, &value);
    }
}

/// The length of the body; 0 where there is none. One of unknown length was read whole before.
pub(super) fn length_of(request: &GatewayRequest<'_>) -> u64 {
    match request.target.framing_of(request.head) {
        Framing::Length(length) => length,
        Framing::None | Framing::Chunked | Framing::UntilClose => 0,
    }
}

/// All of them.
pub(super) fn variables(request: &GatewayRequest<'_>) -> Result<Variables, GatewayFault> {
    let GatewayRequest { head, hop, target, .. } = request;
    let prefix = percent_decoded(head.stripped_prefix());
    let host = target.host_of(head);
    let name = parts(host).map_or(host, |(name, _)| name);
    let mut numbers = [itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new()];
    let [length, client_port, port] = &mut numbers;
    let mut all = Variables { text: Vec::with_capacity(2_048), pairs: Vec::with_capacity(48), ..Variables::default() };
    all.put(b"QUERY_STRING", head.query());
    all.put(b"REQUEST_METHOD", head.method());
    all.put(b"CONTENT_TYPE", content_type(request));
    let has_body = !target.framing_of(head).is_empty();
    all.put(b"CONTENT_LENGTH", if has_body { length.format(length_of(request)).as_bytes() } else { b"" });
    all.put_parts(b"REQUEST_URI", &[head.stripped_prefix(), head.forwarded(target.path)]);
    match request.script {
        None => {
            all.put(b"PATH_INFO", &percent_decoded(head.path()));
            all.put(b"SCRIPT_NAME", &prefix);
        }
        Some(script) => put_script(&mut all, &prefix, script),
    }
    all.put(b"SERVER_PROTOCOL", protocol(head.version()));
    all.put(b"REQUEST_SCHEME", hop.asked.scheme.as_bytes());
    if hop.asked.is_secure() {
        all.put(b"HTTPS", b"on");
    }
    all.put(b"REMOTE_ADDR", AddressText::of(hop.client).bytes());
    if hop.client == hop.peer && request.client_port > 0 {
        all.put(b"REMOTE_PORT", client_port.format(request.client_port).as_bytes());
    }
    all.put(b"SERVER_PORT", port.format(hop.asked.port).as_bytes());
    all.put(b"SERVER_NAME", name);
    all.put(b"HTTP_HOST", host);
    all.put(b"GATEWAY_INTERFACE", b"CGI/1.1");
    all.put(b"SERVER_SOFTWARE", b"ringress");
    put_fields_of(&mut all, head, hop, request.edits);
    all.join();
    request.params.iter().for_each(|(name, value)| all.replace(name, value));
    if all.iter().any(|(name, value)| name.contains(&0) || value.contains(&0)) {
        return Err(GatewayFault::Nul);
    }
    Ok(all)
}

/// What filters made of it, else what the client says.
fn content_type<'a>(request: &GatewayRequest<'a>) -> &'a [u8] {
    let edits = request.edits;
    let is_it = |name: &[u8]| name.eq_ignore_ascii_case(b"content-type");
    match edits.put.iter().rev().find(|(name, _)| is_it(name)) {
        Some((_, value)) => value,
        None if edits.removes(b"content-type") => b"",
        None => request.head.only(Known::ContentType).unwrap_or_default(),
    }
}

fn put_script(all: &mut Variables, prefix: &[u8], Script { root, name, path_info }: &Script) {
    all.put(b"PATH_INFO", path_info);
    all.put_parts(b"SCRIPT_NAME", &[prefix, name]);
    all.put_parts(b"SCRIPT_FILENAME", &[root, name]);
    all.put(b"DOCUMENT_ROOT", root);
    all.put_parts(b"DOCUMENT_URI", &[prefix, name, path_info]);
    if !path_info.is_empty() {
        all.put_parts(b"PATH_TRANSLATED", &[root, path_info]);
    }
    // PHP's own program asks for it, lest somebody calls it by its name.
    all.put(b"REDIRECT_STATUS", b"200");
}

const fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
        Version::H2 => b"HTTP/2.0",
    }
}
