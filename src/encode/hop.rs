//! What this hop knows of a request beside its head: who the client is, by its connection and by the word of trusted proxies.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::proto::h1::field::{Known, list_elements};
use crate::proto::h1::request::RequestHead;

/// What this hop knows of a request. Each fact is asked once.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The address on the other end of the connection.
    pub peer: IpAddr,
    /// Who asks, behind trusted proxies.
    pub client: IpAddr,
    /// True where the peer is a trusted proxy, whose word is believed.
    pub is_trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The client's certificate as RFC 9440 §2.2 writes it.
    pub client_certificate: Option<&'a str>,
    /// The request came before its client had shown that it is there now (RFC 8470 §5.1).
    pub is_early: bool,
    /// The port of our listener.
    pub port: u16,
    /// Our identifier of this request, for a client that sent none that is trusted.
    pub request_id: u128,
    /// What it writes of itself beside the usual fields.
    pub writes: HopFields,
}

/// Fields that a hop may write.
#[derive(Clone, Copy, Debug)]
pub struct HopFields {
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `Via` (RFC 9110 §7.6.3).
    pub via: bool,
}

/// The `Host` that an upstream gets.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamHost<'a> {
    /// In place of the client's.
    pub set: Option<&'a [u8]>,
    /// Where the client sent none (HTTP/1.0): upstreams get HTTP/1.1 or HTTP/2, which must have one.
    pub fallback: &'a [u8],
}

impl<'a> UpstreamHost<'a> {
    /// The host for this request.
    #[must_use]
    pub fn of(&self, head: &'a RequestHead) -> &'a [u8] {
        let of_client = if head.authority().is_empty() { self.fallback } else { head.authority() };
        self.set.unwrap_or(of_client)
    }
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
        // Read from left to right, so that the last untrusted address wins. Something that is no address leaves open who
        // wrote what stands before it, so the peer counts.
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
    use crate::proto::h1::request::Underscores;

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(text.replace('\n', "\r\n").into_bytes(), Underscores::Drop).unwrap();
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
}
