//! The variables that say a request.

use std::collections::HashMap;

use super::super::hop::{Hop, UpstreamTarget};
use super::super::request::fields_of;
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

/// Names with their values, in the order that they are sent in.
pub(super) type Variables = Vec<(Vec<u8>, Vec<u8>)>;

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
    let path = percent_decoded(head.path());
    let host = target.host_of(head);
    let name = parts(host).map_or(host, |(name, _)| name);
    let uri = [head.stripped_prefix(), head.forwarded(target.path)].concat();
    let length = match target.framing_of(head) {
        Framing::None => Vec::new(),
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => length_of(request).to_string().into_bytes(),
    };
    let mut variables: Variables = Vec::with_capacity(32);
    let mut put = |name: &[u8], value: &[u8]| variables.push((name.to_vec(), value.to_vec()));
    put(b"QUERY_STRING", head.query());
    put(b"REQUEST_METHOD", head.method());
    put(b"CONTENT_TYPE", head.only(Known::ContentType).unwrap_or_default());
    put(b"CONTENT_LENGTH", &length);
    put(b"REQUEST_URI", &uri);
    match request.script {
        None => {
            put(b"PATH_INFO", &path);
            put(b"SCRIPT_NAME", &prefix);
        }
        Some(script) => {
            put(b"PATH_INFO", &script.path_info);
            put(b"SCRIPT_NAME", &[&prefix[..], &script.name].concat());
            put(b"SCRIPT_FILENAME", &script.file());
            put(b"DOCUMENT_ROOT", &script.root);
            put(b"DOCUMENT_URI", &[&prefix[..], &script.name, &script.path_info].concat());
            if !script.path_info.is_empty() {
                put(b"PATH_TRANSLATED", &[&script.root[..], &script.path_info].concat());
            }
            // PHP's own program asks for it, lest somebody calls it by its name.
            put(b"REDIRECT_STATUS", b"200");
        }
    }
    put(b"SERVER_PROTOCOL", protocol(head.version()));
    put(b"REQUEST_SCHEME", hop.asked.scheme.as_bytes());
    if hop.asked.is_secure() {
        put(b"HTTPS", b"on");
    }
    put(b"REMOTE_ADDR", AddressText::of(hop.client).bytes());
    if hop.client == hop.peer && request.client_port > 0 {
        put(b"REMOTE_PORT", request.client_port.to_string().as_bytes());
    }
    put(b"SERVER_PORT", hop.asked.port.to_string().as_bytes());
    put(b"SERVER_NAME", name);
    put(b"HTTP_HOST", host);
    put(b"GATEWAY_INTERFACE", b"CGI/1.1");
    put(b"SERVER_SOFTWARE", b"ringress");
    put_fields(&mut variables, request);
    for (name, value) in request.params {
        variables.retain(|(own, _)| own != &**name);
        if !value.is_empty() {
            variables.push((name.to_vec(), value.clone()));
        }
    }
    if variables.iter().any(|(name, value)| name.contains(&0) || value.contains(&0)) {
        return Err(GatewayFault::Nul);
    }
    Ok(variables)
}

/// The fields of the head, each as `HTTP_` and its name. A name with `_` could be taken for another one with `-`, and is left out; what is
/// said more than once is one value.
fn put_fields(variables: &mut Variables, request: &GatewayRequest<'_>) {
    let mut positions: HashMap<Vec<u8>, usize> = HashMap::new();
    for (name, value) in fields_of(request.head, request.hop, request.edits) {
        let has_own = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-length");
        // It is the address of a proxy to programs that make requests (CVE-2016-5385), whoever wrote it.
        if has_own || name.contains(&b'_') || name.eq_ignore_ascii_case(b"proxy") {
            continue;
        }
        let upper = name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() });
        let mapped: Vec<u8> = b"HTTP_".iter().copied().chain(upper).collect();
        match positions.get(&mapped) {
            Some(at) => {
                let separator: &[u8] = if mapped == b"HTTP_COOKIE" { b"; " } else { b", " };
                let known = &mut variables[*at].1;
                known.extend_from_slice(separator);
                known.extend_from_slice(&value);
            }
            None => {
                positions.insert(mapped.clone(), variables.len());
                variables.push((mapped, value));
            }
        }
    }
}

const fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
        Version::H2 => b"HTTP/2.0",
    }
}
