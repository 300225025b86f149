//! Checks of application servers by their own protocol: one request over a connection of its own, of which the status is read.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::config::health::Health;
use crate::encode::gateway::put_gateway_head;
use crate::encode::gateway::variables::GatewayRequest;
use crate::encode::hop::{Asked, Hop, HopFields, UpstreamTarget};
use crate::filter::context::Context;
use crate::filter::edits::FieldEdits;
use crate::filter::template::Values;
use crate::limits::HEAD_BYTES_MAX;
use crate::proto::gateway::records::{RecordDecoder, RecordFault, put_stdin_end};
use crate::proto::h1::percent::percent_decoded;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::response::ResponseHead;
use crate::proto::h1::rules::{ForwardedPath, HeadRules, Leniency};
use crate::proto::h1::scan::HeadScan;
use crate::snapshot::ServiceGateway;

/// Asks for `path`; the status of the answer.
///
/// # Errors
/// What went wrong, in words.
pub(super) async fn check(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    service: &ServiceGateway,
    (check, path, host): (&Health, &str, &str),
) -> Result<u16, String> {
    let mut out = request(service, (check, path, host))?;
    if service.gateway.has_records() {
        put_stdin_end(&mut out);
    }
    stream.write_all(&out).await.map_err(|error| error.to_string())?;
    let mut reader = StatusReader { has_records: service.gateway.has_records(), ..StatusReader::default() };
    let mut part = vec![0; 4_096];
    loop {
        let bytes = stream.read(&mut part).await.map_err(|error| error.to_string())?;
        if bytes == 0 {
            return Err("the connection ended before the head of an answer".to_owned());
        }
        if let Some(status) = reader.read(&part[..bytes], check.method == "HEAD")? {
            return Ok(status);
        }
    }
}

/// What goes before the body.
fn request(service: &ServiceGateway, (check, path, host): (&Health, &str, &str)) -> Result<Vec<u8>, String> {
    let mut text = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringress-health\r\n", check.method);
    for (name, value) in &check.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    let mut head = RequestHead::default();
    head.parse(text.into_bytes(), HeadRules::default())
        .map_err(|fault| format!("the request of the check: {fault:?}"))?;
    let context = Context::of_nobody("http");
    let hop = Hop {
        peer: context.client,
        client: context.client,
        is_trusted: false,
        keeps_id: false,
        asked: Asked { scheme: context.scheme, port: 80 },
        scheme: context.scheme,
        client_certificate: None,
        is_early: false,
        request_id: context.request_id,
        writes: HopFields { forwarded: false, via: false },
    };
    let target = UpstreamTarget { host: None, fallback: host.as_bytes(), path: ForwardedPath::Resolved, length: None };
    let path = percent_decoded(head.path());
    let script = service.script.as_ref().map(|rules| rules.find_or_name(&path));
    let request = GatewayRequest {
        head: &head,
        hop: &hop,
        target: &target,
        edits: &FieldEdits::default(),
        client_port: 0,
        params: &service.params_of(&Values::of(&head, &context)),
        script: script.as_ref(),
    };
    let mut out = Vec::new();
    put_gateway_head(&mut out, service.gateway, &request)
        .map_err(|fault| format!("the request of the check: {fault:?}"))?;
    Ok(out)
}

/// Reads an answer as far as its status.
#[derive(Default)]
struct StatusReader {
    has_records: bool,
    decoder: RecordDecoder,
    head: Vec<u8>,
    scan: Option<HeadScan>,
}

impl StatusReader {
    /// Takes a part in; the status, once it is known.
    fn read(&mut self, part: &[u8], is_head: bool) -> Result<Option<u16>, String> {
        let leniency = Leniency::default().of_cgi();
        let from = self.head.len();
        self.head.extend_from_slice(part);
        let decoded =
            if self.has_records { self.decoder.decode(&mut self.head, from, &mut Vec::new()) } else { Ok(()) };
        let scan = self.scan.get_or_insert_with(|| HeadScan::of_response(leniency));
        let length = scan.advance(&self.head).map_err(|_| "the answer has no head".to_owned())?;
        let Some(length) = length else {
            decoded.map_err(|fault| match fault {
                RecordFault::Broken(rule) => format!("the answer breaks a rule of FastCGI: {rule}"),
                RecordFault::Refused(why) => format!("the server refused the request: {why}"),
            })?;
            let is_endless = self.head.len() > HEAD_BYTES_MAX || self.decoder.is_over();
            return if is_endless { Err("the answer has no head".to_owned()) } else { Ok(None) };
        };
        let mut head = ResponseHead::default();
        let parsed = head.parse(&self.head[..length], is_head, leniency);
        parsed.map_err(|fault| format!("the head of the answer: {}", fault.rule()))?;
        Ok(Some(head.status()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_out_of_an_answer_that_comes_in_parts() {
        let read = |has_records, parts: &[&[u8]]| {
            let mut reader = StatusReader { has_records, ..StatusReader::default() };
            parts.iter().find_map(|part| reader.read(part, false).transpose())
        };
        assert_eq!(read(false, &[b"HTTP/1.1 204 No", b" Content\r\n\r\n"]), Some(Ok(204)));
        assert_eq!(read(false, &[b"Status: 503 Not\n", b"\n"]), Some(Ok(503)));
        assert_eq!(read(false, &[b"Content-Type: text/plain\n\npong"]), Some(Ok(200)));
        assert_eq!(
            read(true, &[b"\x01\x06\0\x01\0\x0d\x03", b"\0Status: 404\r", b"\n###\x01\x06\0\x01\0\x02\0\0\r\n"]),
            Some(Ok(404))
        );
        assert_eq!(read(true, &[b"\x01\x06\0\x01\0\x0f\0", b"\0Status: 404\r", b"\n\r\n"]), Some(Ok(404)));
        for broken in [&b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0"[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(read(true, &[broken]).unwrap().is_err());
        }
        assert!(read(false, &[&vec![b'x'; HEAD_BYTES_MAX + 1]]).unwrap().is_err());
    }
}
