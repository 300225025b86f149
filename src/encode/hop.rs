//! What this hop knows of a request beside its head: who the client is, by its connection and by the word of trusted proxies.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::proto::h1::authority::{default_port, parts};
use crate::proto::h1::field::{Known, list_elements};
use crate::proto::h1::framing::Framing;
use crate::proto::h1::request::RequestHead;
use crate::proto::h1::rules::ForwardedPath;
use crate::units::addresses::is_in;

/// What this hop knows of a request. Each fact is asked once.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The address on the other end of the connection.
    pub peer: IpAddr,
    /// Who asks, behind trusted proxies.
    pub client: IpAddr,
    /// True where the peer is a trusted proxy, whose word is believed.
    pub is_trusted: bool,
    /// What the client used, by a trusted proxy's word or by its connection.
    pub asked: Asked,
    /// What was spoken to us: `http` or `https`.
    pub scheme: &'static str,
    /// The client's certificate as RFC 9440 §2.2 writes it.
    pub client_certificate: Option<&'a str>,
    /// The request came before its client had shown that it is there now (RFC 8470 §5.1).
    pub is_early: bool,
    /// Our identifier of this request, for a client that sent none that is trusted.
    pub request_id: u128,
    /// True where the client's own identifier is kept.
    pub keeps_id: bool,
    /// What it writes of itself beside the usual fields.
    pub writes: HopFields,
}

/// What the client used to reach the service: the one place that redirects, fields of the request, `Strict-Transport-Security` and
/// filters ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The port.
    pub port: u16,
}

impl Asked {
    /// What a request says of it. `own` is what was spoken to us; a trusted proxy's word goes before it: `X-Forwarded-Proto`, or
    /// `Forwarded` where there is none, `X-Forwarded-Port`, the port in `X-Forwarded-Host` or `Host`, the scheme's own.
    #[must_use]
    pub fn of(head: &RequestHead, own: Self, is_trusted: bool) -> Self {
        if !is_trusted {
            return own;
        }
        let told = head.values(Known::XForwardedProto).flat_map(list_elements).last();
        let Some(scheme) = told.or_else(|| forwarded_proto(head)).and_then(scheme_of) else { return own };
        let port = head.only(Known::XForwardedPort).and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        let port = port.or_else(|| parts(head.asked_host(true))?.1);
        Self { scheme, port: port.unwrap_or_else(|| default_port(scheme.as_bytes())) }
    }

    /// True where the client came by TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }
}

/// The scheme that a proxy names. `ws` and `wss` are how some name the WebSocket's.
fn scheme_of(told: &[u8]) -> Option<&'static str> {
    let is = |name: &str| told.eq_ignore_ascii_case(name.as_bytes());
    if is("https") || is("wss") {
        Some("https")
    } else if is("http") || is("ws") {
        Some("http")
    } else {
        None
    }
}

/// `proto=` of the last element of `Forwarded` (RFC 7239 §5.4): what the hop next to us says.
fn forwarded_proto(head: &RequestHead) -> Option<&[u8]> {
    let element = head.values(Known::Forwarded).flat_map(list_elements).last()?;
    let mut pairs = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let told =
        pairs.find_map(|pair| pair.split_at_checked(6).filter(|(name, _)| name.eq_ignore_ascii_case(b"proto=")))?.1;
    Some(told.strip_prefix(b"\"").and_then(|told| told.strip_suffix(b"\"")).unwrap_or(told))
}

/// Fields that a hop may write.
#[derive(Clone, Copy, Debug)]
pub struct HopFields {
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `Via` (RFC 9110 §7.6.3).
    pub via: bool,
}

/// What a service asks to be told of the target.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamTarget<'a> {
    /// The host in place of the client's.
    pub host: Option<&'a [u8]>,
    /// The host where the client sent none (HTTP/1.0): upstreams get HTTP/1.1 or HTTP/2, which must have one.
    pub fallback: &'a [u8],
    /// The form of the path.
    pub path: ForwardedPath,
    /// The length of the body, where all of it is held and its head does not say it.
    pub length: Option<u64>,
}

impl<'a> UpstreamTarget<'a> {
    /// How the body goes on.
    #[must_use]
    pub fn framing_of(&self, head: &RequestHead) -> Framing {
        self.length.map_or(head.framing(), Framing::Length)
    }

    /// The host for this request.
    #[must_use]
    pub fn host_of(&self, head: &'a RequestHead) -> &'a [u8] {
        let of_client = if head.authority().is_empty() { self.fallback } else { head.authority() };
        head.rewritten_host().or(self.host).unwrap_or(of_client)
    }
}

/// An authority without the port that goes without saying for the scheme.
#[must_use]
pub fn without_default_port(authority: &str, is_secure: bool) -> &str {
    authority.strip_suffix(if is_secure { ":443" } else { ":80" }).unwrap_or(authority)
}

/// Who the client is: the last address of `X-Forwarded-For` that is not a trusted proxy; where there is no such field, the one of
/// `X-Real-IP`; else the peer.
#[must_use]
pub fn client_address(head: &RequestHead, peer: IpAddr, networks: &[IpNet]) -> IpAddr {
    if !is_in(networks, peer) {
        return peer;
    }
    if head.values(Known::XForwardedFor).next().is_none() {
        let told = head.only(Known::XRealIp).and_then(|value| address_of(std::str::from_utf8(value).ok()?.trim()));
        return told.unwrap_or(peer);
    }
    let mut client = peer;
    for value in head.values(Known::XForwardedFor) {
        // Read from left to right, so that the last untrusted address wins. Something that is no address leaves open who
        // wrote what stands before it, so the peer counts.
        for element in list_elements(value) {
            match std::str::from_utf8(element).ok().and_then(address_of) {
                Some(address) if is_in(networks, address) => {}
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
    use crate::proto::h1::rules::HeadRules;

    #[test]
    fn x_real_ip_counts_where_nothing_else_tells_and_of_trusted_proxies_alone() {
        let client = |fields: &str, networks: &[IpNet]| {
            let mut head = RequestHead::default();
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            head.parse(text.into_bytes(), HeadRules::default()).unwrap();
            client_address(&head, IpAddr::from([10, 0, 0, 1]), networks).to_string()
        };
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(client("X-Real-IP: 9.9.9.9\r\n", &trusted), "9.9.9.9");
        assert_eq!(client("X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 6.6.6.6\r\n", &trusted), "203.0.113.9");
        assert_eq!(client("X-Real-IP: 9.9.9.9\r\nX-Real-IP: 8.8.8.8\r\n", &trusted), "10.0.0.1");
        assert_eq!(client("X-Real-IP: 9.9.9.9\r\n", &[]), "10.0.0.1");
    }

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(text.replace('\n', "\r\n").into_bytes(), HeadRules::default()).unwrap();
        head
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_proxy() {
        let networks = ["10.0.0.0/8".parse().unwrap()];
        let spoofed = head("GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 6.6.6.6, 7.7.7.7\nX-Forwarded-For: 10.0.0.2\n\n");
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(client_address(&spoofed, peer("10.0.0.1"), &networks), peer("7.7.7.7"));
        assert_eq!(client_address(&spoofed, peer("8.8.8.8"), &networks), peer("8.8.8.8"));
        assert_eq!(client_address(&spoofed, peer("10.0.0.1"), &[]), peer("10.0.0.1"));
        let through = |element: &str| {
            let text = format!("GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 9.9.9.9, {element}\n\n");
            client_address(&head(&text), peer("10.0.0.1"), &networks)
        };
        assert_eq!(through("1.2.3.4:5678"), peer("1.2.3.4"));
        assert_eq!(through("unknown"), peer("10.0.0.1"), "what stands before it may be the client's invention");
    }

    #[test]
    fn what_the_client_used_is_a_trusted_proxys_word() {
        let own = Asked { scheme: "http", port: 8080 };
        let asked = |fields: &str, is_trusted| {
            let asked = Asked::of(&head(&format!("GET / HTTP/1.1\nHost: a\n{fields}\n")), own, is_trusted);
            (asked.scheme, asked.port)
        };
        for (fields, expected) in [
            ("", ("http", 8080)),
            ("X-Forwarded-Proto: https\n", ("https", 443)),
            ("X-Forwarded-Proto: http, WSS\n", ("https", 443)),
            ("X-Forwarded-Proto: gopher\n", ("http", 8080)),
            ("X-Forwarded-Proto: https\nX-Forwarded-Port: 8443\n", ("https", 8443)),
            ("X-Forwarded-Proto: https\nX-Forwarded-Host: b:444\n", ("https", 444)),
            ("Forwarded: for=1, for=2;Proto=\"https\"\n", ("https", 443)),
            ("Forwarded: proto=http\nX-Forwarded-Proto: https\n", ("https", 443)),
        ] {
            assert_eq!(asked(fields, true), expected, "{fields}");
            assert_eq!(asked(fields, false), ("http", 8080), "{fields}");
        }
        assert_eq!(without_default_port("a:80", false), "a");
        assert_eq!(without_default_port("a:80", true), "a:80");
    }
}
