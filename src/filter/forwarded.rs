//! Writes the request head that the upstream gets: the client's fields less what ends here, and what we know of the client.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::Filter;
use crate::proto::h1::encode::{
    put_address, put_field, put_fields, put_number_field, put_request_id, put_request_line,
};
use crate::proto::h1::field::{Known, list_elements};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;

/// What this hop knows of the client's connection.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Hop<'a> {
    /// The address on the other end of the connection.
    pub peer: IpAddr,
    /// True where that address is of a trusted proxy, whose word is believed.
    pub is_trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The client's certificate as RFC 9440 §2.2 writes it.
    pub client_certificate: Option<&'a str>,
    /// The request came before its client had shown that it is there now (RFC 8470 §5.1).
    pub is_early: bool,
    /// The port of our listener.
    pub port: u16,
    /// Ours for this request, in case the client has none that is believed.
    pub request_id: u128,
    /// Also write `Forwarded`.
    pub forwarded: bool,
    /// Write `Via`.
    pub via: bool,
    /// The `Host` that replaces the client's.
    pub host: Option<&'a [u8]>,
    /// The `Host` where the client sent none (HTTP/1.0): upstreams get HTTP/1.1, which must have one.
    pub fallback_host: &'a [u8],
}

/// Appends the whole head. The target is the one that filters left.
pub fn put_request_head(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>, filters: &[Filter]) {
    put_request_line(out, head.method(), head.target());
    let client_host = if head.authority().is_empty() { hop.fallback_host } else { head.authority() };
    put_field(out, b"Host", hop.host.unwrap_or(client_host));
    put_client_fields(out, head, hop, filters);
    match head.framing() {
        Framing::Length(length) => put_number_field(out, b"Content-Length", length),
        Framing::Chunked => put_field(out, b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    if head.expects_continue() {
        put_field(out, b"Expect", b"100-continue");
    }
    if let Some(protocol) = head.upgrade() {
        put_field(out, b"Connection", b"upgrade");
        put_field(out, b"Upgrade", protocol);
    }
    put_forwarded_fields(out, head, hop, filters);
    for filter in filters {
        if let Filter::RequestHeaders(edit) = filter {
            edit.put.iter().for_each(|(name, value)| put_field(out, name, value));
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// True where a filter of the route takes this field away, or sets it to a value of its own.
fn is_removed(filters: &[Filter], name: &[u8]) -> bool {
    filters.iter().any(|filter| matches!(filter, Filter::RequestHeaders(edit) if edit.removes(name)))
}

fn put_client_fields(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>, filters: &[Filter]) {
    let passing = head.fields().filter(|(field, name, _)| {
        let passes = match field.known {
            Known::Host | Known::ContentLength | Known::Expect | Known::XForwardedFor | Known::XRequestId => false,
            Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XRealIp
            | Known::Forwarded => hop.is_trusted,
            // Ours says it for both.
            Known::EarlyData => !hop.is_early,
            // Another hop's word of the certificate that it saw, where we saw none (RFC 9440 §3).
            Known::ClientCert | Known::ClientCertChain => hop.is_trusted && hop.client_certificate.is_none(),
            known => !known.is_hop_by_hop(),
        };
        passes && !field.nominated && !is_removed(filters, name)
    });
    put_fields(out, head.bytes(), passing.map(|(field, ..)| field));
}

fn put_forwarded_fields(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>, filters: &[Filter]) {
    let writes = |name: &[u8]| !is_removed(filters, name);
    let is_missing = |known| !hop.is_trusted || head.known(known).is_none();
    let mut address = 0..0;
    if writes(b"x-forwarded-for") {
        address = put_forwarded_for(out, head, hop);
    }
    if is_missing(Known::XRealIp) && writes(b"x-real-ip") {
        out.extend_from_slice(b"X-Real-IP: ");
        if address.is_empty() {
            put_address(out, hop.peer);
        } else {
            out.extend_from_within(address);
        }
        out.extend_from_slice(b"\r\n");
    }
    if is_missing(Known::XForwardedProto) && writes(b"x-forwarded-proto") {
        put_field(out, b"X-Forwarded-Proto", hop.scheme.as_bytes());
    }
    if is_missing(Known::XForwardedHost) && !head.authority().is_empty() && writes(b"x-forwarded-host") {
        put_field(out, b"X-Forwarded-Host", head.authority());
    }
    if is_missing(Known::XForwardedPort) && writes(b"x-forwarded-port") {
        put_number_field(out, b"X-Forwarded-Port", u64::from(hop.port));
    }
    if hop.forwarded && writes(b"forwarded") {
        put_forwarded(out, head, hop);
    }
    if hop.via && writes(b"via") {
        put_field(out, b"Via", if head.is_h2() { b"2.0 ringress" } else { b"1.1 ringress" });
    }
    if let Some(certificate) = hop.client_certificate.filter(|_| writes(b"client-cert")) {
        put_field(out, b"Client-Cert", certificate.as_bytes());
    }
    if hop.is_early {
        put_field(out, b"Early-Data", b"1");
    }
    if writes(b"x-request-id") {
        match head.known(Known::XRequestId).filter(|id| hop.is_trusted && is_request_id(id)) {
            Some(id) => put_field(out, b"X-Request-ID", id),
            None => {
                out.extend_from_slice(b"X-Request-ID: ");
                put_request_id(out, hop.request_id);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Where the peer's address was written.
fn put_forwarded_for(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>) -> Range<usize> {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if hop.is_trusted {
        for (_, _, value) in head.fields().filter(|(field, ..)| field.known == Known::XForwardedFor) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    let start = out.len();
    put_address(out, hop.peer);
    let address = start..out.len();
    out.extend_from_slice(b"\r\n");
    address
}

/// RFC 7239 §4; an IPv6 address is bracketed and quoted.
fn put_forwarded(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>) {
    // Writing to a vector cannot fail.
    let _ = match hop.peer {
        IpAddr::V4(address) => write!(out, "Forwarded: for={address};proto={}", hop.scheme),
        IpAddr::V6(address) => write!(out, "Forwarded: for=\"[{address}]\";proto={}", hop.scheme),
    };
    if !head.authority().is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(head.authority());
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

/// An identifier of another hop that is passed on: visible characters, at most 128.
fn is_request_id(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= 128 && value.iter().all(u8::is_ascii_graphic)
}

/// True where the address is in one of the networks.
#[must_use]
pub fn is_trusted(networks: &[IpNet], address: IpAddr) -> bool {
    !networks.is_empty() && networks.iter().any(|network| network.contains(&address.to_canonical()))
}

/// Who the client is: the last address of `X-Forwarded-For` that is not a trusted proxy, else the peer.
#[must_use]
pub fn client_address(head: &RequestHead, peer: IpAddr, networks: &[IpNet]) -> IpAddr {
    if !is_trusted(networks, peer) {
        return peer;
    }
    let mut client = peer;
    let fields = head.fields().filter(|(field, ..)| field.known == Known::XForwardedFor);
    for (_, _, value) in fields {
        // Left to right, so that the last untrusted one of the last field wins. What is no address hides who sent
        // what stands before it.
        for element in list_elements(value) {
            match std::str::from_utf8(element).ok().and_then(address_of) {
                Some(address) if is_trusted(networks, address) => {}
                Some(address) => client = address,
                None => client = peer,
            }
        }
    }
    client
}

/// An address, with or without a port.
fn address_of(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::HeaderEdit;
    use crate::proto::h1::request::Underscores;

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(text.replace('\n', "\r\n").into_bytes(), Underscores::Drop).unwrap();
        head
    }

    fn hop(is_trusted: bool) -> Hop<'static> {
        Hop {
            peer: IpAddr::from([192, 0, 2, 7]),
            is_trusted,
            scheme: "http",
            client_certificate: None,
            is_early: false,
            port: 8080,
            request_id: 0xab,
            forwarded: false,
            via: true,
            host: None,
            fallback_host: b"endpoint:80",
        }
    }

    fn written(head: &RequestHead, hop: &Hop<'_>, filters: &[Filter]) -> String {
        let mut out = Vec::new();
        put_request_head(&mut out, head, hop, filters);
        String::from_utf8(out).unwrap()
    }

    const SPOOFED: &str = "POST /a HTTP/1.1\nHost: A\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\n\
        X-Request-ID: mine\nX-Real-IP: 1.1.1.1\nConnection: close, X-Gone\nX-Gone: 1\nTE: gzip\nUpgrade: h2c\n\
        Content-Length: 4\nCookie: c=1\nForwarded: for=x\n\n";

    #[test]
    fn a_client_that_is_not_trusted_says_nothing_about_itself() {
        let expected = "POST /a HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\nContent-Length: 4\r\n\
            X-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
            X-Forwarded-Port: 8080\r\nVia: 1.1 ringress\r\nX-Request-ID: 000000000000000000000000000000ab\r\n\r\n";
        assert_eq!(written(&head(SPOOFED), &hop(false), &[]), expected);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_extended() {
        let text = written(&head(SPOOFED), &hop(true), &[]);
        assert!(text.contains("X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n"), "{text}");
        assert!(text.contains("X-Forwarded-Proto: https\r\n") && !text.contains("X-Forwarded-Proto: http\r\n"));
        assert!(text.contains("X-Request-ID: mine\r\n") && text.contains("X-Real-IP: 1.1.1.1\r\n"));
        assert_eq!(text.matches("X-Request-ID").count(), 1);
    }

    #[test]
    fn upgrades_host_and_edits_are_written() {
        let edit = HeaderEdit {
            remove: vec![b"cookie"[..].into(), b"x-a"[..].into()],
            put: vec![(b"X-A"[..].into(), b"2"[..].into())],
        };
        let head = head("GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\nX-a: 1\nCookie: c\n\n");
        let hop = Hop { host: Some(b"up:1"), forwarded: true, peer: "::1".parse().unwrap(), ..hop(false) };
        let text = written(&head, &hop, &[Filter::RequestHeaders(edit)]);
        assert!(text.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"), "{text}");
        assert!(text.contains("Host: up:1\r\n") && text.contains("X-Forwarded-Host: a\r\n"));
        assert!(text.contains("Forwarded: for=\"[::1]\";proto=http;host=\"a\"\r\n"));
        assert!(text.contains("X-A: 2\r\n") && !text.contains("X-a: 1") && !text.contains("Cookie"));
    }

    #[test]
    fn a_filter_that_sets_a_field_of_ours_has_the_last_word() {
        let edit = HeaderEdit {
            remove: vec![b"x-forwarded-proto"[..].into(), b"via"[..].into()],
            put: vec![(b"X-Forwarded-Proto"[..].into(), b"https"[..].into())],
        };
        let text = written(&head("GET / HTTP/1.0\n\n"), &hop(false), &[Filter::RequestHeaders(edit)]);
        assert_eq!(text.matches("X-Forwarded-Proto").count(), 1, "{text}");
        assert!(text.contains("X-Forwarded-Proto: https\r\n") && !text.contains("Via:"));
        assert!(text.contains("Host: endpoint:80\r\n"), "HTTP/1.0 may come without a host");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_proxy() {
        let networks = ["10.0.0.0/8".parse().unwrap()];
        let head = head("GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 6.6.6.6, 7.7.7.7\nX-Forwarded-For: 10.0.0.2\n\n");
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(client_address(&head, peer("10.0.0.1"), &networks), peer("7.7.7.7"));
        assert_eq!(client_address(&head, peer("8.8.8.8"), &networks), peer("8.8.8.8"));
        assert_eq!(client_address(&head, peer("10.0.0.1"), &[]), peer("10.0.0.1"));
        let through = |element: &str| {
            let text = format!("GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 9.9.9.9, {element}\n\n");
            client_address(&self::head(&text), peer("10.0.0.1"), &networks)
        };
        assert_eq!(through("1.2.3.4:5678"), peer("1.2.3.4"));
        assert_eq!(through("unknown"), peer("10.0.0.1"), "what stands before it may be the client's invention");
    }
}
