//! Writes the request head that the upstream gets: the client's fields less what ends here, and what we know of the client.

use std::io::Write as _;
use std::net::IpAddr;

use super::grpc::is_grpc;
use super::hop::{Hop, UpstreamTarget};
use super::wire::{FieldWriter, H2Head, Text};
use crate::filter::edits::FieldEdits;
use crate::proto::h1::encode::{AddressText, put_field, put_request_id, put_request_line};
use crate::proto::h1::field::{Known, KnownSet, list_elements};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::percent::put_percent;
use crate::proto::h1::request::RequestHead;
use crate::proto::h2::fields::FieldList;
use crate::proto::version::Version;

/// Appends the whole head as text. `offers` where the client's offer of another protocol goes with it.
pub fn put_request_head(
    out: &mut Vec<u8>,
    head: &RequestHead,
    hop: &Hop<'_>,
    target: &UpstreamTarget<'_>,
    edits: &FieldEdits,
    offers: bool,
) {
    put_request_line(out, head.method(), head.forwarded(target.path));
    put_field(out, b"Host", target.host_of(head));
    let mut text = Text(out);
    put_client_fields(&mut text, head, hop, edits);
    match target.framing_of(head) {
        Framing::Length(length) => text.number(b"Content-Length", length),
        Framing::Chunked => text.field(b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    put_expectation(&mut text, head, target);
    if let Some(protocols) = head.upgrade().filter(|_| offers) {
        text.field(b"Connection", b"upgrade");
        text.field(b"Upgrade", protocols);
    }
    put_forwarded_fields(&mut text, head, hop, edits);
    put_edits(&mut text, edits);
    out.extend_from_slice(b"\r\n");
}

/// The whole head for a stream of HTTP/2; `scheme` is `https` or `http`, as it is spoken to the upstream.
#[must_use]
pub fn h2_request(
    head: &RequestHead,
    hop: &Hop<'_>,
    target: &UpstreamTarget<'_>,
    edits: &FieldEdits,
    scheme: &str,
) -> H2Head {
    let mut fields = begin_h2_request(head.method(), scheme, target.host_of(head), head.forwarded(target.path));
    put_client_fields(&mut fields, head, hop, edits);
    if let Framing::Length(length) = target.framing_of(head) {
        fields.number(b"content-length", length);
    }
    put_expectation(&mut fields, head, target);
    put_forwarded_fields(&mut fields, head, hop, edits);
    put_edits(&mut fields, edits);
    if is_grpc(head) {
        // Servers of gRPC take this for the sign that no proxy on the way drops trailers.
        fields.push(b"te", b"trailers");
    }
    H2Head { fields, is_interim: false }
}

/// The pseudo-fields of a request.
pub(super) fn begin_h2_request(method: &[u8], scheme: &str, authority: &[u8], target: &[u8]) -> FieldList {
    let mut fields = FieldList::default();
    fields.push(b":method", method);
    fields.push(b":scheme", scheme.as_bytes());
    fields.push(b":authority", authority);
    if target.iter().all(|byte| is_of_path(*byte)) {
        fields.push(b":path", target);
    } else {
        fields.push(b":path", &encoded(target));
    }
    fields
}

fn put_expectation(out: &mut impl FieldWriter, head: &RequestHead, target: &UpstreamTarget<'_>) {
    // A body that is here already waits for nothing.
    if head.expects_continue() && target.length.is_none() {
        out.field(b"Expect", b"100-continue");
    }
}

/// [`put_fields_of`] as names and values.
#[must_use]
pub fn fields_of(head: &RequestHead, hop: &Hop<'_>, edits: &FieldEdits) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields = Vec::new();
    put_fields_of(&mut fields, head, hop, edits);
    fields
}

/// Writes the fields that an upstream gets of a request, without those of the connection and the body.
pub fn put_fields_of(out: &mut impl FieldWriter, head: &RequestHead, hop: &Hop<'_>, edits: &FieldEdits) {
    put_client_fields(out, head, hop, edits);
    put_forwarded_fields(out, head, hop, edits);
    put_edits(out, edits);
}

fn put_edits(out: &mut impl FieldWriter, edits: &FieldEdits) {
    edits.put.iter().for_each(|(name, value)| out.field(name, value));
}

/// The client's fields that are not passed on: those that end at this hop, or are written anew for the next one.
fn dropped(head: &RequestHead, hop: &Hop<'_>) -> KnownSet {
    const OURS: KnownSet = KnownSet::of(&[
        Known::Host,
        Known::ContentLength,
        Known::Expect,
        // Nobody who asks for a resource has a use for it, and CGI makes it the address of a proxy (`HTTP_PROXY`).
        Known::Proxy,
        // It is for the proxy that the client has chosen (RFC 9110 §11.7.2), which is no gateway.
        Known::ProxyAuthorization,
        // It tells who asks, as the access log does: whoever is believed, it is written anew.
        Known::XRealIp,
        Known::XForwardedFor,
        Known::XRequestId,
    ])
    .with(KnownSet::HOP_BY_HOP, true);
    const OF_TRUSTED_HOPS: KnownSet = KnownSet::of(&[
        Known::XForwardedProto,
        Known::XForwardedHost,
        Known::XForwardedOther,
        Known::XForwardedPort,
        Known::XForwardedPrefix,
        Known::Forwarded,
    ]);
    const CERTIFICATE: KnownSet = KnownSet::of(&[Known::ClientCert, Known::ClientCertChain]);
    let counts_forwards = matches!(head.method(), b"OPTIONS" | b"TRACE");
    OURS.with(OF_TRUSTED_HOPS, !hop.is_trusted)
        // A proxy that writes the one kind passes the other on as its client wrote it.
        .with(KnownSet::of(&[Known::Forwarded]), hop.is_trusted && writes_x_forwarded(head))
        .with(KnownSet::of(&[Known::XForwardedPrefix]), !head.stripped_prefix().is_empty())
        .with(KnownSet::of(&[Known::MaxForwards]), counts_forwards)
        // `Early-Data` is then written by us. What a client says by it stays (RFC 8470 §5.1).
        .with(KnownSet::of(&[Known::EarlyData]), hop.is_early)
        // A trusted hop's `Client-Cert` passes only where we saw no certificate ourselves (RFC 9440 §3).
        .with(CERTIFICATE, !hop.is_trusted || hop.client_certificate.is_some())
}

/// True where the hop before us writes `X-Forwarded-For` or `-Proto`.
fn writes_x_forwarded(head: &RequestHead) -> bool {
    head.fields().any(|(field, ..)| matches!(field.known, Known::XForwardedFor | Known::XForwardedProto))
}

fn put_client_fields(out: &mut impl FieldWriter, head: &RequestHead, hop: &Hop<'_>, edits: &FieldEdits) {
    let dropped = dropped(head, hop);
    let passing =
        head.fields().filter(|(field, name, _)| !dropped.has(field.known) && !field.nominated && !edits.removes(name));
    out.fields(head.bytes(), passing.map(|(field, ..)| field));
}

fn put_forwarded_fields(out: &mut impl FieldWriter, head: &RequestHead, hop: &Hop<'_>, edits: &FieldEdits) {
    let writes = |name: &[u8]| !edits.removes(name);
    let is_missing = |known| !hop.is_trusted || head.values(known).next().is_none();
    // Written once: nearly always the client is the peer.
    let peer = AddressText::of(hop.peer);
    if writes(b"x-forwarded-for") {
        out.composed(b"X-Forwarded-For", |value| {
            if hop.is_trusted {
                for before in head.values(Known::XForwardedFor).flat_map(list_elements) {
                    value.extend_from_slice(before);
                    value.extend_from_slice(b", ");
                }
            }
            value.extend_from_slice(peer.bytes());
        });
    }
    if writes(b"x-real-ip") {
        let client = if hop.client == hop.peer { peer } else { AddressText::of(hop.client) };
        out.field(b"X-Real-IP", client.bytes());
    }
    if is_missing(Known::XForwardedProto) && writes(b"x-forwarded-proto") {
        out.field(b"X-Forwarded-Proto", hop.asked.scheme.as_bytes());
    }
    if is_missing(Known::XForwardedHost) && !head.authority().is_empty() && writes(b"x-forwarded-host") {
        out.field(b"X-Forwarded-Host", head.authority());
    }
    if is_missing(Known::XForwardedPort) && hop.asked.port > 0 && writes(b"x-forwarded-port") {
        out.number(b"X-Forwarded-Port", u64::from(hop.asked.port));
    }
    if !head.stripped_prefix().is_empty() && writes(b"x-forwarded-prefix") {
        out.composed(b"X-Forwarded-Prefix", |value| {
            let before = head.only(Known::XForwardedPrefix).filter(|_| hop.is_trusted);
            value.extend_from_slice(before.unwrap_or_default());
            value.extend_from_slice(head.stripped_prefix());
        });
    }
    if hop.writes.forwarded && writes(b"forwarded") {
        out.composed(b"Forwarded", |value| put_forwarded(value, head, hop));
    }
    if hop.writes.via && writes(b"via") {
        out.field(b"Via", via(head.version()));
    }
    if let Some(certificate) = hop.client_certificate.filter(|_| writes(b"client-cert")) {
        out.field(b"Client-Cert", certificate.as_bytes());
    }
    if hop.is_early {
        out.field(b"Early-Data", b"1");
    }
    if let Some(left) = head.forwards_left() {
        out.number(b"Max-Forwards", left.saturating_sub(1));
    }
    if writes(b"x-request-id") {
        match head.told_request_id().filter(|_| hop.keeps_id) {
            Some(id) => out.field(b"X-Request-ID", id),
            None => out.composed(b"X-Request-ID", |value| put_request_id(value, hop.request_id)),
        }
    }
}

/// The version that the request came in, and who says so (RFC 9110 §7.6.3).
const fn via(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"1.0 ringress",
        Version::Http11 => b"1.1 ringress",
        Version::H2 => b"2.0 ringress",
    }
}

/// An element of RFC 7239 §4: of this hop behind those of others, of the client where it is the only one. An IPv6 address is
/// bracketed and quoted.
fn put_forwarded(value: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>) {
    let is_behind_others = hop.is_trusted && !writes_x_forwarded(head);
    let (address, scheme) = if is_behind_others { (hop.peer, hop.scheme) } else { (hop.client, hop.asked.scheme) };
    // Writing to a vector cannot fail.
    let _ = match address {
        IpAddr::V4(address) => write!(value, "for={address};proto={scheme}"),
        IpAddr::V6(address) => write!(value, "for=\"[{address}]\";proto={scheme}"),
    };
    let host = head.asked_host(hop.is_trusted && !is_behind_others);
    if !host.is_empty() {
        value.extend_from_slice(b";host=\"");
        value.extend_from_slice(host);
        value.push(b'"');
    }
}

/// True for what the parsers of upstreams take in a path or a query. Some refuse the rest of what no URI may hold (RFC 3986 §2)
/// and HTTP/1 lets through.
const fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'`' | b'\\' | b'^' | b'{' | b'|' | b'}')
}

/// A target with what HTTP/1 lets through and no URI may hold as percent-encoded bytes (RFC 3986 §2.1).
fn encoded(target: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if is_of_path(*byte) {
            encoded.push(*byte);
        } else {
            put_percent(&mut encoded, *byte);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::hop::{Asked, HopFields};
    use crate::filter::edits::NameSet;
    use crate::proto::h1::rules::{ForwardedPath, HeadRules};

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(text.replace('\n', "\r\n").into_bytes(), HeadRules::default()).unwrap();
        head
    }

    fn hop(is_trusted: bool) -> Hop<'static> {
        Hop {
            peer: IpAddr::from([192, 0, 2, 7]),
            client: IpAddr::from([192, 0, 2, 7]),
            is_trusted,
            asked: Asked { scheme: "http", port: 8080 },
            scheme: "http",
            client_certificate: None,
            is_early: false,
            request_id: 0xab,
            keeps_id: is_trusted,
            writes: HopFields { forwarded: false, via: true },
        }
    }

    const TARGET: UpstreamTarget<'static> =
        UpstreamTarget { host: None, fallback: b"endpoint:80", path: ForwardedPath::Resolved, length: None };

    fn written(head: &RequestHead, hop: &Hop<'_>, target: &UpstreamTarget<'_>, edits: &FieldEdits) -> String {
        let mut out = Vec::new();
        put_request_head(&mut out, head, hop, target, edits, true);
        String::from_utf8(out).unwrap()
    }

    /// The head for HTTP/2: its line, then its fields in the order of their names.
    fn h2_written(head: &RequestHead, hop: &Hop<'_>, target: &UpstreamTarget<'_>) -> String {
        let fields = h2_request(head, hop, target, &FieldEdits::default(), "https").fields;
        let text = fields.text();
        let mut found: Vec<_> = text.split(", ").skip(4).collect();
        found.sort_unstable();
        let pseudo = [b":method", &b":scheme"[..], b":authority", b":path"].map(|name| fields.value(name).unwrap());
        let [method, scheme, authority, path] = pseudo.map(|value| std::str::from_utf8(value).unwrap());
        format!("{method} {scheme}://{authority}{path} [{}]", found.join(", "))
    }

    const SPOOFED: &str = "POST /a HTTP/1.1\nHost: A\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\n\
        X-Request-ID: mine\nX-Real-IP: 1.1.1.1\nConnection: close, X-Gone\nX-Gone: 1\nTE: gzip\nUpgrade: h2c\n\
        Content-Length: 4\nCookie: c=1\nForwarded: for=x\nX-Forwarded-Prefix: /p\nX-Forwarded-Ssl: on\nX-Forwarded-Tls-Client-Cert: c\n\
        Proxy: http://evil\nProxy-Authorization: b\nHTTP2-Settings: s\n\n";

    #[test]
    fn a_client_that_is_not_trusted_says_nothing_about_itself() {
        let expected = "POST /a HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\nContent-Length: 4\r\n\
            X-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
            X-Forwarded-Port: 8080\r\nVia: 1.1 ringress\r\nX-Request-ID: 000000000000000000000000000000ab\r\n\r\n";
        assert_eq!(written(&head(SPOOFED), &hop(false), &TARGET, &FieldEdits::default()), expected);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_extended() {
        let text = written(&head(SPOOFED), &hop(true), &TARGET, &FieldEdits::default());
        assert!(text.contains("X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n"), "{text}");
        assert!(text.contains("X-Forwarded-Proto: https\r\n") && !text.contains("X-Forwarded-Proto: http\r\n"));
        assert!(text.contains("X-Request-ID: mine\r\n") && text.contains("X-Real-IP: 192.0.2.7\r\n"));
        assert_eq!(text.matches("X-Request-ID").count(), 1);
        assert!(text.contains("X-Forwarded-Prefix: /p\r\nX-Forwarded-Ssl: on\r\n"), "{text}");
        for never in ["Proxy: ", "Proxy-Authorization", "HTTP2-Settings", "Forwarded: for=x"] {
            assert!(!text.contains(never), "{text}");
        }
    }

    #[test]
    fn what_the_client_used_is_told_alike_in_every_field() {
        let text = "GET / HTTP/1.0\nHost: a\nX-Forwarded-For: \nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\n\
            Forwarded: proto=http\n\n";
        let asked = Asked { scheme: "https", port: 443 };
        let client = IpAddr::from([1, 1, 1, 1]);
        let hop = Hop { asked, client, writes: HopFields { forwarded: true, via: true }, ..hop(true) };
        let text = written(&head(text), &hop, &TARGET, &FieldEdits::default());
        for told in [
            "X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n",
            "X-Real-IP: 1.1.1.1\r\n",
            "X-Forwarded-Port: 443\r\n",
            "\r\nForwarded: for=1.1.1.1;proto=https;host=\"a\"\r\n",
            "Via: 1.0 ringress\r\n",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(!text.contains("proto=http\r\n"), "{text}");
    }

    #[test]
    fn forwards_are_counted_down_and_a_stripped_prefix_is_told() {
        let mut head = head("OPTIONS /api/x HTTP/1.1\nHost: a\nMax-Forwards: 3\nX-Forwarded-Prefix: /p\n\n");
        assert!(head.strip_prefix(b"/api").unwrap());
        let text = written(&head, &hop(true), &TARGET, &FieldEdits::default());
        assert!(text.contains("Max-Forwards: 2\r\n") && text.contains("X-Forwarded-Prefix: /p/api\r\n"), "{text}");
        let text = written(&head, &hop(false), &TARGET, &FieldEdits::default());
        assert!(text.contains("X-Forwarded-Prefix: /api\r\n") && text.matches("Max-Forwards").count() == 1, "{text}");
    }

    #[test]
    fn upgrades_host_and_edits_are_written() {
        let edits =
            FieldEdits { remove: NameSet::of(["cookie", "x-a"]), put: vec![(b"X-A"[..].into(), b"2"[..].into())] };
        let head = head("GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\nX-a: 1\nCookie: c\n\n");
        let hop =
            Hop { writes: HopFields { forwarded: true, via: true }, client: "::1".parse().unwrap(), ..hop(false) };
        let text = written(&head, &hop, &UpstreamTarget { host: Some(b"up:1"), ..TARGET }, &edits);
        assert!(text.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"), "{text}");
        assert!(text.contains("Host: up:1\r\n") && text.contains("X-Forwarded-Host: a\r\n"));
        assert!(text.contains("Forwarded: for=\"[::1]\";proto=http;host=\"a\"\r\n"));
        assert!(text.contains("X-A: 2\r\n") && !text.contains("X-a: 1") && !text.contains("Cookie"));
    }

    #[test]
    fn a_filter_that_sets_a_field_of_ours_has_the_last_word() {
        let edits = FieldEdits {
            remove: NameSet::of(["x-forwarded-proto", "via"]),
            put: vec![(b"X-Forwarded-Proto"[..].into(), b"https"[..].into())],
        };
        let text = written(&head("GET / HTTP/1.0\n\n"), &hop(false), &TARGET, &edits);
        assert_eq!(text.matches("X-Forwarded-Proto").count(), 1, "{text}");
        assert!(text.contains("X-Forwarded-Proto: https\r\n") && !text.contains("Via:"));
        assert!(text.contains("Host: endpoint:80\r\n"), "HTTP/1.0 may come without a host");
    }

    #[test]
    fn a_request_of_http2_names_its_authority_and_has_no_fields_of_a_connection() {
        let text = "POST /a.S/M?q HTTP/1.1\nHost: up.test:81\nContent-Type: application/grpc\nTransfer-Encoding: chunked\n\
            Connection: close\n\n";
        let found = h2_written(&head(text), &hop(false), &TARGET);
        assert_eq!(
            found,
            "POST https://up.test:81/a.S/M?q [content-type: application/grpc, te: trailers, via: 1.1 ringress, \
             x-forwarded-for: 192.0.2.7, x-forwarded-host: up.test:81, x-forwarded-port: 8080, x-forwarded-proto: http, \
             x-real-ip: 192.0.2.7, x-request-id: 000000000000000000000000000000ab]"
        );
        let length = head("PUT / HTTP/1.1\nHost: a\nContent-Length: 4\n\n");
        assert!(h2_written(&length, &hop(false), &TARGET).contains("content-length: 4"));
        let odd = head("GET /a<b HTTP/1.1\nHost: a\n\n");
        assert!(h2_written(&odd, &hop(false), &TARGET).starts_with("GET https://a/a%3Cb ["));
    }

    #[test]
    fn more_fields_than_a_peer_may_send_are_written() {
        let fields: Vec<_> = (0..125).map(|at| format!("X-{at}: 1\n")).collect();
        let fields = fields.concat();
        let head = head(&format!("GET / HTTP/1.1\nHost: a\n{fields}\n"));
        let found = h2_written(&head, &hop(false), &TARGET);
        assert_eq!(found.matches(": ").count(), 125 + 7, "our own additions break no limit");
    }
}
