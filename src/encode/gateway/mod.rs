//! Requests as application servers take them: the variables of CGI (RFC 3875), as nginx's parameter files have them, in a packet of uwsgi or
//! of SCGI, or in the records of FastCGI.

pub mod variables;

use self::variables::{GatewayFault, GatewayRequest, Variables, length_of, variables};
use crate::proto::gateway::Gateway;
use crate::proto::gateway::records::{put_begin, put_params};

/// Appends what goes before the body.
///
/// # Errors
/// [`GatewayFault`]; `out` may then hold a part.
pub fn put_gateway_head(out: &mut Vec<u8>, gateway: Gateway, request: &GatewayRequest<'_>) -> Result<(), GatewayFault> {
    let variables = variables(request)?;
    match gateway {
        Gateway::Uwsgi(first, second) => put_uwsgi(out, (first, second), &variables),
        Gateway::Scgi => {
            put_scgi(out, request, &variables);
            Ok(())
        }
        Gateway::FastCgi(keeps) => {
            put_begin(out, keeps);
            if put_params(out, variables.iter()) { Ok(()) } else { Err(GatewayFault::TooLarge) }
        }
    }
}

/// uwsgi-docs, "The uwsgi Protocol": numbers are little-endian.
fn put_uwsgi(out: &mut Vec<u8>, (first, second): (u8, u8), variables: &Variables) -> Result<(), GatewayFault> {
    let length: usize = variables.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let length = u16::try_from(length).map_err(|_| GatewayFault::TooLarge)?;
    out.push(first);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(second);
    for text in variables.iter().flat_map(|(name, value)| [name, value]) {
        // No part is longer than the whole.
        out.extend_from_slice(&u16::try_from(text.len()).map_err(|_| GatewayFault::TooLarge)?.to_le_bytes());
        out.extend_from_slice(text);
    }
    Ok(())
}

/// A netstring of pairs that end in NUL, the length of the body first (the SCGI specification of 2008).
fn put_scgi(out: &mut Vec<u8>, request: &GatewayRequest<'_>, variables: &Variables) {
    let mut length = itoa::Buffer::new();
    let first = [(&b"CONTENT_LENGTH"[..], length.format(length_of(request)).as_bytes()), (b"SCGI", b"1")];
    let rest = variables.iter().filter(|(name, _)| *name != b"CONTENT_LENGTH" && *name != b"SCGI");
    let mut text = Vec::with_capacity(1_024);
    for part in first.into_iter().chain(rest).flat_map(|(name, value)| [name, value]) {
        text.extend_from_slice(part);
        text.push(0);
    }
    out.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
    out.push(b':');
    out.extend_from_slice(&text);
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::hop::{Asked, Hop, HopFields, UpstreamTarget};
    use super::*;
    use crate::filter::edits::FieldEdits;
    use crate::proto::h1::request::RequestHead;
    use crate::proto::h1::rules::{ForwardedPath, HeadRules, Underscores};

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    const HOP: Hop<'static> = Hop {
        peer: CLIENT,
        client: CLIENT,
        is_trusted: false,
        keeps_id: false,
        asked: Asked { scheme: "https", port: 443 },
        scheme: "https",
        client_certificate: None,
        is_early: false,
        request_id: 1,
        writes: HopFields { forwarded: false, via: false },
    };
    const TARGET: UpstreamTarget<'static> =
        UpstreamTarget { host: None, fallback: b"up", path: ForwardedPath::Resolved, length: None };

    fn head_of(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        let rules = HeadRules { underscores: Underscores::Keep, ..HeadRules::default() };
        head.parse(format!("{}\r\n", text.replace('\n', "\r\n")).into_bytes(), rules).unwrap();
        head
    }

    fn written(gateway: Gateway, head: &RequestHead, params: &[(&str, &str)]) -> Result<Vec<u8>, GatewayFault> {
        let params: Vec<(Box<[u8]>, Vec<u8>)> =
            params.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().to_vec())).collect();
        let edits = FieldEdits::default();
        let request = GatewayRequest {
            head,
            hop: &HOP,
            target: &TARGET,
            edits: &edits,
            client_port: 4_000,
            params: &params,
            script: None,
        };
        let mut out = Vec::new();
        put_gateway_head(&mut out, gateway, &request).map(|()| out)
    }

    /// The variables of a packet, by another reading of the specification.
    fn uwsgi_variables(packet: &[u8]) -> Vec<String> {
        assert_eq!((packet[0], packet[3]), (0, 0));
        let number = |at: usize| usize::from(packet[at]) | usize::from(packet[at + 1]) << 8;
        assert_eq!(packet.len(), 4 + number(1));
        let (mut at, mut told) = (4, Vec::new());
        while at < packet.len() {
            let mut part = || {
                let length = number(at);
                let text = String::from_utf8_lossy(&packet[at + 2..at + 2 + length]).into_owned();
                at += 2 + length;
                text
            };
            told.push(format!("{}={}", part(), part()));
        }
        told
    }

    #[test]
    fn a_request_is_said_in_the_variables_of_nginx() {
        let mut head = head_of(
            "POST /app/a%20b/./c?d=%20&e HTTP/1.1\nHost: a.test:443\nContent-Type: text/x\nContent-Length: 5\nX-A: 1\nx-a: 2\n\
             Cookie: b=1\nX-B: 3\nCookie: c=2\nx-b: 4\nProxy: evil\nX_A: forged\nX.A: forged\nX.C: forged\nAccept: */*\n",
        );
        head.strip_prefix(b"/app").unwrap();
        let params = [("SERVER_NAME", "set"), ("HTTP_ACCEPT", ""), ("UWSGI_X", "y")];
        let told = uwsgi_variables(&written(Gateway::Uwsgi(0, 0), &head, &params).unwrap());
        for expected in [
            "QUERY_STRING=d=%20&e",
            "REQUEST_METHOD=POST",
            "CONTENT_TYPE=text/x",
            "CONTENT_LENGTH=5",
            "REQUEST_URI=/app/a%20b/c?d=%20&e",
            "PATH_INFO=/a b/c",
            "SCRIPT_NAME=/app",
            "SERVER_PROTOCOL=HTTP/1.1",
            "REQUEST_SCHEME=https",
            "HTTPS=on",
            "REMOTE_ADDR=192.0.2.7",
            "REMOTE_PORT=4000",
            "SERVER_PORT=443",
            "SERVER_NAME=set",
            "HTTP_HOST=a.test:443",
            "HTTP_X_A=1, 2",
            "HTTP_COOKIE=b=1; c=2",
            "HTTP_X_B=3, 4",
            "HTTP_X_FORWARDED_FOR=192.0.2.7",
            "UWSGI_X=y",
        ] {
            assert_eq!(told.iter().filter(|own| *own == expected).count(), 1, "{expected}: {told:?}");
        }
        let names: Vec<_> = told.iter().map(|own| own.split('=').next().unwrap()).collect();
        assert!(!names.contains(&"HTTP_PROXY") && !names.contains(&"HTTP_ACCEPT") && !told.join("").contains("forged"));
        assert!(!names.iter().any(|name| name.starts_with("HTTP_CONTENT")));
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "each is said once");
    }

    #[test]
    fn many_repetitions_cost_what_their_bytes_cost() {
        let lines = format!("a: {}\n{}", "x".repeat(50_000), "a:\nb:\n".repeat(1_000));
        let head = head_of(&format!("GET / HTTP/1.1\nHost: a\n{lines}"));
        let packet = written(Gateway::Scgi, &head, &[]).unwrap();
        assert!(packet.len() < 60_000 && packet.capacity() < 200_000, "{} {}", packet.len(), packet.capacity());
    }

    #[test]
    fn filters_say_what_a_body_is() {
        let head = head_of("POST / HTTP/1.1\nHost: a\nContent-Type: text/x\nContent-Length: 5\n");
        let told = |edits: &FieldEdits| {
            let (hop, target) = (&HOP, &TARGET);
            let request = GatewayRequest { head: &head, hop, target, edits, client_port: 0, params: &[], script: None };
            let mut out = Vec::new();
            put_gateway_head(&mut out, Gateway::Uwsgi(0, 0), &request).unwrap();
            uwsgi_variables(&out).into_iter().find(|text| text.starts_with("CONTENT_TYPE=")).unwrap()
        };
        let mut edits = FieldEdits::default();
        assert_eq!(told(&edits), "CONTENT_TYPE=text/x");
        edits.take_away(b"Content-Type");
        assert_eq!(told(&edits), "CONTENT_TYPE=");
        edits.add(b"Content-Type", b"text/y".to_vec());
        assert_eq!(told(&edits), "CONTENT_TYPE=text/y");
    }

    #[test]
    fn what_no_variable_can_say_is_refused() {
        let uwsgi = Gateway::Uwsgi(0, 0);
        let plain = head_of("GET / HTTP/1.1\nHost: a\n");
        for gateway in [uwsgi, Gateway::Scgi] {
            assert_eq!(written(gateway, &plain, &[("A", "b\0c")]), Err(GatewayFault::Nul));
        }
        let long = "x".repeat(65_500);
        assert!(written(uwsgi, &plain, &[("A", &long)]).is_err_and(|fault| fault == GatewayFault::TooLarge));
        assert!(written(Gateway::Scgi, &plain, &[("A", &long)]).unwrap().len() > 65_000);
    }

    #[test]
    fn a_packet_of_scgi_is_a_netstring_that_begins_with_the_length_of_the_body() {
        let head = head_of("POST /a HTTP/1.1\nHost: a\nContent-Length: 27\n");
        let packet = String::from_utf8(written(Gateway::Scgi, &head, &[]).unwrap()).unwrap();
        let (length, rest) = packet.split_once(':').unwrap();
        assert_eq!(length.parse(), Ok(rest.len() - 1));
        assert!(rest.starts_with("CONTENT_LENGTH\x0027\0SCGI\x001\0") && rest.ends_with("\0,"), "{rest:?}");
        assert_eq!(rest.matches("CONTENT_LENGTH").count(), 1);
        let none = head_of("GET / HTTP/1.1\nHost: a\n");
        assert!(written(Gateway::Scgi, &none, &[]).unwrap().windows(17).any(|part| part == b"CONTENT_LENGTH\x000\0"));
    }
}
